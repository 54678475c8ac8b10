"""The watcher: whether its looks keep the platform's incidents up to date."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_ops.core.incidents import unwatched
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now


def watcher(platform: Platform, connection: sa.Connection) -> Finding:
    """Report a watcher that has stopped; that there never was one is worth a note."""
    looked_at = platform.incidents.last_look(connection)
    if problem := unwatched(looked_at, database_now(connection)):
        level = Level.NOTE if looked_at is None else Level.WARNING
        mend = "" if looked_at is None else "start it: without looks, incidents stay as they are and nobody is notified"
        return Finding("watcher", level, problem, mend)
    return Finding("watcher", Level.OK, "a watcher keeps the incidents up to date")
