"""The queue as the shop's application sees it: adds, pauses and loses BullMQ jobs through the maintainers' client.

A synchronous interface for the lab and the tests; each call opens and closes its own connections.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from bullmq import Job, Queue, Worker
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from campaign_ops.profile.queue import QueueProfile

T = TypeVar("T")

# The version that a current Node application writes into `meta`; the Python client does not.
_OWNER = "bullmq:6.7.0"
_STALLED = "job stalled more than allowable limit"
# Atomic: BullMQ never marks a job that a worker has taken meanwhile.
_DOOM_WAITING = f"""
local doomed = 0
for i = 2, #KEYS do
    if redis.call('LPOS', KEYS[1], ARGV[i - 1]) then
        redis.call('HSET', KEYS[i], 'defa', '{_STALLED}')
        doomed = doomed + 1
    end
end
return doomed
"""
_LIVE_LISTS = ("wait", "paused", "active")
_LIVE_SETS = ("prioritized", "delayed", "waiting-children")


class ShopQueue:
    """One platform's queue.

    Args:
        url: Redis URL.
        prefix: BullMQ's key prefix.
        profile: Queue name, job name and payload.
        numeric_ids: Whether ids are numbers in a job's payload.

    Attributes:
        job_options: BullMQ job options of every job that `add` adds, on top of the profile's.
        adder: Adds jobs (name, data and options of each) to the queue of this name and returns their ids; None for the
            maintainers' Python client.
    """

    def __init__(self, url: str, prefix: str, profile: QueueProfile, *, numeric_ids: bool = False) -> None:
        self.url = url
        self.prefix = prefix
        self.profile = profile
        self.numeric_ids = numeric_ids
        self.job_options: dict[str, Any] = {}
        self.adder: Callable[[str, Sequence[dict[str, Any]]], list[str]] | None = None
        self._redis = redis.Redis.from_url(url, decode_responses=True)

    def close(self) -> None:
        """Close the connection for reading."""
        self._redis.close()

    def key(self, name: str) -> str:
        """Return a key of this queue, such as ``bull:sms-send:wait``."""
        return f"{self.prefix}:{self.profile.name}:{name}"

    # -- as the application --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Write that the queue exists, as the application does when it starts."""
        self._redis.hsetnx(self.key("meta"), "version", _OWNER)

    def add(
        self,
        campaign: str,
        tenant: str,
        recipient_ids: Sequence[str],
        *,
        job: str | None = None,
        batch_size: int | None = None,
        job_ids: Sequence[str] | None = None,
        more: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[str]:
        """Add a job for each batch of recipients, as the application does when it starts a campaign.

        Args:
            campaign: The campaign's id.
            tenant: Its owner.
            recipient_ids: The recipients to send to.
            job: The name of the jobs; the profile's unless given.
            batch_size: Recipients per job; the profile's unless given.
            job_ids: Ids of the jobs; without them BullMQ numbers the jobs.
            more: More keys of each job's data.
            options: BullMQ job options (``priority``, ``delay``, ``attempts``, ``backoff``) on top of the profile's.

        Returns:
            The ids of the jobs.
        """
        size = batch_size or self.profile.batch_size
        options = {**self.profile.options, **self.job_options, **options}
        batches = [recipient_ids[start : start + size] for start in range(0, len(recipient_ids), size)]
        jobs = [
            {
                "name": job or self.profile.job,
                "data": self.payload(campaign, tenant, batch) | dict(more or {}),
                "opts": {**options, **({"jobId": job_ids[i]} if job_ids else {})},
            }
            for i, batch in enumerate(batches)
        ]
        self.open()
        if self.adder is not None:
            return self.adder(self.profile.name, jobs)

        async def add(queue: Queue) -> list[str]:
            # One by one: addBulk of this client returns no ids.
            return [(await queue.add(job["name"], job["data"], job["opts"])).id for job in jobs]

        return self._run(add)

    def add_other(self, name: str, data: object, **options: Any) -> str:
        """Add a job of any name and payload, as other parts of the application do. Returns its id."""

        async def add(queue: Queue) -> str:
            return str((await queue.add(name, data, options)).id)

        self.open()
        return self._run(add)

    def payload(self, campaign: str, tenant: str, recipient_ids: Sequence[str]) -> dict[str, Any]:
        """Return a job's data in the profile's terms."""
        values: dict[object, Any] = {
            "{campaign_id}": self._id(campaign),
            "{tenant}": tenant,
            "{recipient_ids}": [self._id(recipient) for recipient in recipient_ids],
        }
        return {key: values.get(value, value) for key, value in self.profile.payload.items()}

    def pause(self) -> None:
        """Pause the queue, as a person does."""
        self._run(lambda queue: queue.pause())

    def resume(self) -> None:
        """Resume it."""
        self._run(lambda queue: queue.resume())

    def mark(self, recipient_ids: Sequence[str]) -> None:
        """Set every marker of these recipients: the provider may have their message."""
        pipe = self._redis.pipeline()
        for recipient in recipient_ids:
            for marker in self.profile.markers:
                pipe.set(marker.format(recipient_id=recipient), "1")
        pipe.execute()

    # -- as accidents --------------------------------------------------------------------------------------------------

    def remove(self, job_ids: Sequence[str]) -> int:
        """Remove jobs that no worker holds; return how many were removed."""

        async def remove(queue: Queue) -> int:
            # BullMQ answers 1 for a job that never existed, too.
            existing = [job_id for job_id in job_ids if await queue.client.exists(self.key(job_id))]
            return sum([int(await queue.remove(job_id, {"removeChildren": True}) == 1) for job_id in existing])

        return self._run(remove)

    def fail_waiting(self, reason: str, timeout_seconds: float = 120) -> None:
        """Let every live job run out of attempts with ``reason``.

        It waits for the back-off between attempts: add such jobs with few attempts and ``backoff=None``.
        """

        async def raise_reason(_job: Job, _token: str) -> None:
            raise RuntimeError(reason)

        self.work_off(raise_reason, timeout_seconds)

    def work_off(self, process: Callable[[Job, str], Awaitable[object]], timeout_seconds: float = 120) -> None:
        """Let a worker of BullMQ process every live job.

        Its own loop does not run: `Worker.close` of a running one spins when the event loop is cancelled.
        """

        async def work(_queue: Queue) -> None:
            options = {"connection": self.url, "prefix": self.prefix, "autorun": False}
            worker = Worker(self.profile.name, process, options)
            try:
                async with asyncio.timeout(timeout_seconds):
                    while self.live_job_ids():
                        if job := await worker.moveToActive("token"):
                            await worker.processJob(job, "token")
                        else:
                            await asyncio.sleep(0.02)
            finally:
                await worker.close()

        self._run(work)

    def doom(self, job_id: str, reason: str = _STALLED) -> None:
        """Mark a job as BullMQ does when it stalled too often: it waits again, but fails as soon as it is picked up."""
        self._redis.hset(self.key(job_id), "defa", reason)

    def doom_waiting(self, job_ids: Sequence[str]) -> int:
        """Mark those of the jobs that wait as stalled too often; return how many. No worker's job is marked."""
        keys = [self.key("wait"), *map(self.key, job_ids)]
        return int(self._redis.eval(_DOOM_WAITING, len(keys), *keys, *job_ids))

    def leave_orphan(self, job_id: str) -> None:
        """Put a job id without a job into `wait`, as an eviction leaves it."""
        self._redis.lpush(self.key("wait"), job_id)

    def clear(self) -> None:
        """Delete every key under the prefix."""
        keys = list(self._redis.scan_iter(f"{self.prefix}:*", count=1000))
        if keys:
            self._redis.delete(*keys)

    # -- reading back --------------------------------------------------------------------------------------------------

    def job_ids(self, state: str) -> list[str]:
        """Read the ids of the jobs in one state, in the order of the key: ``wait``, ``active``, ``failed``, …"""
        key = self.key(state)
        ids = self._redis.lrange(key, 0, -1) if state in _LIVE_LISTS else self._redis.zrange(key, 0, -1)
        return [str(job_id) for job_id in ids]

    def live_job_ids(self) -> list[str]:
        """Read the ids of the jobs that may still be worked on."""
        return [job_id for state in (*_LIVE_LISTS, *_LIVE_SETS) for job_id in self.job_ids(state)]

    def job_data(self, job_id: str) -> dict[str, Any]:
        """Read a job's data; empty when the job is gone."""
        data: dict[str, Any] = json.loads(self._redis.hget(self.key(job_id), "data") or "{}")
        return data

    def campaign_of(self, job_id: str) -> str | None:
        """Read the campaign that a job belongs to; None when the job is gone."""
        campaign = self.job_data(job_id).get(self.profile.campaign_key)
        return None if campaign is None else str(campaign)

    def workers(self) -> list[str]:
        """Read the names of the workers that are connected to this queue."""
        # The Python client uses the plain queue name in its own; Node's encodes it.
        prefix = self.key("w:")
        names = {str(client["name"]) for client in self._redis.client_list()}
        return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    def _id(self, text: str) -> str | int:
        return int(text) if self.numeric_ids else text

    def _run(self, work: Callable[[Queue], Awaitable[T]]) -> T:
        async def connected() -> T:
            # The client's own connections retry for minutes; the demo must get the error at once.
            connection = redis.asyncio.Redis.from_url(
                self.url, decode_responses=True, single_connection_client=True, retry=Retry(NoBackoff(), 0)
            )
            queue = Queue(self.profile.name, {"connection": connection, "prefix": self.prefix})
            try:
                return await work(queue)
            finally:
                await queue.close()

        return asyncio.run(connected())
