"""The database that a queue was seen beside: one that was restored, or failed over, may be older than the queue."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE campaign_ops.queue_sighting ADD COLUMN database_id TEXT,"
        " ADD COLUMN database_replaced BOOLEAN NOT NULL DEFAULT false"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE campaign_ops.queue_sighting DROP COLUMN database_id, DROP COLUMN database_replaced")
