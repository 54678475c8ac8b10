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

INTENTS: tuple[str, ...] = ()

QUEUES: tuple[str, ...] = ()


def upgrade() -> None:
    for group in (IDENTITY, CONFIRMATIONS, AMBIGUOUS, INTENTS, QUEUES):
        for statement in group:
            op.execute(statement)
