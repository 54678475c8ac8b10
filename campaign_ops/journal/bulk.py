"""Many rows of our own tables in one statement, or a few: they are sent as JSON documents."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

ROWS = "rows"
_NO_ROWS: sa.ColumnElement[Any] = sa.literal_column("'[]'::jsonb", JSONB)
ROWS_AT_ONCE = 10_000  # documents have a maximum size, and memory holds several copies of each


def as_rows(table: sa.Table, names: Sequence[str], *, numbered: bool = False) -> sa.TableValuedAlias:
    """The bound document as rows of these columns of the table. Binds: rows, as `document` makes it.

    With ``numbered``, each row has its place in the document as ``place``, too.
    """
    rows = sa.cast(sa.bindparam(ROWS, type_=sa.Text), JSONB)
    columns = [sa.column(name, table.c[name].type) for name in names]
    columns += [sa.column("place", sa.Integer)] if numbered else []
    return sa.func.jsonb_to_recordset(rows).table_valued(*columns).render_derived(name="given", with_types=True)


def document(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The binds of a statement over `as_rows`."""
    return {ROWS: json.dumps([dict(row) for row in rows], default=_as_text)}


def insert_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns, if there are any."""
    if not rows:
        return
    statement = _insertion(table, tuple(rows[0]))
    for first in range(0, len(rows), ROWS_AT_ONCE):
        connection.execute(statement, document(rows[first : first + ROWS_AT_ONCE]))


@cache
def _insertion(table: sa.Table, names: Sequence[str]) -> sa.Insert:
    return sa.insert(table).from_select(list(names), sa.select(*as_rows(table, names).c))


def as_json(query: sa.Select[*tuple[Any, ...]]) -> sa.ScalarSelect[Any]:
    """The rows of a query as one value: a list of documents, in the query's order."""
    rows = query.subquery()
    document = sa.func.to_jsonb(rows.table_valued())
    return sa.select(sa.func.coalesce(sa.func.jsonb_agg(document), _NO_ROWS)).scalar_subquery()


def texts(values: Collection[str]) -> sa.ColumnElement[Any]:
    """The values as one bound text array."""
    return sa.bindparam(None, list(values), type_=sa.ARRAY(sa.Text))


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    message = f"{type(value).__name__} cannot be sent as JSON"
    raise TypeError(message)
