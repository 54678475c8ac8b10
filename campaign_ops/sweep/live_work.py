"""Campaigns that still have work in the queue: read right before they are completed, never remembered.

The queue is read first and the rows second, as everywhere: a job that ended before this look has written its rows, and
a job that is alive in it may still send, or set its recipients back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from campaign_ops.bullmq.queue import Reading
from campaign_ops.core.errors import QueueUnclear
from campaign_ops.platform import Platform


class LiveWork:
    """The live jobs of some campaigns at one moment, and those that have come since.

    Attributes:
        jobs: Ids of each campaign's live jobs, campaigns without any left out.
        unclear: By campaign, the live jobs that may be about it and cannot be understood, by name.

    Raises:
        QueueUnavailable: The queue could not be read whole.
        QueueUnclear: It was read, and must not be acted on.
    """

    def __init__(self, platform: Platform, campaign_ids: Collection[str]) -> None:
        self.jobs: Mapping[str, Sequence[str]] = {}
        self.unclear: Mapping[str, Mapping[str, int]] = {}
        self._queue = platform.queue
        self._reading: Reading | None = None
        if self._queue is None or not campaign_ids:
            return
        snapshot = self._queue.snapshot()
        _check(snapshot.state.problem, self._queue.where)
        by_campaign: dict[str, list[str]] = defaultdict(list)
        live = self._queue.live_jobs(snapshot, campaign_ids)
        for job in live:
            by_campaign[job.campaign_id].append(job.id)
        self._reading = live.result
        _check(self._reading.state.problem, self._queue.where)
        self.jobs, self.unclear = by_campaign, self._reading.unclear

    def now(self, campaign_ids: Collection[str]) -> set[str]:
        """Those of the campaigns that have a live job, or may have one: from the look, or added since."""
        if self._queue is None or self._reading is None:
            return set()
        busy = self.jobs.keys() | self.unclear.keys()
        return (busy & set(campaign_ids)) | self._queue.newcomers(self._reading, campaign_ids)


def _check(problem: str | None, where: str) -> None:
    if problem:
        raise QueueUnclear(problem, where=where, mend="nothing is completed while jobs may be waiting unseen")
