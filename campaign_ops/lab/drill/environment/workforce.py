"""Starts and replaces the processes that work during a drill: the application's workers, our sweepers, the watcher."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from campaign_ops.lab.drill.environment.environment import BESIDE, PLATFORM, Environment
from campaign_ops.lab.drill.environment.processes import NodeWorker, SweeperProcess
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.receiver import WATCH_LOG
from campaign_ops.lab.drill.sweep_loop import SweeperOptions
from campaign_ops.lab.drill.worlds import NODE_MAJORS
from campaign_ops.lab.servers.processes import ChildProcess, our_path
from campaign_ops.lab.shop.worker_command import WorkerOptions
from campaign_ops.lab.shop.worker_process import WorkerProcess

SWEEPERS = ("sweeper-1", "sweeper-2")
MEETING = SWEEPERS[1]
"""The sweeper between whose statements the drill acts."""
_OTHERS_PAUSE_SECONDS = 2.0
"""The pause of the other sweepers meanwhile: with 0.2 s they made 248 of 275 sweeps in 160 s, and every repair."""
DAGSTER = "dagster"
WATCHER = "watcher"
LOOSE = "loose"
"""The names of workers that send whatever a job lists begin with this."""
WORKER = WorkerOptions(
    concurrency=2,
    delay_ms=50,
    answer_ms=5,
    reject_share=0.03,
    forget_completion=0.15,
    touch_every=5,
    lock_ms=3_000,
    stalled_ms=2_000,
    claims=True,
    claim_seconds=20,
    status_later=0.03,
    drops="unsendable_",
    stages="lose_all_but_one_",
)


class Workforce:
    """All processes that work on one platform.

    Args:
        options: The drill's options.

    Attributes:
        workers: All started workers; dead ones stay listed until ``keep_alive`` removes them.
        sweepers: All sweeping processes by name, including Dagster's.
        watcher: The watcher's process; None in a drill without one.
        config: The deployment's configuration file.
        watch_config: The watcher's own, which names its channel.
        meet_port: The port at which `MEETING` waits at some of its statements for the drill to act; 0 for none.
        environment: Servers and platform; set before the first process starts.
        loose_every: Each worker of this number is a loose one: it sends whatever its jobs list. 0 for none.
    """

    sweeper_module = "campaign_ops.lab.drill.sweeper"
    dagster_module = "campaign_ops.lab.drill.dagster_sweeper"
    watcher_module = "campaign_ops.lab.drill.watcher"

    environment: Environment
    loose_every = 2

    def __init__(self, options: DrillOptions) -> None:
        self.options = options
        self.work_dir = options.work_dir.resolve()
        self.config = self.work_dir / "campaign_ops.yaml"
        self.watch_config = self.work_dir / "watch.yaml"
        self.workers: list[WorkerProcess] = []
        self.sweepers: dict[str, SweeperProcess] = {}
        self.watcher: ChildProcess | None = None
        self.meet_port = 0
        self._worker_numbers = itertools.count(1)
        self._stopped: set[str] = set()

    @property
    def dagster(self) -> SweeperProcess | None:
        """The Dagster process; None if there is none."""
        return self.sweepers.get(DAGSTER)

    def start_all(self) -> None:
        """Start workers and sweepers, and Dagster's and the watcher if the options ask for them."""
        if self.options.dagster:
            self._make_dagsters_storage()
        beside = [BESIDE] if self.environment.beside is not None else []
        for name in (*SWEEPERS, *beside, *([DAGSTER] if self.options.dagster else [])):
            self.start_sweeper(name)
        if self.options.watch:
            self.start_watcher()
        self.keep_alive()

    def start_worker(self, *, node: int | None = None, **options: Any) -> WorkerProcess:
        """Start one more worker, without waiting until it is connected.

        Args:
            node: Major version of BullMQ's client for Node; None for Python's.
            options: Fields of ``WorkerOptions`` that replace the drill's own, such as ``die_at``.
        """
        number = next(self._worker_numbers)
        loose = node is None and self.loose_every > 0 and number % self.loose_every == 0
        kind = LOOSE if loose else "worker" if node is None else f"node{node}"
        chosen = replace(WORKER, **{"name": f"{kind}-{number}", "loose": loose, **options})
        platform = self.environment.platform
        where = (platform.database_url, platform.queue(), platform.profile, self.work_dir / "workers")
        worker = (
            WorkerProcess(*where, shape=platform.shape, options=chosen)
            if node is None
            else NodeWorker(*where, major=node, shape=platform.shape, options=chosen)
        )
        worker.start(wait_seconds=0)
        self.workers.append(worker)
        return worker

    def start_sweeper(
        self,
        name: str,
        *,
        database_url: str | None = None,
        queue_url: str | None = None,
        clock_skew_seconds: float = 0.0,
        die_after_statements: int | None = None,
    ) -> SweeperProcess:
        """Start the sweeper of that name, after stopping a running one. ``dagster…`` is a Dagster process.

        When it dies, ``keep_alive`` starts it again without ``die_after_statements``.

        Args:
            name: One of ``SWEEPERS``, ``DAGSTER``, or another name; ``BESIDE`` sweeps the second platform.
            database_url: Another URL of the database, such as PgBouncer's.
            queue_url: Another URL of the queue.
            clock_skew_seconds: How far its clock is ahead.
            die_after_statements: Crash at this statement, see `SweeperOptions`.
        """
        if name in self.sweepers:
            self.sweepers[name].stop()
        options = SweeperOptions(
            config=str(self.config),
            platform=BESIDE if name == BESIDE else PLATFORM,
            name=name,
            work_dir=str(self.work_dir / BESIDE if name == BESIDE else self.work_dir),
            database_url=database_url or "",
            queue_url=queue_url or "",
            clock_skew_seconds=clock_skew_seconds,
            die_after_statements=die_after_statements or 0,
            meet_port=self.meet_port if name == MEETING else 0,
        )
        if self.meet_port and name not in (MEETING, BESIDE):
            options = replace(options, pause_seconds=_OTHERS_PAUSE_SECONDS)
        self._stopped.discard(name)
        return self._start(options)

    def stop_sweeper(self, name: str) -> None:
        """Stop a sweeper after its current sweep; it stays stopped until ``start_sweeper`` or ``restore``."""
        self._stopped.add(name)
        self.sweepers[name].stop()

    def stop_sweepers(self) -> list[str]:
        """Kill all sweepers (SIGKILL); they stay stopped, as above. Returns their names."""
        self._stopped |= self.sweepers.keys()
        for sweeper in self.sweepers.values():
            sweeper.kill()
        return list(self.sweepers)

    def start_watcher(self) -> None:
        """Start the watcher, unless it is running already."""
        self._stopped.discard(WATCHER)
        if self.watcher is None:
            command = [sys.executable, "-m", self.watcher_module, "--config", str(self.watch_config)]
            log = self.work_dir / WATCH_LOG
            self.watcher = ChildProcess("watcher", command, log_path=log, environment=our_path())
        self.watcher.start()

    def kill_watcher(self) -> None:
        """Kill the watcher (SIGKILL); it stays stopped until ``start_watcher`` or ``restore``."""
        self._stopped.add(WATCHER)
        if self.watcher is not None:
            self.watcher.kill()

    def keep_alive(self) -> None:
        """Replace workers, sweepers and a watcher that died. Call it about once a second; it waits for no server."""
        self.workers[:] = [worker for worker in self.workers if worker.pid is not None]
        majors = [worker.major if isinstance(worker, NodeWorker) else None for worker in self.workers]
        for _ in range(majors.count(None), self.options.scale.workers):
            self.start_worker()
        for major in NODE_MAJORS if self.options.node else ():
            if major not in majors:
                self.start_worker(node=major)
        for name, sweeper in list(self.sweepers.items()):
            if sweeper.pid is None and name not in self._stopped:
                self._start(replace(sweeper.options, die_after_statements=0))
        if self.watcher is not None and WATCHER not in self._stopped:
            self.watcher.start()

    def _start(self, options: SweeperOptions) -> SweeperProcess:
        by_dagster = options.name.startswith(DAGSTER)  # there may be a second one
        module = self.dagster_module if by_dagster else self.sweeper_module
        environment = {"DAGSTER_HOME": str(self._dagster_home())} if by_dagster else {}
        sweeper = self.sweepers[options.name] = SweeperProcess(module, options, environment)
        sweeper.start()
        return sweeper

    def _make_dagsters_storage(self) -> None:
        environment = {**os.environ, "DAGSTER_HOME": str(self._dagster_home())}
        command = [sys.executable, "-m", "campaign_ops.lab.drill.dagster_sweeper"]
        subprocess.run(command, env=environment, check=False, capture_output=True)  # an error comes again in its log

    def _dagster_home(self) -> Path:
        home, storage = self.work_dir / "dagster_home", self.environment.dagster_storage
        home.mkdir(exist_ok=True)
        settings: dict[str, Any] = {"telemetry": {"enabled": False}}
        if storage is not None:
            settings["storage"] = {"postgres": {"postgres_url": storage}}
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        return home

    def replace_abnormal(self) -> None:
        """Replace hung workers, and sweepers that are stopped or run with a fault's options, by ordinary ones."""
        for worker in self.workers:
            if worker.hung:
                worker.kill()
        self._stopped.clear()
        for name, sweeper in list(self.sweepers.items()):
            if not sweeper.ordinary:
                self.start_sweeper(name)
        self.keep_alive()

    def stop_all(self) -> None:
        """Stop sweepers and watcher in order, and then the workers: the last sweep must not find them gone."""
        watcher = [self.watcher.stop] if self.watcher is not None else []
        _stop_together([*(sweeper.stop for sweeper in self.sweepers.values()), *watcher])
        _stop_together([worker.stop for worker in self.workers])


def _stop_together(stops: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(max_workers=max(1, len(stops))) as pool:
        for stopping in [pool.submit(stop) for stop in stops]:
            stopping.result()
