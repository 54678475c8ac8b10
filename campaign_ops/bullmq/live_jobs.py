"""The live jobs of a snapshot: which recipients they cover, and which of them leave doubt.

What a single job says is read in `payload`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace

from campaign_ops.bullmq.connection import QueueConnection
from campaign_ops.bullmq.contents import read_contents
from campaign_ops.bullmq.jobs import LiveJob
from campaign_ops.bullmq.owner import BULL, is_bulls_job
from campaign_ops.bullmq.payload import PayloadReader, named
from campaign_ops.bullmq.snapshot import Snapshot
from campaign_ops.bullmq.states import kept_aside, may_come_again
from campaign_ops.core.queue_state import QueueState


@dataclass(frozen=True)
class Reading:
    """The result of reading every live job of a snapshot for some campaigns.

    Attributes:
        snapshot: The snapshot that was read.
        state: The snapshot's state with orphans, unclear, foreign and doomed jobs counted. Its ``problem`` says when it
            cannot be known which recipients the queue covers: then the jobs must not be acted on.
        unclear: By campaign, the jobs that may be about it and cannot be understood, by name.
        finished: Ids whose job had finished when it was to be read: a job under such an id later is a new one.
        dated: Id of each job that covers recipients, to its campaign and the time it was made: another job may have the
            same id later. And of other jobs whose id the application chose, without a campaign.
        holders: Id of each job with a deduplication id, to the id of what may be kept aside while it is not over, and
            the state in which nothing can be: empty for a job that a worker has taken.
        parts: Of several queues, the reading of each by name.
    """

    snapshot: Snapshot
    state: QueueState
    unclear: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    finished: frozenset[str] = frozenset()
    dated: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    holders: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    parts: Mapping[str, Reading] = field(default_factory=dict)


class LiveJobs(Iterator[LiveJob]):
    """The live jobs of some campaigns, page by page; then ``result``.

    ``jobs`` yields them and returns the result.

    Raises:
        QueueUnavailable: The queue could not be read to the end. What came before is not an answer.
    """

    def __init__(self, snapshot: Snapshot, jobs: Generator[LiveJob, None, Reading]) -> None:
        self.snapshot = snapshot
        self._jobs = jobs
        self._result: Reading | None = None

    def __iter__(self) -> Iterator[LiveJob]:
        return self

    def __next__(self) -> LiveJob:
        try:
            return next(self._jobs)
        except StopIteration as end:
            self._result = end.value or self._result
            raise

    @property
    def result(self) -> Reading:
        """The result of the whole reading; only after the last job."""
        if self._result is None:
            msg = "the result of a reading exists only when the reading is over"
            raise RuntimeError(msg)
        return self._result


def live_jobs(connection: QueueConnection, snapshot: Snapshot, campaign_ids: Collection[str]) -> LiveJobs:
    """Read the jobs of these campaigns that were live at the snapshot of one queue."""
    return LiveJobs(snapshot, _Reader(connection, snapshot, campaign_ids).read())


class _Reader:
    """One reading of one queue, with its counts so far."""

    def __init__(self, connection: QueueConnection, snapshot: Snapshot, campaign_ids: Collection[str]) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._payloads = PayloadReader(connection.profile, connection.ids, campaign_ids)
        self._dated: dict[str, tuple[str | None, str | None]] = {}
        self._holders: dict[str, tuple[str, str]] = {}
        self._foreign = 0
        self._doomed = 0
        self._old: str | None = None
        self._unclear: Counter[str] = Counter()
        self._unclear_to_all: Counter[str] = Counter()
        self._unclear_to: dict[str, Counter[str]] = {}

    def read(self) -> Generator[LiveJob, None, Reading]:
        """Yield the jobs of these campaigns; return the result."""
        gone = yield from self._look(self._snapshot.live)
        yield from self._look_aside()
        orphans: set[str] = set()
        finished: set[str] = set()
        lost = None
        if gone:
            # A job without data has finished since the snapshot, unless it is still listed ...
            live = self._connection.live_ids()
            listed = {job_id: live[job_id] for job_id in gone if job_id in live}
            finished = gone - listed.keys()
            # ... and then its id may have been added again.
            orphans = yield from self._look(listed)
            if held := self._connection.locked(job_id for job_id in orphans if listed[job_id] == "active"):
                job = named(min(held))
                lost = f"a worker holds job {job}, which has lost its data: its recipients are not known"
        problems = [self._snapshot.state.problem, self._old, lost]
        state = replace(
            self._snapshot.state,
            orphans=len(orphans),
            unclear_jobs=dict(self._unclear),
            foreign_jobs=self._foreign,
            doomed_jobs=self._doomed,
            problem="; ".join(filter(None, problems)) or None,
        )
        unclear = self._unclear_by_campaign()
        return Reading(self._snapshot, state, unclear, frozenset(finished), self._dated, self._holders)

    def _unclear_by_campaign(self) -> Mapping[str, Mapping[str, int]]:
        in_doubt = self._payloads.wanted.everybody if self._unclear_to_all else self._unclear_to
        return {campaign: self._unclear_to_all + self._unclear_to.get(campaign, Counter()) for campaign in in_doubt}

    def _look(self, live: Mapping[str, str]) -> Generator[LiveJob, None, set[str]]:
        """Yield the jobs of these campaigns among ``live``; return the ids that have no data."""
        gone = set()
        fields = ["defa", "timestamp", "processedOn", "deid"]
        if self._snapshot.state.version is None:
            fields.append("opts")
        for job_id, name, content, (defa, made_at, taken_at, deduplication, *options) in read_contents(
            self._connection, self._payloads, list(live), *fields
        ):
            if may_come_again(job_id):
                self._dated[job_id] = (None, made_at)
            if content is None:
                gone.add(job_id)
                continue
            # BullMQ 4 moves a job to `active` a moment before it writes `processedOn`.
            taken = taken_at is not None or live[job_id] == "active"
            if deduplication is not None:
                self._holders[job_id] = kept_aside(deduplication), "" if taken else live[job_id]
            if options and is_bulls_job(job_id, options[0]):
                self._old = BULL
            if content.doubt:
                self._note_doubt(named(name or "without a name"), content.doubt)
            elif content.campaign_id is None and not self._payloads.is_ours(name):
                self._foreign += 1
            if content.campaign_id is not None:
                # With `defa` it stalled too often. Workers since BullMQ 5.53 fail it, but older ones send it, and no
                # worker reports its version: it covers its recipients until it is over.
                self._doomed += defa is not None
                self._dated[job_id] = (content.campaign_id, made_at)
                yield LiveJob(job_id, live[job_id], content.campaign_id, content.recipient_ids, taken)
        return gone

    def _look_aside(self) -> Generator[LiveJob, None, None]:
        """Yield the jobs of these campaigns that wait, in no state, for one to end that a worker has taken."""
        aside = sorted({name for name, untaken_in in self._holders.values() if not untaken_in})
        for job_id, name, content, (counted,) in read_contents(self._connection, self._payloads, aside, "jid"):
            if content is not None and content.doubt:
                self._note_doubt(named(name or "without a name"), content.doubt)
            if content is not None and content.campaign_id is not None:
                self._dated[job_id] = (content.campaign_id, counted)
                yield LiveJob(job_id, "wait", content.campaign_id, content.recipient_ids)

    def _note_doubt(self, name: str, campaign_ids: frozenset[str]) -> None:
        self._unclear[name] += 1
        everybody = self._payloads.wanted.everybody
        if campaign_ids is everybody or campaign_ids == everybody:
            self._unclear_to_all[name] += 1
            return
        for campaign_id in campaign_ids:
            self._unclear_to.setdefault(campaign_id, Counter())[name] += 1
