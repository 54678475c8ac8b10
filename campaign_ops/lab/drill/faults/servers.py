"""Faults of the servers: PostgreSQL restarts or drops connections, Redis hangs or comes back empty or with old data."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import redis
import sqlalchemy as sa

from campaign_ops.lab.drill.faults.base import Fault, NotYet
from campaign_ops.lab.drill.workload import Workload

if TYPE_CHECKING:
    from campaign_ops.lab.drill.environment.rig import Rig

_STOP_SECONDS = 10.0
_CAMPAIGNS_LOST = 8
"""Started right before Redis dies: a sweep finds most sending campaigns lost at once, and the breaker trips."""
_DATABASE_AWAY = (9.0, 12.0)
"""Seconds: two looks of the watcher with all their retries."""
_SHORT_OUTAGE, _LONG_OUTAGE = (0.4, 1.5), (4.0, 5.0)
"""Seconds. In a long outage everything becomes stuck while the queue is unreadable; after a short one, bit by bit."""


class RestartPostgres(Fault):
    """PostgreSQL is down for a while: after ``kill -9``, or after a shutdown that notifies its clients."""

    name = "restart_postgres"
    title = "PostgreSQL is killed or shut down, and comes back"
    needs = frozenset({"embedded"})
    resources = frozenset({"postgres"})
    duration_seconds = (0.3, 3.0)

    def duration(self, rng: random.Random, seconds: float) -> float:  # noqa: ARG002
        """Mostly so short that retries bridge it; else so long that people must hear of it, if the drill is long."""
        return rng.uniform(*(_DATABASE_AWAY if rng.random() < 0.3 else self.duration_seconds))

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Kill the server or shut it down."""
        assert rig.servers is not None
        postgres, crash = rig.servers.postgres, rng.random() < 0.5
        pid = postgres.pid
        if pid is None:
            return "PostgreSQL is down already"
        if crash:
            postgres.kill()
            return f"PostgreSQL (pid {pid}) was killed (kill -9)"
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        while postgres.pid is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        return f"PostgreSQL (pid {pid}) was shut down; all sessions were terminated"

    def end(self, rig: Rig) -> None:
        """Start it again on its data."""
        assert rig.servers is not None
        if rig.servers.postgres.pid is None:
            rig.servers.postgres.start()


class DropConnections(Fault):
    """All connections to the database are cut, as by a proxy or a failover."""

    name = "drop_connections"
    title = "all connections to PostgreSQL are dropped"

    def inject(self, rig: Rig, rng: random.Random) -> str:  # noqa: ARG002
        """Terminate all other sessions of the database."""
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with rig.owner.connect() as connection:
            dropped = connection.scalar(sa.text(query))
        self.missed = not dropped
        return f"{dropped} connections to PostgreSQL were dropped"


class HangRedis(Fault):
    """Redis does not answer for a while, as when it forks on a full machine or runs a long script; no data is lost."""

    name = "hang_redis"
    title = "Redis does not answer for seconds, then continues"
    resources = frozenset({"redis"})
    duration_seconds = (2.5, 4.5)

    def __init__(self) -> None:
        self._until = 0.0

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Pause all clients."""
        seconds = rng.uniform(*self.duration_seconds)
        with redis.Redis.from_url(rig.queue.url) as client:
            client.client_pause(round(seconds * 1000))
        self._until = time.monotonic() + seconds
        return f"Redis answers no client for {seconds:.1f} s"

    def end(self, rig: Rig) -> None:  # noqa: ARG002
        """Wait: it continues on its own."""
        if time.monotonic() < self._until:
            raise NotYet("Redis does not answer yet")


class _LoseRedis(Fault):
    """Redis dies (``kill -9``) and comes back with other data than it had. The restart runs in a thread."""

    needs = frozenset({"embedded"})
    resources = frozenset({"redis"})
    duration_seconds = (2.5, 4.0)

    def __init__(self) -> None:
        self.data: Path | None = None
        self._restart: threading.Thread | None = None
        self._errors: list[Exception] = []

    def _lose(self, rig: Rig, rng: random.Random) -> int | None:
        assert rig.servers is not None
        workload = Workload(rig)
        for _ in range(_CAMPAIGNS_LOST):
            workload.start(workload.label(self.name, rng), rng.randint(20, 40), rng.choice(workload.tenants))
        pid, down = rig.servers.redis.pid, rng.uniform(*rng.choice((_SHORT_OUTAGE, _LONG_OUTAGE)))

        def restart() -> None:
            try:
                rig.restart_redis(self.data, down_seconds=down)
            except Exception as error:  # noqa: BLE001 - raised again in `end`, on the drill's own thread
                self._errors.append(error)

        self._restart = threading.Thread(target=restart, daemon=True)
        self._restart.start()
        return pid

    def end(self, rig: Rig) -> None:  # noqa: ARG002
        """Wait until Redis is back; not here: the restart may wait for a lock on a table whose end comes later."""
        if self._restart is not None and self._restart.is_alive():
            raise NotYet("Redis is not back yet")
        if self._errors:
            raise self._errors.pop()


class RedisEmpty(_LoseRedis):
    """Redis comes back as a cache does: no jobs, no markers."""

    name = "redis_empty"
    title = "Redis is killed and comes back empty"

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Kill it and restart it without its data."""
        return f"Redis (pid {self._lose(rig, rng)}) was killed (kill -9) and comes back empty"


class RedisOldData(_LoseRedis):
    """Redis comes back as from a backup or a lagging replica: jobs that finished long ago exist again."""

    name = "redis_old_data"
    title = "Redis is killed and comes back with old data"
    lead_seconds = 6.0

    def prepare(self, rig: Rig) -> None:
        """Save a copy of its current data."""
        self.data = rig.save_redis()

    def inject(self, rig: Rig, rng: random.Random) -> str:
        """Kill it and restart it with the copy."""
        if self.data is None:  # the server was unavailable when it should have been copied
            self.prepare(rig)
        pid = self._lose(rig, rng)
        return f"Redis (pid {pid}) was killed (kill -9) and comes back with data from {self.lead_seconds:.0f} s ago"
