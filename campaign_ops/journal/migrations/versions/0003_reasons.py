"""A column of its own for the reason that a person gave, beside the evidence in ``reason``.

Rows written before hold both in ``reason``, as ``person's reason (evidence)``. They stay as they are, without a
``person_reason``: either part may contain parentheses, so no rule splits them reliably.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A view that is replaced keeps its columns and their order: new ones come last.
REASONS = (
    "ALTER TABLE campaign_ops.repair ADD COLUMN person_reason TEXT",
    """
    CREATE OR REPLACE VIEW campaign_ops.completed_campaigns_history AS
    SELECT platform, sweep_id, at AS observed_at, id AS repair_id, campaign_id, tenant, reason, undone_by,
           before ->> 'status' AS status_before, after ->> 'status' AS status_after, person_reason
    FROM campaign_ops.repair WHERE kind = 'complete'
    """,
    """
    CREATE OR REPLACE VIEW campaign_ops.released_credits_history AS
    SELECT platform, sweep_id, at AS observed_at, id AS repair_id, target AS reservation_id, campaign_id, tenant, amount,
           reason, undone_by, person_reason
    FROM campaign_ops.repair WHERE kind = 'release'
    """,
    """
    CREATE OR REPLACE VIEW campaign_ops.reenqueued_batches_history AS
    SELECT r.platform, r.sweep_id, i.intended_at AS observed_at, i.repair_id, i.campaign_id, r.tenant, r.verdict,
           i.attempt, i.batch, i.job_id, i.recipients, i.added_at, r.reason, r.person_reason
    FROM campaign_ops.intent AS i JOIN campaign_ops.repair AS r ON r.id = i.repair_id
    """,
    *(
        f"""
        CREATE OR REPLACE VIEW campaign_ops.{name} AS
        SELECT history.* FROM campaign_ops.{name}_history AS history
        JOIN (
            SELECT max(id) AS id FROM campaign_ops.sweep WHERE figures ? '{name}' GROUP BY tables
        ) AS latest ON history.sweep_id = latest.id
        """
        for name in ("completed_campaigns", "reenqueued_batches", "released_credits")
    ),
)


def upgrade() -> None:
    for statement in REASONS:
        op.execute(statement)
