"""The drill's own record of who changed what, kept by triggers, so that nobody has to be believed.

Schema ``drill`` of the platform's database. Every change of a campaign or reservation row is written down with its
transaction, its role and both images of the row; every journal row with what its campaign was like at that moment and
who held the sweep lock. It only records: what it means is the audit's business.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_ops.lab.drill.triggers import statements
from campaign_ops.profile.model import Profile

SCHEMA = "drill"

FAULT = "fault"
AGAIN = "again"
END = "end"
MISSED = "missed"
REDIS_LOSS = "redis_loss"
CONFIRMED = "confirmed"
SETTLING = "settling"
UNDOING = "undoing"
"""Kinds of marks. ``again``: a fault that a server kept from happening is tried once more. ``missed``: one of that
name met nothing that it could harm, or was tried in vain; noted when all are over. ``redis_loss``: data of Redis was
lost or became old, noted while it is down. ``confirmed``: a person is about to confirm the breaker; the text is the
sweep's run id. ``settling``: no more faults from now on. ``undoing``: the audit is over, and repairs are taken back
on trial."""


@dataclass(frozen=True, slots=True)
class RecipientCounts:
    """A campaign's recipients at one moment, by what their words mean. ``waiting``: pending, and never handed over."""

    waiting: int
    unknown: int
    well: int
    failed: int


@dataclass(frozen=True, slots=True)
class Change:
    """One row that was changed.

    Attributes:
        id: In order of time, for one row.
        at: When, by the database's clock.
        txid: The transaction; what belongs together has one.
        role: Who, as they logged in; empty for rows that were there before the ledger.
        application: What the connection called itself.
        relation: ``campaign``, ``reservation``, or ``recipient`` (only those that got a word nobody knows).
        key: The row's id.
        old: The row before, under its own column names; None when it was inserted.
        new: The row after; None when it was deleted.
        people: For a campaign that leaves sending: its recipients at that moment.
        campaign_status: For a reservation: its campaign's status at that moment; None when there is no campaign.
    """

    id: int
    at: datetime
    txid: int
    role: str
    application: str
    relation: str
    key: str
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    people: RecipientCounts | None
    campaign_status: str | None


@dataclass(frozen=True, slots=True)
class Journaled:
    """One journal row, as it was written: its transaction, its campaign then, and who held the sweep lock.

    ``application`` and ``lock_holder`` are what connections call themselves: the same for those of one process.
    """

    repair_id: int
    at: datetime
    txid: int
    role: str
    application: str
    campaign: Mapping[str, Any] | None
    people: RecipientCounts | None
    lock_holder: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """Something to be remembered with its time."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Excuse:
    """A recipient about whom nobody could know (``unknowable``), or whose old job came back (``restored``)."""

    at: datetime
    kind: str
    recipient_id: str


class Ledger:
    """The ledger of one platform.

    Args:
        engine: The owner's, on the platform's database.
        ops_role: The role as which everything of ours logs in.
        profile: How the platform's tables are named.
    """

    def __init__(self, engine: sa.Engine, ops_role: str, profile: Profile) -> None:
        self.engine = engine
        self.ops_role = ops_role
        self.profile = profile

    def install(self) -> None:
        """Make the tables and triggers, and write down the rows that are there.

        To be called once, when the platform's tables and schema ``campaign_ops`` exist.
        """
        with self.engine.begin() as connection:
            for statement in statements(self.profile):
                connection.exec_driver_sql(statement)

    # -- marks -------------------------------------------------------------------------------------------------

    def note(self, kind: str, text: str) -> None:
        """Remember what happens now: for the picture, and for what the audit may excuse."""
        with self.engine.begin() as connection:
            connection.execute(_INSERT_MARK, {"kind": kind, "text": text})

    def note_unknowable(self, recipient_ids: Collection[str]) -> None:
        """These were sent to and it is written nowhere, and the claims on them are lost with Redis' data now."""
        self._excuse("unknowable", recipient_ids)

    def note_restored(self, recipient_ids: Collection[str]) -> None:
        """Jobs that cover these came back with Redis' old data now."""
        self._excuse("restored", recipient_ids)

    def marks(self) -> list[Mark]:
        """All marks, in order."""
        with self.engine.connect() as connection:
            return list(marks(connection))

    def _excuse(self, kind: str, recipient_ids: Collection[str]) -> None:
        if recipient_ids:
            with self.engine.begin() as connection:
                connection.execute(_INSERT_EXCUSE, [{"kind": kind, "id": one} for one in recipient_ids])


_INSERT_MARK = sa.text("INSERT INTO drill.mark (kind, text) VALUES (:kind, :text)")
_INSERT_EXCUSE = sa.text("INSERT INTO drill.excuse (kind, recipient_id) VALUES (:kind, :id)")
# As text: a driver reads the numbers of a JSON document as floats, and credits are exact.
_CHANGES = sa.text(
    "SELECT id, at, txid, role, application, relation, key, old::text, new::text, people::text, campaign_status"
    " FROM drill.change ORDER BY id"
)
_JOURNALED = sa.text(
    "SELECT repair_id, at, txid, role, application, campaign::text, people::text, lock_holder FROM drill.journaled"
    " ORDER BY repair_id"
)


def changes(connection: sa.Connection) -> Iterator[Change]:
    """Every change that was written down, in order."""
    for row in connection.execute(_CHANGES):
        told = {**row._mapping, "old": _document(row.old), "new": _document(row.new), "people": _people(row.people)}  # noqa: SLF001
        yield Change(**told)


def journaled(connection: sa.Connection) -> Iterator[Journaled]:
    """Every journal row that was written, by its number."""
    for row in connection.execute(_JOURNALED):
        told = {**row._mapping, "campaign": _document(row.campaign), "people": _people(row.people)}  # noqa: SLF001
        yield Journaled(**told)


def marks(connection: sa.Connection) -> Iterator[Mark]:
    """All marks, in order."""
    for row in connection.execute(sa.text("SELECT at, kind, text FROM drill.mark ORDER BY id")):
        yield Mark(*row)


def excuses(connection: sa.Connection) -> Iterator[Excuse]:
    """All excused recipients, in order of time."""
    for row in connection.execute(sa.text("SELECT at, kind, recipient_id FROM drill.excuse ORDER BY at")):
        yield Excuse(*row)


def _document(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text, parse_float=Decimal)


def _people(text: str | None) -> RecipientCounts | None:
    return None if text is None else RecipientCounts(**json.loads(text))
