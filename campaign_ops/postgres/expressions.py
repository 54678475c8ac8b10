"""Column expressions that statements are made of: moments, ids and words in the columns' own types.

Ids go in as text arrays and come out as text; moments come out aware.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

IDS = sa.bindparam("ids", type_=sa.ARRAY(sa.Text))
# EXISTS (SELECT *) would ask for the right to read every column, phone numbers too.
ONE: sa.ColumnElement[int] = sa.literal_column("1")
Query = sa.Select[*tuple[Any, ...]]
NO_MOMENT = sa.cast(sa.null(), sa.DateTime(timezone=True))
_FLOATS = ("real", "double precision")
_OUR_YEARS = "0001-01-01", "9999-12-31 23:59:59.999999"


def seconds(name: str) -> sa.ColumnElement[Any]:
    """The bound number of seconds as an interval."""
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.bindparam(name, type_=sa.Float))


def settable(values: dict[Any, Any]) -> dict[Any, Any]:
    """The values without those of generated columns, which the database refuses to set."""
    return {column: value for column, value in values.items() if not column.info.get("generated")}


def db_now(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The database's clock as the column's type has it: UTC without zone where the column has none."""
    if isinstance(column.type, sa.DateTime) and not column.type.timezone:
        return sa.func.timezone("utc", sa.func.now(), type_=sa.DateTime(timezone=False))
    return sa.func.now(type_=sa.DateTime(timezone=True))


def as_moment(column: sa.ColumnElement[Any], value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """An aware value as the column's type has it, for comparing with it."""
    if isinstance(column.type, sa.DateTime) and not column.type.timezone:
        return sa.func.timezone("utc", sa.cast(value, sa.DateTime(timezone=True)), type_=sa.DateTime(timezone=False))
    return sa.cast(value, sa.DateTime(timezone=True))


def aware(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The column as an aware moment. Prisma writes UTC into columns without zone."""
    if isinstance(column.type, sa.DateTime) and not column.type.timezone:
        return sa.func.timezone("utc", column, type_=sa.DateTime(timezone=True))
    return column


def readable(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The column as an aware moment that Python can hold; NULL for infinity and for years before 1 or after 9999."""
    return sa.case((in_our_years(column), aware(column)))


def in_our_years(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """The moment is one that Python can hold."""
    first, last = (sa.cast(sa.literal_column(f"'{text}'"), column.type) for text in _OUR_YEARS)
    return column.between(first, last)


def exact(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The aware moment as text, to the last digit: the driver cannot hold infinity or a year BC."""
    return sa.cast(aware(column), sa.Text)


def impossible(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Nothing can have happened at this moment: infinity, a year that Python cannot hold, or a day still to come.

    Tomorrow is a subquery, to be worked out once: for each row, it took a third of the time of counting them.
    """
    first = sa.cast(sa.literal_column(f"'{_OUR_YEARS[0]}'"), column.type)
    return sa.not_(column.between(first, sa.select(tomorrow(column)).scalar_subquery()))


def tomorrow(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A day from now, as the column's type has it: differing time zones and clocks explain less than a day."""
    return db_now(column) + sa.func.make_interval(0, 0, 0, 1)


def is_recent(column: sa.ColumnElement[Any], within: str) -> sa.ColumnElement[bool]:
    """The moment is of the last ``within`` (a bind) seconds, or ahead by less than a day; false where NULL is bound."""
    return sa.func.coalesce(column.between(db_now(column) - seconds(within), tomorrow(column)), sa.false())


def is_finite(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """The number can be added up: neither NaN nor infinity. An integer always can."""
    if not isinstance(column.type, sa.Numeric) and not _is_float(column):
        return sa.true()
    not_finite = [sa.cast(sa.literal_column(f"'{text}'"), column.type) for text in ("NaN", "Infinity", "-Infinity")]
    return column.not_in(not_finite)


def summable(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The number as a type that adds up exactly: 0.1 and 0.2 in double precision are 0.30000000000000004."""
    return sa.cast(column, sa.Numeric) if _is_float(column) else column


def _is_float(column: sa.ColumnElement[Any]) -> bool:
    return getattr(column.type, "spec", "") in _FLOATS


def as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The column as text: ids and words are passed as strings."""
    return sa.cast(column, sa.Text)


def id_type(column: sa.ColumnElement[Any]) -> sa.types.TypeEngine[Any]:
    """The type of the ids that the column is compared with: its own, or its campaign's if that is another integer."""
    of_ids: sa.types.TypeEngine[Any] = getattr(column.type, "ids", column.type)
    return of_ids


def one_of(column: sa.ColumnElement[Any], values: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """``column = ANY (values)`` with the values, a text array of ids, cast to `id_type`."""
    return column == sa.any_(sa.cast(values, ARRAY(id_type(column))))


def words(column: sa.ColumnElement[Any], values: tuple[str, ...]) -> sa.ColumnElement[bool]:
    """``column IN (values)``, each cast to the column's type so that an index on it serves.

    Words that an enum type does not have are left out: no row holds them, and the server would refuse to compare.
    """
    labels = getattr(column.type, "labels", ())
    possible = [value for value in values if not labels or value in labels]
    return column.in_([sa.bindparam(None, value, type_=column.type) for value in possible]) if possible else sa.false()


def say_if(column: sa.ColumnElement[Any], text: sa.ColumnElement[str], condition: sa.ColumnElement[bool]) -> Any:
    """``<column> is <text>`` where the condition holds, else NULL."""
    return sa.case((condition, sa.literal(f"{column.name} is ", sa.Text).concat(text)))
