"""What each step of a sweep leaves behind: its history rows and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import QueueState, RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.journal import schema
from campaign_ops.sweep.look import Observation
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.rows import RECIPIENT_STATES, plan_row, queue_row, status_row, stuck_row

STEP_OF = {
    RepairKind.COMPLETE: "completed_campaigns",
    RepairKind.REENQUEUE: "reenqueued_batches",
    RepairKind.RELEASE: "released_credits",
    RepairKind.RECOUNT: "recounted",
}
"""The step of a sweep that makes each kind of repair, as its figures are filed."""


@dataclass(frozen=True, slots=True)
class Record:
    """One step's rows of its history table, its figures under the step's name, and the queues that it looked at."""

    step: str
    table: sa.Table
    at: datetime
    rows: list[dict[str, Any]]
    figures: Mapping[str, Any]
    queues: Sequence[QueueState] = ()


def stuck_found(seen: Observation) -> Record:
    """The stuck campaigns, the longest untouched first."""
    rows = [stuck_row(evidence, seen.at) for evidence in seen.evidence]
    figures = {
        "stuck": len(rows),
        "sending": seen.sending,
        "oldest_stuck_seconds": max((row["stuck_seconds"] or 0 for row in rows), default=0),
    }
    return Record("stuck_campaigns", schema.stuck_campaigns, seen.at, rows, figures)


def recipients_counted(seen: Observation) -> Record:
    """The recipients of every stuck campaign by state."""
    rows = [status_row(evidence) for evidence in seen.evidence]
    figures = {name: sum(row[name] for row in rows) for name in ("total", "unsent", *RECIPIENT_STATES)}
    figures["drifting"] = sum(bool(row["drift"]) for row in rows)
    return Record("recipient_status", schema.recipient_status, seen.at, rows, figures)


def queue_read(queue: QueueState | None, at: datetime) -> Record:
    """Every queue by state; no row where the platform has none."""
    queues = queue.each if queue else ()
    rows = [queue_row(part) for part in queues]
    return Record("queue_state", schema.queue_state, at, rows, queue_row(queue) if queue else {}, queues)


def planned(plan: Plan, seen: Observation) -> Record:
    """The plan, a row for every campaign and reservation in it."""
    figures = {
        **{kind.value: len(plan.of(kind)) for kind in STEP_OF},
        "nothing": len(plan.of(None)),
        "needs_person": sum(item.needs_person for item in plan.items),
        "sending": plan.sending,
        "breakers": {kind.value: list(one.reasons) for kind, one in plan.breakers.items() if one.tripped},
        "doubts": list(plan.doubts),
        "more_releases": plan.more_releases,
        "queue_problem": seen.queue.problem if seen.queue else None,
        "queue_away": seen.queue.away if seen.queue else False,
        "unclear_jobs": dict(seen.queue.unclear_jobs) if seen.queue else {},
        "doomed_jobs": seen.queue.doomed_jobs if seen.queue else 0,
    }
    return Record("repair_plan", schema.repair_plan, seen.at, [plan_row(item) for item in plan.items], figures)


def figures_of(result: StepResult) -> dict[str, Any]:
    """What a repairing step changed."""
    return {
        "planned": result.planned,
        "done": result.count,
        "left": result.left,
        "deferred": result.deferred,
        "cut": result.cut,
        "left_jobs": result.left_jobs,
        "left_recipients": result.left_recipients,
        "jobs": result.jobs,
        "recipients": result.recipients,
        "taken_back": result.taken_back,
        "settled": dict(result.settled),
        "held_back": result.held_back,
        "tripped": result.tripped,
        "away": result.away,
        "failures": [[one.target, one.error] for one in result.failures],
    }
