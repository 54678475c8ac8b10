"""The processes of a drill that are not servers: Node workers, and those that sweep."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from campaign_ops.lab.drill.sweep_loop import SweeperOptions
from campaign_ops.lab.servers.processes import ChildProcess, our_path
from campaign_ops.lab.shop.node_worker import PACKAGES
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.worker_command import WorkerOptions
from campaign_ops.lab.shop.worker_process import WorkerProcess
from campaign_ops.profile.model import Profile

NODE_MAJORS = (4, 5, 6)
"""Major versions of BullMQ's client for Node."""


def node_missing() -> str | None:
    """Why there can be no Node workers here, and the mend; None when there can."""
    if shutil.which("node") is None:
        return f"node is not installed; install Node.js, then run `npm ci --prefix {PACKAGES}`"
    absent = [major for major in NODE_MAJORS if not (PACKAGES / "node_modules" / f"bullmq{major}").is_dir()]
    if absent:
        versions = ", ".join(map(str, absent))
        return f"BullMQ {versions} for Node is not installed in {PACKAGES}; run `npm ci --prefix {PACKAGES}`"
    return None


class NodeWorker(WorkerProcess):
    """A worker whose client is BullMQ's own for Node, of one major version; behaves like any other worker."""

    module = "campaign_ops.lab.shop.node_worker"

    def __init__(
        self,
        database_url: str,
        queue: ShopQueue,
        profile: Profile,
        log_dir: Path,
        *,
        major: int,
        options: WorkerOptions,
    ) -> None:
        self.major = major
        super().__init__(database_url, queue, profile, log_dir, options=options)

    def _more(self) -> list[str]:
        return [f"--major={self.major}"]

    def _connected(self) -> bool:
        # BullMQ 4 has no names for workers.
        return self._listens()


class SweeperProcess:
    """A process that sweeps one platform again and again.

    Args:
        module: What runs in it.
        orders: How it behaves.
        environment: Variables on top of ours.
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
        """What it is called in the journal."""
        return self.options.name

    @property
    def pid(self) -> int | None:
        """Its process id; None when it does not run."""
        return self._child.pid

    @property
    def ordinary(self) -> bool:
        """Whether nothing about it is out of the ordinary."""
        options = self.options
        odd = (options.database_url, options.queue_url, options.clock_skew_seconds, options.die_after_statements)
        return not any(odd)

    def start(self) -> None:
        """Start it; nothing happens when it runs already."""
        self._child.start()

    def stop(self) -> None:
        """End it after the sweep in hand."""
        self._child.stop(20)

    def kill(self) -> None:
        """End it as a crash does."""
        self._child.kill()
