"""A real Redis from a wheel: loopback only, in memory only, evicting nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
import tenacity

from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.lab.servers.directories import DirectoryLock
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.lab.servers.programs import redis_program
from campaign_ops.lab.servers.waiting import wait_until

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
        """Start it, empty or with a copy that ``save`` made, and wait until it answers.

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
        """Stop it; its data are gone."""
        if self._child is not None:
            self._child.stop()
        self._dump.unlink(missing_ok=True)
        self._lock.release()

    def kill(self) -> None:
        """Kill it as a crash does."""
        if self._child is not None:
            self._child.kill()

    def restart(self, *, keep_data: bool = False) -> None:
        """Stop it and start it again on the same port: empty, as a cache does, unless ``keep_data``."""
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
        """Save a copy of its data to a file, for a later ``start``."""
        with redis.Redis.from_url(self.url()) as client:
            client.save()
        shutil.move(self._dump, path)

    def url(self, database: int = 0) -> str:
        """Return the URL of one of its numbered databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """Process id of the server; None when it is not running."""
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
        # Another process may take a free port before Redis listens on it: then another port is tried.
        tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(QueueUnavailable),
            stop=tenacity.stop_after_attempt(3 if self._chooses_port() else 1),
            reraise=True,
        )(self._start_once)

    def _chooses_port(self) -> bool:
        """Only the first start does: the URL must outlive a restart."""
        return self._any_port and self._child is None

    def _start_once(self) -> None:
        if self._chooses_port():
            self.port = free_port()
        child = ChildProcess(
            "Redis",
            [redis_program(), "--port", str(self.port), "--dir", self._home, *_OPTIONS],
            log_path=self.work_dir / "redis.log",
        )
        child.start()
        with redis.Redis.from_url(self.url(), socket_timeout=1) as client:
            wait_until(lambda: not child.running or _answers(client, child), seconds=10)
            if not (child.running and _answers(client, child)):
                child.stop()
                raise QueueUnavailable(
                    f"Redis did not start: {child.last_words()}", where=str(self.work_dir), mend="see redis.log there"
                )
        self._child = child


def _answers(client: redis.Redis, child: ChildProcess) -> bool:
    # On a port that another process took, its server would answer: ours reports its own pid.
    try:
        server: Any = client.info("server")
    except redis.RedisError:
        return False
    return bool(server["process_id"] == child.pid)
