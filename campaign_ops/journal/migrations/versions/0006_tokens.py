"""Tokens of the HTTP interface, its idempotency keys, and the audit of its attempts."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE campaign_ops.token (
        tables text NOT NULL,
        id text NOT NULL,
        hash text NOT NULL,
        name text NOT NULL,
        scopes text[] NOT NULL,
        tenants text[],
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        expires_at timestamptz,
        revoked_at timestamptz,
        revoked_by text,
        last_used_at timestamptz,
        PRIMARY KEY (tables, id)
    )
    """,
    """
    CREATE TABLE campaign_ops.idempotency (
        tables text NOT NULL,
        key text NOT NULL,
        token_id text NOT NULL,
        request_hash text NOT NULL,
        started_at timestamptz NOT NULL DEFAULT now(),
        status integer,
        body jsonb,
        finished_at timestamptz,
        PRIMARY KEY (tables, key)
    )
    """,
    """
    CREATE TABLE campaign_ops.audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tables text NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        token_id text,
        actor text NOT NULL,
        address text NOT NULL,
        method text NOT NULL,
        path text NOT NULL,
        status integer NOT NULL,
        why text NOT NULL
    )
    """,
    "CREATE INDEX audit_latest ON campaign_ops.audit (tables, id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE campaign_ops.audit, campaign_ops.idempotency, campaign_ops.token")
