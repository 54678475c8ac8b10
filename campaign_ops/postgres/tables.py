"""The platform's tables as SQLAlchemy objects: real names and types outside, the profile's role names as keys.

``tables.campaign.c.updated_at`` is the column that the profile calls ``updated_at``, whatever its name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from campaign_ops.core.ids import id_type
from campaign_ops.core.wording import is_unicode
from campaign_ops.postgres.catalog import INTEGER_TYPES, Catalog
from campaign_ops.profile.model import Profile

P = ParamSpec("P")
T = TypeVar("T")


class PgType(UserDefinedType[Any]):
    """A type by its catalog name. Bound values are cast to it, so that text reaches an enum or a bigint column.

    ``of_ids`` names the type of the ids that a column is compared with, where it is another one.
    """

    cache_ok = True
    render_bind_cast = True

    def __init__(self, spec: str, labels: tuple[str, ...] = (), of_ids: str = "") -> None:
        self.spec = spec
        self.labels = labels
        self.of_ids = of_ids

    @property
    def ids(self) -> PgType:
        """The type of the ids that a column of this type is compared with."""
        return PgType(self.of_ids) if self.of_ids else self

    def get_col_spec(self, **_: object) -> str:
        """The name, ready for a CAST."""
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
        return sa.Column(name, self._type(table, name, key), key=key, info={"generated": generated})

    def _type(self, table: str, name: str, key: str) -> sa.types.TypeEngine[Any]:
        column = self.catalog.column(table, name)
        match column.type_name:
            case "timestamp":
                return sa.DateTime(timezone=False)
            case "timestamptz":
                return sa.DateTime(timezone=True)
            case "numeric":
                return sa.Numeric()
            case "int2" | "int4" if key == "campaign_id":
                # One campaign with an id beyond this type ended every sweep. Not for all: PostgreSQL hashes an array of
                # the column's own type only.
                of_campaign = self.catalog.column(self.campaign.name, self.campaign.c.id.name)
                return PgType(column.spec, of_ids=of_campaign.spec if of_campaign.type_name != column.type_name else "")
            case _:
                return PgType(column.spec, column.words)

    def may_be_id(self, table: sa.Table, text: str) -> bool:
        """Return whether a text can be an id of this table; the server would refuse to compare any other."""
        return self._may_be(table.c.id, text)

    def may_be_tenant(self, text: str) -> bool:
        """Return whether a text can be a tenant of a campaign."""
        return self._may_be(self.campaign.c.tenant, text)

    def _may_be(self, column: sa.Column[Any], text: str) -> bool:
        type_name = self.catalog.column(column.table.name, column.name).type_name
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

    def own_tenant(self, text: str) -> str:
        """A tenant's id as the campaign table spells it: a UUID in lower case, a number without leading zeros."""
        type_name = self.catalog.column(self.campaign.name, self.campaign.c.tenant.name).type_name
        own = id_type(type_name).one(text) if type_name in {*INTEGER_TYPES, "uuid"} else text
        return text if own is None else own

    def campaign_of(self, reference: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
        """A reference to a campaign, as text, in the spelling of the campaign's own id.

        Only citext spells an id in several ways: a campaign ``One`` with recipients of ``one`` had none.
        """
        as_written = sa.cast(reference, sa.Text)
        if self.catalog.column(self.campaign.name, self.campaign.c.id.name).type_name != "citext":
            return as_written
        own = self.campaign.alias("referred")
        spelled = sa.select(sa.cast(own.c.id, sa.Text)).where(own.c.id == reference).correlate_except(own)
        return sa.func.coalesce(spelled.scalar_subquery(), as_written)

    @property
    def reservations(self) -> sa.Table:
        """The reservation table; only for a platform that has one."""
        assert self.reservation is not None, f"profile {self.profile.name} has no reservations"
        return self.reservation

    @property
    def activity_columns(self) -> list[sa.Column[Any]]:
        """The recipient's timestamp columns that show its last move."""
        wanted = set(self.profile.recipient.activity)
        return [column for column in self.recipient.columns if column.name in wanted]


_LATEST: dict[tuple[str, int], PlatformTables] = {}


def tables_of(profile: Profile, catalog: Catalog) -> PlatformTables:
    """Return the tables as profile and catalog have them, the same objects as long as both stay the same.

    A process that sweeps again then finds its 35 statements on them compiled.
    """
    key = profile.tables_key, catalog.campaign_oid
    known = _LATEST.get(key)
    if known is None or known.catalog != catalog or known.profile != profile:
        known = _LATEST[key] = PlatformTables(profile, catalog)
    return known


def made_once(make: Callable[Concatenate[PlatformTables, P], T]) -> Callable[Concatenate[PlatformTables, P], T]:
    """Keep the statement that ``make`` returns for a platform's tables, and for arguments that can be compared.

    Making one, and its key among the compiled statements, takes 0.3 to 2 ms each time: more than sending it.
    """
    return cast("Callable[Concatenate[PlatformTables, P], T]", lru_cache(maxsize=64)(make))
