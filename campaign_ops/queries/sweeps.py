"""One sweep by its run, and the age of the latest one: for programs that have asked for a sweep, and for probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError, DatabaseUnavailable
from campaign_ops.core.incidents import unwatched
from campaign_ops.journal.finished import latest_finished
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.sweep.records import tripped_kinds


@dataclass(frozen=True, slots=True)
class Pulse:
    """Whether a platform is swept. ``now`` is the database's clock; None where the database is away.

    ``error`` says why nothing is known: empty if all is well. ``needs_attention``: an incident is not resolved, or the
    latest sweep left something to a person. ``last_look_at`` is that of a watcher.
    """

    database_up: bool
    error: str = ""
    now: datetime | None = None
    last_sweep_at: datetime | None = None
    needs_attention: bool = False
    last_look_at: datetime | None = None

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the latest sweep finished; None if none has, or it is not known."""
        if self.now is None or self.last_sweep_at is None:
            return None
        return max(0.0, (self.now - self.last_sweep_at).total_seconds())

    @property
    def unwatched(self) -> str:
        """Why the incidents may be out of date; empty while a watcher looks, and where that is not known."""
        return "" if self.now is None else unwatched(self.last_look_at, self.now)


def pulse(platform: Platform) -> Pulse:
    """Ask when the latest sweep finished. Never raises an error of ours: probes need an answer."""

    def _read(connection: sa.Connection) -> Pulse:
        now, latest = database_now(connection), latest_finished(connection, platform.profile.tables_key)
        looked_at = platform.incidents.last_look(connection)
        if latest is None:
            return Pulse(True, "", now, last_look_at=looked_at)
        attention = _left_to_a_person(latest.figures) or bool(platform.incidents.open_counts(connection))
        return Pulse(True, "", now, latest.finished_at, attention, looked_at)

    try:
        return platform.on_state(_read, read_only=True)
    except CampaignOpsError as error:
        return Pulse(not isinstance(error, DatabaseUnavailable), str(error))


def _left_to_a_person(figures: Mapping[str, Any]) -> bool:
    """Return whether a sweep left a campaign, a reservation or a breaker to a person."""
    return bool(tripped_kinds(figures) or figures.get("repair_plan", {}).get("needs_person"))


def sweep_of_run(platform: Platform, run_id: str) -> Mapping[str, Any] | None:
    """Return the row of ``sweep`` that a run has begun; None while it has not, or where it never did.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """
    return platform.on_state(lambda connection: platform.sweeps.of_run(connection, run_id), read_only=True)
