"""Creates and upgrades schema ``campaign_ops`` with alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from campaign_ops.core.errors import StateSchemaError
from campaign_ops.postgres.database import STATE_SCHEMA, Database

HEAD = "0009"
"""The revision that this program needs."""
_MIGRATING_SECONDS = 60


def current(connection: sa.Connection) -> str | None:
    """The revision that the database has; None where schema ``campaign_ops`` does not exist."""
    if connection.scalar(sa.select(sa.func.to_regclass(f"{STATE_SCHEMA}.alembic_version"))) is None:
        return None
    there: str | None = connection.scalar(sa.select(revision()))
    return there


def revision() -> sa.ScalarSelect[str]:
    """The revision of a schema that exists; elsewhere asking is an error."""
    table = sa.table("alembic_version", sa.column("version_num", sa.Text), schema=STATE_SCHEMA)
    return sa.select(table.c.version_num).scalar_subquery()


def has_records(connection: sa.Connection, where: str) -> bool:
    """Return whether there are records of ours. A later version's can be read: its migrations only add.

    Raises:
        StateSchemaError: The schema is older: its records cannot be read, and must not be taken for absent.
    """
    there = current(connection)
    if there is not None and there < HEAD:
        check_current(connection, where)
    return there is not None


def check_current(connection: sa.Connection, where: str) -> None:
    """Raise StateSchemaError unless the schema exists at this program's revision."""
    there = current(connection)
    _check_not_newer(there, where)
    if there == HEAD:
        return
    what = (
        f"schema {STATE_SCHEMA} does not exist" if there is None else f"schema {STATE_SCHEMA} is at {there}, not {HEAD}"
    )
    raise StateSchemaError(what, where=where, mend="run `campaign-ops migrate`")


def _check_not_newer(there: str | None, where: str) -> None:
    """Raise StateSchemaError if a later version of the program has migrated; revisions are numbers of four digits."""
    if there is not None and there > HEAD:
        what = f"schema {STATE_SCHEMA} is at {there}, newer than {HEAD}, which this version of campaign_ops needs"
        raise StateSchemaError(what, where=where, mend="install the version that migrated it, or a later one")


def migrate(database: Database) -> tuple[str | None, str]:
    """Upgrade to the newest revision in one transaction; the revisions before and after."""
    from alembic import command  # noqa: PLC0415 - 0.7 s that no other command needs
    from alembic.config import Config  # noqa: PLC0415

    with database.transaction() as connection:
        _wait_for_others(connection, database.timeouts.lock_seconds)
        before = current(connection)
        _check_not_newer(before, database.where)
        # Asked, not left to IF NOT EXISTS, which needs the right to create schemas even where the schema exists.
        if connection.scalar(sa.select(sa.func.to_regnamespace(STATE_SCHEMA))) is None:
            connection.execute(sa.schema.CreateSchema(STATE_SCHEMA))
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before, HEAD


def _wait_for_others(connection: sa.Connection, lock_seconds: float) -> None:
    """Wait until no other process migrates: on a busy machine that takes longer than any other lock may."""
    key = sa.func.hashtextextended("campaign_ops:migrate", 0)
    connection.execute(sa.select(sa.func.set_config("lock_timeout", f"{_MIGRATING_SECONDS}s", True)))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    connection.execute(sa.select(sa.func.set_config("lock_timeout", f"{round(lock_seconds * 1000)}ms", True)))
