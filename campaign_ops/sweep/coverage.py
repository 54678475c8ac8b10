"""Evidence from the queue: which pending recipients are in a live job, and which batches no job will send to."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

import sqlalchemy as sa

from campaign_ops.bullmq.completed_jobs import CompletedJobs
from campaign_ops.bullmq.queue import LiveJob, Queue, Reading, Snapshot
from campaign_ops.core.errors import DatabaseTimeout, QueueUnavailable, QueueUnclear
from campaign_ops.core.model import Coverage, Evidence
from campaign_ops.core.paging import in_pages
from campaign_ops.core.queue_state import QueueState
from campaign_ops.platform import Platform
from campaign_ops.postgres import cover, planner
from campaign_ops.postgres.bounded import Patience, bounded
from campaign_ops.postgres.errors import mapped
from campaign_ops.sweep.evidence import PAGE
from campaign_ops.sweep.suspects import find_suspects, left_marked, unread_completed_jobs

log = logging.getLogger(__name__)

PENDING_AT_ONCE = 500_000  # pending recipients per statement: cutting 250,000 into batches takes half a second
PENDING_AT_LEAST = 50_000  # in several campaigns, before each is read alone
TAKEN_AT_ONCE = 40  # jobs whose recipients' markers are read together
MAX_LIVE_JOBS = 500_000  # reading their ids at one moment keeps Redis busy for about a second


class OpenBatch(NamedTuple):
    """Recipients of one campaign, enough for one job, that no job will send to: where they are kept, how many."""

    campaign_id: str
    number: int
    recipients: int

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from other batches."""
        return self.campaign_id, self.number


@dataclass
class JobCounts:
    """Jobs of each stuck campaign: live, failed, and by name those that cannot be understood.

    ``live_in`` names the queues of the live ones, where there are several; ``listed`` counts their recipients.
    ``left_marked`` are recipients of live jobs that a worker has marked and no worker is busy with.
    """

    live: Counter[str] = field(default_factory=Counter)
    listed: int = 0
    live_in: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    left_marked: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    unclear: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class QueueReading(NamedTuple):
    """One reading of the queue. Without ``live`` it was not read whole; without a state there is no queue."""

    state: QueueState | None
    jobs: JobCounts
    live: Reading | None = None
    completed: CompletedJobs | None = None


def read_queue(queue: Queue | None, connection: sa.Connection, ids: Collection[str]) -> QueueReading:
    """Take the snapshot and load the recipients that it covers into the transaction's own table."""
    jobs = JobCounts()
    if queue is None:
        return QueueReading(None, jobs)
    try:
        now = queue.state()
        if not ids or now.problem:
            return QueueReading(now, jobs)
        if now.live > MAX_LIVE_JOBS:
            deep = f"{now.live:,} live jobs are more than can be read whole ({MAX_LIVE_JOBS:,})"
            return QueueReading(replace(now, problem=deep), jobs)
        snapshot = queue.snapshot()
        if snapshot.state.problem:
            return QueueReading(snapshot.state, jobs)
        live = _load_cover(queue, connection, snapshot, ids, jobs)
        return QueueReading(live.state, jobs, live, queue.completed_jobs(snapshot))
    except QueueUnavailable as error:
        log.warning("the queue could not be read: %s", error)
        away = not isinstance(error, QueueUnclear)
        return QueueReading(QueueState(queue.name, problem=str(error), away=away), jobs)


