"""One campaign or reservation of a sweep is found by index: without statistics, a join read 10,000 rows for each."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS = {"repair_plan": "target", "recipient_status": "campaign_id"}


def upgrade() -> None:
    for name, column in COLUMNS.items():
        op.execute(f"DROP INDEX campaign_ops.{name}_by_sweep")
        op.execute(f"CREATE INDEX {name}_by_{column} ON campaign_ops.{name}_history (sweep_id, {column})")


def downgrade() -> None:
    for name, column in COLUMNS.items():
        op.execute(f"DROP INDEX campaign_ops.{name}_by_{column}")
        op.execute(f"CREATE INDEX {name}_by_sweep ON campaign_ops.{name}_history (sweep_id)")
