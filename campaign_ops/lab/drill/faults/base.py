"""The interface of a fault, and tools that several faults share."""

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
    """A fault cannot end yet; its ``end`` is tried again later."""


class Fault:
    """One fault. Each time it is injected, a new instance is made.

    Attributes:
        name: Its name in options.
        title: What goes wrong, in one line.
        needs: Prerequisites: ``embedded`` servers, ``pgbouncer``, ``dagster``, ``time-machine``, ``watch``.
        resources: What only one fault may use at a time, such as ``redis``.
        lead_seconds: How long before ``inject`` its ``prepare`` is called; 0 if it needs no preparation.
        duration_seconds: Shortest and longest time from ``inject`` to ``end``.
        missed: It found nothing to harm. Known when ``inject`` has returned, or ``end`` where there is one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    resources: ClassVar[frozenset[str]] = frozenset()
    lead_seconds: ClassVar[float] = 0.0
    duration_seconds: ClassVar[tuple[float, float]] = (0.0, 0.0)
    missed: bool = False

    @property
    def lasts(self) -> bool:
        """Return whether the fault has an ``end``."""
        return type(self).end is not Fault.end

    def impossible(self, options: DrillOptions) -> str | None:
        """Return why it cannot be injected with these options, before anything is started; None if it can."""
        missing = [reason for need in sorted(self.needs) if (reason := _missing(need, options)) is not None]
        return "; ".join(missing) or None

    def unavailable(self, rig: Rig) -> str | None:
        """Return why it cannot be injected on this rig; None if it can."""
        return self.impossible(rig.options)

    def duration(self, rng: random.Random, seconds: float) -> float:  # noqa: ARG002 - some scale with the drill
        """Seconds from ``inject`` to ``end`` in a drill of ``seconds``."""
        return rng.uniform(*self.duration_seconds)

    def prepare(self, rig: Rig) -> None:
        """Set up what must exist for a while before ``inject``."""

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Inject it. Returns what was done, in one line. Is called again if a server was unavailable."""
        raise NotImplementedError

    def end(self, rig: Rig) -> None:
        """Repair what is not meant to last. Idempotent; is called even if ``inject`` failed half-way.

        Raises:
            NotYet: Call it again later.
        """


def _missing(need: str, options: DrillOptions) -> str | None:
    match need:
        case "embedded":
            external = options.database_url is not None
            return "the servers are external, and the drill may not stop them" if external else None
        case "pgbouncer":
            return pgbouncer.missing()
        case "dagster":
            return None if options.dagster else "the drill runs without Dagster"
        case "watch":
            return None if options.watch else "the drill runs without a watcher"
        case "time-machine":  # sets a process's clock wrong
            return None if importlib.util.find_spec("time_machine") else "time-machine is not installed"
    msg = f"unknown prerequisite {need!r}"
    raise ValueError(msg)


class RepeatedAction:
    """Repeats one action in a thread until stopped, such as conflicting writes. Errors of the server are only counted.

    Args:
        action: One round; it opens the connections that it needs.
        every_seconds: Pause between two rounds.
    """

    def __init__(self, action: Callable[[], object], every_seconds: float) -> None:
        self.rounds = 0
        self.refused = 0
        self._action = action
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> RepeatedAction:
        """Start the thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the current round."""
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._action()
                self.rounds += 1
            except (sa.exc.SQLAlchemyError, OSError):
                self.refused += 1
            self._over.wait(self._every_seconds)


def define(rig: Rig, *statements: str) -> None:
    """Run DDL in one transaction that waits at most 1 s for locks.

    Raises:
        OperationalError: The object is locked, or the server is unavailable; try again later.
    """
    with rig.owner.begin() as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        for statement in statements:
            connection.exec_driver_sql(statement)


def end_our_sessions(rig: Rig) -> int:
    """Terminate all sessions of campaign_ops's role, so that new ones get its new settings. Returns their number."""
    with rig.owner.connect() as connection:
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = :role"
        return int(connection.scalar(sa.text(query), {"role": role_of(rig)}) or 0)


def role_of(rig: Rig) -> str:
    """The role with which campaign_ops connects."""
    role = sa.make_url(rig.ops_url).username
    assert role is not None, "the rig's ops_url names no role"
    return role


def qualified(table: sa.Table) -> str:
    """The table's name, quoted for SQL."""
    return f'"{table.schema}"."{table.name}"'


@contextmanager
def closing_quietly(connection: sa.Connection | None) -> Iterator[None]:
    """Roll back and close the connection on exit, even when the server is gone."""
    try:
        yield
    finally:
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.rollback()
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.close()
