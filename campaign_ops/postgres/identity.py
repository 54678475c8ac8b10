"""Which database this is, and which history of it: what a restore or a failover changes."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from campaign_ops.postgres.tables import PlatformTables

_DATABASES = sa.table("pg_database", sa.column("oid"), sa.column("datname"))


def database_id(connection: sa.Connection, tables: PlatformTables | None = None) -> str | None:
    """The oid of the database, the server's timeline and the oids of the tables; None where the server does not tell.

    A dump that is restored into another database gets another oid, one that is restored into the same database makes
    its tables again, unless it holds data alone; point-in-time recovery and the promotion of a replica begin another
    timeline. A disk snapshot changes none of them. TRUNCATE, VACUUM FULL and attaching a partition keep a table's oid.
    """
    try:
        with connection.begin_nested():  # some hosts refuse the functions of the write-ahead log
            told: str = connection.execute(sa.select(_identity(connection, tables))).scalar_one()
    except sa.exc.DBAPIError:
        return None
    return told


def database_id_if_allowed(connection: sa.Connection, tables: PlatformTables) -> sa.ColumnElement[str | None]:
    """The same, for a statement with other questions: an error where a host refuses what its privileges allow."""
    functions = ("pg_current_wal_lsn()", "pg_walfile_name(pg_lsn)")
    allowed = [sa.func.has_function_privilege(name, "EXECUTE") for name in functions]
    return sa.case((sa.and_(sa.not_(sa.func.pg_is_in_recovery()), *allowed), _identity(connection, tables)))


def _identity(connection: sa.Connection, tables: PlatformTables | None) -> sa.ColumnElement[str]:
    oid = sa.select(_DATABASES.c.oid).where(_DATABASES.c.datname == sa.func.current_database()).scalar_subquery()
    segment = sa.func.pg_walfile_name(sa.func.pg_current_wal_lsn())
    ours = (tables.campaign, tables.recipient) if tables is not None else ()
    names = map(connection.dialect.identifier_preparer.format_table, ours)
    oids = (sa.cast(sa.func.to_regclass(name), postgresql.OID) for name in names)
    return sa.func.concat_ws("/", oid, sa.func.left(segment, 8), *oids)
