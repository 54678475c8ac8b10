"""Faults of campaign_ops's own deployment: killed sweeps, wrong clocks, PgBouncer, a second platform that is down."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign_ops.lab.drill.environment.workforce import DAGSTER, SWEEPERS
from campaign_ops.lab.drill.faults.base import Fault, NotYet

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

SECOND_DAGSTER = "dagster-2"
_CLI_SECONDS = 60
_UNUSED_PORT = 1  # reserved, so nothing listens there


def restart_sweeper(rig: Rig, name: str, **options: Any) -> None:
    """Kill a sweeper (``kill -9``), without waiting for its current sweep, and start it again with other options."""
    if name in rig.sweepers:
        rig.sweepers[name].kill()
    rig.start_sweeper(name, **options)


class KillSweeper(Fault):
    """A sweep dies (``kill -9``) at a random statement: before it reaches the server, or after it was executed."""

    name = "kill_sweeper"
    title = "a sweep is killed at a random statement"
    resources = frozenset({"sweeper"})
    duration_seconds = (3.0, 5.0)

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Kill Dagster's process, or start a sweeper that will die at a statement."""
        name, statement = rng.choice(SWEEPERS), rng.randint(1, 80)
        if rig.dagster is not None and rng.random() < 0.3:
            pid = rig.sweepers[DAGSTER].pid
            self.missed = pid is None  # it died a moment ago and is not replaced yet
            if pid is None:
                return "there was no Dagster process to kill"
            os.kill(pid, signal.SIGKILL)
            return f"the Dagster process (pid {pid}) was killed (kill -9) in the middle of a run"
        restart_sweeper(rig, name, die_after_statements=statement)
        return f"{name} will be killed (kill -9) at statement {statement}"


class ClockSkew(Fault):
    """A sweeper's machine is hours ahead or behind. Only the database's clock may decide."""

    name = "clock_skew"
    title = "the clock of a sweeper's machine is wrong by hours"
    needs = frozenset({"time-machine"})
    resources = frozenset({"sweeper"})
    duration_seconds = (6.0, 10.0)

    def __init__(self) -> None:
        self._sweeper: str | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Restart a sweeper with a wrong clock."""
        self._sweeper, hours = rng.choice(SWEEPERS), rng.choice((-26, -5, 3, 11, 49))
        restart_sweeper(rig, self._sweeper, clock_skew_seconds=hours * 3600)
        return f"the clock of {self._sweeper} is {abs(hours)} hours {'ahead' if hours > 0 else 'behind'}"

    def end(self, rig: Rig) -> None:
        """Restart it with the right clock."""
        if self._sweeper is not None:
            restart_sweeper(rig, self._sweeper)


class BehindPgBouncer(Fault):
    """PgBouncer in transaction mode is put in front of the database: no session state survives."""

    name = "pgbouncer"
    title = "sweeps go through PgBouncer in transaction mode"
    needs = frozenset({"pgbouncer"})
    resources = frozenset({"sweeper"})
    duration_seconds = (6.0, 10.0)

    def __init__(self) -> None:
        self._moved: tuple[str, ...] = ()

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Restart one or both of the two sweepers with PgBouncer's address."""
        assert rig.pgbouncer is not None
        self._moved = SWEEPERS if rng.random() < 0.3 else (rng.choice(SWEEPERS),)
        for name in self._moved:
            restart_sweeper(rig, name, database_url=rig.pgbouncer.url)
        return f"from now on {' and '.join(self._moved)} go{'es' * (len(self._moved) == 1)} through PgBouncer"

    def end(self, rig: Rig) -> None:
        """Restart them with a direct connection."""
        for name in self._moved:
            restart_sweeper(rig, name)


class PlatformDown(Fault):
    """The database of a second configured platform is down. The first platform must not be affected.

    It refuses connections, or accepts them and never answers.
    """

    name = "platform_down"
    title = "a second platform of the deployment is down"
    duration_seconds = (6.0, 10.0)

    def __init__(self) -> None:
        self._command: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._silent: socket.socket | None = None

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Configure it, restart Dagster, and sweep all platforms from the command line."""
        port = _UNUSED_PORT
        if self._silent is None and rng.random() < 0.5:
            self._silent = socket.create_server(("127.0.0.1", 0))
        if self._silent is not None:
            port = self._silent.getsockname()[1]
        rig.configure(second_database_url=f"postgresql://nobody@127.0.0.1:{port}/annex")
        if rig.dagster is not None:
            restart_sweeper(rig, DAGSTER)
        if self._command is None:
            program = [sys.executable, "-c", "from campaign_ops.faces.cli import main; main()"]
            with _answer(rig).open("wb") as answer, (rig.work_dir / "reconcile.log").open("ab") as log:
                self._command = subprocess.Popen(
                    [*program, "reconcile", "--json", "--wait", "20", "--config", str(rig.config)],
                    stdin=subprocess.DEVNULL,
                    stdout=answer,
                    stderr=log,
                    start_new_session=True,
                )
            self._began = time.monotonic()
        manner = "refuses connections" if self._silent is None else "accepts connections and never answers"
        return f"a second platform is configured, and its database {manner}"

    def end(self, rig: Rig) -> None:
        """Remove it from the configuration, and report how the command line's sweep ended."""
        if self._command is not None:
            if self._command.poll() is None and time.monotonic() - self._began < _CLI_SECONDS:
                raise NotYet("`campaign-ops reconcile` is still running")
            rig.say(_outcome(self._command, _answer(rig)))
            self._command = None
        if self._silent is not None:
            self._silent.close()
        rig.configure()
        if rig.dagster is not None:
            restart_sweeper(rig, DAGSTER)


def _answer(rig: Rig) -> Path:
    return rig.work_dir / "reconcile.json"


def _outcome(command: subprocess.Popen[bytes], answer: Path) -> str:
    if command.poll() is None:
        command.kill()
        command.wait()
        return f"`campaign-ops reconcile` of all platforms was still running after {_CLI_SECONDS} s, and was killed"
    document: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    outcomes = ", ".join(
        f"{platform['platform']}: {'swept' if platform['error'] is None else platform['error']['kind']}"
        for platform in document["platforms"]
    )
    return f"`campaign-ops reconcile` of all platforms exited with {command.returncode} ({outcomes})"


class DuplicateTicks(Fault):
    """A second Dagster runs the same schedule: each tick is executed twice at the same moment."""

    name = "duplicate_ticks"
    title = "the schedule's ticks are executed twice at the same moment"
    needs = frozenset({"dagster"})
    lead_seconds = 10.0
    duration_seconds = (9.0, 14.0)

    def prepare(self, rig: Rig) -> None:
        """Start another Dagster process on the same home and schedule; it takes seconds to come up."""
        if SECOND_DAGSTER not in rig.sweepers:
            rig.start_sweeper(SECOND_DAGSTER)

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Nothing more to do: it is running by now."""
        self.prepare(rig)
        return "a second Dagster executes the schedule's ticks too"

    def end(self, rig: Rig) -> None:
        """Kill the second one."""
        if SECOND_DAGSTER in rig.sweepers:
            rig.sweepers.pop(SECOND_DAGSTER).kill()
