"""The platform's tables as SQLAlchemy objects: real names and types outside, the profile's role names as keys.

``tables.campaign.c.updated_at`` is the column that the profile calls ``updated_at``, whatever its name.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import UserDefinedType

from campaign_ops.core.wording import is_unicode
from campaign_ops.postgres.catalog import INTEGER_TYPES, Catalog
from campaign_ops.profile.model import Profile

_FLOATS = ("real", "double precision")
_OUR_YEARS = "0001-01-01", "9999-12-31 23:59:59.999999"


class PgType(UserDefinedType[Any]):
    """A type by its catalog name. Bound values are cast to it, so that text reaches an enum or a bigint column."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, spec: str, labels: tuple[str, ...] = ()) -> None:
        self.spec = spec
        self.labels = labels

    def get_col_spec(self, **_: object) -> str:
        """The name, as it stands in a CAST."""
        return self.spec


class PlatformTables:
    """Campaign, recipient and (where the platform has them) reservation, typed as the catalog says."""

    def __init__(self, profile: Profile, catalog: Catalog) -> None:
        self.profile = profile
        self.catalog = catalog
        self._metadata = sa.MetaData(schema=profile.db_schema)
        campaign = profile.campaign
        roles = {key: getattr(campaign, key) for key in ("id", "tenant", "name", "status", "updated_at")}
        optional = ("created_at", "started_at", "completed_at")
        roles |= {key: name for key in optional if (name := getattr(campaign, key))}
        if campaign.counters:
            roles |= {
                "total": campaign.counters.total,
                "succeeded": campaign.counters.succeeded,
                "failed": campaign.counters.failed,
            }
        self.campaign = self._table(campaign.table, roles)
        recipient = profile.recipient
        roles = {key: getattr(recipient, key) for key in ("id", "campaign_id", "status")}
        if recipient.provider_id:
            roles["provider_id"] = recipient.provider_id
        about = catalog.first_of(recipient.table, recipient.about)
        created_at = catalog.first_of(recipient.table, recipient.created_at, moment=True)
        roles |= {key: name for key, name in (("about", about), ("created_at", created_at)) if name}
        named = set(roles.values())
        roles |= {f"activity:{name}": name for name in recipient.activity if name not in named}
        self.recipient = self._table(recipient.table, roles)
        self.reservation: sa.Table | None = None
        if reservation := profile.reservation:
            keys = ["id", "tenant", "campaign_id", "amount", "status"]
            keys += ["created_at", "expires_at", "released_at", "updated_at"]
            roles = {key: name for key in keys if (name := getattr(reservation, key))}
            self.reservation = self._table(reservation.table, roles)
        self.balance: sa.Table | None = None
        if balance := profile.balance:
            self.balance = self._table(balance.table, {"tenant": balance.tenant, "credits": balance.credits})

    def _table(self, name: str, roles: dict[str, str]) -> sa.Table:
        return sa.Table(name, self._metadata, *(self._column(name, real, key) for key, real in roles.items()))

    def _column(self, table: str, name: str, key: str) -> sa.Column[Any]:
        generated = self.catalog.column(table, name).generated
        return sa.Column(name, self._type(table, name), key=key, info={"generated": generated})

    def _type(self, table: str, name: str) -> sa.types.TypeEngine[Any]:
        column = self.catalog.column(table, name)
        match column.type_name:
            case "timestamp":
                return sa.DateTime(timezone=False)
            case "timestamptz":
                return sa.DateTime(timezone=True)
            case "numeric":
                return sa.Numeric()
            case _:
                return PgType(column.spec, column.words)

    def may_be_id(self, table: sa.Table, text: str) -> bool:
        """Whether a person's text can be an id of this table at all; a server would refuse to compare it otherwise."""
        type_name = self.catalog.column(table.name, table.c.id.name).type_name
        if type_name in INTEGER_TYPES:
            bits = 8 * int(type_name.removeprefix("int")) - 1
            looks = text.isascii() and text.removeprefix("-").isdigit() and len(text) <= len(str(-(2**63)))
            return looks and -(2**bits) <= int(text) < 2**bits
        if type_name == "uuid":
            try:
                UUID(text)
            except ValueError:
                return False
        return "\0" not in text and is_unicode(text)

    @property
    def reservations(self) -> sa.Table:
        """The reservation table of a platform that has one."""
        assert self.reservation is not None, f"profile {self.profile.name} has no reservations"
        return self.reservation

    @property
    def activity_columns(self) -> list[sa.Column[Any]]:
        """The recipient's timestamp columns that show that it moved."""
        wanted = set(self.profile.recipient.activity)
        return [column for column in self.recipient.columns if column.name in wanted]


def settable(values: dict[Any, Any]) -> dict[Any, Any]:
    """The values without those of columns that the database computes itself, and refuses to be told."""
    return {column: value for column, value in values.items() if not column.info.get("generated")}


def db_now(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The database's clock in the column's own terms: UTC without zone where the column has none."""
    if isinstance(column.type, sa.DateTime) and not column.type.timezone:
        return sa.func.timezone("utc", sa.func.now(), type_=sa.DateTime(timezone=False))
    return sa.func.now(type_=sa.DateTime(timezone=True))


def as_moment(column: sa.ColumnElement[Any], value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """An aware value in the column's own terms, for comparing with it."""
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
    """The aware moment as text, to the last digit, whatever it is: the driver cannot hold infinity, or a year BC."""
    return sa.cast(aware(column), sa.Text)


def impossible(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Nothing can have happened at this moment: infinity, years that Python cannot hold, days that are yet to come."""
    return sa.or_(sa.not_(in_our_years(column)), column > tomorrow(column))


def tomorrow(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A day from now, in the column's own terms: differing time zones and clocks explain less."""
    return db_now(column) + sa.func.make_interval(0, 0, 0, 1)


def is_finite(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """The number is one that can be added up; an integer always is."""
    if not isinstance(column.type, sa.Numeric) and getattr(column.type, "spec", "") not in _FLOATS:
        return sa.true()
    endless = [sa.cast(sa.literal_column(f"'{text}'"), column.type) for text in ("NaN", "Infinity", "-Infinity")]
    return column.not_in(endless)


def as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The column as text: ids and words travel as strings."""
    return sa.cast(column, sa.Text)


def one_of(column: sa.ColumnElement[Any], values: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """``column = ANY (values)`` with the values, a text array, cast to the column's type."""
    return column == sa.any_(sa.cast(values, ARRAY(column.type)))


def words(column: sa.ColumnElement[Any], values: tuple[str, ...]) -> sa.ColumnElement[bool]:
    """``column IN (values)``, each cast to the column's type so that an index on it serves.

    Without words that an enum type does not have: no row holds them, and the server would refuse to compare.
    """
    labels = getattr(column.type, "labels", ())
    held = [value for value in values if not labels or value in labels]
    return column.in_([sa.bindparam(None, value, type_=column.type) for value in held]) if held else sa.false()
