"""The watcher's last look at each platform: its incidents stay as they were when nothing looks any more."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE campaign_ops.watcher_look (tables text PRIMARY KEY, looked_at timestamptz NOT NULL)")


def downgrade() -> None:
    op.execute("DROP TABLE campaign_ops.watcher_look")
