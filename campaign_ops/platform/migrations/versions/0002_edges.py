"""What closing the edges needs: one group of statements for each noun."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

IDENTITY: tuple[str, ...] = ()

CONFIRMATIONS = (
    """
    CREATE TABLE campaign_ops.queue_sighting (
        platform text NOT NULL,
        queue text NOT NULL,
        server_id text,
        server_since timestamptz NOT NULL,
        server_trusted boolean NOT NULL,
        job_counter bigint,
        emptied text NOT NULL DEFAULT '',
        seen_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (platform, queue)
    )
    """,
    """
    CREATE TABLE campaign_ops.confirmation (
        code text PRIMARY KEY,
        platform text NOT NULL,
        what text NOT NULL,
        covers jsonb NOT NULL,
        run_id text NOT NULL,
        offered_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        used_by text,
        reason text,
        used_run text
    )
    """,
    "CREATE INDEX confirmation_open ON campaign_ops.confirmation (platform, offered_at) WHERE used_at IS NULL",
)

AMBIGUOUS: tuple[str, ...] = (
    """CREATE TABLE campaign_ops.ambiguous (
        platform text,
        recipient_id text,
        campaign_id text NOT NULL,
        job_ids text[] NOT NULL DEFAULT '{}',
        seen_at timestamptz NOT NULL,
        decided_at timestamptz,
        PRIMARY KEY (platform, recipient_id))""",
)

# An intent is open until its job was seen in the queue, or it is closed as something else. `left_out` recipients of a
# campaign were missing at its last attempt and got no job: the next sweep goes on with them.
INTENTS: tuple[str, ...] = (
    "ALTER TABLE campaign_ops.intent ADD COLUMN closed_as TEXT",
    "ALTER TABLE campaign_ops.attempt ADD COLUMN left_out BIGINT DEFAULT 0 NOT NULL",
)

QUEUES: tuple[str, ...] = ()

# A campaign without a moment that tells its age is reported, too.
UNDATED: tuple[str, ...] = (
    "ALTER TABLE campaign_ops.stuck_campaigns_history"
    " ALTER COLUMN updated_at DROP NOT NULL, ALTER COLUMN stuck_seconds DROP NOT NULL",
)

REFUSALS: tuple[str, ...] = (
    """CREATE TABLE campaign_ops.refusal (
        platform text,
        kind text,
        target text,
        times integer NOT NULL DEFAULT 1,
        why text NOT NULL,
        last_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (platform, kind, target))""",
)


def upgrade() -> None:
    for group in (IDENTITY, CONFIRMATIONS, AMBIGUOUS, INTENTS, QUEUES, UNDATED, REFUSALS):
        for statement in group:
            op.execute(statement)
