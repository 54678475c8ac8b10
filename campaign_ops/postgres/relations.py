"""The relations behind the profile's table names. A sweep needs tables whose every row it can see and lock.

A view or a partition shows some of the rows, and a campaign whose pending recipients are hidden looks finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

VIEW_LIKE = {"v": "a view", "m": "a materialized view"}

# A type's name with -1 for "no length": without it char(25) is called `character`, and that is char(1) in a CAST.
_COLUMNS = sa.text(
    """
    WITH relation AS MATERIALIZED (
        SELECT c.oid, c.relname::text, c.relkind::text, row_security_active(c.oid) AS row_security,
               CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::regclass::text END AS partition_of,
               (
                   SELECT min(i.inhparent::regclass::text) FROM pg_inherits i
                   WHERE i.inhrelid = c.oid AND NOT c.relispartition AND NOT EXISTS (
                       SELECT FROM unnest(CAST(:need_tables AS text[]), CAST(:need_columns AS text[])) AS need (t, col)
                       WHERE need.t = c.relname AND NOT EXISTS (
                           SELECT FROM pg_attribute a
                           WHERE a.attrelid = i.inhparent AND a.attname = need.col AND NOT a.attisdropped
                       )
                   )
               ) AS inherits_from,
               (
                   WITH RECURSIVE below (oid) AS (
                       SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = c.oid
                       UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN below ON below.oid = i.inhparent
                   )
                   SELECT min(part.oid::regclass::text) FROM below JOIN pg_class part USING (oid)
                   WHERE part.relkind = 'f'
               ) AS foreign_part
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = :schema AND c.relname = ANY(:tables) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    )
    SELECT r.*, current_user::text AS role, a.attname AS column_name, t.typname AS type_name,
           tn.nspname AS type_schema, t.typtype AS type_kind, format_type(a.atttypid, -1) AS type_spec,
           a.attgenerated <> '' AS generated, NOT a.attnotnull AS nullable,
           ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS words,
           has_column_privilege(r.oid, a.attnum, 'SELECT') AS may_select,
           has_column_privilege(r.oid, a.attnum, 'UPDATE') AS may_update
    FROM relation r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_namespace tn ON tn.oid = t.typnamespace
    ORDER BY r.relname, a.attnum
    """
)
# The tables behind a view, asked only when a profile names one.
_BEHIND = sa.text(
    """
    SELECT DISTINCT base.oid::regclass::text
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_rewrite r ON r.ev_class = c.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class base ON base.oid = d.refobjid AND base.oid <> c.oid AND base.relkind IN ('r', 'p')
    WHERE n.nspname = :schema AND c.relname = :name
    ORDER BY 1
    """
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column as the catalog has it.

    ``spec`` is its type, ready for a CAST. ``generated``: the database computes its value and refuses to set it.
    """

    table: str
    name: str
    type_name: str
    spec: str
    words: tuple[str, ...]
    may_select: bool
    may_update: bool
    generated: bool = False
    nullable: bool = False

    @property
    def is_enum(self) -> bool:
        """Whether the type is an enum, so that its words are known."""
        return bool(self.words)

    @property
    def is_moment(self) -> bool:
        """Whether it holds a timestamp."""
        return self.type_name in ("timestamp", "timestamptz")


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation that the profile calls a table.

    Attributes:
        name: Its name.
        oid: Its oid.
        kind: ``pg_class.relkind``.
        row_security: Whether policies decide which rows our role sees.
        partition_of: The partitioned table that it is a part of.
        inherits_from: A parent that also has all the named columns, so that the rows are spread over both.
        foreign_part: A partition or child that is on another server.
    """

    name: str
    oid: int
    kind: str
    row_security: bool
    partition_of: str | None
    inherits_from: str | None
    foreign_part: str | None


@dataclass(frozen=True, slots=True)
class Relations:
    """The named tables in the catalog, as our role sees them."""

    role: str
    relations: dict[str, Relation]
    columns: dict[tuple[str, str], Column]


def read_relations(connection: sa.Connection, schema: str, named: Sequence[tuple[str, str]]) -> Relations:
    """The relations of these (table, column) names with all their columns, in one query; absent ones are left out."""
    tables, columns = [table for table, _ in named], [column for _, column in named]
    binds = {"schema": schema, "tables": sorted(set(tables)), "need_tables": tables, "need_columns": columns}
    rows = list(connection.execute(_COLUMNS, binds))
    relations = {
        row.relname: Relation(
            row.relname, row.oid, row.relkind, row.row_security, row.partition_of, row.inherits_from, row.foreign_part
        )
        for row in rows
    }
    return Relations(
        rows[0].role if rows else "", relations, {(row.relname, row.column_name): _column(row) for row in rows}
    )


def _column(row: sa.Row[tuple[object, ...]]) -> Column:
    spec = row.type_spec
    if row.type_kind == "e":
        spec = f"{quoted(row.type_schema)}.{quoted(row.type_name)}"
    return Column(
        row.relname,
        row.column_name,
        row.type_name,
        spec,
        tuple(row.words),
        row.may_select,
        row.may_update,
        generated=row.generated,
        nullable=row.nullable,
    )


def quoted(name: str) -> str:
    """A name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def misfit(connection: sa.Connection, schema: str, relation: Relation) -> str | None:
    """The reason why a sweep must not judge by this relation, with the fix; None for a table that is whole."""
    label = f'"{relation.name}" in schema "{schema}"'
    if relation.kind in VIEW_LIKE:
        behind = list(connection.scalars(_BEHIND, {"schema": schema, "name": relation.name}))
        instead = f"name the table behind it: {', '.join(behind)}" if behind else "name a table"
        return f"{label} is {VIEW_LIKE[relation.kind]}, which may hide rows; {instead}"
    if relation.kind == "f":
        # postgres_fdw reads at the snapshot of its first statement, which may be older than our look at the queue.
        return f"{label} is a foreign table, whose rows may be old or hidden; connect to the server that has the table"
    if relation.partition_of:
        return f"{label} is one partition, so rows of the others would be missed; name {relation.partition_of}"
    if relation.inherits_from:
        return f"{label} has only a part of the rows of {relation.inherits_from}; name that table"
    if relation.foreign_part:
        part = relation.foreign_part
        return f"{label} has a part on another server, {part}, whose rows may be old or hidden; detach that part"
    return None
