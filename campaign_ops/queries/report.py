"""The health report that the latest sweep stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import NotFound
from campaign_ops.journal import schema
from campaign_ops.platform import Platform


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as its sweep stored it: figures and trouble as JSON values, and all of it as Markdown."""

    at: datetime
    figures: Mapping[str, Any]
    trouble: list[str]
    markdown: str


def stored_report(platform: Platform) -> StoredReport:
    """Return the latest report.

    Raises:
        NotFound: No sweep has stored one yet.
        StateSchemaError: Our own schema is missing or of another revision.
    """

    def _read(connection: sa.Connection) -> list[Mapping[str, Any]]:
        latest = platform.sweeps.latest_step(connection, "campaign_health")
        return [] if latest is None else platform.sweeps.history(connection, schema.campaign_health, latest[0])

    rows = platform.on_state(_read, read_only=True)
    if not rows:
        raise NotFound("no sweep has stored a report yet", where=platform.name, mend="run `campaign-ops reconcile`")
    row = rows[0]
    return StoredReport(row["observed_at"], row["report"]["figures"], row["report"]["trouble"], row["markdown"])
