"""The newest completed jobs of a queue, each read once.

To be read after the rows: of each job a worker has reported that the batch is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from campaign_ops.bullmq.connection import QueueConnection
from campaign_ops.bullmq.contents import read_contents
from campaign_ops.bullmq.jobs import CompletedJob
from campaign_ops.bullmq.payload import PayloadReader


class CompletedJobs:
    """Reads the jobs that were completed since it was last asked. ``newest`` returns the ids that are kept now."""

    def __init__(self, connection: QueueConnection, newest: Callable[[], Sequence[str]]) -> None:
        self._connection = connection
        self._newest = newest
        self._read: set[str] = set()
        self._later: list[CompletedJob] = []

    def new(self, campaign_ids: Collection[str]) -> Iterator[CompletedJob]:
        """Read, page by page, the jobs of these campaigns that no earlier call has read.

        Raises:
            QueueUnavailable: They could not be read to the end.
        """
        payloads = PayloadReader(self._connection.profile, self._connection.ids, campaign_ids)
        new = [job_id for job_id in self._newest() if job_id not in self._read]
        for job in read_contents(self._connection, payloads, new):
            if job.content is not None and job.content.campaign_id is not None:
                yield CompletedJob(job.id, job.content.campaign_id, job.content.recipient_ids)
        self._read.update(new)

    def later(self, campaign_ids: Collection[str]) -> Sequence[CompletedJob]:
        """Return all jobs completed since `new` was called, however often this is asked, always for these campaigns.

        Raises:
            QueueUnavailable: They could not be read to the end.
        """
        self._later.extend(self.new(campaign_ids))
        return self._later
