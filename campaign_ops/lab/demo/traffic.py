"""The normal operation of the two demo applications: start campaigns, send, replace workers, archive. No faults."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from campaign_ops.core.model import Counters
from campaign_ops.core.wording import plural
from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.provider import Provider
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.lab.shop.worker import WorkerOptions
from campaign_ops.lab.shop.worker_process import WorkerProcess

_SEASONS = ("Spring", "Summer", "Autumn", "Winter", "Easter", "Weekend", "Midnight", "Birthday")
_OCCASIONS = ("sale", "preview", "newsletter", "flash offer", "last chance", "restock", "invitation", "thank-you")
_SHOPS = ("shop_north", "shop_south", "shop_harbour")
_ORGANIZATIONS = ("org_lumen", "org_atlas")
_NOW = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOptions:
    """Rates and sizes of the simulation.

    Attributes:
        seed: Source of everything random.
        campaign_every_seconds: Mean time between campaigns; the messenger starts a third as many.
        fault_every_seconds: Mean time between faults.
        recipients: Smallest and largest campaign.
        batch_size: Recipients per job.
        prioritized_share: Share of campaigns whose jobs have a priority.
        max_sending: No campaign is started while this many are sending.
        workers: SMS workers, each a process.
        keep_minutes: How long finished campaigns stay in the database.
        worker: Behaviour of the workers; each gets its own name.
    """

    seed: int = 7
    campaign_every_seconds: float = 6
    fault_every_seconds: float = 30
    recipients: tuple[int, int] = (40, 240)
    batch_size: int = 40
    prioritized_share: float = 0.25
    max_sending: int = 60
    workers: int = 2
    keep_minutes: float = 120
    worker: WorkerOptions = field(
        default_factory=lambda: WorkerOptions(
            concurrency=2,
            delay_ms=50,
            answer_ms=10,
            reject_share=0.03,
            forget_completion=0.05,
            lock_ms=5_000,
            stalled_ms=5_000,
            claims=True,
        )
    )


class _Traffic:
    """The parts that both applications share."""

    def __init__(self, platform: DemoPlatform, options: SimulationOptions) -> None:
        self.platform = platform
        self.options = options
        self.random = random.Random(f"{options.seed} {platform.name}")
        self.writer = platform.writer()
        self.application = Application(self.writer.engine, platform.profile)
        self.provider = Provider(self.writer.engine, reject_share=options.worker.reject_share)
        # Ids must not repeat when the demo is stopped and started again on the same data.
        self._ids = map(f"cmp_{int(time.time())}_{{}}".format, itertools.count(1))
        self._numbers = itertools.count(1)

    @property
    def sending(self) -> str:
        """The platform's status for a campaign that is sending."""
        return self.platform.profile.campaign.words.sending

    def archive(self) -> None:
        """Delete old finished campaigns, as every such application does in some way."""
        gone = self.writer.remove_campaigns(minutes(self.options.keep_minutes))
        if gone:
            self.provider.forget(gone)

    def close(self) -> None:
        """Close connections."""
        self.writer.close()

    def _new_campaign(self) -> tuple[str, str, int]:
        """Id, name and size of the next campaign."""
        name = f"{self.random.choice(_SEASONS)} {self.random.choice(_OCCASIONS)} {next(self._numbers)}"
        return next(self._ids), name, self.random.randint(*self.options.recipients)

    def _is_full(self) -> bool:
        return len(self.writer.campaigns(self.sending)) >= self.options.max_sending


class SmsTraffic(_Traffic):
    """The SMS application: rows, reservation, jobs, and the workers that take them."""

    def __init__(self, platform: DemoPlatform, log_dir: Path, options: SimulationOptions) -> None:
        super().__init__(platform, options)
        self.queue = platform.queue()
        self.workers: list[WorkerProcess] = []
        self._log_dir = log_dir
        self._worker_numbers = itertools.count(len(platform.workers) + 1)

    def start_missing_workers(self) -> str | None:
        """Start workers until the configured number is running."""
        for workers in (self.workers, self.platform.workers):
            workers[:] = [worker for worker in workers if worker.pid is not None]
        started = []
        while len(self.workers) < self.options.workers:
            options = replace(self.options.worker, name=f"worker-{next(self._worker_numbers)}")
            worker = self.platform.worker(self._log_dir, options)
            worker.start(wait_seconds=0)
            self.workers.append(worker)
            started.append(f"{worker.name} (pid {worker.pid})")
        return f"started {', '.join(started)}" if started else None

    def start_campaign(self) -> str | None:
        """Start a campaign as the application does: rows, reservation, jobs."""
        if self._is_full():
            return None
        label, name, size = self._new_campaign()
        jobs = self.launch(label, name, size)
        return f"campaign '{name}': {size} recipients in {plural(len(jobs), 'job')}"

    def launch(self, label: str, name: str, size: int) -> list[str]:
        """Write a campaign and enqueue it. Returns the ids of its jobs."""
        tenant = self.random.choice(_SHOPS)
        self.writer.add_campaign(label, name=name, tenant=tenant, updated_ago=_NOW, pending=size)
        self.writer.add_reservation(
            label.replace("cmp_", "res_"), campaign=label, amount=size, created_ago=_NOW, expires_in=minutes(30)
        )
        return self.enqueue(label)

    def enqueue(self, campaign: str) -> list[str]:
        """Add jobs for the campaign's pending recipients. Returns their ids."""
        priority: dict[str, Any] = {"priority": 5} if self.random.random() < self.options.prioritized_share else {}
        return self.queue.add(
            campaign,
            self.writer.campaign(campaign)["tenant"],
            self.writer.pending_ids(campaign),
            batch_size=self.options.batch_size,
            **priority,
        )

    def large_campaign(self) -> tuple[str, str, list[str]]:
        """Start a campaign large enough that most of its jobs must wait. Returns its id, its name and its jobs."""
        label, name, _ = self._new_campaign()
        busy = self.options.workers * self.options.worker.concurrency
        return label, name, self.launch(label, name, self.options.batch_size * 2 * (busy + 3))

    def close(self) -> None:
        """Stop the workers and close connections."""
        self.platform.stop_workers()
        self.queue.close()
        super().close()


class MessengerTraffic(_Traffic):
    """The messenger application: it sends in process, and a restart loses the recipients that are left."""

    def __init__(self, platform: DemoPlatform, options: SimulationOptions) -> None:
        super().__init__(platform, options)
        self.left: dict[str, int] = {}

    def start_campaign(self) -> str | None:
        """Start a campaign: its row with the total, and no recipient rows yet."""
        if self._is_full():
            return None
        label, name, size = self._new_campaign()
        self.writer.add_campaign(
            label,
            name=name,
            tenant=self.random.choice(_ORGANIZATIONS),
            started_ago=_NOW,
            updated_ago=_NOW,
            counters=Counters(total=size, succeeded=0, failed=0),
        )
        self.left[label] = size
        return f"messenger campaign '{name}': {size} recipients"

    def send_some(self, count: int = 8) -> None:
        """Send a few messages of every active campaign, and complete those that have no recipient left."""
        for campaign in list(self.left):
            if not self.application.is_sending(campaign):
                del self.left[campaign]
                continue
            for number in range(self.left[campaign], max(self.left[campaign] - count, 0), -1):
                recipient = f"{campaign}_m{number}"
                answer = self.provider.send(recipient, campaign, "in process")
                self.application.insert_answer(campaign, recipient, answer)
                self.left[campaign] = number - 1
            if self.left[campaign] == 0:
                self.application.complete(campaign)
                del self.left[campaign]