def _load_cover(
    queue: Queue, connection: sa.Connection, snapshot: Snapshot, ids: Collection[str], counts: JobCounts
) -> Reading:
    """Load the recipients of all live jobs, count the jobs, and return what they revealed."""
    wanted = frozenset(ids)
    jobs = queue.live_jobs(snapshot, wanted)
    taken: list[LiveJob] = []

    def _recipients() -> Iterator[str]:
        for job in jobs:
            counts.live[job.campaign_id] += 1
            counts.listed += len(job.recipient_ids)
            if job.queue:
                counts.live_in[job.campaign_id].add(job.queue)
            if job.taken and queue.profile.markers:
                taken.append(job)
            if len(taken) == TAKEN_AT_ONCE:
                counts.left_marked += left_marked(queue, taken)
                taken.clear()
            yield from job.recipient_ids

    cover.load(connection, _recipients())
    counts.left_marked += left_marked(queue, taken)
    counts.unclear = jobs.result.unclear
    counts.failed.update(job.campaign_id for job in queue.failed_jobs(snapshot, wanted))
    return jobs.result


class Covered(NamedTuple):
    """Evidence with what the queue says of it.

    Attributes:
        evidence: Of each campaign; its coverage is None where the queue was not read whole.
        queue: The queue's state, with the problem that appeared on the way, if any.
        missing: By campaign, the batches that no job will send to.
        fingerprints: Of the campaigns whose pending recipients were cut in one statement and are all unmarked.
        has_new_suspects: Some recipients were found marked whom our own tables may not know yet.
    """

    evidence: Sequence[Evidence]
    queue: QueueState | None
    missing: Mapping[str, Sequence[OpenBatch]] = MappingProxyType({})
    fingerprints: Mapping[str, cover.Fingerprint] = MappingProxyType({})
    has_new_suspects: bool = False


def add_coverage(
    platform: Platform,
    connection: sa.Connection,
    evidence: Sequence[Evidence],
    reading: QueueReading,
    patience: Patience,
    *,
    remembers: bool,
) -> Covered:
    """Add to the evidence what the queue says. To be called after the recipients were counted.

    Recipients that moved since they were counted are reported as covered.
    """
    queue, state, completed = platform.queue, reading.state, reading.completed
    if queue is None or state is None or completed is None or state.problem:
        return Covered(evidence, state)
    try:
        filled = _fill_batches(platform, connection, evidence, reading.jobs.listed, patience)
        known = fresh = False
        if filled.missing or reading.jobs.left_marked:
            known, fresh = find_suspects(platform, queue, connection, state, completed, remembers=remembers)
        if reading.jobs.left_marked:
            cover.load(connection, reading.jobs.left_marked, cover.MARKED)
            fresh = True
        open_ = _Uncovered(queue, platform.policy.max_jobs_per_sweep)
        fresh |= open_.read(connection, filled.missing, any_marked=known)
        unread = unread_completed_jobs(queue, state)
    except QueueUnavailable as error:
        problem = replace(state, problem=str(error), away=not isinstance(error, QueueUnclear))
        return Covered(evidence, problem)
    covered = [
        replace(case, uncounted=filled.uncut[case.campaign.id])
        if case.campaign.id in filled.uncut
        else replace(case, coverage=open_.coverage(case, reading.jobs, filled.doubled.get(case.campaign.id, 0), unread))
        for case in evidence
    ]
    fingerprints = {key: fingerprint for key, fingerprint in filled.fingerprints.items() if not open_.marked[key]}
    return Covered(covered, state, open_.batches, fingerprints, has_new_suspects=fresh)


@dataclass
class _Filled:
    """What filling the batches has shown.

    Attributes:
        missing: The pending recipients in no live job.
        covered: The pending recipients in live jobs, of campaigns that were cut in one statement.
        doubled: By campaign, its pending recipients in several live jobs; absent where none is.
        fingerprints: By campaign; absent where it was too large for one statement.
        uncut: By campaign, why its pending recipients could not be read in time, or cannot be told apart.
    """

    missing: int = 0
    covered: int = 0
    doubled: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, cover.Fingerprint] = field(default_factory=dict)
    uncut: dict[str, str] = field(default_factory=dict)

    def give_up(self, platform: Platform, campaign_ids: Sequence[str], error: DatabaseTimeout) -> None:
        """Note that the pending recipients of these campaigns could not be read in time."""
        log.warning("%s: the pending of campaigns %s could not be read: %s", platform.name, campaign_ids, error)
        why = f"its pending recipients could not be compared with the queue: {error.what}"
        self.uncut |= dict.fromkeys(campaign_ids, why)


