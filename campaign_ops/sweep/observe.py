"""Observe: everything a decision needs, read in the order that makes it safe. Writes nothing anywhere.

The queue is read first, whole and at one moment; only then are the waiting recipients read. A job that finished
before the snapshot has written its recipients; a job alive at the snapshot covers its own. The other order sends twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa

from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.core.model import (
    Attempts,
    Campaign,
    Counters,
    Coverage,
    Evidence,
    QueueState,
    Reservation,
    Tally,
)
from campaign_ops.platform import cover, statements
from campaign_ops.platform.migrations import current
from campaign_ops.platform.platform import Platform
from campaign_ops.platform.profile import Profile
from campaign_ops.platform.queue import Queue, Snapshot
from campaign_ops.platform.tables import PlatformTables

log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE = 1000  # campaigns or reservations per statement
ID_PAGE = 2000  # recipient ids per round trip
STREAMED = {"stream_results": True, "yield_per": ID_PAGE}  # per statement: set on a connection it would stay
MAX_LIVE_JOBS = 500_000  # reading their ids at one moment keeps Redis busy for about a second
ANY_AGE = -3.2e9  # seconds: also campaigns touched this moment, or in the future by a clock that is wrong


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at the platform found. ``at`` is the database's clock."""

    at: datetime
    sending: int
    evidence: tuple[Evidence, ...]
    queue: QueueState | None = None


@dataclass
class Look:
    """A look that is still going on: its transaction holds what the queue covers, so that batches can be streamed."""

    observation: Observation
    tables: PlatformTables
    connection: sa.Connection
    snapshot: Snapshot | None

    def missing(self, limits: Sequence[tuple[str, int]]) -> Iterator[tuple[str, str]]:
        """(campaign id, recipient id) of recipients that nobody will send to, streamed, campaign by campaign.

        Args:
            limits: Campaign ids in the order wanted, each with the most recipients to take.
        """
        if not limits:
            return
        binds = {"ids": [campaign_id for campaign_id, _ in limits], "limits": [limit for _, limit in limits]}
        query = statements.missing(self.tables)
        for row in self.connection.execute(query, binds, execution_options=STREAMED):
            yield row.campaign_id, row.recipient_id


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
    stuck_after: float | None = None,
) -> Iterator[Look]:
    """Look at all stuck campaigns, or at those of ``only`` that are stuck still.

    Args:
        platform: What to look at.
        only: Campaign ids; None for all that are stuck.
        before: Compare with the sweeps before this one; None for all.
        coverage: Whether to read the queue. Without, the evidence serves no decision about it.
        stuck_after: Seconds untouched that make a campaign stuck; None for the policy's, `ANY_AGE` for all sending.
    """
    queue = platform.queue if coverage else None
    age = platform.policy.stuck_after_seconds if stuck_after is None else stuck_after
    with platform.database.transaction(read_only=queue is None) as connection:
        tables = platform.tables(connection)
        if queue is not None:
            cover.create(connection, tables)
        campaigns = list(_stuck(connection, tables, only, age))
        ids = [campaign.id for campaign in campaigns]
        queue_state, snapshot, jobs = _read_queue(queue, connection, ids)
        at = connection.scalar(statements.clock())
        assert at is not None
        sending = connection.scalar(statements.sending_count(tables)) or 0
        evidence = _evidence(platform, connection, tables, campaigns, before)
        if queue is not None and snapshot is not None and queue_state is not None and not queue_state.problem:
            try:
                covered = _coverage(queue, connection, tables, ids, jobs)
            except QueueUnavailable as error:
                queue_state = replace(queue_state, problem=str(error))
            else:
                evidence = [replace(one, coverage=covered[one.campaign.id]) for one in evidence]
        observation = Observation(at, sending, tuple(evidence), queue_state)
        yield Look(observation, tables, connection, snapshot)


def observe(
    platform: Platform,
    *,
    only: Collection[str] | None = None,
    before: int | None = None,
    coverage: bool = True,
    stuck_after: float | None = None,
) -> Observation:
    """One look as `looking` makes it, for reading only; transient database errors are retried."""

    def _look() -> Observation:
        with looking(platform, only=only, before=before, coverage=coverage, stuck_after=stuck_after) as look:
            return look.observation

    return platform.database.retrying(_look)


def _stuck(
    connection: sa.Connection, tables: PlatformTables, only: Collection[str] | None, stuck_after: float
) -> Iterator[Campaign]:
    binds: dict[str, object] = {"stuck_after": stuck_after}
    if only is not None:
        for page in in_pages(sorted(only), PAGE):
            for row in connection.execute(statements.stuck_among(tables), {**binds, "ids": page}):
                yield campaign_of(row)
        return
    after: dict[str, object] = {}
    while True:
        query = statements.stuck_campaigns(tables, first=not after)
        rows = list(connection.execute(query, {**binds, **after, "limit": PAGE}))
        yield from map(campaign_of, rows)
        if len(rows) < PAGE:
            return
        after = {"after_at": rows[-1].updated_at, "after_id": rows[-1].id}


def campaign_of(row: sa.Row[tuple[object, ...]]) -> Campaign:
    """A campaign from a row of `statements.campaign_columns`."""
    counters = None if row.total is None else Counters(row.total, row.succeeded, row.failed)
    return Campaign(row.id, row.tenant or "", row.name or "", row.status, row.updated_at, row.started_at, counters)


