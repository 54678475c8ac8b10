"""What closing the edges needs: one group of statements for each noun."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ASSETS = (
    "stuck_campaigns",
    "recipient_status",
    "queue_state",
    "repair_plan",
    "completed_campaigns",
    "reenqueued_batches",
    "released_credits",
    "campaign_health",
)
"""Each has a view of its latest sweep: the latest of the campaign table, whatever the platform is called by now."""

# What decides is found by the campaign table, not by the platform's configured name. SQL cannot know which name stands
# for which table, so old rows wait under `name:<platform>` until that platform is migrated or swept: see `binding`.
IDENTITY: tuple[str, ...] = (
    """
    CREATE TABLE campaign_ops.binding (
        tables TEXT NOT NULL,
        platform TEXT NOT NULL,
        table_oid BIGINT,
        redis TEXT[] DEFAULT '{}' NOT NULL,
        queues TEXT[] DEFAULT '{}' NOT NULL,
        bound_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        bound_by TEXT DEFAULT '' NOT NULL,
        PRIMARY KEY (tables)
    )
    """,
    """
    INSERT INTO campaign_ops.binding (tables, platform)
    SELECT 'name:' || platform, platform FROM (
        SELECT platform FROM campaign_ops.sweep UNION SELECT platform FROM campaign_ops.attempt
    ) AS known
    """,
    "ALTER TABLE campaign_ops.sweep ADD COLUMN tables TEXT",
    "UPDATE campaign_ops.sweep SET tables = 'name:' || platform",
    "ALTER TABLE campaign_ops.sweep ALTER COLUMN tables SET NOT NULL",
    "ALTER TABLE campaign_ops.repair ADD COLUMN tables TEXT",
    "UPDATE campaign_ops.repair SET tables = 'name:' || platform",
    "ALTER TABLE campaign_ops.repair ALTER COLUMN tables SET NOT NULL",
    "ALTER TABLE campaign_ops.intent RENAME COLUMN platform TO tables",
    "UPDATE campaign_ops.intent SET tables = 'name:' || tables",
    "ALTER TABLE campaign_ops.attempt RENAME COLUMN platform TO tables",
    "UPDATE campaign_ops.attempt SET tables = 'name:' || tables",
    "DROP INDEX campaign_ops.sweep_by_start",
    "CREATE INDEX sweep_by_start ON campaign_ops.sweep (tables, started_at)",
    "DROP INDEX campaign_ops.repair_undone",
    "CREATE INDEX repair_undone ON campaign_ops.repair (tables, target) WHERE undone_by IS NOT NULL",
    "DROP INDEX campaign_ops.repair_by_time",
    "CREATE INDEX repair_by_time ON campaign_ops.repair (tables, at)",
    "DROP INDEX campaign_ops.repair_by_campaign",
    "CREATE INDEX repair_by_campaign ON campaign_ops.repair (tables, campaign_id)",
    *(
        f"""
        CREATE OR REPLACE VIEW campaign_ops.{name} AS
        SELECT history.* FROM campaign_ops.{name}_history AS history
        JOIN (
            SELECT max(id) AS id FROM campaign_ops.sweep WHERE figures ? '{name}' GROUP BY tables
        ) AS latest ON history.sweep_id = latest.id
        """
        for name in ASSETS
    ),
)

CONFIRMATIONS = (
    """
    CREATE TABLE campaign_ops.queue_sighting (
        tables text NOT NULL,
        queue text NOT NULL,
        server_id text,
        server_since timestamptz NOT NULL,
        server_trusted boolean NOT NULL,
        job_counter bigint,
        emptied text NOT NULL DEFAULT '',
        seen_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tables, queue)
    )
    """,
    """
    CREATE TABLE campaign_ops.confirmation (
        code text PRIMARY KEY,
        tables text NOT NULL,
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
    "CREATE INDEX confirmation_open ON campaign_ops.confirmation (tables, offered_at) WHERE used_at IS NULL",
)

AMBIGUOUS: tuple[str, ...] = (
    """CREATE TABLE campaign_ops.ambiguous (
        tables text,
        recipient_id text,
        campaign_id text NOT NULL,
        job_ids text[] NOT NULL DEFAULT '{}',
        seen_at timestamptz NOT NULL,
        decided_at timestamptz,
        PRIMARY KEY (tables, recipient_id))""",
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
        tables text,
        kind text,
        target text,
        times integer NOT NULL DEFAULT 1,
        why text NOT NULL,
        last_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tables, kind, target))""",
)


def upgrade() -> None:
    for group in (IDENTITY, CONFIRMATIONS, AMBIGUOUS, INTENTS, QUEUES, UNDATED, REFUSALS):
        for statement in group:
            op.execute(statement)