def _fill_batches(
    platform: Platform, connection: sa.Connection, evidence: Sequence[Evidence], listed: int, patience: Patience
) -> _Filled:
    """Put pending recipients in no live job into batches; jobs list ``listed`` recipients.

    A statement that takes too long is tried again on half as many, and so are those after it. When all campaigns were
    read one by one instead, 400 of 1,000 pending each took more than a minute on a busy machine, and none was repaired.
    """
    assert platform.queue is not None
    tables, size = platform.tables(connection), platform.queue.profile.batch_size
    filled = _Filled()
    large: list[str] = []
    pending = [case for case in evidence if case.tally.pending]
    if cover.may_be_without_id(platform.tables(connection)):
        _leave_out_without_id(platform, connection, pending, filled)
        pending = [case for case in pending if case.campaign.id not in filled.uncut]
    rest = pending
    at_once = PENDING_AT_ONCE
    while rest:
        page = _page_of(rest, at_once)
        ids = [case.campaign.id for case in page]
        if page[0].tally.pending <= PENDING_AT_ONCE:
            try:
                with bounded(platform.database, connection):
                    cuts = cover.fill_batches(connection, tables, ids, size=size, listed=listed)
            except DatabaseTimeout as error:
                log.warning("%s: the pending of %s campaigns took too long: %s", platform.name, len(page), error)
                if len(page) > 1 and at_once > PENDING_AT_LEAST:
                    at_once //= 2
                    continue
                large += ids
            else:
                filled.missing += sum(cut.missing for cut in cuts)
                filled.covered += sum(cut.fingerprint[0] - cut.missing for cut in cuts)
                filled.fingerprints |= {cut.campaign_id: cut.fingerprint for cut in cuts}
        else:
            large += ids
        rest = rest[len(page) :]
    for campaign_id in large:
        missing = cover.missing_of_rows(tables, listed=listed)
        stream = patience.stream(platform.database, connection, missing, {"ids": [campaign_id]})
        try:
            with mapped(platform.database.where), closing(stream) as pieces:
                filled.missing += cover.fill_from(connection, tables, campaign_id, pieces, size=size)
        except DatabaseTimeout as error:
            filled.give_up(platform, [campaign_id], error)
    # Nearly always as many are covered as jobs list: then no recipient is listed twice.
    if (large or filled.covered < listed) and cover.any_doubled(connection):
        _count_doubled(platform, connection, pending, filled)
    return filled


def _leave_out_without_id(
    platform: Platform, connection: sa.Connection, rest: Sequence[Evidence], filled: _Filled
) -> None:
    """Leave campaigns out in which a pending recipient has no id: an error about one ended the whole sweep."""
    tables = platform.tables(connection)
    while rest:
        page = _page_of(rest, PENDING_AT_ONCE)
        ids = [case.campaign.id for case in page]
        try:
            with bounded(platform.database, connection):
                for campaign_id, number in cover.without_id(connection, tables, ids).items():
                    verb = "has" if number == 1 else "have"
                    what = f"{number:,} of its pending recipients {verb} no id (NULL)"
                    filled.uncut[campaign_id] = f"{what}, which no job can name: give every row one"
        except DatabaseTimeout as error:
            filled.give_up(platform, ids, error)
        rest = rest[len(page) :]


def _count_doubled(platform: Platform, connection: sa.Connection, rest: Sequence[Evidence], filled: _Filled) -> None:
    """Count the pending recipients of each campaign that are in several live jobs."""
    tables = platform.tables(connection)
    while rest:
        page = _page_of(rest, PENDING_AT_ONCE)
        ids = [case.campaign.id for case in page]
        try:
            with bounded(platform.database, connection), planner.by_index(connection):
                filled.doubled |= cover.doubled(connection, tables, ids)
        except DatabaseTimeout as error:
            filled.give_up(platform, ids, error)
        rest = rest[len(page) :]