def _evidence(
    platform: Platform,
    connection: sa.Connection,
    tables: PlatformTables,
    campaigns: Sequence[Campaign],
    before: int | None,
) -> list[Evidence]:
    known_to_us = current(connection) is not None
    when_sent = platform.profile.recipient.rows == "sent"
    evidence: list[Evidence] = []
    for page in in_pages(campaigns, PAGE):
        ids = [campaign.id for campaign in page]
        counts = tally(connection, tables, ids)
        attempts = platform.attempts.of(connection, ids) if known_to_us else {}
        earlier = platform.journal.pending_before(connection, ids, before=before) if known_to_us else {}
        for campaign in page:
            pending_before, seen_at = earlier.get(campaign.id, (None, None))
            evidence.append(
                Evidence(
                    campaign=campaign,
                    tally=counts.get(campaign.id, Tally()),
                    rows_when_sent=when_sent,
                    attempts=attempts.get(campaign.id, Attempts()),
                    pending_before=pending_before,
                    observed_before_at=seen_at,
                )
            )
    return evidence


def tally(connection: sa.Connection, tables: PlatformTables, ids: Sequence[str]) -> dict[str, Tally]:
    """Recipients of each campaign by what their status means; one grouped statement."""
    profile = tables.profile
    found: dict[str, Tally] = {}
    for row in connection.execute(statements.tallies(tables), {"ids": list(ids)}):
        so_far = found.get(row.campaign_id, Tally())
        latest = max(filter(None, (so_far.last_activity, row.last_activity)), default=None)
        meaning = _meaning(profile, row.status, accepted=row.accepted)
        if meaning is None:
            word = str(row.status)
            unknown = {**so_far.unknown, word: so_far.unknown.get(word, 0) + row.number}
            found[row.campaign_id] = replace(so_far, unknown=unknown, last_activity=latest)
        else:
            count = getattr(so_far, meaning) + row.number
            found[row.campaign_id] = replace(so_far, **{meaning: count, "last_activity": latest})
    return found


def _meaning(profile: Profile, status: str | None, *, accepted: bool) -> str | None:
    words = profile.recipient.words
    if status in words.pending:
        return "accepted" if accepted else "pending"
    if status in words.succeeded:
        return "succeeded"
    return "failed" if status in words.failed else None


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
        return QueueState(queue.profile.name, problem=str(error)), None, counts


@dataclass
class JobCounts:
    """Jobs of each stuck campaign: live and able to send, and failed or doomed."""

    live: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


def _load_cover(
    queue: Queue, connection: sa.Connection, snapshot: Snapshot, ids: Sequence[str], counts: JobCounts
) -> QueueState:
    wanted = frozenset(ids)
    jobs = queue.live_jobs(snapshot, wanted)

    def _recipients() -> Iterator[str]:
        for job in jobs:
            if job.doomed:  # it will fail as soon as a worker picks it up
                counts.failed[job.campaign_id] += 1
            else:
                counts.live[job.campaign_id] += 1
                yield from job.recipient_ids

    cover.load(connection, _recipients(), cover.JOB)
    cover.analyze(connection)
    counts.failed.update(job.campaign_id for job in queue.failed_jobs(snapshot, wanted))
    return jobs.state


def _coverage(
    queue: Queue, connection: sa.Connection, tables: PlatformTables, ids: Sequence[str], jobs: JobCounts
) -> dict[str, Coverage]:
    if tables.profile.queue is not None and tables.profile.queue.markers:
        _load_markers(queue, connection, tables, ids)
    found = {campaign_id: Coverage() for campaign_id in ids}
    for page in in_pages(ids, PAGE):
        for row in connection.execute(statements.coverage(tables), {"ids": page}):
            found[row.campaign_id] = Coverage(row.covered, row.marked, row.missing, row.doubled)
    return {
        campaign_id: replace(one, live_jobs=jobs.live[campaign_id], failed_jobs=jobs.failed[campaign_id])
        for campaign_id, one in found.items()
    }


def _load_markers(queue: Queue, connection: sa.Connection, tables: PlatformTables, ids: Sequence[str]) -> None:
    """Recipients whose marker says that the provider may have them, into the transaction's own table."""
    for page in in_pages(ids, PAGE):
        rows = connection.execute(statements.uncovered(tables), {"ids": page}, execution_options=STREAMED)
        for recipient_ids in in_pages(rows.scalars(), ID_PAGE):
            marked = queue.marked(recipient_ids)
            if marked:
                cover.load(connection, marked, cover.MARKER)
    cover.analyze(connection)


def questionable_reservations(platform: Platform, connection: sa.Connection) -> Iterator[Reservation]:
    """Held reservations that a decision is needed about: the campaign is not sending, or they are late."""
    tables = platform.tables(connection)
    if tables.reservation is None:
        return
    known_to_us = current(connection) is not None
    binds: dict[str, object] = {"max_age": platform.policy.reservation_max_age_seconds, "limit": PAGE}
    after: dict[str, object] = {}
    while True:
        query = statements.questionable_reservations(tables, first=not after)
        rows = list(connection.execute(query, {**binds, **after}))
        undone = platform.journal.undone_releases(connection, [row.id for row in rows]) if known_to_us else set()
        yield from (reservation_of(row, release_undone=row.id in undone) for row in rows)
        if len(rows) < PAGE:
            return
        after = {"after_id": rows[-1].id}


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
    )
