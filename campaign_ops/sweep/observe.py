"""Observe: everything a decision needs, read in the order that makes it safe. Writes nothing anywhere.

The queue is read first, whole and at one moment; only then are the waiting recipients read. A job that finished
before the snapshot has written its recipients; a job alive at the snapshot covers its own. The other order sends twice.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from campaign_ops.bullmq.queue import LiveJob, Queue, Snapshot
from campaign_ops.core.errors import QueueUnavailable, QueueUnclear
from campaign_ops.core.model import (
    Attempts,
    Campaign,
    Counters,
    Coverage,
    Evidence,
    QueueState,
    Reservation,
    Suspect,
    Tally,
)
from campaign_ops.journal.migrations import is_current
from campaign_ops.platform import Platform
from campaign_ops.postgres import cover, planner, reads
from campaign_ops.postgres.errors import mapped
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.profile.model import Profile
from campaign_ops.sweep.suspects import gather, left_marked, unread_completed_jobs

log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE = 1000  # campaigns or reservations per statement
PENDING_AT_ONCE = 2_000_000  # waiting recipients per statement, but for a single campaign that has more
TAKEN_AT_ONCE = 40  # jobs whose recipients' markers are asked together
MAX_LIVE_JOBS = 500_000  # reading their ids at one moment keeps Redis busy for about a second


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at the platform found. ``at`` is the database's clock."""

    at: datetime
    sending: int
    evidence: tuple[Evidence, ...]
    queue: QueueState | None = None

    @property
    def put_back_into(self) -> set[str]:
        """Names of the queues that missing recipients would be put back into."""
        missing = [one for one in self.evidence if one.coverage is not None and one.coverage.missing]
        queues = [self.queue.of(one.campaign.tenant) for one in missing] if self.queue is not None else []
        return {queue.name for queue in queues if queue is not None}


class OpenBatch(NamedTuple):
    """Recipients of one campaign, enough for one job, whom nobody will send to: where they are kept, how many."""

    campaign_id: str
    number: int
    recipients: int

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from other batches."""
        return self.campaign_id, self.number


@dataclass
class Look:
    """A look that is still going on: its transaction holds who waits and whom the queue covers.

    Attributes:
        observation: What was found.
        tables: The platform's tables.
        connection: The transaction.
        snapshot: The queue as it was read; None where it was not read whole.
        missing: By campaign, the batches that a re-enqueue would add.
        where: The database, for messages.
        remembers: Whether our own tables are there to keep what was found.
        fresh_suspects: Whether anybody was found marked whom our own tables may not know yet.
    """

    observation: Observation
    tables: PlatformTables
    connection: sa.Connection
    snapshot: Snapshot | None
    missing: Mapping[str, Sequence[OpenBatch]]
    where: str
    remembers: bool = False
    fresh_suspects: bool = False

    def read_again(self, chosen: Sequence[OpenBatch]) -> dict[tuple[str, int], list[str]]:
        """Recipients of these batches that still wait now, by the batch's key."""
        # A savepoint: what fails here must not spoil the look for those that come after.
        with mapped(self.where), self.connection.begin_nested():
            return {
                (batch.campaign_id, batch.number): batch.recipient_ids
                for batch in cover.read_again(self.connection, self.tables, [batch.key for batch in chosen])
            }

    def campaigns_now(self, campaign_ids: Collection[str]) -> dict[str, Campaign]:
        """These campaigns as they are now."""
        with mapped(self.where), self.connection.begin_nested():
            rows = self.connection.execute(reads.campaigns(self.tables), {"ids": list(campaign_ids)})
            return {row.id: campaign_of(row) for row in rows}

    def marked(self, limit: int) -> list[Suspect]:
        """Waiting recipients in no live job that the provider may have."""
        return cover.marked(self.connection, limit=limit)


