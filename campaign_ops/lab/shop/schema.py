"""The watched platform's own tables, made the way its migrations make them (Prisma's habits), for any profile.

Names come from the profile, types from a ``PlatformShape``. Columns are keyed by the profile's role names, so that
``tables.campaign.c.updated_at`` is whatever the profile calls ``updated_at``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile

Columns = list[sa.Column[Any]]


@dataclass(frozen=True, slots=True)
class PlatformShape:
    """The column types that platforms differ in. The defaults are Prisma's.

    Attributes:
        ids: Type of every id.
        statuses: Free text, or one enum type for each status column.
        timestamps: ``naive`` is ``timestamp(3)`` without time zone, holding UTC.
        amounts: Type of a reservation's amount.
        foreign_keys: Whether a recipient's campaign is a foreign key.
        extra_words: Recipient words of the platform that the profile does not know; needed for enum types only.
    """

    ids: Literal["text", "uuid", "integer", "bigint"] = "text"
    statuses: Literal["text", "enum"] = "text"
    timestamps: Literal["naive", "aware"] = "naive"
    amounts: Literal["integer", "numeric"] = "integer"
    foreign_keys: bool = True
    extra_words: tuple[str, ...] = ()

    @property
    def numeric_ids(self) -> bool:
        """Return whether ids are numbers, in rows and in a job's payload."""
        return self.ids in ("integer", "bigint")


PRISMA = PlatformShape()


class ShopTables:
    """Campaign, recipient and (where the profile has them) reservation as SQLAlchemy tables.

    They have ``phone`` and ``message`` columns like any such platform: campaign_ops must never read them.
    """

    def __init__(self, profile: Profile, shape: PlatformShape) -> None:
        self.profile = profile
        self.shape = shape
        self.metadata = sa.MetaData(schema=profile.db_schema)
        self.campaign = self._campaign()
        self.recipient = self._recipient()
        self.reservation = self._reservation()

    @property
    def activity(self) -> Columns:
        """The recipient's activity columns, in the profile's order."""
        return [self.recipient.c[name] for name in self.profile.recipient.activity]

    @property
    def reservations(self) -> sa.Table:
        """The reservation table of a platform that has one."""
        assert self.reservation is not None, f"profile {self.profile.name} has no reservations"
        return self.reservation

    def _campaign(self) -> sa.Table:
        names = self.profile.campaign
        counters = names.counters
        columns: Columns = [
            self._id(names.id, "id", primary_key=True),
            sa.Column(names.tenant, sa.Text, key="tenant", nullable=False),
            sa.Column(names.name, sa.Text, key="name", nullable=False),
            sa.Column("message", sa.Text, nullable=False, server_default="Hi!"),
            self._status(names.status, names.table, names.words.all_known),
            self._moment(names.updated_at, "updated_at", nullable=False),
        ]
        columns += [
            self._moment(name, key)
            for key, name in (("started_at", names.started_at), ("completed_at", names.completed_at))
            if name
        ]
        if counters is not None:
            columns += [
                sa.Column(getattr(counters, key), sa.Integer, key=key, nullable=False, server_default="0")
                for key in ("total", "succeeded", "failed")
            ]
        table = sa.Table(names.table, self.metadata, *columns)
        self._index(table, "status", "updated_at")
        return table

    def _recipient(self) -> sa.Table:
        names = self.profile.recipient
        # Rows that are inserted when sent outlive their campaign (SET NULL); a mailing list is deleted with it.
        keeps = names.rows == "sent"
        parent = sa.ForeignKey(self.campaign.c.id, onupdate="CASCADE", ondelete="SET NULL" if keeps else "CASCADE")
        columns: Columns = [
            self._id(names.id, "id", primary_key=True),
            self._id(names.campaign_id, "campaign_id", *([parent] if self.shape.foreign_keys else []), nullable=keeps),
            sa.Column("phone", sa.Text, nullable=False),
            sa.Column("message", sa.Text),
            self._status(names.status, names.table, (*names.words.all_known, *self.shape.extra_words)),
        ]
        if names.provider_id:
            columns.append(sa.Column(names.provider_id, sa.Text, key="provider_id"))
        if names.about:
            columns.append(sa.Column(_first(names.about), sa.Text, key="about"))
        if names.created_at:
            columns.append(self._moment(_first(names.created_at), "created_at"))
        columns += [self._moment(name, name) for name in names.activity]
        table = sa.Table(names.table, self.metadata, *columns)
        self._index(table, "campaign_id", "status")
        return table

    def _reservation(self) -> sa.Table | None:
        names = self.profile.reservation
        if names is None:
            return None
        amount = sa.Integer() if self.shape.amounts == "integer" else sa.Numeric(18, 6)
        columns: Columns = [
            self._id(names.id, "id", primary_key=True),
            sa.Column(names.tenant, sa.Text, key="tenant", nullable=False),
            # No foreign key: credits stay reserved when their campaign is deleted.
            self._id(names.campaign_id, "campaign_id", nullable=True),
            sa.Column(names.amount, amount, key="amount", nullable=False),
            self._status(names.status, names.table, (names.words.held, names.words.released)),
            self._moment(names.created_at, "created_at", nullable=False),
        ]
        columns += [
            self._moment(name, key)
            for key, name in (("expires_at", names.expires_at), ("released_at", names.released_at))
            if name
        ]
        table = sa.Table(names.table, self.metadata, *columns)
        self._index(table, "campaign_id", "status")
        return table

    def _id(self, name: str, key: str, *more: sa.ForeignKey, **options: Any) -> sa.Column[Any]:
        types: Mapping[str, sa.types.TypeEngine[Any]] = {
            "text": sa.Text(),
            "uuid": sa.Uuid(as_uuid=False),
            "integer": sa.Integer(),
            "bigint": sa.BigInteger(),
        }
        return sa.Column(name, types[self.shape.ids], *more, key=key, autoincrement=False, **options)

    def _status(self, name: str, table: str, words: tuple[str, ...]) -> sa.Column[Any]:
        if self.shape.statuses == "text":
            return sa.Column(name, sa.Text, key="status", nullable=False)
        kind = pg.ENUM(*words, name=f"{table}Status", schema=self.profile.db_schema, metadata=self.metadata)
        return sa.Column(name, kind, key="status", nullable=False)

    def _moment(self, name: str, key: str, **options: Any) -> sa.Column[Any]:
        aware = self.shape.timestamps == "aware"
        return sa.Column(name, pg.TIMESTAMP(timezone=aware, precision=3), key=key, **options)

    def _index(self, table: sa.Table, *keys: str) -> None:
        columns = [table.c[key] for key in keys]
        sa.Index("_".join([table.name, *(column.name for column in columns), "idx"])[:63], *columns)


def _first(names: str | tuple[str, ...]) -> str:
    return names if isinstance(names, str) else names[0]


def builtin_profile(name: str) -> Profile:
    """Load a profile that ships with campaign_ops: ``sms`` or ``messenger``."""
    return load_profile(name)


def create_tables(
    connection: sa.Connection,
    profile: Profile,
    shape: PlatformShape = PRISMA,
) -> ShopTables:
    """Create the platform's schema, enum types, tables and indexes in an empty database."""
    tables = ShopTables(profile, shape)
    connection.execute(sa.schema.CreateSchema(profile.db_schema, if_not_exists=True))
    tables.metadata.create_all(connection, checkfirst=False)
    return tables
