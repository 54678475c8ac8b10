"""The figures that monitoring scrapes, from our own tables: one short read-only transaction for each platform.

Unknown is None, never 0. The number of statements is fixed, and each reads the latest sweep or a row per queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError, StateSchemaError
from campaign_ops.core.model import PATIENT
from campaign_ops.journal.counters import totals
from campaign_ops.journal.finished import latest_finished, stuck_by_verdict
from campaign_ops.journal.migrations import has_records
from campaign_ops.journal.queue_looks import QueueLook, WorkerHealth
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.sweep.records import tripped_kinds

LOOK_MAX_AGE = timedelta(hours=1)
"""An older look at a queue says nothing about it now: its figures are unknown."""


@dataclass(frozen=True, slots=True)
class SweepFigures:
    """The latest finished sweep. ``stuck`` counts campaigns by verdict; credits are None without reservations."""

    finished_at: datetime
    duration_seconds: float
    stuck: Mapping[str, int]
    stuck_over_alert: int
    sending: int
    need_person: int
    tripped: frozenset[str]
    credits_held: float | None
    credits_leaked: float | None


@dataclass(frozen=True, slots=True)
class PlatformMetrics:
    """What is known of one platform. ``error`` says why nothing is: database away, or our schema missing or older.

    ``totals`` holds counters by name and labels, as `journal.counters` names them; ``incidents`` counts those that are
    not resolved by cause and severity, as a watcher saw them at ``last_look_at``.
    """

    platform: str
    database_up: bool
    error: str = ""
    sweep: SweepFigures | None = None
    queues: tuple[QueueLook, ...] = ()
    workers: tuple[WorkerHealth, ...] = ()
    totals: Mapping[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    incidents: Mapping[tuple[str, str], int] = field(default_factory=dict)
    last_look_at: datetime | None = None


def platform_metrics(platform: Platform) -> PlatformMetrics:
    """Read the figures of one platform. Never raises an error of ours: monitoring needs an answer."""

    def _read(connection: sa.Connection) -> PlatformMetrics:
        if not has_records(connection, platform.database.where):
            return PlatformMetrics(platform.name, True, "schema campaign_ops does not exist")
        now = database_now(connection)
        looks = platform.queue_looks
        fresh = {look.queue: look for look in looks.last(connection) if now - look.seen_at <= LOOK_MAX_AGE}
        return PlatformMetrics(
            platform.name,
            True,
            sweep=_sweep_figures(connection, platform),
            queues=tuple(fresh.values()),
            workers=tuple(health for health in looks.health(connection) if health.queue in fresh),
            totals=totals(connection, platform.profile.tables_key),
            incidents=platform.incidents.open_counts(connection),
            last_look_at=platform.incidents.last_look(connection),
        )

    try:
        return platform.database.run(_read, read_only=True)
    except StateSchemaError as error:
        return PlatformMetrics(platform.name, True, str(error))
    except CampaignOpsError as error:
        return PlatformMetrics(platform.name, False, str(error))


def _sweep_figures(connection: sa.Connection, platform: Platform) -> SweepFigures | None:
    latest = latest_finished(connection, platform.profile.tables_key)
    if latest is None:
        return None
    stuck = stuck_by_verdict(
        connection, latest.id, alert_after_seconds=platform.policy.alert_after_seconds, quiet=[*map(str, PATIENT)]
    )
    health: Mapping[str, Any] = latest.figures.get("campaign_health", {})
    return SweepFigures(
        finished_at=latest.finished_at,
        duration_seconds=(latest.finished_at - latest.started_at).total_seconds(),
        stuck={verdict: campaigns for verdict, (campaigns, _) in stuck.items()},
        stuck_over_alert=sum(over for _, over in stuck.values()),
        sending=health.get("sending", 0),
        need_person=health.get("needs_person", 0),
        tripped=frozenset(kind.value for kind in tripped_kinds(latest.figures)),
        credits_held=_number(health.get("credits_held")),
        credits_leaked=_number(health.get("credits_leaked")),
    )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
