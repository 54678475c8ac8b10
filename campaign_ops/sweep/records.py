"""Records: the history rows and figures that each step of a sweep leaves, and the plan read back from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.core.policy import Breaker
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.report import HealthReport, render
from campaign_ops.journal import schema
from campaign_ops.journal.sweeps import SweepLog
from campaign_ops.sweep.look import Observation
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.rows import RECIPIENT_STATES, plan_item, plan_row, queue_row, status_row, stuck_row

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


def stuck_record(observation: Observation) -> Record:
    """The stuck campaigns, the longest untouched first."""
    rows = [stuck_row(case, observation.at) for case in observation.evidence]
    figures = {
        "stuck": len(rows),
        "sending": observation.sending,
        "oldest_stuck_seconds": max((row["stuck_seconds"] or 0 for row in rows), default=0),
    }
    return Record("stuck_campaigns", schema.stuck_campaigns, observation.at, rows, figures)


def recipients_record(observation: Observation) -> Record:
    """The recipients of every stuck campaign by state; no row where they could not be counted."""
    rows = [status_row(case) for case in observation.evidence if not case.uncounted]
    figures = {name: sum(row[name] for row in rows) for name in ("total", "unsent", *RECIPIENT_STATES)}
    figures["drifting"] = sum(bool(row["drift"]) for row in rows)
    return Record("recipient_status", schema.recipient_status, observation.at, rows, figures)


def queue_record(queue: QueueState | None, at: datetime) -> Record:
    """Every queue by state; no row where the platform has none."""
    queues = queue.each if queue else ()
    rows = [queue_row(part) for part in queues]
    return Record("queue_state", schema.queue_state, at, rows, queue_row(queue) if queue else {}, queues)


def plan_record(plan: Plan, observation: Observation) -> Record:
    """The plan, a row for every campaign and reservation in it."""
    queue = observation.queue
    figures = {
        **{kind.value: len(plan.of(kind)) for kind in STEP_OF},
        "nothing": len(plan.of(None)),
        "needs_person": sum(item.needs_person for item in plan.items),
        "sending": plan.sending,
        "breakers": {kind.value: list(breaker.reasons) for kind, breaker in plan.breakers.items() if breaker.tripped},
        "doubts": list(plan.doubts),
        "more_releases": plan.more_releases,
        "queue": plan.queue,
        "alarm": plan.alarm,
        "queue_problem": queue.problem if queue else None,
        "queue_away": queue.away if queue else False,
        "unclear_jobs": dict(queue.unclear_jobs) if queue else {},
        "doomed_jobs": queue.doomed_jobs if queue else 0,
    }
    rows = [plan_row(item) for item in plan.items]
    return Record("repair_plan", schema.repair_plan, observation.at, rows, figures)


def health_record(report: HealthReport) -> Record:
    """The report, in figures and as Markdown."""
    figures = report.figures()
    rows = [{"report": {"figures": figures, "trouble": report.trouble}, "markdown": render(report)}]
    return Record("campaign_health", schema.campaign_health, report.at, rows, figures | report.credit_figures())


def recorded_plan(
    sweeps: SweepLog, connection: sa.Connection, sweep_id: int, max_age: timedelta | None = None
) -> Plan | None:
    """The plan that this sweep has recorded, else the newest of another sweep that is younger than ``max_age``."""
    step = sweeps.latest_step(connection, "repair_plan", sweep_id=sweep_id)
    if step is None and max_age is not None:
        step = sweeps.latest_step(connection, "repair_plan", younger_than=max_age)
    if step is None:
        return None
    planned_by, figures = step
    items = tuple(map(plan_item, sweeps.history(connection, schema.repair_plan, planned_by)))
    breakers = {RepairKind(kind): Breaker(True, tuple(reasons)) for kind, reasons in figures["breakers"].items()}
    queue, alarm = figures.get("queue", ""), figures.get("alarm", "")
    doubts, more_releases = tuple(figures["doubts"]), figures.get("more_releases", 0)
    return Plan(items, figures["sending"], breakers, doubts, more_releases, queue=queue, alarm=alarm)


def tripped_kinds(figures: Mapping[str, Any]) -> frozenset[RepairKind]:
    """The kinds of repair that a breaker held back, by the figures of a sweep; in a dry run, those of its plan.

    A plan that a person has confirmed shows its breakers, too: the repairing steps say what was done.
    """
    steps = {kind: figures[step] for kind, step in STEP_OF.items() if step in figures}
    if not steps:
        return frozenset(map(RepairKind, figures.get("repair_plan", {}).get("breakers", {})))
    return frozenset(kind for kind, step in steps.items() if step.get("tripped"))


def figures_of(result: StepResult) -> dict[str, Any]:
    """The figures of a repairing step."""
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
        "unsure": result.unsure,
        "settled": dict(result.settled),
        "held_back": result.held_back,
        "tripped": result.tripped,
        "away": result.away,
        "failures": [[failure.target, failure.error] for failure in result.failures],
    }
