"""The journal, the attempts, and a history table with a view of its latest sweep for every asset."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE campaign_ops.attempt (
    platform TEXT NOT NULL,
    campaign_id TEXT NOT NULL,
    total INTEGER DEFAULT '0' NOT NULL,
    without_progress INTEGER DEFAULT '0' NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE,
    pending_at_last BIGINT,
    held_by TEXT,
    held_reason TEXT,
    PRIMARY KEY (platform, campaign_id)
);

CREATE TABLE campaign_ops.sweep (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    platform TEXT NOT NULL,
    run_id TEXT NOT NULL,
    trigger TEXT NOT NULL,
    actor TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    figures JSONB DEFAULT '{}' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (platform, run_id)
);

CREATE INDEX sweep_by_start ON campaign_ops.sweep (platform, started_at);

CREATE TABLE campaign_ops.campaign_health_history (
    platform TEXT NOT NULL,
    sweep_id BIGINT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    report JSONB NOT NULL,
    markdown TEXT NOT NULL,
    FOREIGN KEY(sweep_id) REFERENCES campaign_ops.sweep (id) ON DELETE CASCADE
);

CREATE INDEX campaign_health_by_sweep ON campaign_ops.campaign_health_history (sweep_id);

CREATE TABLE campaign_ops.queue_state_history (
    platform TEXT NOT NULL,
    sweep_id BIGINT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    queue TEXT NOT NULL,
    waiting BIGINT,
    active BIGINT,
    delayed BIGINT,
    prioritized BIGINT,
    waiting_children BIGINT,
    failed BIGINT,
    completed BIGINT,
    depth BIGINT,
    paused BOOLEAN,
    workers INTEGER,
    version TEXT,
    server_id TEXT,
    problem TEXT,
    FOREIGN KEY(sweep_id) REFERENCES campaign_ops.sweep (id) ON DELETE CASCADE
);

CREATE INDEX queue_state_by_sweep ON campaign_ops.queue_state_history (sweep_id);

CREATE TABLE campaign_ops.recipient_status_history (
    platform TEXT NOT NULL,
    sweep_id BIGINT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    campaign_id TEXT NOT NULL,
    total BIGINT NOT NULL,
    unsent BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    unknown BIGINT NOT NULL,
    last_activity TIMESTAMP WITH TIME ZONE,
    drift TEXT NOT NULL,
    FOREIGN KEY(sweep_id) REFERENCES campaign_ops.sweep (id) ON DELETE CASCADE
);

CREATE INDEX recipient_status_by_sweep ON campaign_ops.recipient_status_history (sweep_id);

CREATE TABLE campaign_ops.repair (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    platform TEXT NOT NULL,
    sweep_id BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    kind TEXT NOT NULL,
    campaign_id TEXT,
    target TEXT NOT NULL,
    tenant TEXT,
    verdict TEXT,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    run_id TEXT NOT NULL,
    amount NUMERIC,
    before JSONB DEFAULT '{}' NOT NULL,
    after JSONB DEFAULT '{}' NOT NULL,
    parent_id BIGINT,
    undone_by BIGINT,
    PRIMARY KEY (id),
    FOREIGN KEY(sweep_id) REFERENCES campaign_ops.sweep (id),
    FOREIGN KEY(parent_id) REFERENCES campaign_ops.repair (id),
    FOREIGN KEY(undone_by) REFERENCES campaign_ops.repair (id)
);

CREATE INDEX repair_by_campaign ON campaign_ops.repair (platform, campaign_id);

CREATE INDEX repair_by_sweep ON campaign_ops.repair (sweep_id);

CREATE INDEX repair_by_run ON campaign_ops.repair (run_id);

CREATE INDEX repair_by_parent ON campaign_ops.repair (parent_id) WHERE parent_id IS NOT NULL;

CREATE INDEX repair_undone ON campaign_ops.repair (platform, target) WHERE undone_by IS NOT NULL;

CREATE INDEX repair_by_time ON campaign_ops.repair (platform, at);

CREATE TABLE campaign_ops.repair_plan_history (
    platform TEXT NOT NULL,
    sweep_id BIGINT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    campaign_id TEXT,
    tenant TEXT,
    name TEXT,
    verdict TEXT,
    reason TEXT NOT NULL,
    needs_person BOOLEAN NOT NULL,
    missing BIGINT,
    covered BIGINT,
    marked BIGINT,
    doubled BIGINT,
    total BIGINT,
    unsent BIGINT,
    stuck_seconds BIGINT,
    drained_per_hour FLOAT,
    drift TEXT DEFAULT '' NOT NULL,
    outcome TEXT,
    amount NUMERIC,
    FOREIGN KEY(sweep_id) REFERENCES campaign_ops.sweep (id) ON DELETE CASCADE
);

CREATE INDEX repair_plan_by_sweep ON campaign_ops.repair_plan_history (sweep_id);

CREATE TABLE campaign_ops.stuck_campaigns_history (
    platform TEXT NOT NULL,
    sweep_id BIGINT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    campaign_id TEXT NOT NULL,
    tenant TEXT,
    name TEXT,
    status TEXT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stuck_seconds BIGINT NOT NULL,
    FOREIGN KEY(sweep_id) REFERENCES campaign_ops.sweep (id) ON DELETE CASCADE
);

CREATE INDEX stuck_campaigns_by_sweep ON campaign_ops.stuck_campaigns_history (sweep_id);

CREATE TABLE campaign_ops.intent (
    job_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    repair_id BIGINT NOT NULL,
    campaign_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    intended_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    added_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (job_id),
    FOREIGN KEY(repair_id) REFERENCES campaign_ops.repair (id)
);

CREATE INDEX intent_by_repair ON campaign_ops.intent (repair_id);

CREATE INDEX intent_open ON campaign_ops.intent (platform, intended_at) WHERE added_at IS NULL;
"""

# What the repairs did is in the journal already; these show it as the tables of the pipeline's last steps.
REPAIRS = """
CREATE VIEW campaign_ops.completed_campaigns_history AS
SELECT platform, sweep_id, at AS observed_at, id AS repair_id, campaign_id, tenant, reason, undone_by,
       before ->> 'status' AS status_before, after ->> 'status' AS status_after
FROM campaign_ops.repair WHERE kind = 'complete';

CREATE VIEW campaign_ops.reenqueued_batches_history AS
SELECT r.platform, r.sweep_id, i.intended_at AS observed_at, i.repair_id, i.campaign_id, r.tenant, r.verdict, i.attempt,
       i.batch, i.job_id, i.recipients, i.added_at
FROM campaign_ops.intent AS i JOIN campaign_ops.repair AS r ON r.id = i.repair_id;

CREATE VIEW campaign_ops.released_credits_history AS
SELECT platform, sweep_id, at AS observed_at, id AS repair_id, target AS reservation_id, campaign_id, tenant, amount,
       reason, undone_by
FROM campaign_ops.repair WHERE kind = 'release';
"""

LATEST = """
CREATE VIEW campaign_ops.{name} AS
SELECT history.* FROM campaign_ops.{name}_history AS history
JOIN (
    SELECT max(id) AS id FROM campaign_ops.sweep WHERE figures ? '{name}' GROUP BY platform
) AS latest ON history.sweep_id = latest.id
"""

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


def upgrade() -> None:
    for statement in (TABLES + REPAIRS).split(";"):
        if statement.strip():
            op.execute(statement)
    for name in ASSETS:
        op.execute(LATEST.format(name=name))