def in_pages(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items."""
    iterator = iter(items)
    while page := list(islice(iterator, size)):
        yield page


@contextmanager
def looking(
    platform: Platform,
    *,
    only: Collection[str] | None = None,
    before: int | None = None,
    coverage: bool = True,
    any_age: bool = False,
) -> Iterator[Look]:
    """Look at all stuck campaigns, or at those of ``only`` that are still stuck.

    Args:
        platform: What to look at.
        only: Campaign ids; None for all that are stuck.
        before: Compare with the sweeps before this one; None for all.
        coverage: Whether to read the queue. Without, the evidence serves no decision about it.
        any_age: Look at every campaign in sending, touched this moment or, by a wrong clock, in the future.
    """
    queue = platform.queue if coverage else None
    with platform.database.transaction(read_only=queue is None) as connection:
        tables = platform.tables(connection)
        sending, undated = connection.execute(reads.sending_count(tables)).one()
        campaigns = list(_stuck(platform, connection, only, any_age=any_age))
        if undated and only is None:
            campaigns += _stuck_undated(platform, connection, any_age=any_age)
        ids = [campaign.id for campaign in campaigns]
        if queue is not None and ids:
            cover.create(connection, tables)
        elif queue is not None:
            connection.execute(cover.READ_ONLY)
        queue_state, snapshot, jobs = _read_queue(queue, connection, ids)
        at = connection.scalar(reads.clock())
        assert at is not None
        remembers = bool(campaigns) and is_current(connection)
        evidence = _evidence(platform, connection, tables, campaigns, before, remembers=remembers)
        missing: Mapping[str, Sequence[OpenBatch]] = {}
        fresh_suspects = False
        if queue is not None and snapshot is not None and queue_state is not None and not queue_state.problem:
            try:
                evidence, missing, fresh_suspects = _with_coverage(
                    platform, queue, connection, evidence, snapshot, jobs, remembers=remembers
                )
            except QueueUnavailable as error:
                queue_state = replace(queue_state, problem=str(error), away=not isinstance(error, QueueUnclear))
        observation = Observation(at, sending, tuple(evidence), queue_state)
        where = platform.database.where
        yield Look(observation, tables, connection, snapshot, missing, where, remembers, fresh_suspects)


def observe(
    platform: Platform,
    *,
    only: Collection[str] | None = None,
    before: int | None = None,
    coverage: bool = True,
    any_age: bool = False,
) -> Observation:
    """One look as `looking` makes it, for reading only; transient database errors are retried."""

    def _look() -> Observation:
        with looking(platform, only=only, before=before, coverage=coverage, any_age=any_age) as look:
            return look.observation

    return platform.database.retrying(_look)


def _stuck(
    platform: Platform, connection: sa.Connection, only: Collection[str] | None, *, any_age: bool
) -> Iterator[Campaign]:
    tables = platform.tables(connection)
    binds: dict[str, object] = {"stuck_after_seconds": platform.policy.stuck_after_seconds}
    if only is not None:
        query = reads.stuck_among(tables, any_age=any_age)
        for page in in_pages(sorted(only), PAGE):
            yield from map(campaign_of, connection.execute(query, {**binds, "ids": page}))
        return
    after: dict[str, object] = {}
    while True:
        query = reads.stuck_campaigns(tables, first=not after, any_age=any_age)
        rows = list(connection.execute(query, {**binds, **after, "limit": PAGE}))
        yield from map(campaign_of, rows)
        if len(rows) < PAGE:
            return
        after = {"after_at": rows[-1].updated_at_exact, "after_id": rows[-1].id}


def _stuck_undated(platform: Platform, connection: sa.Connection, *, any_age: bool) -> Iterator[Campaign]:
    """Stuck campaigns whose ``updated_at`` tells no age: rarely any, so they are read only if some were counted."""
    binds: dict[str, object] = {"stuck_after_seconds": platform.policy.stuck_after_seconds}
    after: dict[str, object] = {}
    while True:
        query = reads.stuck_undated(platform.tables(connection), first=not after, any_age=any_age)
        rows = list(connection.execute(query, {**binds, **after, "limit": PAGE}))
        yield from map(campaign_of, rows)
        if len(rows) < PAGE:
            return
        after = {"after_id": rows[-1].id}


def campaign_of(row: sa.Row[tuple[object, ...]]) -> Campaign:
    """A campaign from a row of `statements.campaign_columns`."""
    counters = None if row.total is None else Counters(row.total, row.succeeded, row.failed)
    return Campaign(
        row.id,
        row.tenant or "",
        row.name or "",
        row.status,
        row.updated_at if row.updated_at_exact is not None else row.started_at or row.created_at,
        row.started_at,
        counters,
        updated_at_exact=row.updated_at_exact,
        impossible=row.impossible,
    )


def _evidence(
    platform: Platform,
    connection: sa.Connection,
    tables: PlatformTables,
    campaigns: Sequence[Campaign],
    before: int | None,
    *,
    remembers: bool,
) -> list[Evidence]:
    when_sent = platform.profile.recipient.rows == "sent"
    people_known = "about" in tables.recipient.c
    evidence: list[Evidence] = []
    for page in in_pages(campaigns, PAGE):
        ids = [campaign.id for campaign in page]
        counts = tally(connection, tables, ids)
        attempts = platform.attempts.of(connection, ids) if remembers else {}
        earlier = platform.journal.pending_before(connection, ids, before=before) if remembers else {}
        strange = _strange_holds(connection, tables, ids)
        for campaign in page:
            pending_before, seen_at = earlier.get(campaign.id, (None, None))
            evidence.append(
                Evidence(
                    campaign=campaign,
                    tally=counts.get(campaign.id, Tally()),
                    rows_when_sent=when_sent,
                    people_known=people_known,
                    attempts=attempts.get(campaign.id, Attempts()),
                    pending_before=pending_before,
                    observed_before_at=seen_at,
                    strange_holds=strange.get(campaign.id, ()),
                )
            )
    return evidence


def _strange_holds(connection: sa.Connection, tables: PlatformTables, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The words of the reservations of each campaign that has some, and none with a known word."""
    if tables.reservation is None:
        return {}
    rows = connection.execute(reads.strange_holds(tables), {"ids": list(ids)})
    return {row.campaign_id: tuple(row.words) for row in rows}


def tally(connection: sa.Connection, tables: PlatformTables, ids: Sequence[str]) -> dict[str, Tally]:
    """Recipients of each campaign by what their status means; one grouped statement."""
    profile = tables.profile
    found: dict[str, Tally] = {}
    for row in connection.execute(reads.tallies(tables), {"ids": list(ids)}):
        so_far = found.get(row.campaign_id, Tally())
        latest = max(filter(None, (so_far.last_activity, row.last_activity)), default=None)
        so_far = replace(so_far, impossible=so_far.impossible + row.impossible)
        standing = row.standing if profile.recipient.rows == "sent" else ""
        meaning = standing if standing in ("earlier", "repeated") else _meaning(profile, row)
        if meaning is None:
            word = str(row.status)
            unknown = {**so_far.unknown, word: so_far.unknown.get(word, 0) + row.number}
            found[row.campaign_id] = replace(so_far, unknown=unknown, last_activity=latest)
        else:
            count = getattr(so_far, meaning) + row.number
            unsure = so_far.unsure + (row.number if standing == "unsure" else 0)
            found[row.campaign_id] = replace(so_far, **{meaning: count, "last_activity": latest, "unsure": unsure})
    return found


def _meaning(profile: Profile, row: sa.Row[tuple[object, ...]]) -> str | None:
    words = profile.recipient.words
    if row.status in words.pending:
        return "accepted" if row.accepted else "pending"
    if row.status in words.succeeded:
        return "succeeded"
    return "failed" if row.status in words.failed else None


def _read_queue(
    queue: Queue | None, connection: sa.Connection, ids: Sequence[str]
) -> tuple[QueueState | None, Snapshot | None, JobCounts]:
    """Take the snapshot and load what it covers into the transaction's own table."""
    counts = JobCounts()
    if queue is None:
        return None, None, counts
    try:
        now = queue.state()
        if not ids or now.problem:
            return now, None, counts
        if now.live > MAX_LIVE_JOBS:
            deep = f"{now.live:,} live jobs are more than can be read whole ({MAX_LIVE_JOBS:,})"
            return replace(now, problem=deep), None, counts
        snapshot = queue.snapshot()
        if snapshot.state.problem:
            return snapshot.state, snapshot, counts
        return _load_cover(queue, connection, snapshot, ids, counts), snapshot, counts
    except QueueUnavailable as error:
        log.warning("the queue could not be read: %s", error)
        away = not isinstance(error, QueueUnclear)
        return QueueState(queue.name, problem=str(error), away=away), None, counts


@dataclass
class JobCounts:
    """Jobs of each stuck campaign: live, failed, and those that leave doubt, by name.

    ``live_in`` names the queues of the live ones, where there are several. ``left_marked`` are recipients of live jobs
    that a worker has marked and no worker is busy with.
    """

    live: Counter[str] = field(default_factory=Counter)
    live_in: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    left_marked: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    unclear: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def _load_cover(
    queue: Queue, connection: sa.Connection, snapshot: Snapshot, ids: Sequence[str], counts: JobCounts
) -> QueueState:
    wanted = frozenset(ids)
    jobs = queue.live_jobs(snapshot, wanted)

    taken: list[LiveJob] = []

    def _recipients() -> Iterator[str]:
        for job in jobs:
            counts.live[job.campaign_id] += 1
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
    counts.unclear = jobs.unclear
    counts.failed.update(job.campaign_id for job in queue.failed_jobs(snapshot, wanted))
    return jobs.state


def _with_coverage(
    platform: Platform,
    queue: Queue,
    connection: sa.Connection,
    evidence: Sequence[Evidence],
    snapshot: Snapshot,
    jobs: JobCounts,
    *,
    remembers: bool,
) -> tuple[list[Evidence], dict[str, list[OpenBatch]], bool]:
    """The evidence with what the queue says of it, the batches that nobody will send to, and whether there are suspects
    that our own tables may not know yet.

    Recipients that moved since they were counted are reported as covered.
    """
    assert platform.profile.queue is not None
    size = platform.profile.queue.batch_size
    tables = platform.tables(connection)
    doubled: dict[str, int] = {}
    any_doubled = cover.any_doubled(connection)
    filled = 0
    for page in _pages_of_pending(evidence):
        filled += cover.fill_batches(connection, tables, page, size=size)
        if any_doubled:
            doubled |= cover.doubled(connection, tables, page)
    missing: dict[str, list[OpenBatch]] = defaultdict(list)
    lost: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    completed: Counter[str] = Counter()
    unwritable: dict[str, str | None] = {}
    known = fresh = False
    if filled or jobs.left_marked:
        known, fresh = gather(platform, queue, connection, snapshot, remembers=remembers)
    if jobs.left_marked:
        cover.load(connection, jobs.left_marked, cover.MARKED)
        fresh = True
    for batches in in_pages(cover.batches(connection, size=size, marked=known), max(1, cover.IDS_AT_ONCE // size)):
        asked = [one for batch in batches for one in batch.recipient_ids if one not in batch.marked]
        spoken_for = queue.marked(asked)
        if spoken_for:
            cover.load(connection, spoken_for, cover.MARKED)
            fresh = True
        for batch in batches:
            suspects = len(batch.marked) + sum(one in spoken_for for one in batch.recipient_ids if spoken_for)
            silent = len(batch.recipient_ids) - suspects
            completed[batch.campaign_id] += batch.in_completed_jobs
            marked[batch.campaign_id] += suspects
            lost[batch.campaign_id] += silent
            if silent and not unwritable.get(batch.campaign_id):
                own = (one for one in batch.recipient_ids if one not in batch.marked and one not in spoken_for)
                unwritable[batch.campaign_id] = queue.unwritable(chain([batch.campaign_id], own))
            if silent and len(missing[batch.campaign_id]) < platform.policy.max_jobs_per_sweep:
                missing[batch.campaign_id].append(OpenBatch(batch.campaign_id, batch.number, silent))
    unread = unread_completed_jobs(queue, snapshot.state)
    covered = []
    for one in evidence:
        key = one.campaign.id
        coverage = Coverage(
            covered=max(0, one.tally.pending - lost[key] - marked[key]),
            marked=marked[key],
            missing=lost[key],
            doubled=doubled.get(key, 0),
            live_jobs=jobs.live[key],
            failed_jobs=jobs.failed[key],
            unclear_jobs=jobs.unclear.get(key, {}),
            in_completed_jobs=completed[key],
            unread_completed_jobs=unread,
            unwritable_id=unwritable.get(key),
            live_in=frozenset(jobs.live_in.get(key, ())),
        )
        covered.append(replace(one, coverage=coverage))
    return covered, missing, fresh


def _pages_of_pending(evidence: Iterable[Evidence]) -> Iterator[list[str]]:
    """Ids of the campaigns with anybody to send to, so many that one statement has no more than its share of work."""
    page: list[str] = []
    pending = 0
    for one in evidence:
        if not one.tally.pending:
            continue
        if page and (len(page) == PAGE or pending + one.tally.pending > PENDING_AT_ONCE):
            yield page
            page, pending = [], 0
        page.append(one.campaign.id)
        pending += one.tally.pending
    if page:
        yield page


def questionable_reservations(platform: Platform, connection: sa.Connection) -> Iterator[Reservation]:
    """Held reservations that a decision is needed about: the campaign is not sending, or they are late."""
    tables = platform.tables(connection)
    if tables.reservation is None:
        return
    known_to_us = is_current(connection)
    query = reads.questionable_reservations(tables).execution_options(yield_per=PAGE)
    with planner.read_to_the_end(connection):
        found = connection.execute(query, {"max_age": platform.policy.reservation_max_age_seconds})
    with found:
        for rows in found.partitions():
            undone = platform.journal.undone_releases(connection, [row.id for row in rows]) if known_to_us else set()
            yield from (reservation_of(row, release_undone=row.id in undone) for row in rows)


def reservation_of(row: sa.Row[tuple[object, ...]], *, release_undone: bool = False) -> Reservation:
    """A reservation from a row of `statements.reservation_columns`."""
    return Reservation(
        id=row.id,
        tenant=row.tenant or "",
        campaign_id=row.campaign_id,
        amount=row.amount,
        created_at=row.created_at,
        expires_at=row.expires_at,
        campaign_status=row.campaign_status,
        release_undone=release_undone,
        impossible=row.impossible,
    )
