"""Which database this is, and which history of it: what a restore or a failover changes."""

from __future__ import annotations

import sqlalchemy as sa

_DATABASES = sa.table("pg_database", sa.column("oid"), sa.column("datname"))


def database_id(connection: sa.Connection) -> str | None:
    """The database's oid and the server's timeline; None where the server does not tell.

    A dump that is restored, here or elsewhere, gets another oid; point-in-time recovery and the promotion of a replica
    begin another timeline. A disk snapshot changes neither.
    """
    oid = sa.select(_DATABASES.c.oid).where(_DATABASES.c.datname == sa.func.current_database()).scalar_subquery()
    segment = sa.func.pg_walfile_name(sa.func.pg_current_wal_lsn())
    try:
        with connection.begin_nested():  # some hosts refuse the functions of the write-ahead log
            told = connection.execute(sa.select(oid, sa.func.left(segment, 8))).one()
    except sa.exc.DBAPIError:
        return None
    return "/".join(map(str, told))
