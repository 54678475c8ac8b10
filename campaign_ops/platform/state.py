"""Our own tables, in schema ``campaign_ops`` of the platform's database. Made and changed by the migrations only.

Two platforms may share a database, so every table names the platform. Histories are pruned; the journal
(``repair``) and the attempts are kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from campaign_ops.platform.database import STATE_SCHEMA

metadata = sa.MetaData(schema=STATE_SCHEMA)
MOMENT = sa.DateTime(timezone=True)
BIG = sa.BigInteger
INT = sa.Integer
TEXT = sa.Text

sweep = sa.Table(
    "sweep",
    metadata,
    sa.Column("id", BIG, sa.Identity(always=True), primary_key=True),
    sa.Column("platform", TEXT, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("trigger", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("started_at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("finished_at", MOMENT),
    sa.Column("figures", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.UniqueConstraint("platform", "run_id"),
    sa.Index("sweep_by_start", "platform", "started_at"),
)

repair = sa.Table(
    "repair",
    metadata,
    sa.Column("id", BIG, sa.Identity(always=True), primary_key=True),
    sa.Column("platform", TEXT, nullable=False),
    sa.Column("sweep_id", BIG, sa.ForeignKey(sweep.c.id), nullable=False),
    sa.Column("at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("campaign_id", TEXT),
    sa.Column("target", TEXT, nullable=False),
    sa.Column("tenant", TEXT),
    sa.Column("verdict", TEXT),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("amount", sa.Numeric),
    sa.Column("before", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("after", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("parent_id", BIG, sa.ForeignKey("repair.id")),
    sa.Column("undone_by", BIG, sa.ForeignKey("repair.id")),
    sa.Index("repair_by_time", "platform", "at"),
    sa.Index("repair_by_campaign", "platform", "campaign_id"),
    sa.Index("repair_by_sweep", "sweep_id"),
)

intent = sa.Table(
    "intent",
    metadata,
    sa.Column("job_id", TEXT, primary_key=True),
    sa.Column("platform", TEXT, nullable=False),
    sa.Column("repair_id", BIG, sa.ForeignKey(repair.c.id), nullable=False),
    sa.Column("campaign_id", TEXT, nullable=False),
    sa.Column("attempt", INT, nullable=False),
    sa.Column("batch", INT, nullable=False),
    sa.Column("recipients", INT, nullable=False),
    sa.Column("intended_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("added_at", MOMENT),
    sa.Index("intent_by_repair", "repair_id"),
    sa.Index("intent_open", "platform", "intended_at", postgresql_where=sa.text("added_at IS NULL")),
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("platform", TEXT, primary_key=True),
    sa.Column("campaign_id", TEXT, primary_key=True),
    sa.Column("total", INT, nullable=False, server_default="0"),
    sa.Column("without_progress", INT, nullable=False, server_default="0"),
    sa.Column("last_at", MOMENT),
    sa.Column("pending_at_last", BIG),
    sa.Column("held_by", TEXT),
    sa.Column("held_reason", TEXT),
)


def _history(name: str, *columns: sa.Column[object]) -> sa.Table:
    """A table that every sweep adds its rows to; a view without ``_history`` shows the latest sweep's."""
    return sa.Table(
        f"{name}_history",
        metadata,
        sa.Column("platform", TEXT, nullable=False),
        sa.Column("sweep_id", BIG, sa.ForeignKey(sweep.c.id, ondelete="CASCADE"), nullable=False),
        sa.Column("observed_at", MOMENT, nullable=False),
        *columns,
        sa.Index(f"{name}_by_sweep", "sweep_id"),
    )


stuck_campaigns = _history(
    "stuck_campaigns",
    sa.Column("campaign_id", TEXT, nullable=False),
    sa.Column("tenant", TEXT),
    sa.Column("name", TEXT),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("updated_at", MOMENT, nullable=False),
    sa.Column("stuck_seconds", BIG, nullable=False),
)

recipient_status = _history(
    "recipient_status",
    sa.Column("campaign_id", TEXT, nullable=False),
    sa.Column("total", BIG, nullable=False),
    sa.Column("unsent", BIG, nullable=False),
    sa.Column("pending", BIG, nullable=False),
    sa.Column("accepted", BIG, nullable=False),
    sa.Column("succeeded", BIG, nullable=False),
    sa.Column("failed", BIG, nullable=False),
    sa.Column("unknown", BIG, nullable=False),
    sa.Column("last_activity", MOMENT),
    sa.Column("drift", TEXT, nullable=False),
)
sa.Index("recipient_status_by_campaign", recipient_status.c.platform, recipient_status.c.campaign_id)

queue_state = _history(
    "queue_state",
    sa.Column("queue", TEXT, nullable=False),
    sa.Column("waiting", BIG),
    sa.Column("active", BIG),
    sa.Column("delayed", BIG),
    sa.Column("prioritized", BIG),
    sa.Column("waiting_children", BIG),
    sa.Column("failed", BIG),
    sa.Column("completed", BIG),
    sa.Column("depth", BIG),
    sa.Column("paused", sa.Boolean),
    sa.Column("workers", INT),
    sa.Column("version", TEXT),
    sa.Column("server_id", TEXT),
    sa.Column("problem", TEXT),
)

repair_plan = _history(
    "repair_plan",
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("target", TEXT, nullable=False),
    sa.Column("campaign_id", TEXT),
    sa.Column("tenant", TEXT),
    sa.Column("name", TEXT),
    sa.Column("verdict", TEXT),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("needs_person", sa.Boolean, nullable=False),
    sa.Column("missing", BIG),
    sa.Column("covered", BIG),
    sa.Column("marked", BIG),
    sa.Column("doubled", BIG),
    sa.Column("total", BIG),
    sa.Column("unsent", BIG),
    sa.Column("stuck_seconds", BIG),
    sa.Column("drained_per_hour", sa.Float),
    sa.Column("drift", TEXT, nullable=False, server_default=""),
    sa.Column("outcome", TEXT),
    sa.Column("amount", sa.Numeric),
)

campaign_health = _history(
    "campaign_health",
    sa.Column("report", JSONB, nullable=False),
    sa.Column("markdown", TEXT, nullable=False),
)

HISTORIES = (stuck_campaigns, recipient_status, queue_state, repair_plan, campaign_health)
