"""The drill's own record of every change, written by triggers: independent of what campaign_ops reports.

In schema ``drill`` of the platform's database. Every change of a campaign or reservation row is recorded with its
transaction, its role and the row before and after; every journal row with the state of its campaign at that moment and
the holder of the sweep lock. It only records; checkers interpret it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
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
LOCK_LOSS = "lock_loss"
SETTLING = "settling"
UNDOING = "undoing"
ADDED = "added"
PLANNED = "planned"
SENT_OUT = "sent_out"
"""Kinds of marks. ``again``: a fault that could not be injected because a server was unavailable is retried.
``missed``: a fault of that name found nothing to harm, or could not be injected; noted when all are over.
``redis_loss``: Redis lost all its data (the text is ``EMPTIED``) or went back to old data, noted while it is down.
``lock_loss``: the session with the sweep lock was ended; the text is its ``application_name``. ``confirmed``: a person
is about to confirm the breaker; the text is the sweep's run id. ``settling``: no more faults from now on. ``undoing``:
the checks are complete, and the undo trial begins. ``added``: the application has added jobs with a client for Node, of
the major version in the text. ``planned``: on the platform beside, the application is about to begin a run of the
campaign in the text; ``sent_out``: nobody is left to be sent to in that run."""

EMPTIED = "Redis lost all its data"


@dataclass(frozen=True, slots=True)
class RecipientCounts:
    """A campaign's recipients at one moment, by the meaning of their status. ``waiting``: pending and not accepted."""

    waiting: int
    unknown: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a row.

    Attributes:
        id: Ascending in time for each row.
        at: The time, by the database's clock.
        txid: The transaction.
        role: The session's role; empty for rows that existed before the ledger.
        application: The connection's ``application_name``.
        relation: ``campaign``, ``reservation``, or ``recipient`` (only those that got an unknown status).
        key: The row's id.
        old: The row before, under its own column names; None for an insert.
        new: The row after; None for a delete.
        recipients: For a campaign that leaves sending: its recipients at that moment.
        campaign_status: For a reservation: its campaign's status at that moment; None if the campaign is gone.
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
    recipients: RecipientCounts | None
    campaign_status: str | None


