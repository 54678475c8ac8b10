"""Tables in metadata. They are cut; the database has all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 25  # rows of every table, in every run, every ten minutes: Dagster keeps them all
_PLAIN = {str, int, float, bool, type(None)}

Rows = Sequence[Mapping[str, Any]]


def table(rows: Rows, columns: Sequence[str]) -> dg.TableMetadataValue:
    """The first ``SHOWN`` rows as a table in metadata."""
    shown = [{name: _plain(row[name]) for name in columns} for row in rows[:SHOWN]]
    schema = dg.TableSchema(columns=[dg.TableColumn(name, _type([row[name] for row in shown])) for name in columns])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in shown], schema)


def counted(rows: Rows, by: str, **sums: str) -> list[dict[str, Any]]:
    """The number of rows for each value of ``by``, most first, with sums of other columns; null counts as 0.

    Args:
        rows: The rows to count.
        by: The column to group by.
        sums: Column to sum, by the name of the sum.
    """
    if not rows:
        return []
    groups = _frame(rows, [by, *sums.values()]).fillna(dict.fromkeys(sums.values(), 0)).groupby(by)
    totals = groups.agg(count=(by, "size"), **{name: (column, "sum") for name, column in sums.items()})
    ordered = totals.sort_values("count", ascending=False, kind="stable").reset_index()
    # Dagster accepts numpy's numbers, and then the run fails.
    return [
        {str(name): value if name == by else int(value) for name, value in row.items()}
        for row in ordered.to_dict("records")
    ]


def _frame(rows: Rows, columns: Sequence[str]) -> pd.DataFrame:
    # Imported here: the import takes longer than a sweep, and a healthy platform does not need it.
    import pandas as pd  # noqa: PLC0415

    # As objects: a count must not become a float because of a null in its column.
    return pd.DataFrame([{name: row[name] for name in columns} for row in rows], columns=list(columns), dtype=object)


def _plain(value: Any) -> str | int | float | bool | None:
    """A value that a table accepts: subclasses are refused, and our words are enums."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, Decimal):
        return float(value)
    return value if type(value) in _PLAIN else str(value)


def _type(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return "int"
    return "float" if kinds and kinds <= {int, float} else "string"
