"""A platform's database without a sweep around it: the application's side, and our statements one at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.policy import Policy
from campaign_ops.lab.shop.row_writer import RowWriter
from campaign_ops.lab.shop.schema import PlatformShape
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.profile.model import Profile

MAX_AGE = 172_800
Rows = list[dict[str, Any]]
Statement = sa.Select[Any] | sa.Update


@dataclass
class Ground:
    """``app`` writes as the application does; ``do`` runs one of our statements in a transaction of its own."""

    app: RowWriter
    database: Database
    tables: PlatformTables
    platform: Platform

    @classmethod
    def make(cls, url: str, profile: Profile, shape: PlatformShape, timezone: str) -> Ground:
        """The platform's tables in an empty database whose sessions believe to be in another time zone."""
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {engine.url.database} SET timezone = '{timezone}'")
        engine.dispose()
        app = RowWriter.connect(url, profile, shape, create=True)
        database = Database(url, Timeouts(statement_seconds=20, lock_seconds=1))
        platform = Platform(profile.name, profile, Policy(), database, None)
        return cls(app, database, database.run(platform.tables), platform)

    def begin(self) -> AbstractContextManager[sa.Connection]:
        """A transaction of ours."""
        return self.database.transaction()

    def do(self, statement: Statement, **binds: Any) -> Rows:
        """The rows that a statement gives back."""
        with self.begin() as connection:
            return [dict(row) for row in connection.execute(statement, binds).mappings()]

    def ids(self, statement: Statement, **binds: Any) -> list[str]:
        """The first column of those rows."""
        with self.begin() as connection:
            return [str(one) for one in connection.scalars(statement, binds)]

    def observed(self, *labels: str) -> dict[str, Any]:
        """What a repair's premise says must not have moved, as it is now."""
        rows = self.do(campaigns.by_id(self.tables), ids=[self.app.id(label) for label in labels])
        return {"ids": [row["id"] for row in rows], "updated_ats": [row["updated_at"] for row in rows]}

    def set_word(self, table: sa.Table, word: str | None, *where: sa.ColumnElement[bool]) -> None:
        """Put a status into rows that the profile does not know, or none at all, as an application's bug does."""
        status = table.c.status
        quote: Any = self.app.engine.dialect.identifier_preparer
        change = f"ALTER TABLE {quote.format_table(table)} ALTER {quote.format_column(status)} DROP NOT NULL"
        if word is not None and isinstance(status.type, sa.Enum):
            change = f"ALTER TYPE {quote.format_type(status.type)} ADD VALUE IF NOT EXISTS '{word}'"
        with self.app.engine.begin() as connection:
            connection.exec_driver_sql(change)
        value = sa.null() if word is None else sa.cast(sa.literal_column(f"'{word}'"), status.type)
        with self.app.engine.begin() as connection:
            connection.execute(table.update().where(*where).values({status: value}))

    def clear(self) -> None:
        """Empty every table of the platform."""
        wanted = [self.app.tables.recipient, self.app.tables.reservation, self.app.tables.campaign]
        with self.app.engine.begin() as connection:
            for table in wanted:
                if table is not None:
                    connection.execute(table.delete())

    def close(self) -> None:
        """Let go of all connections."""
        self.app.close()
        self.database.close()


def seconds_since(moment: datetime) -> float:
    """How long ago it was; it must be aware."""
    assert moment.tzinfo is not None
    return (datetime.now(UTC) - moment).total_seconds()


def kept(row: sa.RowMapping) -> dict[str, Any]:
    """A row as the journal keeps it."""
    columns = {key: value for key, value in row.items() if key not in ("id", "tenant", "campaign_id", "amount")}
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in columns.items()}
