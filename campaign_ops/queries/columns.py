"""The tables and views that a sweep fills, column by column, from the definitions of our own tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from campaign_ops.journal import schema
from campaign_ops.journal.meanings import MEANINGS
from campaign_ops.postgres.database import STATE_SCHEMA

_repair, _intent = schema.repair.c, schema.intent.c
_TEXT: sa.Column[object] = sa.Column("", sa.Text)

# The repairs are views over the journal; the migrations say which.
_VIEWS: Mapping[str, Mapping[str, sa.Column[object]]] = {
    "completed_campaigns": {
        "platform": _repair.platform,
        "sweep_id": _repair.sweep_id,
        "observed_at": _repair.at,
        "repair_id": _repair.id,
        "campaign_id": _repair.campaign_id,
        "tenant": _repair.tenant,
        "reason": _repair.reason,
        "undone_by": _repair.undone_by,
        "status_before": _TEXT,
        "status_after": _TEXT,
        "person_reason": _repair.person_reason,
    },
    "reenqueued_batches": {
        "platform": _repair.platform,
        "sweep_id": _repair.sweep_id,
        "observed_at": _intent.intended_at,
        "repair_id": _intent.repair_id,
        "campaign_id": _intent.campaign_id,
        "tenant": _repair.tenant,
        "verdict": _repair.verdict,
        "attempt": _intent.attempt,
        "batch": _intent.batch,
        "job_id": _intent.job_id,
        "recipients": _intent.recipients,
        "added_at": _intent.added_at,
        "reason": _repair.reason,
        "person_reason": _repair.person_reason,
    },
    "released_credits": {
        "platform": _repair.platform,
        "sweep_id": _repair.sweep_id,
        "observed_at": _repair.at,
        "repair_id": _repair.id,
        "reservation_id": _repair.target,
        "campaign_id": _repair.campaign_id,
        "tenant": _repair.tenant,
        "amount": _repair.amount,
        "reason": _repair.reason,
        "undone_by": _repair.undone_by,
        "person_reason": _repair.person_reason,
    },
}
_TABLES = {table.name.removesuffix("_history"): table for table in schema.HISTORIES}
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type as PostgreSQL writes it, and its meaning."""

    name: str
    type: str
    meaning: str
    nullable: bool


def view_of(step: str) -> str:
    """Return the view of a step of the sweep, with its schema. The rows of all sweeps are in ``<view>_history``."""
    return f"{STATE_SCHEMA}.{step}"


def columns_of(step: str) -> list[Column]:
    """Return the columns of a step's view."""
    columns = _VIEWS.get(step) or {column.name: column for column in _TABLES[step].columns}
    return [
        Column(name, column.type.compile(dialect=_DIALECT).lower(), MEANINGS[name], bool(column.nullable))
        for name, column in columns.items()
    ]