class _Uncovered:
    """Pending recipients in no live job, added up by campaign while their batches are read.

    Attributes:
        batches: By campaign, batches of those that nothing says to be with the provider, at most what a sweep may add.
        marked: By campaign, the number of those that something says to be there.
    """

    def __init__(self, queue: Queue, most_batches: int) -> None:
        self.batches: dict[str, list[OpenBatch]] = defaultdict(list)
        self._queue = queue
        self._most_batches = most_batches
        self._missing: Counter[str] = Counter()
        self.marked: Counter[str] = Counter()
        self._in_completed_jobs: Counter[str] = Counter()
        self._unwritable: dict[str, str | None] = {}

    def read(self, connection: sa.Connection, missing: int, *, any_marked: bool) -> bool:
        """Read all batches and the markers of their recipients; return whether markers named new suspects.

        Without any marker, and where every id fits into a job, it is enough to know how large the batches are.
        """
        if not any_marked and not self._queue.ids.numeric and self._queue.none_marked(missing):
            for campaign_id, number, recipients in cover.sizes(connection):
                self._add(campaign_id, number, recipients)
            return False
        size = self._queue.profile.batch_size
        at_once = max(1, cover.IDS_AT_ONCE // size)
        new_suspects = False
        for batches in in_pages(cover.batches(connection, size=size, marked=any_marked), at_once):
            unmarked = [
                recipient for batch in batches for recipient in batch.recipient_ids if recipient not in batch.marked
            ]
            if marked_now := self._queue.marked(unmarked):
                cover.load(connection, marked_now, cover.MARKED)
                new_suspects = True
            for batch in batches:
                self._add_read(batch, marked_now)
        return new_suspects

    def _add_read(self, batch: cover.Batch, marked_now: Collection[str]) -> None:
        key = batch.campaign_id
        marked = len(batch.marked)
        if marked_now:
            marked += sum(recipient in marked_now for recipient in batch.recipient_ids)
        self._in_completed_jobs[key] += batch.in_completed_jobs
        self.marked[key] += marked
        missing = len(batch.recipient_ids) - marked
        if missing and not self._unwritable.get(key):
            ids = (one for one in batch.recipient_ids if one not in batch.marked and one not in marked_now)
            self._unwritable[key] = self._queue.unwritable(chain([key], ids))
        self._add(key, batch.number, missing)

    def _add(self, key: str, number: int, missing: int) -> None:
        self._missing[key] += missing
        if missing and len(self.batches[key]) < self._most_batches:
            self.batches[key].append(OpenBatch(key, number, missing))

    def coverage(self, case: Evidence, jobs: JobCounts, doubled: int, unread_completed_jobs: int) -> Coverage:
        """What the queue says of one campaign."""
        key = case.campaign.id
        return Coverage(
            covered=max(0, case.tally.pending - self._missing[key] - self.marked[key]),
            marked=self.marked[key],
            missing=self._missing[key],
            doubled=doubled,
            live_jobs=jobs.live[key],
            failed_jobs=jobs.failed[key],
            unclear_jobs=jobs.unclear.get(key, {}),
            in_completed_jobs=self._in_completed_jobs[key],
            unread_completed_jobs=unread_completed_jobs,
            unwritable_id=self._unwritable.get(key),
            live_in=frozenset(jobs.live_in.get(key, ())),
        )


def _page_of(cases: Sequence[Evidence], at_once: int) -> Sequence[Evidence]:
    """The first of the cases, and as many after it as have so many pending recipients with it."""
    pending = 0
    for number, case in enumerate(cases[:PAGE]):
        pending += case.tally.pending
        if number and pending > at_once:
            return cases[:number]
    return cases[:PAGE]
