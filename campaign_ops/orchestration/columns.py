"""Which columns each asset's table has, taken from the state tables, so that nobody has to write them twice."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from campaign_ops.journal import schema

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
    },
}
_TABLES = {table.name.removesuffix("_history"): table for table in schema.HISTORIES}
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def column_schema(name: str) -> dg.TableSchema:
    """The columns of an asset's table in schema ``campaign_ops``."""
    columns = _VIEWS.get(name) or {column.name: column for column in _TABLES[name].columns}
    return dg.TableSchema(columns=[_column(key, column) for key, column in columns.items()])


def _column(name: str, column: sa.Column[object]) -> dg.TableColumn:
    return dg.TableColumn(
        name=name,
        type=column.type.compile(dialect=_DIALECT).lower(),
        description=schema.MEANINGS[name],
        constraints=dg.TableColumnConstraints(nullable=bool(column.nullable)),
    )
