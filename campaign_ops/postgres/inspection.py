"""The doctor's questions about server, tables, indexes and rights, answered by the server's catalog. Changes nothing.

Any role may read the catalog, so missing privileges can be distinguished from missing tables.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import sqlalchemy as sa

from campaign_ops.postgres.database import STATE_SCHEMA

_SERVER = sa.text(
    """
    SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby,
           current_database()::text AS database, r.rolname::text AS role, r.rolsuper AS superuser,
           r.rolcreaterole AS createrole, r.rolcreatedb AS createdb, r.rolreplication AS replication,
           has_database_privilege(current_database(), 'TEMPORARY') AS may_make_temporary,
           s.time_zone, (now() AT TIME ZONE s.time_zone) - (now() AT TIME ZONE 'UTC') AS utc_offset,
           s.read_only = 'on' AS read_only, s.transaction_timeout::int AS transaction_timeout_ms,
           CASE WHEN NOT r.rolsuper THEN least(nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)) END
               AS connections,
           pg_backend_pid() AS backend_pid
    FROM pg_roles r JOIN pg_database d ON d.datname = current_database() CROSS JOIN (
        SELECT max(reset_val) FILTER (WHERE name = 'TimeZone') AS time_zone,
               max(reset_val) FILTER (WHERE name = 'default_transaction_read_only') AS read_only,
               max(reset_val) FILTER (WHERE name = 'transaction_timeout') AS transaction_timeout
        FROM pg_settings WHERE name IN ('TimeZone', 'default_transaction_read_only', 'transaction_timeout')
    ) AS s
    WHERE r.rolname = current_user
    """
)
_TABLES = sa.text(
    """
    SELECT c.relname::text AS name, c.relkind = 'p' AS partitioned, pg_get_userbyid(c.relowner)::text AS owner,
           pg_has_role(c.relowner, 'USAGE') AS owned, row_security_active(c.oid) AS row_security,
           ARRAY(
               SELECT t.tgname::text FROM pg_trigger t
               WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 16 <> 0
               ORDER BY 1
           ) AS triggers,
           COALESCE(
               (SELECT sum(CASE WHEN l.reltuples >= 0 THEN l.reltuples ELSE pg_relation_size(l.oid) / 100 END)
                FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf),
               CASE WHEN c.reltuples >= 0 THEN c.reltuples ELSE pg_relation_size(c.oid) / 100 END
           )::bigint AS rows
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = ANY(:tables) AND c.relkind IN ('r', 'p')
    """
)
_INDEXES = sa.text(
    """
    SELECT t.relname::text AS table, i.relname::text AS name, am.amname::text AS method, x.indisunique AS is_unique,
           x.indisvalid AND x.indisready AS valid, pg_get_expr(x.indpred, x.indrelid) AS predicate,
           ARRAY(
               SELECT a.attname::text FROM unnest(x.indkey) WITH ORDINALITY AS k (attnum, place)
               LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
               WHERE k.place <= x.indnkeyatts ORDER BY k.place
           ) AS columns,
           EXISTS (
               SELECT FROM pg_stat_progress_create_index p
               WHERE p.index_relid = x.indexrelid AND p.datname = current_database()
           ) AS being_built
    FROM pg_index x
    JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_am am ON am.oid = i.relam
    WHERE n.nspname = :schema AND t.relname = ANY(:tables)
    ORDER BY t.relname, i.relname
    """
)
# PostgreSQL 18 has foreign keys that are not enforced; earlier versions lack the column.
_FOREIGN_KEY = sa.text(
    """
    SELECT EXISTS (
        SELECT FROM pg_constraint k
        JOIN pg_class child ON child.oid = k.conrelid
        JOIN pg_class parent ON parent.oid = k.confrelid AND parent.relnamespace = child.relnamespace
        JOIN pg_namespace n ON n.oid = child.relnamespace
        JOIN pg_attribute a ON a.attrelid = child.oid AND a.attnum = ANY(k.conkey)
        WHERE k.contype = 'f' AND n.nspname = :schema AND child.relname = :child AND parent.relname = :parent
          AND a.attname = :column AND to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
    )
    """
)
_GRANTS = sa.text(
    """
    SELECT c.relname::text AS table, NULL AS column, acl.privilege_type AS privilege,
           CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee)::text END AS grantee
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL aclexplode(c.relacl) AS acl
    WHERE n.nspname = :schema AND c.relname = ANY(:tables) AND c.relkind IN ('r', 'p')
      AND acl.grantee <> c.relowner AND (acl.grantee = 0 OR pg_has_role(acl.grantee, 'USAGE'))
    UNION ALL
    SELECT c.relname::text, a.attname::text, acl.privilege_type,
           CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee)::text END
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    CROSS JOIN LATERAL aclexplode(a.attacl) AS acl
    WHERE n.nspname = :schema AND c.relname = ANY(:tables) AND c.relkind IN ('r', 'p')
      AND acl.grantee <> c.relowner AND (acl.grantee = 0 OR pg_has_role(acl.grantee, 'USAGE'))
    ORDER BY 1, 4, 3, 2
    """
)
_POWERS = sa.text(
    """
    SELECT r.rolname::text FROM pg_roles r
    WHERE r.rolname IN ('pg_read_all_data', 'pg_write_all_data') AND pg_has_role(r.oid, 'USAGE') ORDER BY 1
    """
)
_CLOSED_SCHEMAS = sa.text(
    """
    SELECT n.nspname::text FROM pg_namespace n
    WHERE NOT has_schema_privilege(n.oid, 'USAGE') AND (
        n.nspname = :schema OR EXISTS (
            SELECT FROM pg_attribute a
            JOIN pg_class c ON c.oid = a.attrelid
            JOIN pg_namespace cn ON cn.oid = c.relnamespace
            JOIN pg_type t ON t.oid = a.atttypid
            WHERE cn.nspname = :schema AND c.relname = ANY(:tables) AND a.attname = ANY(:columns)
              AND t.typnamespace = n.oid
        )
    )
    ORDER BY 1
    """
)
_OWN_SCHEMA = sa.text("SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace n WHERE n.nspname = :schema")
_OWN_TABLES = sa.text(
    """
    SELECT c.relname::text AS name, ARRAY(
        SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p WHERE has_table_privilege(c.oid, p)
    ) AS rights
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v') ORDER BY 1
    """
)
_PATIENCE = sa.text(
    "SELECT set_config('statement_timeout', :statement_ms, true), set_config('lock_timeout', :lock_ms, true)"
)


@dataclass(frozen=True, slots=True)
class Server:
    """Facts about the server and our role; ``time_zone`` and ``read_only`` are a new session's defaults.

    ``transaction_timeout_ms`` is None before PostgreSQL 17. ``connections``: how many our role may have; None without
    a limit. ``pooled``: a pooler is between us and the server.
    """

    version: int
    standby: bool
    database: str
    role: str
    superuser: bool
    createrole: bool
    createdb: bool
    replication: bool
    may_make_temporary: bool
    time_zone: str
    utc_offset: timedelta
    read_only: bool
    transaction_timeout_ms: int | None
    connections: int | None
    pooled: bool


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the platform. ``rows`` is the planner's estimate; ``triggers`` fire on updates.

    ``owned``: our role is the owner, or a member of it. ``row_security``: policies decide which rows our role sees.
    """

    name: str
    partitioned: bool
    owner: str
    owned: bool
    row_security: bool
    triggers: list[str]
    rows: int


