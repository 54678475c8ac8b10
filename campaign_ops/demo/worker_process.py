"""Starts, stops and kills the demo's worker processes."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import redis

from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.demo.jobs import DemoQueue
from campaign_ops.demo.processes import ChildProcess
from campaign_ops.demo.schema import PRISMA, PlatformShape
from campaign_ops.demo.worker import WorkerOptions
from campaign_ops.platform.profile import Profile

_SOURCES = str(Path(__file__).resolve().parents[2])


class WorkerProcess:
    """One worker of the demo application, as a process of its own. Not restarted when it dies.

    Args:
        database_url: The platform's database.
        queue: The platform's queue.
        profile: The platform's names.
        log_dir: Where its output goes, as ``<name>.log``.
        shape: The platform's column types.
        options: How it behaves.
    """

    def __init__(
        self,
        database_url: str,
        queue: DemoQueue,
        profile: Profile,
        log_dir: Path,
        *,
        shape: PlatformShape = PRISMA,
        options: WorkerOptions,
    ) -> None:
        self.options = options
        self._queue = queue
        command = [sys.executable, "-m", "campaign_ops.demo.worker", "--database-url", database_url]
        command += ["--queue-url", queue.url, "--prefix", queue.prefix]
        command += ["--profile", profile.model_dump_json(by_alias=True), "--shape", json.dumps(asdict(shape))]
        for key, value in asdict(options).items():
            flag = "--" + key.replace("_", "-")
            if isinstance(value, bool):
                command += [flag] if value else []
            else:
                command += [flag, str(value)]
        log_dir.mkdir(parents=True, exist_ok=True)
        self._child = ChildProcess(
            f"worker {options.name}",
            command,
            log_path=log_dir / f"{options.name}.log",
            # It runs in another directory, and must find this very package.
            environment={"PYTHONPATH": os.pathsep.join(filter(None, [_SOURCES, os.environ.get("PYTHONPATH")]))},
        )

    @property
    def name(self) -> str:
        """What it is called in Redis' client list."""
        return self.options.name

    @property
    def pid(self) -> int | None:
        """Its process id; None when it does not run."""
        return self._child.pid

    def start(self, *, wait_seconds: float = 15) -> None:
        """Start it; with ``wait_seconds`` above 0 return when it is connected to its queue.

        Raises:
            QueueUnavailable: It was not connected in time; the message ends with its log.
        """
        self._child.start()
        deadline = time.monotonic() + wait_seconds
        try:
            while wait_seconds > 0 and not self._connected():
                if time.monotonic() > deadline or self.pid is None:
                    words = self._child.last_words()
                    self._child.stop()
                    raise QueueUnavailable(
                        f"worker {self.name} did not start: {words}",
                        where=str(self._child.log_path),
                        mend="see the log there",
                    )
                time.sleep(0.05)
        finally:
            self._queue.close()

    def stop(self) -> None:
        """End it after the recipient in hand."""
        self._child.stop()

    def kill(self) -> None:
        """End it as a crash does; its jobs stay active until another worker finds them stalled."""
        self._child.kill()

    def _connected(self) -> bool:
        try:
            return self.name in self._queue.workers()
        except redis.RedisError:
            return False
