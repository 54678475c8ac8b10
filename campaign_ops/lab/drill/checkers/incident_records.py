"""Incidents, their events and notifications, and what the receiver got, as plain values. Checks nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from campaign_ops.core.causes import Cause
from campaign_ops.lab.drill.receiver import RECEIVED, WATCH_LOG, Received, read_received

_LOOKED = "looked at "


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident. ``opened_at`` is None for a suspicion, ``resolved_at`` for one that is not over."""

    id: int
    cause: Cause
    opened_at: datetime | None
    resolved_at: datetime | None

    def __str__(self) -> str:
        """The name used in violations."""
        return f"incident {self.id} ({self.cause})"


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """One change of an incident."""

    id: int
    incident_id: int
    cause: Cause
    at: datetime
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notification:
    """One row of the outbox; ``event_id`` is the change that it tells of."""

    id: int
    event_id: int
    subject: str
    body: str
    attempts: int
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class WatchFiles:
    """What the receiver got, and when the watcher ended each look (seconds since 1970); None without a watcher."""

    received: Sequence[Received] = ()
    looks: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Watching:
    """Everything about the watcher and its incidents; rows by id."""

    files: WatchFiles
    incidents: Sequence[IncidentRow]
    events: Sequence[IncidentEvent]
    notifications: Sequence[Notification]


def read_files(work_dir: Path) -> WatchFiles:
    """Read the receiver's file and the watcher's log. Call it before the tables are read."""
    if not (work_dir / RECEIVED).exists():
        return WatchFiles()
    log = work_dir / WATCH_LOG
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return WatchFiles(read_received(work_dir / RECEIVED), tuple(filter(None, map(_look, lines))))


def read_incidents(connection: sa.Connection, platform: str, files: WatchFiles) -> Watching:
    """Read our tables of incidents, those of one platform."""
    ours = {"platform": platform}
    incidents = (
        IncidentRow(row.id, Cause(row.cause), row.opened_at, row.resolved_at)
        for row in connection.execute(_INCIDENTS, ours)
    )
    events = (
        IncidentEvent(row.id, row.incident_id, Cause(row.cause), row.at, row.what, row.reason)
        for row in connection.execute(_EVENTS, ours)
    )
    notifications = (Notification(*row) for row in connection.execute(_NOTIFICATIONS, ours))
    return Watching(files, tuple(incidents), tuple(events), tuple(notifications))


_INCIDENTS = sa.text(
    "SELECT id, cause, opened_at, resolved_at FROM campaign_ops.incident WHERE platform = :platform ORDER BY id"
)
_EVENTS = sa.text(
    "SELECT e.id, e.incident_id, i.cause, e.at, e.what, e.reason FROM campaign_ops.incident_event AS e"
    " JOIN campaign_ops.incident AS i ON i.id = e.incident_id WHERE i.platform = :platform ORDER BY e.id"
)
_NOTIFICATIONS = sa.text(
    "SELECT n.id, n.event_id, n.subject, n.body, n.attempts, n.sent_at FROM campaign_ops.notification AS n"
    " JOIN campaign_ops.incident AS i ON i.id = n.incident_id WHERE i.platform = :platform ORDER BY n.id"
)


def _look(line: str) -> float | None:
    """The moment of a line that ends a look; None for any other line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None  # killed in the middle of a line, or the traceback of a crash
    ended = isinstance(entry, dict) and str(entry.get("message")).startswith(_LOOKED)
    return datetime.fromisoformat(entry["at"]).timestamp() if ended else None
