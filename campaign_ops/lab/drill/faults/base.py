"""What every fault is: something real that goes wrong, and what mends it. And tools that several of them use."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from campaign_ops.core.errors import Unavailable
from campaign_ops.lab.servers import pgbouncer

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig
    from campaign_ops.lab.drill.options import DrillOptions

SCHEMA = "drill"


class NotYet(Unavailable):
    """A fault cannot end yet: to be tried again a little later."""


class Fault:
    """One fault of a drill. An object of its own for every time that it happens.

    Attributes:
        name: What options call it.
        title: What goes wrong, in one plain line.
        needs: What must be there: ``embedded`` servers, ``pgbouncer``, ``dagster``, ``time-machine``.
        holds: What only one fault can have at a time, such as ``redis``.
        lead_seconds: How long before it happens ``prepare`` is called; 0 for those that need none.
        lasts_seconds: Shortest and longest time from ``inject`` to ``end``.
        missed: It met nothing that it could harm. Known once ``inject`` has returned, or ``end`` where there is one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    holds: ClassVar[frozenset[str]] = frozenset()
    lead_seconds: ClassVar[float] = 0.0
    lasts_seconds: ClassVar[tuple[float, float]] = (0.0, 0.0)
    missed: bool = False

    @property
    def lasts(self) -> bool:
        """Whether there is something to end."""
        return type(self).end is not Fault.end

    def impossible(self, options: DrillOptions) -> str | None:
        """Why it cannot happen here, as far as that is known before anything is started; None when it can."""
        missing = [reason for need in sorted(self.needs) if (reason := _missing(need, options)) is not None]
        return "; ".join(missing) or None

    def unavailable(self, rig: Rig) -> str | None:
        """Why it cannot happen on this stand; None when it can."""
        return self.impossible(rig.options)

    def duration(self, rng: random.Random, seconds: float) -> float:  # noqa: ARG002 - some scale with the drill
        """Seconds from ``inject`` to ``end`` in a drill of ``seconds``."""
        return rng.uniform(*self.lasts_seconds)

    def prepare(self, rig: Rig) -> None:
        """What has to be so for a while before it happens."""

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Let it happen. Returns what was done, in one line. May be called again when a server was away."""
        raise NotImplementedError

    def end(self, rig: Rig) -> None:
        """Mend what is not meant to last. May be called again, and when ``inject`` never came to an end.

        Raises:
            NotYet: It has to be called again.
        """


def _missing(need: str, options: DrillOptions) -> str | None:
    match need:
        case "embedded":
            given = options.database_url is not None
            return "the servers were given, and the drill may not stop them" if given else None
        case "pgbouncer":
            return pgbouncer.missing()
        case "dagster":
            return None if options.dagster else "the drill runs without Dagster"
        case "time-machine":  # sets a process' clock wrong
            return None if importlib.util.find_spec("time_machine") else "time-machine is not installed"
    msg = f"nobody knows what {need!r} is"
    raise ValueError(msg)


class RepeatedAction:
    """Somebody who does the same thing again and again, in a thread, until stopped. Errors of the server are his lot.

    Args:
        what: One round; it gets the connections that it needs by itself.
        every_seconds: Pause between two rounds.
    """

    def __init__(self, what: Callable[[], object], every_seconds: float) -> None:
        self.rounds = 0
        self.refused = 0
        self._what = what
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> RepeatedAction:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the round in hand."""
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._what()
                self.rounds += 1
            except (sa.exc.SQLAlchemyError, OSError):
                self.refused += 1
            self._over.wait(self._every_seconds)


def define(rig: Rig, *statements: str) -> None:
    """Run statements that define things, in one transaction that does not wait for locks for long.

    Raises:
        OperationalError: Somebody holds what is to be changed, or the server is away; to be tried again later.
    """
    with rig.owner.begin() as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        for statement in statements:
            connection.exec_driver_sql(statement)


def end_our_sessions(rig: Rig) -> int:
    """End all sessions of our own role, so that new ones take new settings. Returns how many there were."""
    with rig.owner.connect() as connection:
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = :role"
        return int(connection.scalar(sa.text(query), {"role": role_of(rig)}) or 0)


def role_of(rig: Rig) -> str:
    """The role as which everything of ours connects."""
    role = sa.make_url(rig.ops_url).username
    assert role is not None, "the stand's ops_url names no role"
    return role


def qualified(table: sa.Table) -> str:
    """A table's name as SQL takes it."""
    return f'"{table.schema}"."{table.name}"'


@contextmanager
def closing_quietly(connection: sa.Connection | None) -> Iterator[None]:
    """Roll back and close at the end, even when the server is gone."""
    try:
        yield
    finally:
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.rollback()
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.close()
