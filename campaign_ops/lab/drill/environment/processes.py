"""The processes of a drill that are not servers: Node workers and sweepers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from campaign_ops.lab.drill.sweep_loop import SweeperOptions
from campaign_ops.lab.drill.worlds import NODE_MAJORS
from campaign_ops.lab.servers.processes import ChildProcess, our_path
from campaign_ops.lab.shop.node_worker import PACKAGES
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.schema import PRISMA, PlatformShape
from campaign_ops.lab.shop.worker_command import WorkerOptions
from campaign_ops.lab.shop.worker_process import WorkerProcess
from campaign_ops.profile.model import Profile


def node_missing() -> str | None:
    """Return why Node workers cannot run here, and the fix, separated by ``; ``; None if they can."""
    if shutil.which("node") is None:
        return f"node is not installed; install Node.js, then run `npm ci --prefix {PACKAGES}`"
    absent = [major for major in NODE_MAJORS if not (PACKAGES / "node_modules" / f"bullmq{major}").is_dir()]
    if absent:
        versions = ", ".join(map(str, absent))
        return f"BullMQ {versions} for Node is not installed in {PACKAGES}; run `npm ci --prefix {PACKAGES}`"
    return None


class NodeWorker(WorkerProcess):
    """A worker that uses BullMQ's Node client of one major version; behaves like any other worker."""

    module = "campaign_ops.lab.shop.node_worker"

    def __init__(
        self,
        database_url: str,
        queue: ShopQueue,
        profile: Profile,
        log_dir: Path,
        *,
        major: int,
        shape: PlatformShape = PRISMA,
        options: WorkerOptions,
    ) -> None:
        self.major = major
        super().__init__(database_url, queue, profile, log_dir, shape=shape, options=options)

    def _more(self) -> list[str]:
        return [f"--major={self.major}"]

    def _connected(self) -> bool:
        # BullMQ 4 does not name its workers.
        return self._listens()


class SweeperProcess:
    """A process that sweeps one platform repeatedly.

    Args:
        module: The module that it runs.
        options: Its behaviour.
        environment: Environment variables in addition to this process's.
    """

    def __init__(self, module: str, options: SweeperOptions, environment: Mapping[str, str] | None = None) -> None:
        self.options = options
        work_dir = Path(options.work_dir)
        self._child = ChildProcess(
            f"sweeper {options.name}",
            [sys.executable, "-m", module, *options.command_line()],
            log_path=work_dir / f"{options.name}.log",
            environment={**our_path(), **(environment or {})},
        )

    @property
    def name(self) -> str:
        """Its name in the journal."""
        return self.options.name

    @property
    def pid(self) -> int | None:
        """Its process id; None if it is not running."""
        return self._child.pid

    @property
    def ordinary(self) -> bool:
        """Return whether no fault has changed its options."""
        options = self.options
        changed = (options.database_url, options.queue_url, options.clock_skew_seconds, options.die_after_statements)
        return not any(changed)

    def start(self) -> None:
        """Start it, unless it is running already."""
        self._child.start()

    def stop(self) -> None:
        """Stop it after its current sweep."""
        self._child.stop(20)

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self._child.kill()

    def hang(self) -> None:
        """Stop it where it is (SIGSTOP), in the middle of whatever it does, until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after `hang`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
