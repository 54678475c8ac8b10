"""Tables that people read in Dagster, made with pandas. Bounded: the whole of them is in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd

SHOWN = 50
_PLAIN = {str, int, float, bool, type(None)}


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as a frame of Python's own values: a count beside a gap must not become a float."""
    return pd.DataFrame([{name: row[name] for name in columns} for row in rows], columns=list(columns), dtype=object)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.TableMetadataValue:
    """The first ``SHOWN`` rows as a table in metadata."""
    shown = frame(rows[:SHOWN], columns)
    records = [
        dg.TableRecord({str(name): _plain(value) for name, value in row.items()}) for row in shown.to_dict("records")
    ]
    schema = dg.TableSchema(columns=[dg.TableColumn(name, _type(shown[name])) for name in columns])
    return dg.MetadataValue.table(records, schema)


def counted(rows: Sequence[Mapping[str, Any]], by: str, **sums: str) -> list[dict[str, Any]]:
    """How many rows there are of each ``by``, most first, with the sums of other columns; gaps count as nothing."""
    whole = frame(rows, [by, *sums.values()])
    groups = whole.assign(count=1).fillna(dict.fromkeys(sums.values(), 0)).groupby(by, dropna=False, sort=True)
    found = groups.agg(count=("count", "sum"), **{name: (column, "sum") for name, column in sums.items()})
    ordered = found.sort_values("count", ascending=False, kind="stable").reset_index()
    return [
        {str(name): value if name == by else int(value) for name, value in row.items()}
        for row in ordered.to_dict("records")
    ]


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, Decimal):
        return float(value)
    return value if type(value) in _PLAIN else str(value)  # Dagster takes no subclass: words are enums of ours


def _type(values: pd.Series[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return "int"
    return "float" if kinds and kinds <= {int, float, Decimal} else "string"
