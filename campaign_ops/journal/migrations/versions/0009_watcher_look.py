"""The watcher's last look at each platform: its incidents stay as they were when nothing looks any more."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Whoever writes incidents records looks, and probes read them: without the rights that a role has on incidents, each
# look, and each question whether the service is ready, would fail until the grants are run again.
GRANTS = """
DO $$ DECLARE known record; BEGIN
    FOR known IN
        SELECT privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role
        FROM pg_class, aclexplode(relacl)
        WHERE oid = 'campaign_ops.incident'::regclass AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE')
    LOOP
        EXECUTE format('GRANT %s ON campaign_ops.watcher_look TO %s', known.privilege_type, known.role);
    END LOOP;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE TABLE campaign_ops.watcher_look (tables text PRIMARY KEY, looked_at timestamptz NOT NULL)")
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("DROP TABLE campaign_ops.watcher_look")
