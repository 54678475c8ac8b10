"""The latest finished sweep in figures, as monitoring asks for it. Speaks to our own tables only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.journal import schema


@dataclass(frozen=True, slots=True)
class FinishedSweep:
    """A sweep that came to its end; ``figures`` by step."""

    id: int
    started_at: datetime
    finished_at: datetime
    figures: Mapping[str, Any]


def latest_finished(connection: sa.Connection, tables: str) -> FinishedSweep | None:
    """The latest finished sweep of a campaign table; None when no sweep has finished yet."""
    sweep = schema.sweep.c
    query = (
        sa.select(sweep.id, sweep.started_at, sweep.finished_at, sweep.figures)
        .where(sweep.tables == tables, sweep.finished_at.is_not(None))
        .order_by(sweep.started_at.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else FinishedSweep(*row)


def stuck_by_verdict(
    connection: sa.Connection, sweep_id: int, *, alert_after_seconds: int, quiet: Collection[str]
) -> Mapping[str, tuple[int, int]]:
    """Stuck campaigns of a sweep's plan by verdict: (all, those stuck for longer than the alert age).

    Args:
        connection: An open connection.
        sweep_id: The sweep.
        alert_after_seconds: The alert age.
        quiet: Verdicts of which none is over the alert age, however old.
    """
    plan = schema.repair_plan.c
    over_alert = sa.and_(plan.stuck_seconds > alert_after_seconds, plan.verdict.not_in(list(quiet)))
    query = (
        sa.select(plan.verdict, sa.func.count(), sa.func.count().filter(over_alert))
        .where(plan.sweep_id == sweep_id, plan.verdict.is_not(None), plan.kind != RepairKind.RECOUNT.value)
        .group_by(plan.verdict)
    )
    return {verdict: (campaigns, over) for verdict, campaigns, over in connection.execute(query)}
