"""What is kept of a sweep's findings: values of the model as rows of the history tables, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from campaign_ops.core.model import Evidence, Outcome, QueueState, RepairKind, Verdict
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.verdicts import drift, total_recipients, unsent

RECIPIENT_STATES = ("pending", "accepted", "succeeded", "failed", "unknown")
_PLAN_COLUMNS = (
    "target",
    "campaign_id",
    "tenant",
    "name",
    "reason",
    "needs_person",
    "missing",
    "covered",
    "marked",
    "doubled",
    "total",
    "unsent",
    "stuck_seconds",
    "drained_per_hour",
    "drift",
    "amount",
)


def stuck_row(evidence: Evidence, at: datetime) -> dict[str, Any]:
    """A row of ``stuck_campaigns``."""
    campaign = evidence.campaign
    return {
        "campaign_id": campaign.id,
        "tenant": campaign.tenant,
        "name": campaign.name,
        "status": campaign.status,
        "updated_at": campaign.updated_at,
        "stuck_seconds": campaign.untouched_seconds(at),
    }


def status_row(evidence: Evidence) -> dict[str, Any]:
    """A row of ``recipient_status``."""
    tally = evidence.tally
    return {
        "campaign_id": evidence.campaign.id,
        "total": total_recipients(evidence),
        "unsent": unsent(evidence),
        "pending": tally.pending,
        "accepted": tally.accepted,
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "unknown": sum(tally.unknown.values()),
        "last_activity": tally.last_activity,
        "drift": drift(evidence),
    }


def recipients(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Recipients of all campaigns by state."""
    kept = list(rows)
    return {name: sum(row[name] for row in kept) for name in RECIPIENT_STATES}


def queue_row(queue: QueueState) -> dict[str, Any]:
    """The row of ``queue_state``. The counts of a queue that could not be read stay empty: unknown is not zero."""
    counts: Mapping[str, int | None] = queue.counts
    waiting = None if queue.problem and not counts else counts.get("wait", 0) + counts.get("paused", 0)  # type: ignore[operator]
    return {
        "queue": queue.name,
        "waiting": waiting,
        "active": counts.get("active"),
        "delayed": counts.get("delayed"),
        "prioritized": counts.get("prioritized"),
        "waiting_children": counts.get("waiting-children"),
        "failed": counts.get("failed"),
        "completed": counts.get("completed"),
        "depth": queue.depth if counts else None,
        "paused": queue.paused,
        "workers": queue.workers,
        "version": queue.version,
        "server_id": queue.server_id,
        "problem": queue.problem,
    }


def queue_of(row: Mapping[str, Any]) -> QueueState:
    """The queue as a row of ``queue_state`` has it."""
    names = {"wait": "waiting", "waiting-children": "waiting_children"}
    states = ("wait", "active", "delayed", "prioritized", "waiting-children", "failed", "completed")
    counts = {one: row[names.get(one, one)] for one in states if row[names.get(one, one)] is not None}
    return QueueState(
        row["queue"],
        counts=counts,
        paused=bool(row["paused"]),
        workers=row["workers"],
        version=row["version"],
        server_id=row["server_id"],
        problem=row["problem"],
        away=bool(row["problem"]) and not counts,
    )


def plan_row(item: PlanItem) -> dict[str, Any]:
    """A row of ``repair_plan``."""
    return {
        "kind": item.kind.value if item.kind else "none",
        "verdict": item.verdict.value if item.verdict else None,
        "outcome": item.outcome.value if item.outcome else None,
        **{name: getattr(item, name) for name in _PLAN_COLUMNS},
    }


def plan_item(row: Mapping[str, Any]) -> PlanItem:
    """A line of the plan from its row."""
    values = {name: row[name] for name in _PLAN_COLUMNS}
    values["amount"] = None if row["amount"] is None else str(row["amount"])
    return PlanItem(
        kind=None if row["kind"] == "none" else RepairKind(row["kind"]),
        verdict=Verdict(row["verdict"]) if row["verdict"] else None,
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        **values,
    )
