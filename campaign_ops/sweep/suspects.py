"""Recipients that the provider may have: found in markers and completed jobs, remembered in our own tables.

A sweep never sends to them again. A suspicion holds until a person decides or the row moves, even if the marker or the
job is gone meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import sqlalchemy as sa

from campaign_ops.bullmq.completed_jobs import CompletedJobs
from campaign_ops.bullmq.payload import named
from campaign_ops.bullmq.queue import LiveJob, NewJob, Queue
from campaign_ops.bullmq.reader import COMPLETED_LOOKED_AT
from campaign_ops.core.model import Suspect
from campaign_ops.core.queue_state import QueueState
from campaign_ops.platform import Platform
from campaign_ops.postgres import cover


def find_suspects(
    platform: Platform,
    queue: Queue,
    connection: sa.Connection,
    state: QueueState,
    completed: CompletedJobs,
    *,
    remembers: bool,
) -> tuple[bool, bool]:
    """Mark the missing recipients of a look that were marked before or stand in completed jobs.

    Args:
        platform: The platform that is looked at.
        queue: Its queue.
        connection: The transaction of the look, its batches filled.
        state: The queue at the look.
        completed: Reads the completed jobs that it keeps.
        remembers: Our own tables exist and are to be read.

    Returns:
        Whether any recipient is marked, and whether any is that our own tables may not know yet.
    """
    tables = platform.tables(connection)
    known = cover.load_remembered(connection, tables, platform.ambiguous) if remembers else 0
    fresh = 0
    reads_completed = queue.profile.completed_means == "sent" and state.counts.get("completed")
    if reads_completed and (campaigns := cover.campaigns_with_batches(connection)):
        listed = (
            (recipient_id, named(job.id)) for job in completed.new(campaigns) for recipient_id in job.recipient_ids
        )
        fresh = cover.load_completed(connection, listed, platform.ambiguous if remembers else None)
    return bool(known or fresh), bool(fresh)


def left_marked(queue: Queue, jobs: Sequence[LiveJob]) -> list[str]:
    """Marked recipients of jobs that a worker has taken and whose lock no worker holds.

    The job covers them as long as it is live; it may vanish together with the marker. Jobs that a worker holds are left
    out: their markers come and go while it sends.
    """
    held = queue.locked(job.id for job in jobs)
    return sorted(queue.marked([recipient for job in jobs if job.id not in held for recipient in job.recipient_ids]))


def unread_completed_jobs(queue: Queue, state: QueueState) -> int:
    """Completed jobs that the queue keeps and that no look reads."""
    completed = [part.counts.get("completed", 0) for part in state.each]
    read = 0 if queue.profile.completed_means == "nothing" else COMPLETED_LOOKED_AT
    return sum(max(0, number - read) for number in completed)


def marked_meanwhile(
    platform: Platform,
    queue: Queue,
    completed: CompletedJobs,
    jobs: Sequence[NewJob],
    *,
    among: Collection[str],
    at: datetime,
) -> frozenset[str]:
    """The recipients of jobs about to be added that were marked since the look; they are also written down.

    Args:
        platform: The platform that is repaired.
        queue: Its queue.
        completed: Has read the completed jobs of the look.
        jobs: The jobs.
        among: All campaigns that get jobs: each completed job is read once, and may be about those of another page.
        at: The moment of the look.
    """
    campaigns: dict[str, str] = {}
    suspects: dict[str, Suspect] = {}
    for recipients, names in _found_marked(queue, completed, jobs, among):
        # Nearly always nothing is found; so many recipients in a dictionary are not made for nothing.
        campaigns = campaigns or {recipient: job.campaign_id for job in jobs for recipient in job.recipient_ids}
        for recipient in campaigns.keys() & set(recipients):
            suspects[recipient] = Suspect(campaigns[recipient], recipient, names)
    if suspects:
        keep_suspects(platform, list(suspects.values()), at)
    return frozenset(suspects)


def _found_marked(
    queue: Queue, completed: CompletedJobs, jobs: Sequence[NewJob], among: Collection[str]
) -> Iterator[tuple[Collection[str], tuple[str, ...]]]:
    """Recipients that have a marker, and those of each job completed since the look, with its name."""
    if marked := queue.marked([recipient for job in jobs for recipient in job.recipient_ids]):
        yield marked, ()
    if queue.profile.completed_means == "sent":
        for job in completed.later(among):
            yield job.recipient_ids, (named(job.id),)


def keep_suspects(platform: Platform, suspects: Sequence[Suspect], at: datetime) -> None:
    """Write down suspects and when they were seen."""
    platform.database.run(lambda connection: platform.ambiguous.remember(connection, suspects, seen_at=at))
