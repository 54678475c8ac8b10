"""What alembic runs. The connection, with its open transaction, comes from `campaign_ops.journal.migrations`."""

from alembic import context

from campaign_ops.journal.schema import metadata
from campaign_ops.postgres.database import STATE_SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=STATE_SCHEMA,
    include_schemas=True,
    transactional_ddl=True,
)
context.run_migrations()
