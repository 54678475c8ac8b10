"""One queue of a platform: what a sweep asks of Redis, and the only way it adds jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from campaign_ops.bullmq.address import QueueAddress, driver_errors_mapped
from campaign_ops.bullmq.connection import KEYS_PER_PAGE, pages
from campaign_ops.bullmq.guard import Guard, LastLook, LookAgain, NothingAdded, PartlyAdded
from campaign_ops.bullmq.jobs import FailedJob, LiveJob
from campaign_ops.bullmq.live_jobs import LiveJobs, Reading
from campaign_ops.bullmq.markers import marker_keys, recipients_per_page
from campaign_ops.bullmq.reader import QueueReader
from campaign_ops.bullmq.server import ServerFacts
from campaign_ops.bullmq.snapshot import Snapshot
from campaign_ops.bullmq.states import DEAD, LIVE, state_by_id
from campaign_ops.bullmq.writer import NewJob, QueueWriter, fill_payload, is_writable_number
from campaign_ops.core.errors import QueueUnavailable, Refused
from campaign_ops.profile.queue import QueueProfile

if TYPE_CHECKING:
    import redis

__all__ = [
    "FailedJob",
    "Guard",
    "LastLook",
    "LiveJob",
    "LiveJobs",
    "LookAgain",
    "NewJob",
    "NothingAdded",
    "PartlyAdded",
    "Queue",
    "QueueAddress",
    "Reading",
    "ServerFacts",
    "Snapshot",
]

# New jobs go to one end of `wait`; those not this near to it are searched in the whole queue.
NEAR_THE_END = 1_000


class Queue(QueueReader):
    """One queue. Connects on first use; may be called from a thread with a running event loop.

    Raises:
        QueueUnavailable: From every method, when Redis is away, refuses, or answers in part.
    """

    def __init__(
        self,
        address: QueueAddress,
        profile: QueueProfile,
        *,
        client: redis.Redis | None = None,
    ) -> None:
        super().__init__(address, profile, client)
        self._writer = QueueWriter(address, profile, self.where)

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, jobs: Sequence[NewJob], guard: Guard | None = None) -> frozenset[str]:
        """Add jobs, all at one moment, and return the ids that were added. An id that exists in any state is skipped.

        Args:
            jobs: The jobs, a few hundred at a time, since Redis does nothing else meanwhile.
            guard: What must still hold inside Redis when they are added.

        Raises:
            LookAgain: Something happened since the last look that cannot be judged. Nothing was added.
            Refused: The queue is paused (BullMQ 4 and 5 would lose what is added then) or may only be observed, the
                guard does not hold, or an id does not fit the payload. Nothing was added.
            NothingAdded: Redis answered that it cannot add.
            PartlyAdded: Redis answered so after it had added some.
            QueueUnavailable: Redis went away. Any of the jobs may have been added: look again.
        """
        if not jobs:
            return frozenset()
        numeric = self.ids.numeric
        payloads = {job.id: fill_payload(job, self.profile, numeric_ids=numeric) for job in jobs}
        before = self.state()
        if before.paused or before.problem:
            raise Refused(
                f"nothing is added to this queue: {before.problem or 'it is paused'}",
                where=self.where,
                mend="see to the queue first" if before.problem else "resume it first",
            )
        added, error = self._writer.add(jobs, payloads, guard)
        confirmed = self._confirmed(added, before.server_id)
        if error is not None:
            raise PartlyAdded(confirmed, error) from error
        return confirmed

    def unwritable(self, ids: Iterable[str]) -> str | None:
        """Return an id that does not fit the payload, where the platform's ids are numbers; None where all fit."""
        return next((text for text in ids if not is_writable_number(text)), None) if self.ids.numeric else None

    def remove_waiting(self, job_ids: Iterable[str]) -> frozenset[str]:
        """Remove the jobs that no worker has ever taken; return the ids that were removed."""
        removed = set()
        for page in pages(list(job_ids), KEYS_PER_PAGE):
            # BullMQ 4 moves a job to `active` a moment before it writes `processedOn` and takes the lock.
            active = {job_id for job_id, state in self.live_ids().items() if state == "active"}
            for job_id, (name, taken_at, over_at) in self.fields(page, "name", "processedOn", "finishedOn"):
                untouched = name is not None and taken_at is None and over_at is None and job_id not in active
                if untouched and self._writer.remove(job_id):
                    removed.add(job_id)
        return frozenset(removed)

    def forget_marks(self, recipient_ids: Sequence[str]) -> int:
        """Delete these recipients' marker keys, so that a worker sends to them again; return how many existed."""
        deleted = 0
        for page in pages(recipient_ids, recipients_per_page(self)):
            keys = marker_keys(self, page)
            with driver_errors_mapped(self.where):
                deleted += int(self._client.delete(*keys)) if keys else 0
        return deleted

    def close(self) -> None:
        """Close all connections. A later call opens new ones."""
        self._writer.close()
        if "_client" in self.__dict__:
            self._client.close()

    def _confirmed(self, job_ids: Sequence[str], server_id: str | None) -> frozenset[str]:
        """Return the ids that are in a state, or that a worker has already finished and removed."""
        rest = [job_id for job_id, near in zip(job_ids, self._near_the_end(job_ids), strict=True) if not near]
        if not rest:
            return frozenset(job_ids)

        def fill(pipe: Any) -> None:
            self.ask_live_ids(pipe)
            for job_id in rest:
                pipe.exists(self.key(job_id))
                for state in DEAD:
                    pipe.zscore(self.key(state), job_id)

        answers, (*_, info) = self.multi(fill)
        live = state_by_id(answers[: len(LIVE)])
        lost = set()
        for job_id, (exists, *dead) in zip(rest, pages(answers[len(LIVE) :], 1 + len(DEAD)), strict=True):
            if exists and job_id not in live and all(score is None for score in dead):
                lost.add(job_id)
            elif not exists and info.get("run_id") != server_id:
                raise QueueUnavailable(
                    "Redis was restarted or replaced while jobs were added, and some of them are gone",
                    where=self.where,
                    mend="the next sweep looks again",
                )
        return frozenset(job_ids) - lost

    def _near_the_end(self, job_ids: Sequence[str]) -> list[bool]:
        """Return of each job whether it is in `wait` near the end for new ones. Redis before 6.0.6 cannot say."""
        rank = -1 if self.profile.options.get("lifo") else 1
        with driver_errors_mapped(self.where), self._client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.lpos(self.key("wait"), job_id, rank, None, NEAR_THE_END)
            return [isinstance(place, int) for place in pipe.execute(raise_on_error=False)]
