"""The worker of the shop's application, a process of its own: takes BullMQ jobs and really sends.

    python -m campaign_ops.lab.shop.worker --database-url … --queue-url … --prefix bull --name worker-1

Its contract is the one that campaign_ops relies on: right before a send it checks that the row is still pending and
has no provider id, and it writes the row's outcome as soon as the provider has answered. A loose worker keeps only the
second half: it sends whatever its job lists. SIGTERM ends it after the
current recipient; the rest of the job goes back to the queue. SIGUSR1 makes it hang before its next recipient and never
recover, while BullMQ goes on renewing its locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import redis
import sqlalchemy as sa
from bullmq import Worker
from bullmq.custom_errors import DelayedError

from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.claims import Claims
from campaign_ops.lab.shop.provider import Provider, share_of
from campaign_ops.lab.shop.queues import queue_names
from campaign_ops.lab.shop.schema import PlatformShape
from campaign_ops.lab.shop.worker_command import READY, WorkerOptions, parse_command
from campaign_ops.profile.model import Profile
from campaign_ops.profile.queue import QueueProfile

__all__ = ["KEPT_JOBS", "RETRY", "Claims", "ShopWorker", "TakenJob", "WorkerOptions", "make_worker"]

log = logging.getLogger("campaign_ops.lab.shop.worker")

KEPT_JOBS = 200
"""Completed jobs that a worker leaves in Redis."""
RETRY = "retry"
"""The key of a job's data that says: its recipients have failed, and are tried again."""
_CHECK_EVERY = 20
_STAGE_MS = 500


class TakenJob(Protocol):
    """A job that a worker has taken, with any client of BullMQ."""

    id: Any
    name: Any
    data: Any

    async def moveToDelayed(self, timestamp: int, token: str = "") -> Any:  # noqa: N802 - BullMQ's own words
        """Give it back until ``timestamp`` (milliseconds); `DelayedError` must be raised next."""


class ShopWorker:
    """Processes jobs of one queue. Statements run in threads, so that locks are renewed meanwhile."""

    def __init__(
        self,
        application: Application,
        provider: Provider,
        queue: QueueProfile,
        options: WorkerOptions,
        claims: Claims | None = None,
    ) -> None:
        self._application = application
        self._provider = provider
        self._queue = queue
        self._options = options
        self._claims = claims
        self._sends = 0
        self._labels: dict[str, str] = {}
        self.stopping = asyncio.Event()
        self.hanging = asyncio.Event()

    async def process(self, job: TakenJob, token: str) -> str:
        """Send to one job's recipients; return the outcome, for BullMQ's record."""
        if not {self._queue.campaign_key, self._queue.recipients_key} <= {*job.data}:
            return f"job {job.name} is not ours"
        campaign = str(job.data[self._queue.campaign_key])
        if await asyncio.to_thread(self._is_one_of, campaign, self._options.drops):
            return f"campaign {campaign} is dropped"
        recipients = [str(recipient) for recipient in job.data[self._queue.recipients_key]]
        if await asyncio.to_thread(self._too_early, campaign, recipients):
            await self._give_back(job, token, _STAGE_MS)
        if job.data.get(RETRY):
            await asyncio.to_thread(self._prepare_retry, campaign, recipients)
        if not self._options.loose:
            recipients = await asyncio.to_thread(self._application.unsent, campaign, recipients)
        sent = 0
        for recipient in recipients:
            checks = sent % _CHECK_EVERY == 0 and not self._options.loose
            if checks and not await asyncio.to_thread(self._application.is_sending, campaign):
                return f"campaign {campaign} is no longer sending"
            await self._pause(self._options.delay_ms)
            if self.stopping.is_set():
                await self._give_back(job, token, 100)
            if self.hanging.is_set():
                log.warning("hanging in job %s", job.id)
                await asyncio.Event().wait()
            await self._send(campaign, recipient, str(job.id))
            sent += 1
            if self._options.touch_every and sent % self._options.touch_every == 0:
                await asyncio.to_thread(self._application.touch, campaign)
        await self._complete(campaign)
        return f"sent {sent} of {len(job.data[self._queue.recipients_key])}"

    async def _give_back(self, job: TakenJob, token: str, milliseconds: int) -> NoReturn:
        """Move the job back to the queue for a while, without using up an attempt."""
        await job.moveToDelayed(round(time.time() * 1000) + milliseconds, token)
        raise DelayedError

    def _is_one_of(self, campaign: str, prefix: str) -> bool:
        """Return whether the campaign's name begins with a prefix that is not empty."""
        if not prefix:
            return False
        if campaign not in self._labels:
            self._labels[campaign] = self._application.label(campaign)
        return self._labels[campaign].startswith(prefix)

    def _too_early(self, campaign: str, recipients: Sequence[str]) -> bool:
        """Return whether the batch with the campaign's last recipient must wait for the others."""
        if not self._is_one_of(campaign, self._options.stages):
            return False
        others = set(self._application.pending_ids(campaign)) - set(recipients)
        return bool(others) and self._application.recipient_ids(campaign)[-1] in recipients

    def _prepare_retry(self, campaign: str, recipients: Sequence[str]) -> None:
        """Set failed recipients back to pending, without their markers: the application wants to try them again."""
        if not self._application.is_sending(campaign):
            return
        failed = self._application.retry_failed(campaign, recipients)
        if self._claims is not None:
            self._claims.forget(failed)

    async def _send(self, campaign: str, recipient: str, job_id: str) -> None:
        if not self._options.loose and not await asyncio.to_thread(self._may_send, campaign, recipient, job_id):
            return
        self._sends += 1
        number = self._sends
        self._die("before_send", number)
        answer = await asyncio.to_thread(self._provider.send, recipient, campaign, self._options.name, job_id)
        self._die("after_send", number)
        await self._pause(self._options.answer_ms)
        if answer.accepted and share_of(f"later {recipient}") < self._options.status_later:
            await asyncio.to_thread(self._application.write_provider_id, recipient, answer)
        else:
            await asyncio.to_thread(self._application.write_answer, recipient, answer)
        self._die("after_write", number)
        if self._claims is not None and not self._options.loose:
            await asyncio.to_thread(self._claims.sent, recipient)

    def _may_send(self, campaign: str, recipient: str, job_id: str) -> bool:
        """Claim the recipient; return whether its row is still unsent and the claim still held after reading it."""
        if self._claims is None:
            return bool(self._application.unsent(campaign, [recipient]))
        claim = self._claims.take(recipient, job_id)
        if claim is None:
            log.warning("recipient %s was claimed before: left alone", recipient)
            return False
        if not self._application.unsent(campaign, [recipient]):
            return False
        # Reading the row may have taken long, and Redis may have lost the claim meanwhile.
        if not self._claims.holds(recipient, claim):
            log.warning("the claim of recipient %s was lost: left alone", recipient)
            return False
        return True

    def _die(self, moment: str, number: int) -> None:
        if self._options.die_at == moment and number == self._options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    async def _complete(self, campaign: str) -> None:
        if share_of(f"forget {campaign}") < self._options.forget_completion:
            log.warning("campaign %s is never marked sent", campaign)
        elif await asyncio.to_thread(self._application.complete, campaign):
            log.info("campaign %s is over", campaign)

    async def _pause(self, milliseconds: int) -> None:
        if milliseconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), milliseconds / 1000)