@dataclass(frozen=True, slots=True)
class Index:
    """One index. ``columns`` are its keys in order, None where a key is an expression."""

    table: str
    name: str
    method: str
    is_unique: bool
    valid: bool
    predicate: str | None
    columns: list[str | None]
    being_built: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """One privilege that our role has by a GRANT: on a table, or on a ``column`` of it.

    ``grantee`` is the role, a role that it is a member of, or None for PUBLIC.
    """

    table: str
    column: str | None
    privilege: str
    grantee: str | None


def be_impatient(connection: sa.Connection, *, statement_seconds: float, lock_seconds: float) -> None:
    """Shorten the transaction's timeouts."""
    binds = {"statement_ms": str(round(statement_seconds * 1000)), "lock_ms": str(round(lock_seconds * 1000))}
    connection.execute(_PATIENCE, binds)


def read_server(connection: sa.Connection) -> Server:
    """Facts about the server and our role."""
    facts = dict(connection.execute(_SERVER).mappings().one())
    driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    # A pooler invents the process id that it greets its clients with; only the server knows the real one.
    pooled = driver.info.backend_pid != facts.pop("backend_pid")
    return Server(**facts, pooled=pooled)


def read_tables(connection: sa.Connection, schema: str, tables: Collection[str]) -> dict[str, Table]:
    """The platform's tables by name."""
    rows = connection.execute(_TABLES, {"schema": schema, "tables": list(tables)}).mappings()
    return {row["name"]: Table(**row) for row in rows}


def read_indexes(connection: sa.Connection, schema: str, tables: Collection[str]) -> list[Index]:
    """Every index of these tables."""
    rows = connection.execute(_INDEXES, {"schema": schema, "tables": list(tables)}).mappings()
    return [Index(**row) for row in rows]


def references(connection: sa.Connection, schema: str, child: str, column: str, parent: str) -> bool:
    """Return whether a foreign key on ``column`` leads from ``child`` to ``parent``; a NOT VALID one counts."""
    binds = {"schema": schema, "child": child, "column": column, "parent": parent}
    return bool(connection.scalar(_FOREIGN_KEY, binds))


def read_grants(connection: sa.Connection, schema: str, tables: Collection[str]) -> list[Grant]:
    """Privileges on these tables that our role has by a GRANT to itself, to a role it is in, or to PUBLIC."""
    rows = connection.execute(_GRANTS, {"schema": schema, "tables": list(tables)}).mappings()
    return [Grant(**row) for row in rows]


def read_powers(connection: sa.Connection) -> list[str]:
    """Those of ``pg_read_all_data`` and ``pg_write_all_data`` that our role has."""
    return list(connection.scalars(_POWERS))


def closed_schemas(
    connection: sa.Connection, schema: str, tables: Collection[str], columns: Collection[str]
) -> list[str]:
    """Schemas of these tables, and of their columns' types, that our role may not use."""
    binds = {"schema": schema, "tables": list(tables), "columns": list(columns)}
    return list(connection.scalars(_CLOSED_SCHEMAS, binds))


def may_use_own_schema(connection: sa.Connection) -> bool | None:
    """Return whether our role may use schema ``campaign_ops``; None where it does not exist."""
    allowed: bool | None = connection.scalar(_OWN_SCHEMA, {"schema": STATE_SCHEMA})
    return allowed


def read_own_rights(connection: sa.Connection) -> dict[str, frozenset[str]]:
    """Tables and views of schema ``campaign_ops`` with our role's rights: SELECT, INSERT, UPDATE, DELETE."""
    rows = connection.execute(_OWN_TABLES, {"schema": STATE_SCHEMA})
    return {row.name: frozenset(row.rights) for row in rows}
