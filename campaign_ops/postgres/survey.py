"""What a database holds, for a first draft of a profile: tables with columns and keys, and status words with counts.

Reads the catalogue, and of the rows only status columns, in a bounded sample. Changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from campaign_ops.postgres.catalog import holds
from campaign_ops.postgres.errors import STATE_SCHEMA
from campaign_ops.postgres.expressions import as_text
from campaign_ops.postgres.relations import Column, misfit, read_relations
from campaign_ops.postgres.tables import PgType

MOST_TABLES = 1_000
SAMPLE_ROWS = 20_000
MOST_WORDS = 40
CAMPAIGNS_COMPARED = 200

# Partitions are left out: their rows are their parent's.
_TABLES = sa.text(
    """
    SELECT n.nspname::text AS schema, c.relname::text AS name,
           COALESCE(
               (SELECT sum(CASE WHEN l.reltuples >= 0 THEN l.reltuples ELSE pg_relation_size(l.oid) / 100 END)
                FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf),
               CASE WHEN c.reltuples >= 0 THEN c.reltuples ELSE pg_relation_size(c.oid) / 100 END
           )::bigint AS rows,
           (
               SELECT min(a.attname::text) FROM pg_index x
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(x.indkey)
               WHERE x.indrelid = c.oid AND x.indisprimary HAVING count(*) = 1
           ) AS key,
           ARRAY(
               SELECT ARRAY[a.attname::text, pn.nspname::text, parent.relname::text] FROM pg_constraint k
               JOIN pg_class parent ON parent.oid = k.confrelid
               JOIN pg_namespace pn ON pn.oid = parent.relnamespace
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
               WHERE k.conrelid = c.oid AND k.contype = 'f' AND cardinality(k.conkey) = 1 AND k.conparentid = 0
           ) AS parents,
           ARRAY(
               SELECT ARRAY[a.attname::text, pg_get_constraintdef(k.oid)] FROM pg_constraint k
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
               WHERE k.conrelid = c.oid AND k.contype = 'c' AND cardinality(k.conkey) = 1
           ) AS checks
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\\_%'
      AND n.nspname NOT IN ('information_schema', :own) AND has_schema_privilege(n.oid, 'USAGE')
    ORDER BY 1, 2 LIMIT :most
    """
)


@dataclass(frozen=True, slots=True)
class SurveyedTable:
    """One table of the database.

    Attributes:
        schema: Its schema.
        name: Its name.
        rows: The planner's estimate.
        key: The primary key, where it is one column.
        columns: Its columns by name, those that our role may not read left out.
        parents: (schema, table) that a foreign key of one column leads to, by that column.
        words: The words that an enum type or a CHECK allows, by column.
    """

    schema: str
    name: str
    rows: int
    key: str | None
    columns: Mapping[str, Column]
    parents: Mapping[str, tuple[str, str]]
    words: Mapping[str, Sequence[str]]

    def of_kind(self, kind: str) -> list[Column]:
        """The columns that can hold this kind: ``word``, ``moment``, ``integer``, ``number``, ``text`` or ``any``."""
        return [column for column in self.columns.values() if holds(column, kind)]


def read_survey(connection: sa.Connection) -> list[SurveyedTable]:
    """The tables that a profile may name, of all schemas except the system's and our own, at most ``MOST_TABLES``."""
    rows = connection.execute(_TABLES, {"own": STATE_SCHEMA, "most": MOST_TABLES}).all()
    return [
        table
        for schema in dict.fromkeys(row.schema for row in rows)
        for table in _of_schema(connection, schema, [row for row in rows if row.schema == schema])
    ]


def _of_schema(connection: sa.Connection, schema: str, rows: Sequence[sa.Row[Any]]) -> Iterator[SurveyedTable]:
    there = read_relations(connection, schema, [(row.name, "") for row in rows])
    for row in rows:
        relation = there.relations.get(row.name)
        if relation is None or misfit(connection, schema, relation):
            continue
        columns = {name: column for (table, name), column in there.columns.items() if table == row.name}
        readable = {name: column for name, column in columns.items() if column.may_select}
        parents = {column: (parent_schema, parent) for column, parent_schema, parent in row.parents}
        key = row.key if row.key in readable else None
        words = {name: column.words for name, column in readable.items()} | {
            column: listed for column, check in row.checks if (listed := _listed(check))
        }
        yield SurveyedTable(schema, row.name, row.rows, key, readable, parents, words)


