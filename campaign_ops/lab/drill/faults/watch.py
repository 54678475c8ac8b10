"""Faults that only the watcher notices, since no sweep runs, and faults of the watcher itself."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from campaign_ops.lab.drill.faults.base import Fault
from campaign_ops.lab.drill.watcher import STALE_AFTER_SECONDS

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

_LAST_SWEEP = sa.text("SELECT max(finished_at) FROM campaign_ops.sweep WHERE finished_at < :moment")


class _NoSweeps(Fault):
    """No sweep runs for so long that the last one is stale, if the drill is long enough for that."""

    resources = frozenset({"sweeper"})
    duration_seconds = (4.0, 4.4)  # a statement that hangs with its client must not exceed its bound of 5 s

    def __init__(self) -> None:
        self._ended_at: datetime | None = None

    def end(self, rig: Rig) -> None:
        """Let sweeps run again, and see whether there was none for long enough."""
        self._ended_at = self._ended_at or datetime.now(UTC)
        self._resume(rig)
        with rig.owner.connect() as connection:
            last = connection.scalar(_LAST_SWEEP, {"moment": self._ended_at})
        self.missed = last is None or self._ended_at - last < timedelta(seconds=STALE_AFTER_SECONDS)

    def _resume(self, rig: Rig) -> None:
        raise NotImplementedError


class StopSweepers(_NoSweeps):
    """All sweeping processes die, Dagster's too, and are not started again."""

    name = "stop_sweepers"
    title = "all sweepers and Dagster are killed and stay away"

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Kill them."""
        self._names = rig.stop_sweepers()
        return f"{', '.join(self._names)} were killed (kill -9) and stay away"

    def _resume(self, rig: Rig) -> None:
        for name in self._names:
            if name in rig.sweepers:
                rig.start_sweeper(name)
        self._names = []


class HangSweepers(_NoSweeps):
    """All sweeping processes hang, Dagster's too, with whatever locks and transactions they have."""

    name = "hang_sweepers"
    title = "all sweepers and Dagster hang (SIGSTOP) and continue"

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Stop them where they are."""
        for sweeper in rig.sweepers.values():
            sweeper.hang()
        return f"{', '.join(rig.sweepers)} hang (SIGSTOP)"

    def _resume(self, rig: Rig) -> None:
        for sweeper in rig.sweepers.values():
            sweeper.go_on()


class StopWatcher(Fault):
    """The watcher dies at a random moment. Nothing is noticed until it is back, and nothing twice after that."""

    name = "stop_watcher"
    title = "the watcher is killed and comes back"
    needs = frozenset({"watch"})
    resources = frozenset({"watcher"})
    duration_seconds = (1.0, 4.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Kill it."""
        pid = rig.watcher.pid if rig.watcher is not None else None
        rig.kill_watcher()
        return f"the watcher (pid {pid}) was killed (kill -9)"

    def end(self, rig: Rig) -> None:
        """Start it again."""
        rig.start_watcher()


class KillWatcherAfterSend(Fault):
    """The watcher dies when a notification has arrived and its row does not say so: it may come once more."""

    name = "kill_watcher_after_send"
    title = "the watcher is killed between sending and noting that it was sent"
    needs = frozenset({"watch"})
    resources = frozenset({"watcher"})
    duration_seconds = (4.0, 8.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Kill it as soon as its next notification has arrived."""
        assert rig.receiver is not None
        assert rig.watcher is not None
        rig.receiver.before_answer = rig.watcher.kill
        return "the watcher will be killed (kill -9) when its next notification has arrived"

    def end(self, rig: Rig) -> None:
        """Let it live if none has come."""
        assert rig.receiver is not None
        self.missed = rig.receiver.before_answer is not None
        rig.receiver.before_answer = None
