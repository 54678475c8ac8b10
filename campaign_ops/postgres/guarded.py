"""Guarded statements on any row: an exact undo, and the reasons why a write changed nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from campaign_ops.postgres.expressions import Query, as_moment, as_text, settable


def restore(table: sa.Table, row_id: str, *, before: Mapping[str, Any], after: Mapping[str, Any]) -> sa.Update:
    """Set one row back to ``before``, if every journaled column is still as we left it (``after``)."""
    values = settable({table.c[key]: _value(table.c[key], before[key]) for key in after})
    return sa.update(table).values(values).where(*_as_left(table, row_id, after)).returning(as_text(table.c.id))


def as_left(table: sa.Table, row_id: str, *, after: Mapping[str, Any]) -> Query:
    """The id of one row, if every journaled column is still as we left it."""
    return sa.select(as_text(table.c.id)).where(*_as_left(table, row_id, after))


def restored(table: sa.Table, row_id: str, *, before: Mapping[str, Any], after: Mapping[str, Any]) -> Query:
    """The id of one row, if every column that `restore` sets is as it was ``before``.

    Except ``updated_at``: a trigger of the application may set it at every change.
    """
    return as_left(table, row_id, after={key: before[key] for key in after if key != "updated_at"})


def _as_left(table: sa.Table, row_id: str, after: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    same = [table.c[key].is_not_distinct_from(_value(table.c[key], value)) for key, value in after.items()]
    return [table.c.id == sa.bindparam(None, row_id, type_=table.c.id.type), *same]


def _value(column: sa.Column[Any], value: Any) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.DateTime):
        return as_moment(column, sa.bindparam(None, value, type_=sa.Text))
    return sa.bindparam(None, value, type_=column.type)


def matching(statement: sa.Update) -> Query:
    """The ids of the rows that a guarded statement would change now. Binds: as the statement."""
    assert isinstance(statement.table, sa.Table)
    assert statement.whereclause is not None
    return sa.select(as_text(statement.table.c.id)).where(statement.whereclause)


_UPDATE_TRIGGERS = sa.text(
    """
    SELECT t.tgname::text FROM pg_trigger t
    WHERE t.tgrelid = CAST(:name AS regclass) AND NOT t.tgisinternal AND t.tgenabled <> 'D'
      AND t.tgtype & 16 <> 0 AND t.tgtype & 2 <> 0
    ORDER BY 1
    """
)


def update_triggers(connection: sa.Connection, statement: sa.Update) -> str:
    """The names of enabled BEFORE UPDATE triggers on the statement's table, in words."""
    assert isinstance(statement.table, sa.Table)
    name = connection.dialect.identifier_preparer.format_table(statement.table)
    return f"triggers on it: {', '.join(connection.scalars(_UPDATE_TRIGGERS, {'name': name})) or 'none'}"
