"""Whom the live jobs of a snapshot cover, and which of them leave doubt.

What a single job says is read in `queue_payload`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace

from campaign_ops.bullmq.connection import QueueConnection
from campaign_ops.bullmq.library import BULL, is_bulls_job
from campaign_ops.bullmq.payload import PayloadReader, named
from campaign_ops.core.model import QueueState


@dataclass(frozen=True)
class LiveJob:
    """One job for a campaign that is not over. ``taken``: a worker has had it in its hands at least once.

    ``queue`` names its queue, where the platform has several.
    """

    id: str
    state: str
    campaign_id: str
    recipient_ids: tuple[str, ...]
    taken: bool = field(default=False, compare=False)
    queue: str = ""


@dataclass(frozen=True)
class FailedJob:
    """One job for a campaign that ran out of attempts."""

    id: str
    campaign_id: str
    recipient_ids: tuple[str, ...]


@dataclass(frozen=True)
class CompletedJob:
    """One job that a worker has completed and that is kept, whatever its name."""

    id: str
    campaign_id: str
    recipient_ids: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """Every live job id of the queue at one moment.

    Attributes:
        state: Counts and flags of that moment.
        live: Job id to the state it stood in. All of them: look at the depth first where memory is short.
        failed: The newest failed ids, newest first, of which there may be more.
        finished: Ids that `LiveJobs` found finished: whatever is under such an id later is a new job.
        covering: Id of each job that `LiveJobs` found to cover somebody, to its campaign and the time it was made:
            another job may be under the same id later.
        completed: Ids of the completed jobs that were read since.
        parts: Of several queues, the snapshot of each by name, all of one moment.
    """

    state: QueueState
    live: Mapping[str, str]
    failed: tuple[str, ...]
    finished: set[str] = field(default_factory=set, compare=False)
    covering: dict[str, tuple[str, str | None]] = field(default_factory=dict, compare=False)
    completed: set[str] = field(default_factory=set, compare=False)
    parts: Mapping[str, Snapshot] = field(default_factory=dict)


class LiveJobs(Iterator[LiveJob]):
    """The live jobs of some campaigns, page by page, and afterwards the account of the reading.

    Raises:
        QueueUnavailable: The queue could not be read to the end. What came before is no answer.
    """

    def __init__(self, connection: QueueConnection, snapshot: Snapshot, campaign_ids: Collection[str]) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._payloads = PayloadReader(connection.profile, connection.ids, campaign_ids)
        self._jobs = self._read()
        self._state: QueueState | None = None
        self._foreign = 0
        self._doomed = 0
        self._lost: str | None = None
        self._old: str | None = None
        self._unclear: Counter[str] = Counter()
        self._unclear_to_all: Counter[str] = Counter()
        self._unclear_to: dict[str, Counter[str]] = {}

    def __iter__(self) -> Iterator[LiveJob]:
        return self

    def __next__(self) -> LiveJob:
        return next(self._jobs)

    @property
    def state(self) -> QueueState:
        """The snapshot's state with orphans, unclear and foreign jobs counted; only after the last job.

        Its ``problem`` says when nobody can know whom the queue covers: then the jobs must not be acted on.
        """
        if self._state is None:
            msg = "the account of a reading exists only when the reading is over"
            raise RuntimeError(msg)
        return self._state

    @property
    def unclear(self) -> Mapping[str, Mapping[str, int]]:
        """By campaign, the jobs that may be about it and cannot be understood, by name; only after the last job."""
        in_doubt = self._payloads.wanted.everybody if self._unclear_to_all else self._unclear_to
        return {one: self._unclear_to_all + self._unclear_to.get(one, Counter()) for one in in_doubt}

    def _read(self) -> Iterator[LiveJob]:
        gone = yield from self._look(self._snapshot.live)
        orphans: set[str] = set()
        if gone:
            # A job without data has finished since the snapshot, unless it is still listed ...
            live = self._connection.live_ids()
            listed = {job_id: live[job_id] for job_id in gone if job_id in live}
            self._snapshot.finished.update(gone - listed.keys())
            # ... and then somebody may have added its id anew.
            orphans = yield from self._look(listed)
            held = self._connection.locked(job_id for job_id in orphans if listed[job_id] == "active")
            if held:
                self._lost = f"job {named(min(held))} is in the hands of a worker and has lost its data"
        lost = self._lost and f"{self._lost}: nobody knows whom it covers"
        problems = [self._snapshot.state.problem, self._old, lost]
        self._state = replace(
            self._snapshot.state,
            orphans=len(orphans),
            unclear_jobs=dict(self._unclear),
            foreign_jobs=self._foreign,
            doomed_jobs=self._doomed,
            problem="; ".join(filter(None, problems)) or None,
        )

    def _look(self, live: Mapping[str, str]) -> Generator[LiveJob, None, set[str]]:
        """Yield the jobs of these campaigns among ``live``; return the ids that have no data."""
        gone = set()
        wanted = ["name", "data", "defa", "timestamp", "processedOn"]
        if self._snapshot.state.version is None:
            wanted.append("opts")
        for job_id, (name, data, defa, made, taken_at, *options) in self._connection.fields(list(live), *wanted):
            if name is None and data is None:
                gone.add(job_id)
                continue
            if options and is_bulls_job(job_id, options[0]):
                self._old = BULL
            said = self._payloads.read(name, data)
            if said.doubt:
                self._note_doubt(named(name or "without a name"), said.doubt)
            elif said.campaign_id is None and not self._payloads.is_ours(name):
                self._foreign += 1
            if said.campaign_id is not None:
                # It stalled too often. Workers since BullMQ 5.53 fail it, but older ones send it, and no worker tells
                # its version: it covers its recipients until it is over.
                self._doomed += defa is not None
                self._snapshot.covering[job_id] = (said.campaign_id, made)
                # BullMQ 4 moves a job to `active` a moment before it writes `processedOn`.
                taken = taken_at is not None or live[job_id] == "active"
                yield LiveJob(job_id, live[job_id], said.campaign_id, said.recipient_ids, taken)
        return gone

    def _note_doubt(self, name: str, campaign_ids: frozenset[str]) -> None:
        self._unclear[name] += 1
        everybody = self._payloads.wanted.everybody
        if campaign_ids is everybody or campaign_ids == everybody:
            self._unclear_to_all[name] += 1
            return
        for campaign_id in campaign_ids:
            self._unclear_to.setdefault(campaign_id, Counter())[name] += 1
