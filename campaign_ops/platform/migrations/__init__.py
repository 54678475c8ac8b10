"""Makes and upgrades schema ``campaign_ops`` with alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from campaign_ops.core.errors import StateSchemaError
from campaign_ops.platform.database import STATE_SCHEMA, Database


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def head() -> str:
    """The revision that this program needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def current(connection: sa.Connection) -> str | None:
    """The revision that the database has; None where schema ``campaign_ops`` does not exist."""
    there = connection.scalar(sa.select(sa.func.to_regclass(f"{STATE_SCHEMA}.alembic_version")))
    if there is None:
        return None
    context = MigrationContext.configure(connection, opts={"version_table_schema": STATE_SCHEMA})
    return context.get_current_revision()


def check_current(connection: sa.Connection, where: str) -> None:
    """Raise StateSchemaError unless the schema is the one that this program was written for."""
    there = current(connection)
    if there == head():
        return
    what = (
        f"schema {STATE_SCHEMA} does not exist"
        if there is None
        else f"schema {STATE_SCHEMA} is at {there}, not {head()}"
    )
    raise StateSchemaError(what, where=where, mend="run `campaign-ops migrate`")


def migrate(database: Database) -> tuple[str | None, str]:
    """Upgrade to the newest revision in one transaction; the revisions before and after."""
    with database.transaction() as connection:
        connection.execute(
            sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("campaign_ops:migrate", 0)))
        )
        before = current(connection)
        # Asked, not left to IF NOT EXISTS: that wants the right to create schemas even where there is one already.
        if connection.scalar(sa.select(sa.func.to_regnamespace(STATE_SCHEMA))) is None:
            connection.execute(sa.schema.CreateSchema(STATE_SCHEMA))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before, head()
