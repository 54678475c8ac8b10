"""What alembic runs. The connection, with its open transaction, comes from `campaign_ops.platform.migrations`."""

from alembic import context

from campaign_ops.platform.database import STATE_SCHEMA
from campaign_ops.platform.state import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=STATE_SCHEMA,
    include_schemas=True,
    transactional_ddl=True,
)
context.run_migrations()