def make_worker(
    engine: sa.Engine, client: redis.Redis, profile: Profile, shape: PlatformShape, options: WorkerOptions
) -> ShopWorker:
    """Make a worker for any client of BullMQ, inside its running event loop, which then handles the signals."""
    assert profile.queue is not None, f"profile {profile.name} has no queue"
    claims = Claims(client, profile.queue, seconds=options.claim_seconds, record=engine) if options.claims else None
    provider = Provider(engine, reject_share=options.reject_share)
    worker = ShopWorker(Application(engine, profile, shape), provider, profile.queue, options, claims)
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, worker.stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, worker.hanging.set)
    return worker


async def run(
    database_url: str, queue_url: str, prefix: str, profile: Profile, shape: PlatformShape, options: WorkerOptions
) -> None:
    """Work until SIGTERM or SIGINT."""
    assert profile.queue is not None, f"profile {profile.name} has no queue"
    engine = sa.create_engine(database_url, pool_size=options.concurrency + 1, pool_pre_ping=True)
    client = redis.Redis.from_url(queue_url)
    shop_worker = make_worker(engine, client, profile, shape, options)
    names = queue_names(profile.queue)
    settings = {
        "connection": queue_url,
        "prefix": prefix,
        "name": options.name,
        "concurrency": max(1, options.concurrency // len(names)),
        "lockDuration": options.lock_ms,
        "stalledInterval": options.stalled_ms,
        "runRetryDelay": 1000,
        "removeOnComplete": {"count": KEPT_JOBS},
        "autorun": False,
    }
    workers = [Worker(name, shop_worker.process, dict(settings)) for name in names]
    for worker in workers:
        worker.on("error", lambda *problem: log.warning("queue: %s", problem[0]))
        worker.on("failed", lambda job, problem: log.warning("job %s failed: %s", job.id, problem))
    working = [asyncio.create_task(worker.run()) for worker in workers]
    log.info("worker %s %s %s", options.name, READY, ", ".join(names))
    await shop_worker.stopping.wait()
    await asyncio.gather(*(worker.close() for worker in workers))
    await asyncio.gather(*working)
    client.close()
    engine.dispose()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    command = parse_command(arguments, __doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(
        run(command.database_url, command.queue_url, command.prefix, command.profile, command.shape, command.options)
    )


if __name__ == "__main__":
    main()
