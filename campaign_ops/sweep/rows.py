"""Rows: values of the model as rows of the history tables, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any

from campaign_ops.core.accounting import drift, total_recipients, unsent
from campaign_ops.core.model import Evidence, Outcome, RepairKind, Verdict
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.queue_state import QueueState

_NO_REPAIR = "none"
RECIPIENT_STATES = ("pending", "accepted", "succeeded", "failed", "unknown")
PLAN_COLUMNS = tuple(field.name for field in fields(PlanItem))
"""A line of the plan is stored field by field, in columns of the same names."""


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
    counted = list(rows)
    return {name: sum(row[name] for row in counted) for name in RECIPIENT_STATES}


def queue_row(queue: QueueState) -> dict[str, Any]:
    """A row of ``queue_state``. The counts of a queue that could not be read stay empty: unknown is not zero."""
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
    """A queue from a row of ``queue_state``."""
    names = {"wait": "waiting", "waiting-children": "waiting_children"}
    states = ("wait", "active", "delayed", "prioritized", "waiting-children", "failed", "completed")
    columns = {state: names.get(state, state) for state in states}
    counts = {state: row[column] for state, column in columns.items() if row[column] is not None}
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
    values = {name: getattr(item, name) for name in PLAN_COLUMNS}
    row = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
    return {**row, "kind": row["kind"] or _NO_REPAIR}


def plan_item(row: Mapping[str, Any]) -> PlanItem:
    """A line of the plan from its row."""
    values = {name: row[name] for name in PLAN_COLUMNS}
    values["kind"] = None if row["kind"] == _NO_REPAIR else RepairKind(row["kind"])
    values["verdict"] = Verdict(row["verdict"]) if row["verdict"] else None
    values["outcome"] = Outcome(row["outcome"]) if row["outcome"] else None
    values["amount"] = None if row["amount"] is None else str(row["amount"])
    return PlanItem(**values)
