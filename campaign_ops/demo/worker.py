"""The demo application's worker, a process of its own: takes BullMQ jobs and really sends.

    python -m campaign_ops.demo.worker --database-url … --queue-url … --prefix bull --name worker-1

Its contract is the one that campaign_ops relies on: it sends only to rows that are still pending and carry no provider
id, and writes a row's outcome as soon as the provider has answered. SIGTERM ends it after the recipient in hand; what
is left of the job goes back to the queue.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import time
from dataclasses import dataclass, fields

import redis
import sqlalchemy as sa
from bullmq import Job, Worker
from bullmq.custom_errors import DelayedError

from campaign_ops.demo.application import Application
from campaign_ops.demo.provider import Provider, share_of
from campaign_ops.demo.schema import PlatformShape
from campaign_ops.platform.profile import Profile, QueueProfile
from campaign_ops.platform.profile_file import load_profile

log = logging.getLogger("campaign_ops.demo.worker")

_CLAIM_SECONDS = 86_400
_CHECK_EVERY = 20


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How one worker behaves; each is an option of the command line.

    Attributes:
        name: What it is called in Redis' client list.
        concurrency: Jobs at the same time.
        delay_ms: Time before each send: the provider's rate limit.
        answer_ms: Time between a send and its answer; a crash in it leaves a recipient of whom nobody knows.
        reject_share: Share of recipients whom the provider rejects.
        forget_completion: Share of campaigns that are never marked sent, as if the process had died before.
        touch_every: Touch the campaign's row after so many recipients; 0 never.
        lock_ms: How long a job stays locked by a worker that no longer renews it.
        stalled_ms: How often such jobs are looked for.
        claims: Claim a recipient in Redis before sending, and never send without the claim.
    """

    name: str = "worker-1"
    concurrency: int = 1
    delay_ms: int = 50
    answer_ms: int = 0
    reject_share: float = 0.0
    forget_completion: float = 0.0
    touch_every: int = 25
    lock_ms: int = 30_000
    stalled_ms: int = 30_000
    claims: bool = False


class Claims:
    """The application's own guard against sending twice: marker keys in Redis, the last of the profile's first."""

    def __init__(self, client: redis.Redis, profile: QueueProfile) -> None:
        self._client = client
        self._sent, self._claim = profile.markers[0], profile.markers[-1]

    def take(self, recipient: str) -> bool:
        """Claim a recipient; False when somebody has claimed it before."""
        return bool(self._client.set(self._claim.format(recipient_id=recipient), "1", nx=True, ex=_CLAIM_SECONDS))

    def sent(self, recipient: str) -> None:
        """Note that the provider has it."""
        self._client.set(self._sent.format(recipient_id=recipient), "1", ex=_CLAIM_SECONDS)


class DemoWorker:
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
        self.stopping = asyncio.Event()

    async def process(self, job: Job, token: str) -> str:
        """Send one job's recipients. Returns what became of it, for BullMQ's record."""
        if job.name != self._queue.job:
            return f"job {job.name} is not ours"
        campaign = str(job.data[self._queue.campaign_key])
        recipients = [str(recipient) for recipient in job.data[self._queue.recipients_key]]
        sent = 0
        for recipient in await asyncio.to_thread(self._application.unsent, campaign, recipients):
            if sent % _CHECK_EVERY == 0 and not await asyncio.to_thread(self._application.is_sending, campaign):
                return f"campaign {campaign} is no longer sending"
            await self._pause(self._options.delay_ms)
            if self.stopping.is_set():
                # Back to the queue without losing an attempt.
                await job.moveToDelayed(round(time.time() * 1000) + 100, token)
                raise DelayedError
            await self._send(campaign, recipient)
            sent += 1
            if self._options.touch_every and sent % self._options.touch_every == 0:
                await asyncio.to_thread(self._application.touch, campaign)
        await self._complete(campaign)
        return f"sent {sent} of {len(recipients)}"

    async def _send(self, campaign: str, recipient: str) -> None:
        if self._claims is not None and not await asyncio.to_thread(self._claims.take, recipient):
            log.warning("recipient %s was claimed before: left alone", recipient)
            return
        answer = await asyncio.to_thread(self._provider.send, recipient, campaign, self._options.name)
        await self._pause(self._options.answer_ms)
        await asyncio.to_thread(self._application.write_answer, recipient, answer)
        if self._claims is not None:
            await asyncio.to_thread(self._claims.sent, recipient)

    async def _complete(self, campaign: str) -> None:
        if share_of(f"forget {campaign}") < self._options.forget_completion:
            log.warning("campaign %s is never marked sent", campaign)
        elif await asyncio.to_thread(self._application.complete, campaign):
            log.info("campaign %s is over", campaign)

    async def _pause(self, milliseconds: int) -> None:
        if milliseconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), milliseconds / 1000)


async def run(
    database_url: str, queue_url: str, prefix: str, profile: Profile, shape: PlatformShape, options: WorkerOptions
) -> None:
    """Work until SIGTERM or SIGINT."""
    assert profile.queue is not None, f"profile {profile.name} has no queue"
    engine = sa.create_engine(database_url, pool_size=options.concurrency + 1)
    client = redis.Redis.from_url(queue_url)
    demo = DemoWorker(
        Application(engine, profile, shape),
        Provider(engine, reject_share=options.reject_share),
        profile.queue,
        options,
        Claims(client, profile.queue) if options.claims else None,
    )
    worker = Worker(
        profile.queue.name,
        demo.process,
        {
            "connection": queue_url,
            "prefix": prefix,
            "name": options.name,
            "concurrency": options.concurrency,
            "lockDuration": options.lock_ms,
            "stalledInterval": options.stalled_ms,
            "runRetryDelay": 1000,
            "removeOnComplete": {"count": 200},
            "autorun": False,
        },
    )
    worker.on("error", lambda *problem: log.warning("queue: %s", problem[0]))
    worker.on("failed", lambda job, problem: log.warning("job %s failed: %s", job.id, problem))
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, demo.stopping.set)
    working = asyncio.create_task(worker.run())
    log.info("worker %s takes jobs of %s", options.name, profile.queue.name)
    await demo.stopping.wait()
    await worker.close()
    await working
    client.close()
    engine.dispose()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m campaign_ops.demo.worker", description=__doc__)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--queue-url", required=True)
    parser.add_argument("--prefix", default="bull")
    parser.add_argument("--profile", default="sms", help="a profile's name or path, or a whole one as JSON")
    parser.add_argument("--shape", default="{}", help="the platform's column types as JSON")
    for option in fields(WorkerOptions):
        flag, default = "--" + option.name.replace("_", "-"), option.default
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(default), default=default)
    given = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(
        run(
            given["database_url"],
            given["queue_url"],
            given["prefix"],
            read_profile(given["profile"]),
            PlatformShape(**json.loads(given["shape"])),
            WorkerOptions(**{option.name: given[option.name] for option in fields(WorkerOptions)}),
        )
    )


def read_profile(text: str) -> Profile:
    """A profile from its name, its path or JSON."""
    return Profile.model_validate_json(text) if text.startswith("{") else load_profile(text)


if __name__ == "__main__":
    main()
