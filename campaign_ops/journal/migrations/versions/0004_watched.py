"""What metrics and worker health need: the latest look at each queue, its workers, and totals that are never pruned."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE campaign_ops.queue_look (
        tables text,
        queue text,
        counts jsonb NOT NULL,
        depth bigint,
        paused boolean NOT NULL,
        workers integer,
        problem text,
        away boolean NOT NULL,
        seen_at timestamptz NOT NULL,
        workers_seen_at timestamptz,
        PRIMARY KEY (tables, queue))""",
    """CREATE TABLE campaign_ops.worker (
        tables text,
        queue text,
        server_id text,
        client_id bigint,
        name text NOT NULL,
        address text NOT NULL,
        connected_at timestamptz NOT NULL,
        first_seen_at timestamptz NOT NULL,
        last_seen_at timestamptz NOT NULL,
        restarted boolean NOT NULL,
        PRIMARY KEY (tables, queue, server_id, client_id))""",
    """CREATE TABLE campaign_ops.counter (
        tables text,
        name text,
        labels text[],
        value bigint NOT NULL,
        PRIMARY KEY (tables, name, labels))""",
    """CREATE TABLE campaign_ops.counted (
        tables text PRIMARY KEY,
        repair_id bigint NOT NULL)""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
