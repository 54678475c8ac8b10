"""Starts, stops and kills the shop's worker processes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import redis

from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.lab.servers.processes import ChildProcess, our_path
from campaign_ops.lab.servers.waiting import wait_until
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.schema import PRISMA, PlatformShape
from campaign_ops.lab.shop.worker_command import READY, WorkerCommand, WorkerOptions
from campaign_ops.profile.model import Profile


class WorkerProcess:
    """One worker of the shop's application, as a process of its own. Not restarted when it dies.

    Args:
        database_url: The platform's database.
        queue: The platform's queue.
        profile: The platform's names.
        log_dir: Holds its output, as ``<name>.log``.
        shape: The platform's column types.
        options: How it behaves.

    Attributes:
        module: The module that runs in the process.
        hung: Whether it was made to hang.
    """

    module = "campaign_ops.lab.shop.worker"

    def __init__(
        self,
        database_url: str,
        queue: ShopQueue,
        profile: Profile,
        log_dir: Path,
        *,
        shape: PlatformShape = PRISMA,
        options: WorkerOptions,
    ) -> None:
        self.options = options
        self._queue = queue
        self.hung = False
        self._log_start = 0
        launch = WorkerCommand(database_url, queue.url, queue.prefix, profile, shape, options)
        command = [sys.executable, "-m", self.module, *launch.command_line(), *self._more()]
        log_dir.mkdir(parents=True, exist_ok=True)
        self._child = ChildProcess(
            f"worker {options.name}",
            command,
            log_path=log_dir / f"{options.name}.log",
            environment=our_path(),
        )

    @property
    def name(self) -> str:
        """Its name in Redis' client list."""
        return self.options.name

    @property
    def pid(self) -> int | None:
        """Its process id; None when it is not running."""
        return self._child.pid

    def start(self, *, wait_seconds: float = 60) -> None:
        """Start it; with ``wait_seconds`` above 0 return when it is connected to its queue.

        Raises:
            QueueUnavailable: It was not connected in time; the message ends with its log.
        """
        self.hung = False
        if self.pid is None:
            self._log_start = self._log_size()
        self._child.start()
        if wait_seconds <= 0:
            return
        try:
            wait_until(lambda: self._connected() or self.pid is None, seconds=wait_seconds, poll_seconds=0.05)
            if not self._connected():
                words = self._child.last_words()
                self._child.stop()
                raise QueueUnavailable(
                    f"worker {self.name} did not start: {words}",
                    where=str(self._child.log_path),
                    mend="see the log there",
                )
        finally:
            self._queue.close()

    def stop(self) -> None:
        """End it after the current recipient; one that hangs is killed."""
        if self.hung:
            self.kill()
        self._child.stop()

    def hang(self) -> bool:
        """Make it hang before its next recipient, while its locks are renewed; False when it is not working."""
        # The signal would kill a process that does not handle it yet.
        if self.pid is None or not self._listens():
            return False
        os.kill(self.pid, signal.SIGUSR1)
        self.hung = True
        return True

    def kill(self) -> None:
        """Kill it as a crash does; its jobs stay active until another worker finds them stalled."""
        self._child.kill()

    def _more(self) -> list[str]:
        """Return arguments that only this kind of worker takes."""
        return []

    def _connected(self) -> bool:
        try:
            return self.name in self._queue.workers()
        except redis.RedisError:
            return False

    def _listens(self) -> bool:
        """Return whether its log says since its start that it takes jobs."""
        with self._child.log_path.open("rb") as log:
            log.seek(self._log_start)
            return READY.encode() in log.read()

    def _log_size(self) -> int:
        return self._child.log_path.stat().st_size if self._child.log_path.exists() else 0
