"""Incidents, what happened to them, and the notifications that wait to be sent."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE campaign_ops.incident (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        platform text NOT NULL,
        tables text NOT NULL,
        cause text NOT NULL,
        severity text NOT NULL,
        state text NOT NULL,
        first_seen_at timestamptz NOT NULL,
        last_seen_at timestamptz NOT NULL,
        looked_at timestamptz NOT NULL,
        evidence text NOT NULL DEFAULT '',
        bad_looks integer NOT NULL DEFAULT 0,
        good_looks integer NOT NULL DEFAULT 0,
        count bigint NOT NULL DEFAULT 0,
        worst_count bigint NOT NULL DEFAULT 0,
        campaigns text[] NOT NULL DEFAULT '{}',
        tenants text[] NOT NULL DEFAULT '{}',
        detail text NOT NULL DEFAULT '',
        opened_at timestamptz,
        resolved_at timestamptz,
        silenced_until timestamptz,
        notified_at timestamptz,
        notified_count bigint NOT NULL DEFAULT 0,
        notified_severity text,
        handled_by text,
        handled_at timestamptz,
        handled_reason text
    )
    """,
    "CREATE UNIQUE INDEX incident_unresolved ON campaign_ops.incident (tables, cause) WHERE resolved_at IS NULL",
    "CREATE INDEX incident_by_end ON campaign_ops.incident (tables, resolved_at)",
    """
    CREATE TABLE campaign_ops.incident_event (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        incident_id bigint NOT NULL REFERENCES campaign_ops.incident (id) ON DELETE CASCADE,
        at timestamptz NOT NULL DEFAULT now(),
        what text NOT NULL,
        actor text NOT NULL,
        reason text NOT NULL DEFAULT '',
        severity text NOT NULL,
        count bigint NOT NULL
    )
    """,
    "CREATE INDEX incident_event_by_incident ON campaign_ops.incident_event (incident_id)",
    """
    CREATE TABLE campaign_ops.notification (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tables text NOT NULL,
        incident_id bigint NOT NULL REFERENCES campaign_ops.incident (id) ON DELETE CASCADE,
        event_id bigint NOT NULL REFERENCES campaign_ops.incident_event (id) ON DELETE CASCADE,
        channel text NOT NULL,
        severity text NOT NULL,
        over boolean NOT NULL,
        subject text NOT NULL,
        body text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        not_before timestamptz NOT NULL DEFAULT now(),
        claimed_at timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        sent_at timestamptz,
        sent_with bigint,
        gave_up_at timestamptz,
        last_error text NOT NULL DEFAULT '',
        UNIQUE (event_id, channel)
    )
    """,
    "CREATE INDEX notification_by_incident ON campaign_ops.notification (incident_id)",
    "CREATE INDEX notification_unsent ON campaign_ops.notification (tables, not_before)"
    " WHERE sent_at IS NULL AND gave_up_at IS NULL",
    "CREATE INDEX notification_sent ON campaign_ops.notification (tables, sent_at) WHERE sent_at IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
