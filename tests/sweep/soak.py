"""A platform under load for some seconds: real workers, two sweeping processes, and accidents. Nothing is simulated."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
import sqlalchemy as sa

from campaign_ops.core.errors import Unavailable
from campaign_ops.lab.shop.provider import provider_send
from campaign_ops.lab.shop.worker import WorkerOptions
from campaign_ops.lab.shop.worker_process import WorkerProcess
from campaign_ops.sweep import Sweep
from tests.conftest import World
from tests.sweep.actors import in_child

# All live jobs with their data, at one moment.
LIVE_JOBS = """
local jobs = {}
local function take(ids)
    for _, id in ipairs(ids) do
        local data = redis.call('HGET', KEYS[1] .. id, 'data')
        if data then jobs[#jobs + 1] = data end
    end
end
for _, state in ipairs({'wait', 'paused', 'active'}) do take(redis.call('LRANGE', KEYS[1] .. state, 0, -1)) end
for _, state in ipairs({'prioritized', 'delayed', 'waiting-children'}) do
    take(redis.call('ZRANGE', KEYS[1] .. state, 0, -1))
end
return jobs
"""
EAGER = {"stuck_after_seconds": 1, "cooldown_seconds": 1, "max_attempts": 10_000, "breaker_floor": 10_000}
RECIPIENTS = 40


@dataclass
class Soak:
    """One platform, its workers, its sweeping processes and the one that watches the queue."""

    world: World
    work_dir: Path
    options: WorkerOptions
    workers: list[WorkerProcess] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(7))
    cancelled: set[str] = field(default_factory=set)
    sweepers_killed: int = 0

    @property
    def over(self) -> Path:
        """The file that ends the children."""
        return self.work_dir / "over"

    @property
    def watched(self) -> Path:
        """What the watcher saw: the number of looks, then the recipients found in two live jobs."""
        return self.work_dir / "watched.json"

    def start(self) -> None:
        for name in ("one", "two"):
            worker = WorkerProcess(
                self.world.url,
                self.world.queue,
                self.world.platform.profile,
                self.work_dir,
                options=replace(self.options, name=name),
            )
            self.workers.append(worker)
            worker.start(wait_seconds=0)
        self.children = [in_child(self.watch), in_child(self.sweep), in_child(self.sweep)]

    def stop(self) -> None:
        """End everything that still runs."""
        self.over.touch()
        for worker in self.workers:
            worker.kill()
        for pid in self.children:
            os.waitpid(pid, 0)
        self.children = []

    # -- processes -----------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """One sweep after the other."""
        platform = self.world.again(**EAGER)
        while not self.over.exists():
            sweep = Sweep(platform, run_id=uuid4().hex, trigger="soak", actor="soak", lock_wait_seconds=1)
            try:
                sweep.run()
            except Unavailable:
                time.sleep(0.02)
            time.sleep(0.05)

    def watch(self) -> None:
        """Look at all live jobs again and again."""
        looks = 0
        doubled: dict[str, int] = {}
        with redis.Redis.from_url(self.world.queue.url, decode_responses=True) as client:
            look = client.register_script(LIVE_JOBS)
            while not self.over.exists():
                jobs = look(keys=[self.world.queue.key("")])
                covered = Counter(one for job in jobs for one in json.loads(job)["recipientIds"])
                doubled |= {one: number for one, number in covered.items() if number > 1}
                looks += 1
                time.sleep(0.01)
        self.watched.write_text(json.dumps([looks, doubled]), encoding="utf-8")

    # -- accidents -----------------------------------------------------------------------------------------------------

    def start_campaign(self, number: int) -> None:
        """As an application does that is not to be overtaken: it is touched last when its jobs stand."""
        label = f"c{number}"
        self.world.app.add_campaign(label, pending=RECIPIENTS, updated_ago=timedelta(minutes=-5))
        self.world.app.add_reservation(f"{label}h", campaign=label)
        options: dict[str, Any] = ({}, {"priority": 2}, {"delay": 300})[number % 3]
        jobs = self.world.queue.add(label, "shop_north", self.world.app.pending_ids(label), **options)
        if number % 2:
            self.world.queue.remove(jobs[1:])
        self.world.app.set_campaign(label)

    def lose_jobs(self) -> None:
        waiting = self.world.queue.job_ids("wait")
        if waiting:
            self.world.queue.remove(self.random.sample(waiting, 1 + len(waiting) // 4))

    def pause_and_resume(self) -> None:
        """Paused ones go on; a worker has dropped their jobs meanwhile. A few are cancelled for good."""
        for row in self.world.app.campaigns("paused"):
            self._change(row["id"], "paused", "sending")
        sending = self.world.app.campaigns("sending")
        for row in self.random.sample(sending, min(2, len(sending))):
            word = "cancelled" if self.random.random() < 0.2 else "paused"
            if self._change(row["id"], "sending", word) and word == "cancelled":
                self.cancelled.add(row["id"])

    def _change(self, campaign: str, old: str, new: str) -> bool:
        table = self.world.app.tables.campaign
        changes = {"status": new, "updated_at": sa.func.timezone("utc", sa.func.now())}
        premise = (table.c.id == campaign, table.c.status == old)
        with self.world.app.engine.begin() as connection:
            return connection.execute(table.update().where(*premise).values(changes)).rowcount == 1

    def kill_sweeper(self) -> None:
        pid = self.children.pop()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.sweepers_killed += 1
        self.children.append(in_child(self.sweep))

    def restart_worker(self, end: Callable[[WorkerProcess], None]) -> None:
        worker = self.random.choice(self.workers)
        end(worker)
        worker.start(wait_seconds=0)

    # -- the end -------------------------------------------------------------------------------------------------------

    def settle(self, seconds: float) -> None:
        """No more accidents; until every campaign is over, or holds only recipients whom somebody has claimed."""
        for row in self.world.app.campaigns("paused"):
            self._change(row["id"], "paused", "sending")
        deadline = time.monotonic() + seconds
        while any(self.unclaimed(row["id"]) for row in self.world.app.campaigns("sending")) or self.unfinished():
            assert time.monotonic() < deadline, f"not settled: {self.world.app.campaigns('sending')}"
            time.sleep(0.1)

    def unfinished(self) -> list[str]:
        """Campaigns that are sending although no recipient in them is pending."""
        return [row["id"] for row in self.world.app.campaigns("sending") if not self.world.app.pending_ids(row["id"])]

    def unclaimed(self, campaign: str) -> list[str]:
        profile = self.world.platform.profile.queue
        assert profile is not None
        with redis.Redis.from_url(self.world.queue.url) as client:
            pending = self.world.app.pending_ids(campaign)
            keys = {one: [marker.format(recipient_id=one) for marker in profile.markers] for one in pending}
            return [one for one in pending if not client.exists(*keys[one])]

    def sends(self) -> Counter[str]:
        """How often the provider was asked to send to each recipient."""
        query = sa.select(provider_send.c.recipient_id)
        with self.world.app.engine.connect() as connection:
            return Counter(connection.scalars(query))
