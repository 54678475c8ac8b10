"""A platform with the ledger, swept under its own role: the tests of the checkers plant their damage in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import redis
import sqlalchemy as sa

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.doctor.grants import grants
from campaign_ops.lab.drill.checkers import WATCHED, Figure, Records, Stores, read
from campaign_ops.lab.drill.ledger import SETTLING, Ledger
from campaign_ops.lab.drill.queue_watcher import QueueWatcher
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.provider import Provider
from campaign_ops.lab.shop.queues import queue_names
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.profile.model import Profile
from campaign_ops.sweep import Sweep
from tests.conftest import World

OPS = "drill_ops"
POLICY = {"stuck_after_seconds": 60, "cooldown_seconds": 1, "breaker_floor": 3}


@dataclass
class CheckedWorld:
    """A world with a ledger; ``world.platform`` logs in as our role, ``world.app`` as the owner."""

    world: World
    ledger: Ledger
    work_dir: Path
    provider: Provider

    @property
    def servers(self) -> EmbeddedServers | None:
        """None, because the server's log is shared by all tests: those that read it name it."""
        return None

    def connect(self, profile: Profile | None = None, **policy: Any) -> Platform:
        """A new view of the platform; other thresholds or names make it break a rule."""
        old, jobs = self.world.platform, self.world.jobs
        queue = None if jobs is None else Queue(QueueAddress(jobs.url, jobs.prefix), jobs.profile)
        url = sa.make_url(self.world.url).set(username=OPS).render_as_string(hide_password=False)
        database = Database(url, Timeouts(statement_seconds=30, lock_seconds=1))
        return Platform(old.name, profile or old.profile, replace(old.policy, **policy), database, queue)

    def sweep_as(self, profile: Profile | None = None, **policy: Any) -> str:
        """Run a sweep that breaks a rule. Returns its run id."""
        platform, run_id = self.connect(profile, **policy), uuid4().hex
        Sweep(platform, run_id=run_id, trigger="test", actor="mutant").run()
        platform.close()
        return run_id

    @property
    def stores(self) -> Stores:
        platform = self.world.platform
        return Stores(self.ledger, platform.name, platform.policy, platform.database.timeouts, self.work_dir)

    def records(self) -> Records:
        return read(self.stores)

    def check(self, figure: Callable[[Records], Figure]) -> Figure:
        return figure(self.records())

    def fails(self, figure: Callable[[Records], Figure], *words: str) -> None:
        """Assert that the figure fails, and that one of its examples contains all of these words."""
        result = self.check(figure)
        assert not result.holds
        assert any(all(word in example for word in words) for example in result.examples), result.examples

    def holds(self, figure: Callable[[Records], Figure]) -> None:
        """Assert that the figure holds."""
        result = self.check(figure)
        assert result.holds, result.examples

    def owner(self, query: str, **binds: Any) -> None:
        """Run a statement as the application."""
        with self.world.app.engine.begin() as connection:
            connection.execute(sa.text(query), binds)

    def ops(self, query: str, **binds: Any) -> None:
        """Run a statement as our role, bypassing the product."""
        with self.world.platform.database.transaction() as connection:
            connection.execute(sa.text(query), binds)

    def look(self, times: int = 1) -> None:
        """Take samples with the queue watcher in this process."""
        with self.watcher() as watcher:
            for _ in range(times):
                watcher.look()

    @contextmanager
    def watcher(self) -> Iterator[QueueWatcher]:
        """A queue watcher in this process."""
        with redis.Redis.from_url(self.world.queue.url, decode_responses=True) as client, self._watched() as out:
            jobs = self.world.queue
            bases = [f"{jobs.prefix}:{name}:" for name in queue_names(jobs.profile)]
            yield QueueWatcher(client, bases, "recipientIds", "campaignId", out)

    def _watched(self) -> TextIO:
        return (self.work_dir / WATCHED).open("a", encoding="utf-8")

    def write_sweeps(self, name: str, *lines: dict[str, Any]) -> None:
        """Write a sweeping process's file."""
        base = {"run_id": "r", "began": 100.0, "ended": 101.0, "outcome": "done", "error": None, "unexpected": False}
        text = "".join(json.dumps({**base, **line}) + "\n" for line in lines)
        (self.work_dir / f"sweeps-{name}.jsonl").write_text(text)

    def settle(self) -> None:
        """Mark the end of the faults, and run three more sweeps."""
        self.ledger.note(SETTLING, "over")
        for _ in range(3):
            self.world.sweep()
        self.look()


def checked_world(world: World, work_dir: Path) -> CheckedWorld:
    """Install the ledger in a world; rows written before count as existing before the ledger."""
    Provider.create(world.app.engine)
    with world.app.engine.begin() as connection:
        for statement in grants(world.platform.profile, OPS):
            connection.exec_driver_sql(statement)
    ledger = Ledger(world.app.engine, OPS, world.platform.profile)
    ledger.install()
    checked = CheckedWorld(world, ledger, work_dir, Provider(world.app.engine))
    world.created.append(world.platform)
    world.platform = checked.connect()
    return checked
