"""Recipients that the provider may have, remembered until a person decides or their rows move.

Markers in Redis expire and completed jobs are cleaned away; what either has shown once is kept here. Whether a row has
moved is asked through `recipients.waits`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.model import Suspect
from campaign_ops.journal import schema
from campaign_ops.journal.bulk import ROWS_AT_ONCE, as_rows, document, texts
from campaign_ops.postgres.clock import database_now
from campaign_ops.postgres.expressions import ONE
from campaign_ops.postgres.recipients import waits
from campaign_ops.postgres.tables import PlatformTables

_KEY = ("tables", "recipient_id")
_COLUMNS = (*_KEY, "campaign_id", "job_ids", "seen_at", "decided_at")


class AmbiguousLog:
    """The suspects of one platform, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def undecided(self) -> sa.Select[str, str | None]:
        """(recipient id, a completed job that lists it) of each recipient that is not decided."""
        table = schema.ambiguous.c
        return sa.select(table.recipient_id, table.job_ids[1].label("job_id")).where(
            table.tables == self.tables, table.decided_at.is_(None)
        )

    def has_known(self, connection: sa.Connection) -> bool:
        """Return whether there are suspects, decided or not."""
        return bool(connection.scalar(sa.select(self.any_known())))

    def any_known(self) -> sa.ColumnElement[bool]:
        """There are suspects, decided or not."""
        return sa.exists(ONE).where(schema.ambiguous.c.tables == self.tables)

    def of_campaign(self, connection: sa.Connection, campaign_id: str, *, limit: int) -> list[str]:
        """The first ids of a campaign's recipients that a person has to decide about."""
        query = self.undecided().where(schema.ambiguous.c.campaign_id == campaign_id)
        return [row.recipient_id for row in connection.execute(query.order_by("recipient_id").limit(limit))]

    def is_decided(self, recipient_id: sa.ColumnElement[str], job_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """A person has decided about this recipient, knowing of this completed job."""
        table = schema.ambiguous.c
        known = sa.and_(table.tables == self.tables, table.recipient_id == recipient_id)
        return sa.exists(ONE).where(known, table.decided_at.is_not(None), job_id == sa.any_(table.job_ids))

    def remember(self, connection: sa.Connection, suspects: Sequence[Suspect], *, seen_at: datetime) -> None:
        """Keep these suspects; a decided one is open again if it was seen after the decision."""
        self._write(connection, suspects, seen_at=seen_at, decided_at=None)

    def decide(self, connection: sa.Connection, suspects: Sequence[Suspect]) -> None:
        """Record that a person lets these be sent to again: only a new marker or completed job makes them suspects."""
        now = database_now(connection)
        self._write(connection, suspects, seen_at=now, decided_at=now)

    def forget(self, connection: sa.Connection, recipient_ids: Collection[str]) -> None:
        """Delete these: their rows have moved."""
        table = schema.ambiguous
        mine = sa.and_(table.c.tables == self.tables, table.c.recipient_id == sa.any_(texts(recipient_ids)))
        connection.execute(sa.delete(table).where(mine))

    def forget_moved(self, connection: sa.Connection, tables: PlatformTables) -> None:
        """Delete those whose rows no longer have to be sent to, or are gone."""
        table = schema.ambiguous
        moved = sa.not_(waits(table.c.recipient_id, tables))
        connection.execute(sa.delete(table).where(table.c.tables == self.tables, moved))

    def _write(
        self, connection: sa.Connection, suspects: Sequence[Suspect], *, seen_at: datetime, decided_at: datetime | None
    ) -> None:
        table = schema.ambiguous
        given = as_rows(table, _COLUMNS)
        # Always in one order: two concurrent writers must not wait for each other.
        source = sa.select(*given.c).order_by(given.c.recipient_id)
        statement = insert(table).from_select(list(_COLUMNS), source)
        new = statement.excluded
        both = sa.func.unnest(table.c.job_ids + new.job_ids).column_valued("job_id")
        statement = statement.on_conflict_do_update(
            index_elements=_KEY,
            set_={
                "campaign_id": new.campaign_id,
                "job_ids": sa.func.array(sa.select(sa.distinct(both)).scalar_subquery()),
                "seen_at": new.seen_at,
                "decided_at": new.decided_at,
            },
            where=sa.or_(table.c.decided_at.is_(None), new.seen_at > table.c.decided_at),
        )
        for start in range(0, len(suspects), ROWS_AT_ONCE):
            rows: list[dict[str, Any]] = [
                {
                    "tables": self.tables,
                    "recipient_id": suspect.recipient_id,
                    "campaign_id": suspect.campaign_id,
                    "job_ids": list(suspect.job_ids),
                    "seen_at": seen_at,
                    "decided_at": decided_at,
                }
                for suspect in suspects[start : start + ROWS_AT_ONCE]
            ]
            connection.execute(statement, document(rows))