@dataclass(frozen=True, slots=True)
class Journaled:
    """One journal row at the moment it was written: its transaction, its campaign, and the holder of the sweep lock.

    ``application`` and ``lock_holder`` are ``application_name`` values: equal for connections of one process.
    """

    repair_id: int
    at: datetime
    txid: int
    role: str
    application: str
    campaign: Mapping[str, Any] | None
    recipients: RecipientCounts | None
    lock_holder: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A noted event with its time."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Move:
    """A recipient's row after a change of its status, provider id or campaign: does it still wait to be sent to?"""

    at: datetime
    campaign_id: str
    waits: bool


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A change of our own note that the provider may have a recipient; not ``undecided``: decided, or forgotten."""

    at: datetime
    undecided: bool


@dataclass(frozen=True, slots=True)
class Excuse:
    """A recipient whose send could not be known (``unknowable``), or whose old job came back (``restored``)."""

    at: datetime
    kind: str
    recipient_id: str


class Ledger:
    """The ledger of one platform.

    Args:
        engine: The owner's, on the platform's database.
        ops_role: The role with which campaign_ops logs in.
        profile: The platform's profile.
    """

    def __init__(self, engine: sa.Engine, ops_role: str, profile: Profile) -> None:
        self.engine = engine
        self.ops_role = ops_role
        self.profile = profile

    def install(self) -> None:
        """Create the tables and triggers, and record the existing rows.

        Call it once, after the platform's tables and schema ``campaign_ops`` exist.
        """
        with self.engine.begin() as connection:
            for statement in statements(self.profile):
                connection.exec_driver_sql(statement)

    # -- marks -------------------------------------------------------------------------------------------------

    def note(self, kind: str, text: str) -> None:
        """Record an event at this moment, for the picture and for the checkers."""
        with self.engine.begin() as connection:
            connection.execute(_INSERT_MARK, {"kind": kind, "text": text})

    def note_unknowable(self, recipient_ids: Collection[str]) -> None:
        """Record that these were sent to without a record of it, and that Redis has just lost their claims."""
        self._excuse("unknowable", recipient_ids)

    def note_restored(self, recipient_ids: Collection[str]) -> None:
        """Record that jobs covering these have just come back with old data of Redis."""
        self._excuse("restored", recipient_ids)

    def marks(self) -> list[Mark]:
        """All marks, in order."""
        with self.engine.connect() as connection:
            return list(marks(connection))

    def _excuse(self, kind: str, recipient_ids: Collection[str]) -> None:
        if recipient_ids:
            with self.engine.begin() as connection:
                connection.execute(_INSERT_EXCUSE, [{"kind": kind, "id": key} for key in recipient_ids])


_INSERT_MARK = sa.text("INSERT INTO drill.mark (kind, text) VALUES (:kind, :text)")
_INSERT_EXCUSE = sa.text("INSERT INTO drill.excuse (kind, recipient_id) VALUES (:kind, :id)")
# As text: a driver parses the numbers of a JSON document as floats, and credits are exact.
_CHANGES = sa.text(
    "SELECT id, at, txid, role, application, relation, key, old::text, new::text, recipients::text, campaign_status"
    " FROM drill.change ORDER BY id"
)
_JOURNALED = sa.text(
    "SELECT repair_id, at, txid, role, application, campaign::text, recipients::text, lock_holder FROM drill.journaled"
    " ORDER BY repair_id"
)


def changes(connection: sa.Connection) -> Iterator[Change]:
    """All changes, in order."""
    for row in connection.execute(_CHANGES):
        images = {"old": _document(row.old), "new": _document(row.new), "recipients": _counts(row.recipients)}
        yield Change(**{**row._mapping, **images})  # noqa: SLF001 - the documented accessor


def journaled(connection: sa.Connection) -> Iterator[Journaled]:
    """All journal rows, by repair id."""
    for row in connection.execute(_JOURNALED):
        images = {"campaign": _document(row.campaign), "recipients": _counts(row.recipients)}
        yield Journaled(**{**row._mapping, **images})  # noqa: SLF001 - the documented accessor


def marks(connection: sa.Connection) -> Iterator[Mark]:
    """All marks, in order."""
    for row in connection.execute(sa.text("SELECT at, kind, text FROM drill.mark ORDER BY id")):
        yield Mark(*row)


def excuses(connection: sa.Connection) -> Iterator[Excuse]:
    """All excused recipients, in order of time."""
    for row in connection.execute(sa.text("SELECT at, kind, recipient_id FROM drill.excuse ORDER BY at")):
        yield Excuse(*row)


def moves(connection: sa.Connection) -> Mapping[str, Sequence[Move]]:
    """The changes of each recipient that changed, in order."""
    by_recipient: dict[str, list[Move]] = defaultdict(list)
    for key, *values in connection.execute(_MOVES):
        by_recipient[key].append(Move(*values))
    return by_recipient


def suspicions(connection: sa.Connection) -> Mapping[str, Sequence[Suspicion]]:
    """The suspicions about each recipient that there were any about, in order."""
    by_recipient: dict[str, list[Suspicion]] = defaultdict(list)
    for key, *values in connection.execute(_SUSPICIONS):
        by_recipient[key].append(Suspicion(*values))
    return by_recipient


_MOVES = sa.text("SELECT recipient_id, at, campaign_id, waits FROM drill.moved ORDER BY id")
_SUSPICIONS = sa.text("SELECT recipient_id, at, undecided FROM drill.suspect ORDER BY id")


def _document(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text, parse_float=Decimal)


def _counts(text: str | None) -> RecipientCounts | None:
    return None if text is None else RecipientCounts(**json.loads(text))
