"""Several queues of one platform as the application sees them: every batch goes into one, everything else covers all.

Ids of jobs begin with their queue's name, ``sms-retry:17``, since each queue counts its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from campaign_ops.core.queue_state import queue_name
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.profile.queue import QueueProfile

TENANTS = ("shop_north", "shop_south", "shop_harbour")
"""The tenants of a shop; of a profile with a queue for each, these have one."""


def queue_names(profile: QueueProfile) -> list[str]:
    """Return the names of a shop's queues."""
    return list(dict.fromkeys(queue_name(name, tenant) for name in (profile.name, *profile.also) for tenant in TENANTS))


def open_queue(url: str, prefix: str, profile: QueueProfile, *, numeric_ids: bool = False) -> ShopQueue:
    """Make the queue of a profile, or its queues as one."""
    return (ShopQueues if profile.several else ShopQueue)(url, prefix, profile, numeric_ids=numeric_ids)


class ShopQueues(ShopQueue):
    """The queues of one platform. A campaign's batches go into them in turn, or all into its tenant's queue."""

    def __init__(self, url: str, prefix: str, profile: QueueProfile, *, numeric_ids: bool = False) -> None:
        super().__init__(url, prefix, profile, numeric_ids=numeric_ids)
        self._members = {
            name: ShopQueue(url, prefix, profile.model_copy(update={"name": name, "also": ()}), numeric_ids=numeric_ids)
            for name in queue_names(profile)
        }

    def close(self) -> None:
        """Close the connections for reading."""
        super().close()
        for member in self._members.values():
            member.close()

    def key(self, name: str) -> str:
        """Return the key of a job."""
        queue, _, job_id = name.partition(":")
        return self._members[queue].key(job_id)

    def open(self) -> None:
        """Write that the queues exist."""
        for member in self._members.values():
            member.open()

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
        """Add a job for each batch of recipients, in turn to each of the queues that may have the campaign's."""
        size = batch_size or self.profile.batch_size
        patterns = (self.profile.name, *self.profile.also)
        added: list[str] = []
        for number, start in enumerate(range(0, len(recipient_ids), size)):
            queue = queue_name(patterns[number % len(patterns)], tenant)
            self._members[queue].adder = self.adder
            (job_id,) = self._members[queue].add(
                campaign,
                tenant,
                recipient_ids[start : start + size],
                job=job,
                batch_size=size,
                job_ids=job_ids and job_ids[number : number + 1],
                more=more,
                **{**self.job_options, **options},
            )
            added.append(_joined(queue, job_id))
        return added

    def add_other(self, name: str, data: object, **options: Any) -> str:
        """Add a job of any name and payload to the first queue. Returns its id."""
        queue, member = next(iter(self._members.items()))
        return _joined(queue, member.add_other(name, data, **options))

    def pause(self) -> None:
        """Pause all queues."""
        for member in self._members.values():
            member.pause()

    def resume(self) -> None:
        """Resume all queues."""
        for member in self._members.values():
            member.resume()

    def remove(self, job_ids: Sequence[str]) -> int:
        """Remove jobs that no worker holds; return how many were removed."""
        return sum(member.remove(ids) for member, ids in self._by_member(job_ids))

    def doom_waiting(self, job_ids: Sequence[str]) -> int:
        """Mark those of the jobs that wait as stalled too often; return how many."""
        return sum(member.doom_waiting(ids) for member, ids in self._by_member(job_ids))

    def job_ids(self, state: str) -> list[str]:
        """Read the ids of the jobs in one state, queue by queue."""
        return [_joined(name, job_id) for name, member in self._members.items() for job_id in member.job_ids(state)]

    def job_data(self, job_id: str) -> dict[str, Any]:
        """Read a job's data; empty when the job is gone."""
        queue, _, own = job_id.partition(":")
        return self._members[queue].job_data(own)

    def workers(self) -> list[str]:
        """Read the names of the workers that are connected to any of the queues."""
        return sorted({worker for member in self._members.values() for worker in member.workers()})

    def _by_member(self, job_ids: Sequence[str]) -> list[tuple[ShopQueue, list[str]]]:
        by_queue: dict[str, list[str]] = defaultdict(list)
        for job_id in job_ids:
            queue, _, own = job_id.partition(":")
            by_queue[queue].append(own)
        return [(self._members[queue], ids) for queue, ids in by_queue.items()]


def _joined(queue: str, job_id: str) -> str:
    return f"{queue}:{job_id}"
