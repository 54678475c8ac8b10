"""The worker of the shop's application, a process of its own: takes BullMQ jobs and really sends.

    python -m campaign_ops.lab.shop.worker --database-url … --queue-url … --prefix bull --name worker-1

Its contract is the one that campaign_ops relies on: right before a send it checks that the row is still pending and
has no provider id, and it writes the row's outcome as soon as the provider has answered. SIGTERM ends it after the
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
from uuid import uuid4

import redis
import sqlalchemy as sa
from bullmq import Worker
from bullmq.custom_errors import DelayedError

from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.provider import Provider, share_of
from campaign_ops.lab.shop.schema import PlatformShape
from campaign_ops.lab.shop.worker_command import READY, WorkerOptions, parse_command
from campaign_ops.profile.model import Profile
from campaign_ops.profile.queue import QueueProfile

__all__ = ["KEPT_JOBS", "Claims", "ShopWorker", "TakenJob", "WorkerOptions", "make_worker"]

log = logging.getLogger("campaign_ops.lab.shop.worker")

KEPT_JOBS = 200
"""Completed jobs that a worker leaves in Redis."""
_CLAIM_SECONDS = 86_400
_CHECK_EVERY = 20
_STAGE_MS = 500


class TakenJob(Protocol):
    """A job that a worker has taken, with any client of BullMQ."""

    id: Any
    name: Any
    data: Any

    async def moveToDelayed(self, timestamp: int, token: str = "") -> Any:  # noqa: N802 - BullMQ's own words
        """Give it back until ``timestamp`` (milliseconds); `DelayedError` must be raised next."""


class Claims:
    """The application's own guard against sending twice: marker keys in Redis, the last of the profile's first."""

    def __init__(self, client: redis.Redis, profile: QueueProfile) -> None:
        self._client = client
        self._sent, self._claim = profile.markers[0], profile.markers[-1]

    def take(self, recipient: str) -> str | None:
        """Claim a recipient; return the claim for `holds`, or None when it was claimed before."""
        claim, key = uuid4().hex, self._claim.format(recipient_id=recipient)
        return claim if self._client.set(key, claim, nx=True, ex=_CLAIM_SECONDS) else None

    def holds(self, recipient: str, claim: str) -> bool:
        """Return whether the claim is still there: after a loss of Redis's data another worker may have claimed it."""
        current = self._client.get(self._claim.format(recipient_id=recipient))
        return current in (claim, claim.encode())

    def sent(self, recipient: str) -> None:
        """Mark the recipient's message as sent."""
        self._client.set(self._sent.format(recipient_id=recipient), "1", ex=_CLAIM_SECONDS)


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
        self.stopping = asyncio.Event()
        self.hanging = asyncio.Event()

    async def process(self, job: TakenJob, token: str) -> str:
        """Send to one job's recipients; return the outcome, for BullMQ's record."""
        if job.name != self._queue.job:
            return f"job {job.name} is not ours"
        campaign = str(job.data[self._queue.campaign_key])
        if self._options.drops and campaign.startswith(self._options.drops):
            return f"campaign {campaign} is dropped"
        recipients = [str(recipient) for recipient in job.data[self._queue.recipients_key]]
        if await asyncio.to_thread(self._too_early, campaign, recipients):
            await self._give_back(job, token, _STAGE_MS)
        sent = 0
        for recipient in await asyncio.to_thread(self._application.unsent, campaign, recipients):
            if sent % _CHECK_EVERY == 0 and not await asyncio.to_thread(self._application.is_sending, campaign):
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
        return f"sent {sent} of {len(recipients)}"

    async def _give_back(self, job: TakenJob, token: str, milliseconds: int) -> NoReturn:
        """Move the job back to the queue for a while, without using up an attempt."""
        await job.moveToDelayed(round(time.time() * 1000) + milliseconds, token)
        raise DelayedError

    def _too_early(self, campaign: str, recipients: Sequence[str]) -> bool:
        """Return whether the batch with the campaign's last recipient must wait for the others."""
        if not self._options.stages or not campaign.startswith(self._options.stages):
            return False
        others = set(self._application.pending_ids(campaign)) - set(recipients)
        return bool(others) and max(self._application.recipient_ids(campaign)) in recipients

    async def _send(self, campaign: str, recipient: str, job_id: str) -> None:
        if not await asyncio.to_thread(self._may_send, campaign, recipient):
            return
        self._sends += 1
        number = self._sends
        self._die("before_send", number)
        answer = await asyncio.to_thread(self._provider.send, recipient, campaign, self._options.name, job_id)
        self._die("after_send", number)
        await self._pause(self._options.answer_ms)
        await asyncio.to_thread(self._application.write_answer, recipient, answer)
        self._die("after_write", number)
        if self._claims is not None:
            await asyncio.to_thread(self._claims.sent, recipient)

    def _may_send(self, campaign: str, recipient: str) -> bool:
        """Claim the recipient; return whether its row is still unsent and the claim still held after reading it."""
        if self._claims is None:
            return bool(self._application.unsent(campaign, [recipient]))
        claim = self._claims.take(recipient)
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
    worker = ShopWorker(
        Application(engine, profile, shape),
        Provider(engine, reject_share=options.reject_share),
        profile.queue,
        options,
        Claims(client, profile.queue) if options.claims else None,
    )
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
    worker = Worker(
        profile.queue.name,
        shop_worker.process,
        {
            "connection": queue_url,
            "prefix": prefix,
            "name": options.name,
            "concurrency": options.concurrency,
            "lockDuration": options.lock_ms,
            "stalledInterval": options.stalled_ms,
            "runRetryDelay": 1000,
            "removeOnComplete": {"count": KEPT_JOBS},
            "autorun": False,
        },
    )
    worker.on("error", lambda *problem: log.warning("queue: %s", problem[0]))
    worker.on("failed", lambda job, problem: log.warning("job %s failed: %s", job.id, problem))
    working = asyncio.create_task(worker.run())
    log.info("worker %s %s %s", options.name, READY, profile.queue.name)
    await shop_worker.stopping.wait()
    await worker.close()
    await working
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
