"""Incidents as people read them, the open ones first, and the events of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import NotFound
from campaign_ops.core.incidents import unwatched
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now


def incidents(platform: Platform, *, everything: bool = False, limit: int = 100) -> list[Mapping[str, Any]]:
    """Rows of table ``incident``: the unresolved ones, or with ``everything`` also suspected and resolved ones.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """
    return platform.on_state(
        lambda connection: platform.incidents.page(connection, everything=everything, limit=limit), read_only=True
    )


@dataclass(frozen=True, slots=True)
class LastLook:
    """A watcher's last look at a platform; ``at`` is None before the first. ``now`` is the database's clock."""

    at: datetime | None
    now: datetime

    @property
    def problem(self) -> str:
        """Why the incidents may be out of date; empty while a watcher looks."""
        return unwatched(self.at, self.now)


def last_look(platform: Platform) -> LastLook:
    """Read when a watcher has looked.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """
    return platform.on_state(
        lambda connection: LastLook(platform.incidents.last_look(connection), database_now(connection)), read_only=True
    )


def incident(platform: Platform, incident_id: int) -> Mapping[str, Any]:
    """The row of table ``incident`` of one incident.

    Raises:
        NotFound: No such incident.
        StateSchemaError: Our own schema is missing or of another revision.
    """
    row = platform.on_state(lambda connection: platform.incidents.row(connection, incident_id), read_only=True)
    if row is None:
        mend = "`campaign-ops incidents --all` lists them"
        raise NotFound("no such incident", where=f"incident {incident_id}", mend=mend)
    return row


def events(platform: Platform, incident_id: int) -> list[Mapping[str, Any]]:
    """Rows of table ``incident_event`` of one incident, the oldest first.

    Raises:
        NotFound: No such incident.
        StateSchemaError: Our own schema is missing or of another revision.
    """

    def _read(connection: sa.Connection) -> list[Mapping[str, Any]]:
        if platform.incidents.find(connection, incident_id) is None:
            mend = "`campaign-ops incidents --all` lists them"
            raise NotFound("no such incident", where=f"incident {incident_id}", mend=mend)
        return platform.incidents.events(connection, incident_id)

    return platform.on_state(_read, read_only=True)