def _listed(check: str) -> list[str]:
    """The words of a CHECK that lists them, as PostgreSQL writes it: ``= ANY (ARRAY['a'::text, 'b'::text])``."""
    literals = re.findall(r"'((?:[^']|'')*)'::", check) if "= ANY" in check else []
    return [literal.replace("''", "'") for literal in literals]


@dataclass(frozen=True, slots=True)
class WordCount:
    """One status word in a sample: its rows, and by column in how many it holds more than an empty text."""

    word: str
    rows: int
    set: Mapping[str, int] = field(default_factory=dict)


def count_words(
    connection: sa.Connection, table: SurveyedTable, status: str, columns: Sequence[str] = ()
) -> list[WordCount]:
    """The words of a status column in a random sample of about ``SAMPLE_ROWS`` rows, the most frequent first.

    Words that are allowed and that no row has are among them; of those that rows have, at most ``MOST_WORDS``.
    """
    named: list[sa.ColumnClause[Any]] = [sa.column(name) for name in dict.fromkeys([status, *columns])]
    whole = sa.table(table.name, *named, schema=table.schema)
    percent = 100.0 if table.rows <= SAMPLE_ROWS else 100.0 * SAMPLE_ROWS / table.rows
    sampled = whole.tablesample(sa.func.system(percent), name="sampled")
    some = sa.select(*sampled.c).limit(2 * SAMPLE_ROWS).subquery()
    word, rows = as_text(some.c[status]).label("word"), sa.func.count().label("rows")
    set_ = (sa.func.nullif(as_text(some.c[name]), "") for name in columns)
    each = [sa.func.count(value).label(f"set_{index}") for index, value in enumerate(set_)]
    query = sa.select(word, rows, *each).where(some.c[status].is_not(None)).group_by(word)
    found = connection.execute(query.order_by(rows.desc(), word).limit(MOST_WORDS)).all()
    counted = [WordCount(row[0], row[1], dict(zip(columns, row[2:], strict=True))) for row in found]
    there = {count.word for count in counted}
    return [
        *counted,
        *(WordCount(word, 0, dict.fromkeys(columns, 0)) for word in table.words.get(status, ()) if word not in there),
    ]


def campaigns_with_fewer_rows(
    connection: sa.Connection, parent: SurveyedTable, child: SurveyedTable, *, reference: str, total: str
) -> int:
    """Of the newest campaigns, the number of those that have fewer recipients than their total says.

    Campaigns without a total or without any recipient are left out: drafts have neither. 0 where the count takes too
    long, as without an index on the reference.

    Args:
        connection: The connection.
        parent: The campaigns.
        child: The recipients.
        reference: The recipients' column that names the campaign.
        total: The campaigns' column of the total.
    """
    assert parent.key is not None
    above = sa.table(parent.name, sa.column(parent.key), sa.column(total), schema=parent.schema)
    below = sa.table(child.name, sa.column(reference), schema=child.schema)
    newest = (
        sa.select(above.c[parent.key].label("id"), above.c[total].label("total"))
        .where(above.c[total] > 0)
        .order_by(above.c[parent.key].desc())
        .limit(CAMPAIGNS_COMPARED)
        .subquery()
    )
    children = sa.select(sa.func.count()).select_from(below).where(below.c[reference] == newest.c.id).scalar_subquery()
    counted = sa.select(newest.c.total, children.label("children")).subquery()
    some, fewer = counted.c.children > 0, counted.c.children < counted.c.total
    try:
        with connection.begin_nested():
            return connection.scalar(sa.select(sa.func.count()).select_from(counted).where(some, fewer)) or 0
    except sa.exc.OperationalError:
        return 0


def existing(connection: sa.Connection, table: SurveyedTable, ids: Sequence[str]) -> list[str]:
    """Those of the ids that the table has; none where they do not have the type of its key."""
    assert table.key is not None
    key = PgType(table.columns[table.key].spec)
    column: sa.ColumnClause[Any] = sa.column(table.key, key)
    wanted = sa.cast(list(ids), sa.ARRAY(key)).any_()
    try:
        with connection.begin_nested():
            rows = sa.table(table.name, column, schema=table.schema)
            return list(connection.scalars(sa.select(as_text(column)).select_from(rows).where(column == wanted)))
    except (sa.exc.DataError, sa.exc.ProgrammingError):
        return []
