"""Our own tables, in schema ``campaign_ops`` of the platform's database. Only migrations create and change them.

Two platforms may share a database. Rows that decide are kept under the campaign table (``tables``, as
`Profile.tables_key` names it), so that renaming a platform forgets nothing; ``platform`` is the configured name, for
people. Histories are pruned; the journal (``repair``) and the attempts are kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from campaign_ops.postgres.database import STATE_SCHEMA

metadata = sa.MetaData(schema=STATE_SCHEMA)
MOMENT = sa.DateTime(timezone=True)
BIG = sa.BigInteger
INT = sa.Integer
TEXT = sa.Text

binding = sa.Table(
    "binding",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("platform", TEXT, nullable=False),
    sa.Column("table_oid", BIG),
    sa.Column("redis", sa.ARRAY(TEXT), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("queues", sa.ARRAY(TEXT), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("bound_at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("bound_by", TEXT, nullable=False, server_default=""),
)

sweep = sa.Table(
    "sweep",
    metadata,
    sa.Column("id", BIG, sa.Identity(always=True), primary_key=True),
    sa.Column("platform", TEXT, nullable=False),
    sa.Column("tables", TEXT, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("trigger", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("started_at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("finished_at", MOMENT),
    sa.Column("figures", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.UniqueConstraint("platform", "run_id"),
    sa.Index("sweep_by_start", "tables", "started_at"),
)

repair = sa.Table(
    "repair",
    metadata,
    sa.Column("id", BIG, sa.Identity(always=True), primary_key=True),
    sa.Column("platform", TEXT, nullable=False),
    sa.Column("tables", TEXT, nullable=False),
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
    sa.Column("person_reason", TEXT),
    sa.Index("repair_undone", "tables", "target", postgresql_where=sa.text("undone_by IS NOT NULL")),
    sa.Index("repair_by_time", "tables", "at"),
    sa.Index("repair_by_campaign", "tables", "campaign_id"),
    sa.Index("repair_by_sweep", "sweep_id"),
    sa.Index("repair_by_run", "run_id"),
    sa.Index("repair_by_parent", "parent_id", postgresql_where=sa.text("parent_id IS NOT NULL")),
)

intent = sa.Table(
    "intent",
    metadata,
    sa.Column("job_id", TEXT, primary_key=True),
    sa.Column("tables", TEXT, nullable=False),
    sa.Column("repair_id", BIG, sa.ForeignKey(repair.c.id), nullable=False),
    sa.Column("campaign_id", TEXT, nullable=False),
    sa.Column("attempt", INT, nullable=False),
    sa.Column("batch", INT, nullable=False),
    sa.Column("recipients", INT, nullable=False),
    sa.Column("intended_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("added_at", MOMENT),
    sa.Column("closed_as", TEXT),
    sa.Index("intent_by_repair", "repair_id"),
    sa.Index("intent_open", "tables", "intended_at", postgresql_where=sa.text("added_at IS NULL")),
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("campaign_id", TEXT, primary_key=True),
    sa.Column("total", INT, nullable=False, server_default="0"),
    sa.Column("without_progress", INT, nullable=False, server_default="0"),
    sa.Column("last_at", MOMENT),
    sa.Column("pending_at_last", BIG),
    sa.Column("held_by", TEXT),
    sa.Column("held_reason", TEXT),
    sa.Column("left_out", BIG, nullable=False, server_default="0"),
)

refusal = sa.Table(
    "refusal",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("target", TEXT, primary_key=True),
    sa.Column("times", INT, nullable=False, server_default="1"),
    sa.Column("why", TEXT, nullable=False),
    sa.Column("last_at", MOMENT, nullable=False, server_default=sa.func.now()),
)

ambiguous = sa.Table(
    "ambiguous",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("recipient_id", TEXT, primary_key=True),
    sa.Column("campaign_id", TEXT, nullable=False),
    sa.Column("job_ids", sa.ARRAY(TEXT), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("seen_at", MOMENT, nullable=False),
    sa.Column("decided_at", MOMENT),
)


queue_sighting = sa.Table(
    "queue_sighting",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("queue", TEXT, primary_key=True),
    sa.Column("server_id", TEXT),
    sa.Column("server_since", MOMENT, nullable=False),
    sa.Column("server_trusted", sa.Boolean, nullable=False),
    sa.Column("job_counter", BIG),
    sa.Column("emptied", TEXT, nullable=False, server_default=""),
    sa.Column("database_id", TEXT),
    sa.Column("database_replaced", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("seen_at", MOMENT, nullable=False, server_default=sa.func.now()),
)


queue_look = sa.Table(
    "queue_look",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("queue", TEXT, primary_key=True),
    sa.Column("counts", JSONB, nullable=False),
    sa.Column("depth", BIG),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("workers", INT),
    sa.Column("problem", TEXT),
    sa.Column("away", sa.Boolean, nullable=False),
    sa.Column("seen_at", MOMENT, nullable=False),
    sa.Column("workers_seen_at", MOMENT),
)

worker = sa.Table(
    "worker",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("queue", TEXT, primary_key=True),
    sa.Column("server_id", TEXT, primary_key=True),
    sa.Column("client_id", BIG, primary_key=True),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("address", TEXT, nullable=False),
    sa.Column("connected_at", MOMENT, nullable=False),
    sa.Column("first_seen_at", MOMENT, nullable=False),
    sa.Column("last_seen_at", MOMENT, nullable=False),
    sa.Column("restarted", sa.Boolean, nullable=False),
)

counter = sa.Table(
    "counter",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("labels", sa.ARRAY(TEXT), primary_key=True),
    sa.Column("value", BIG, nullable=False),
)

counted = sa.Table(
    "counted",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("repair_id", BIG, nullable=False),
)


confirmation = sa.Table(
    "confirmation",
    metadata,
    sa.Column("code", TEXT, primary_key=True),
    sa.Column("tables", TEXT, nullable=False),
    sa.Column("what", TEXT, nullable=False),
    sa.Column("covers", JSONB, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("offered_at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", MOMENT, nullable=False),
    sa.Column("used_at", MOMENT),
    sa.Column("used_by", TEXT),
    sa.Column("reason", TEXT),
    sa.Column("used_run", TEXT),
    sa.Index("confirmation_open", "tables", "offered_at", postgresql_where=sa.text("used_at IS NULL")),
)

incident = sa.Table(
    "incident",
    metadata,
    sa.Column("id", BIG, sa.Identity(always=True), primary_key=True),
    sa.Column("platform", TEXT, nullable=False),
    sa.Column("tables", TEXT, nullable=False),
    sa.Column("cause", TEXT, nullable=False),
    sa.Column("severity", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("first_seen_at", MOMENT, nullable=False),
    sa.Column("last_seen_at", MOMENT, nullable=False),
    sa.Column("looked_at", MOMENT, nullable=False),
    sa.Column("evidence", TEXT, nullable=False, server_default=""),
    sa.Column("bad_looks", INT, nullable=False, server_default="0"),
    sa.Column("good_looks", INT, nullable=False, server_default="0"),
    sa.Column("count", BIG, nullable=False, server_default="0"),
    sa.Column("worst_count", BIG, nullable=False, server_default="0"),
    sa.Column("campaigns", sa.ARRAY(TEXT), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("tenants", sa.ARRAY(TEXT), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("detail", TEXT, nullable=False, server_default=""),
    sa.Column("opened_at", MOMENT),
    sa.Column("resolved_at", MOMENT),
    sa.Column("silenced_until", MOMENT),
    sa.Column("notified_at", MOMENT),
    sa.Column("notified_count", BIG, nullable=False, server_default="0"),
    sa.Column("notified_severity", TEXT),
    sa.Column("handled_by", TEXT),
    sa.Column("handled_at", MOMENT),
    sa.Column("handled_reason", TEXT),
    sa.Index("incident_unresolved", "tables", "cause", unique=True, postgresql_where=sa.text("resolved_at IS NULL")),
    sa.Index("incident_by_end", "tables", "resolved_at"),
)

incident_event = sa.Table(
    "incident_event",
    metadata,
    sa.Column("id", BIG, sa.Identity(always=True), primary_key=True),
    sa.Column("incident_id", BIG, sa.ForeignKey(incident.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("what", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False, server_default=""),
    sa.Column("severity", TEXT, nullable=False),
    sa.Column("count", BIG, nullable=False),
    sa.Index("incident_event_by_incident", "incident_id"),
)

notification = sa.Table(
    "notification",
    metadata,
    sa.Column("id", BIG, sa.Identity(always=True), primary_key=True),
    sa.Column("tables", TEXT, nullable=False),
    sa.Column("incident_id", BIG, sa.ForeignKey(incident.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("event_id", BIG, sa.ForeignKey(incident_event.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("channel", TEXT, nullable=False),
    sa.Column("severity", TEXT, nullable=False),
    sa.Column("over", sa.Boolean, nullable=False),
    sa.Column("subject", TEXT, nullable=False),
    sa.Column("body", TEXT, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("not_before", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("claimed_at", MOMENT),
    sa.Column("attempts", INT, nullable=False, server_default="0"),
    sa.Column("sent_at", MOMENT),
    sa.Column("sent_with", BIG),
    sa.Column("gave_up_at", MOMENT),
    sa.Column("last_error", TEXT, nullable=False, server_default=""),
    sa.UniqueConstraint("event_id", "channel"),
    sa.Index("notification_by_incident", "incident_id"),
    sa.Index(
        "notification_unsent",
        "tables",
        "not_before",
        postgresql_where=sa.text("sent_at IS NULL AND gave_up_at IS NULL"),
    ),
    sa.Index("notification_sent", "tables", "sent_at", postgresql_where=sa.text("sent_at IS NOT NULL")),
)

watcher_look = sa.Table(
    "watcher_look",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("looked_at", MOMENT, nullable=False),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("hash", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("scopes", sa.ARRAY(TEXT), nullable=False),
    sa.Column("tenants", sa.ARRAY(TEXT)),
    sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("created_by", TEXT, nullable=False),
    sa.Column("expires_at", MOMENT),
    sa.Column("revoked_at", MOMENT),
    sa.Column("revoked_by", TEXT),
    sa.Column("last_used_at", MOMENT),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("tables", TEXT, primary_key=True),
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("token_id", TEXT, nullable=False),
    sa.Column("request_hash", TEXT, nullable=False),
    sa.Column("started_at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("status", INT),
    sa.Column("body", JSONB),
    sa.Column("finished_at", MOMENT),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", BIG, sa.Identity(always=True), primary_key=True),
    sa.Column("tables", TEXT, nullable=False),
    sa.Column("at", MOMENT, nullable=False, server_default=sa.func.now()),
    sa.Column("token_id", TEXT),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("address", TEXT, nullable=False),
    sa.Column("method", TEXT, nullable=False),
    sa.Column("path", TEXT, nullable=False),
    sa.Column("status", INT, nullable=False),
    sa.Column("why", TEXT, nullable=False),
    sa.Index("audit_latest", "tables", "id"),
)


def _history(name: str, *columns: sa.Column[object], by: str | None = None) -> sa.Table:
    """A table to which every sweep adds rows; the view without ``_history`` shows those of the latest sweep.

    ``by`` names the column by which one row of a sweep is looked up, if any is.
    """
    index = sa.Index(f"{name}_by_sweep", "sweep_id") if by is None else sa.Index(f"{name}_by_{by}", "sweep_id", by)
    return sa.Table(
        f"{name}_history",
        metadata,
        sa.Column("platform", TEXT, nullable=False),
        sa.Column("sweep_id", BIG, sa.ForeignKey(sweep.c.id, ondelete="CASCADE"), nullable=False),
        sa.Column("observed_at", MOMENT, nullable=False),
        *columns,
        index,
    )


stuck_campaigns = _history(
    "stuck_campaigns",
    sa.Column("campaign_id", TEXT, nullable=False),
    sa.Column("tenant", TEXT),
    sa.Column("name", TEXT),
    sa.Column("status", TEXT, nullable=False),
    sa.Column("updated_at", MOMENT),
    sa.Column("stuck_seconds", BIG),
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
    by="campaign_id",
)

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
    by="target",
)

campaign_health = _history(
    "campaign_health",
    sa.Column("report", JSONB, nullable=False),
    sa.Column("markdown", TEXT, nullable=False),
)

HISTORIES = (stuck_campaigns, recipient_status, queue_state, repair_plan, campaign_health)
