"""What all manual fixes share: who asks, the outcome, the sweep lock, and the journal's author."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.confirmation import Sizes, exceeds
from campaign_ops.core.errors import QueueUnavailable, Refused, StatementRejected, Unavailable
from campaign_ops.core.model import RepairKind
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import guarded
from campaign_ops.postgres.database import SweepLock

log = logging.getLogger(__name__)

LOCK_WAIT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Person:
    """The person who asks, and why; ``trigger`` and ``run_id`` name the face and its run.

    ``confirmed``: what the fix may do at most, as its last dry run found it; empty without a code.
    """

    name: str
    reason: str
    run_id: str
    trigger: str = "cli"
    confirmed: Sizes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fix:
    """The outcome of a manual fix, or with ``dry_run`` what it would be. ``message`` is one line for the person.

    ``covers``: what the code of a dry run covers: sizes, words, ids of recipients; if empty, the message.
    """

    target: str
    changed: bool
    message: str
    repair_ids: tuple[int, ...] = ()
    covers: Sizes = field(default_factory=dict)


@contextmanager
def locked(platform: Platform) -> Iterator[SweepLock]:
    """Hold the sweep lock, so that a fix and a sweep take turns."""
    with ExitStack() as holding:
        yield holding.enter_context(platform.lock(wait_seconds=LOCK_WAIT_SECONDS).hold())
        try:
            holding.close()
        except Unavailable as error:  # the fix is made
            log.warning("%s: the sweep lock did not end in order: %s", platform.name, error)


def check_confirmed(person: Person, sizes: Sizes, where: str) -> None:
    """Refuse what would exceed what the person has confirmed: it has changed since the last dry run."""
    if person.confirmed and (more := exceeds(sizes, person.confirmed)):
        raise Refused(f"it is more than was confirmed ({more}); nothing was done", where=where, mend="look again")


@contextmanager
def half_made(so_far: str) -> Iterator[None]:
    """Say what is committed already where the queue is away for the rest; the fix may be made again."""
    try:
        yield
    except QueueUnavailable as error:
        error.what += f"; {so_far}"
        error.mend = "make it again once the queue answers"
        raise


def author_of(platform: Platform, connection: sa.Connection, person: Person) -> Author:
    """Begin the fix in the journal, and return its author there."""
    platform.check_writable(connection)
    author = platform.begin(connection, person.run_id, person.trigger, person.name)
    return replace(author, person_reason=person.reason)


def set_word(connection: sa.Connection, statement: sa.Update, binds: Mapping[str, Any], word: str) -> list[str]:
    """Set recipients to a status word by a statement that returns id and word; return the ids of those that it set.

    Raises:
        StatementRejected: A trigger changes one of them back. Called sent all the same, it would get another message.
    """
    rows = list(connection.execute(statement, dict(binds)))
    if resisting := [row.id for row in rows if row.status != word]:
        raise StatementRejected(
            f"{min(resisting)} is not {word!r} afterwards; {guarded.update_triggers(connection, statement)}",
            where=f"table {statement.table.description}",
            mend="nothing was done; let the trigger pass the change, or correct the rows in the application",
        )
    return [row.id for row in rows]


def already_made(platform: Platform, person: Person, kind: RepairKind, target: str) -> list[int]:
    """The repairs of this kind that this run made to the target: those of a commit whose answer was lost, too."""
    return platform.database.run(
        lambda connection: platform.journal.made(connection, person.run_id, kind, target), read_only=True
    )
