"""Reads the shop's rows, for tests and for the people and workers of the lab.

Rows are keyed by the profile's role names (``updated_at``), ids and words are text, moments aware and in UTC.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from campaign_ops.lab.shop.fingerprint import TableRows, database_fingerprint
from campaign_ops.lab.shop.schema import PRISMA, PlatformShape, ShopTables
from campaign_ops.profile.model import Profile

Row = dict[str, Any]


class RowReader:
    """One platform's rows.

    A label such as ``cmp_black_friday`` stands for an id: it is the id where ids are text; where they are uuids or
    numbers, the id is computed from it, always the same. Methods accept labels and ids and return ids, as text.

    Args:
        engine: Where the platform's tables are.
        profile: How they are named.
        shape: How they are typed.
    """

    def __init__(self, engine: sa.Engine, profile: Profile, shape: PlatformShape = PRISMA) -> None:
        self.engine = engine
        self.profile = profile
        self.tables = ShopTables(profile, shape)

    def close(self) -> None:
        """Close the engine's connections."""
        self.engine.dispose()

    def id(self, label: str) -> str:
        """Return the id that ``label`` stands for; an id stands for itself."""
        match self.tables.shape.ids:
            case "text":
                return label
            case "uuid":
                try:
                    return str(uuid.UUID(label))
                except ValueError:
                    return str(uuid.uuid5(uuid.NAMESPACE_OID, label))
            case "integer":
                return label if label.isdecimal() else str(1 + zlib.crc32(label.encode()) % 1_000_000_000)
            case "bigint":  # as in `RowWriter`
                return label if label.isdecimal() else str(int(hashlib.md5(label.encode()).hexdigest()[:13], 16))

    def campaign(self, campaign: str) -> Row:
        """Read the campaign's row."""
        return self._one(self.tables.campaign, campaign)

    def label(self, campaign: str) -> str:
        """Return the campaign's name: the label that it was written with, unless it was given another name."""
        table = self.tables.campaign
        with self.engine.connect() as connection:
            name = connection.scalar(sa.select(table.c.name).where(table.c.id == self.bound(campaign)))
        return str(name or "")

    def exists(self, campaign: str) -> bool:
        """Return whether there is such a campaign."""
        wanted = sa.select(sa.literal(1)).where(self.tables.campaign.c.id == self.bound(campaign))
        with self.engine.connect() as connection:
            return connection.scalar(wanted) is not None

    def campaigns(self, status: str | None = None) -> list[Row]:
        """Read all campaigns, or those in one status, the longest untouched first."""
        table = self.tables.campaign
        wanted = self._readable(table).order_by(table.c.updated_at, table.c.id)
        return self._rows(wanted if status is None else wanted.where(table.c.status == status))

    def recipients(self, campaign: str) -> list[Row]:
        """Read the campaign's recipients, by id."""
        return self._rows(self._readable(self.tables.recipient).where(self._of(campaign)).order_by("id"))

    def reservation(self, reservation: str) -> Row:
        """Read the reservation's row."""
        return self._one(self.tables.reservations, reservation)

    def reservations(self, campaign: str) -> list[Row]:
        """Read the campaign's reservations, by id."""
        table = self.tables.reservations
        of_campaign = table.c.campaign_id == self.bound(campaign)
        return self._rows(self._readable(table).where(of_campaign).order_by("id"))

    def recipient_ids(self, campaign: str) -> list[str]:
        """Read the ids of all the campaign's recipients, in order."""
        return self._ids(self._of(campaign))

    def pending_ids(self, campaign: str) -> list[str]:
        """Read the ids of the recipients that are pending and not yet accepted by the provider, in order."""
        return self._ids(self._of(campaign), *self._unsent())

    def failed_ids(self, campaign: str) -> list[str]:
        """Read the ids of the recipients that have failed, in order."""
        return self._ids(self._of(campaign), self.tables.recipient.c.status.in_(self.profile.recipient.words.failed))

    def tally(self, campaign: str) -> dict[str, int]:
        """Count the campaign's recipients by status word."""
        word = sa.cast(self.tables.recipient.c.status, sa.Text)
        counts = sa.select(word, sa.func.count()).where(self._of(campaign)).group_by(word).order_by(word)
        with self.engine.connect() as connection:
            return {str(key): int(count) for key, count in connection.execute(counts)}

    def fingerprint(self) -> TableRows:
        """Return all rows of all tables of the platform's schema, as one comparable value."""
        with self.engine.connect() as connection:
            return database_fingerprint(connection, self.profile.db_schema)

    def bound(self, label: str) -> str | int:
        """Return the id that ``label`` stands for, as the driver takes it."""
        key = self.id(label)
        return int(key) if self.tables.shape.numeric_ids else key

    def _of(self, campaign: str) -> sa.ColumnElement[bool]:
        return self.tables.recipient.c.campaign_id == self.bound(campaign)

    def _unsent(self) -> list[sa.ColumnElement[bool]]:
        """Pending, and not accepted by the provider."""
        columns = self.tables.recipient.c
        premise: list[sa.ColumnElement[bool]] = [columns.status.in_(self.profile.recipient.words.pending)]
        if "provider_id" in columns:
            premise.append(columns.provider_id.is_(None))
        return premise

    def _ago(self, age: timedelta) -> sa.ColumnElement[Any]:
        """Return a moment of the past by the database's clock, typed like the platform's columns."""
        now: sa.ColumnElement[Any] = sa.func.now()
        if self.tables.shape.timestamps == "naive":
            now = sa.func.timezone("utc", now)
        return now - sa.literal(age, sa.Interval)

    def _readable(self, table: sa.Table) -> sa.Select[Any]:
        return sa.select(*(_readable_column(column) for column in table.columns))

    def _ids(self, *premises: sa.ColumnElement[bool]) -> list[str]:
        column = self.tables.recipient.c.id
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.select(sa.cast(column, sa.Text)).where(*premises).order_by(column)))

    def _one(self, table: sa.Table, label: str) -> Row:
        (row,) = self._rows(self._readable(table).where(table.c.id == self.bound(label)))
        return row

    def _rows(self, statement: sa.Select[Any]) -> list[Row]:
        with self.engine.connect() as connection:
            return [
                {key: _utc(value) for key, value in row.items()} for row in connection.execute(statement).mappings()
            ]


def _readable_column(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.DateTime):
        return (column if column.type.timezone else sa.func.timezone("utc", column)).label(column.key)
    if column.key in ("id", "campaign_id", "status"):
        return sa.cast(column, sa.Text).label(column.key)
    return column.label(column.key)


def _utc(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
