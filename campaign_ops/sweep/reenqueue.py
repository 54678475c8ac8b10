"""Re-enqueue what nobody will send. Looks again before it acts; never trusts the snapshot of an earlier step.

Order of one page: look (queue, then rows) -> look at the queue again, whether anybody enqueued meanwhile -> read the
page's markers and rows again, journal the intent and commit -> check that we still hold the lock -> add -> confirm
what is really there. A crash between any two leaves a fresh intent, and a campaign with one is in cooldown: the next
sweep leaves it alone until its jobs had their time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import ceil
from operator import itemgetter

import sqlalchemy as sa

from campaign_ops.core.errors import QueueUnavailable, Refused, StatementRejected, Unavailable
from campaign_ops.core.model import Action, Decision, Evidence, RepairKind
from campaign_ops.core.plan import Plan, share_out
from campaign_ops.core.verdicts import attempts_without_progress, decide
from campaign_ops.platform import repairs
from campaign_ops.platform.attempts import Beginning
from campaign_ops.platform.database import SweepLock
from campaign_ops.platform.journal import Author, Entry
from campaign_ops.platform.platform import Platform
from campaign_ops.platform.queue import NewJob, Queue, job_id
from campaign_ops.sweep.act import Done, Failure
from campaign_ops.sweep.observe import Look, in_pages, looking

log = logging.getLogger(__name__)
JOBS_PER_PAGE = 50
MAX_SECONDS_TO_ADD = 60  # an intent counts as coverage for the cooldown; a process that slept through it must not add


@dataclass(frozen=True, slots=True)
class _Batch:
    """Recipients of one campaign for one job."""

    campaign_id: str
    recipient_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One campaign's attempt, as journaled: what its jobs are named after."""

    repair_id: int
    number: int
    entry: Entry
    batches: int = 0


@dataclass(frozen=True, slots=True)
class _Intent:
    """What one committed transaction says is about to be added."""

    jobs: list[NewJob] = field(default_factory=list)
    attempts: Mapping[str, _Attempt] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()


@dataclass
class _Work:
    """One re-enqueueing under way. ``dropped`` campaigns moved meanwhile and are left to the next sweep."""

    platform: Platform
    queue: Queue
    author: Author
    lock: SweepLock
    look: Look
    chosen: Mapping[str, tuple[Evidence, Decision]]
    done: Done
    attempts: dict[str, _Attempt] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    job_ids: set[str] = field(default_factory=set)
    counted: set[str] = field(default_factory=set)


def reenqueue(platform: Platform, author: Author, plan: Plan, lock: SweepLock, *, confirmed: bool = False) -> Done:
    """Put back the missing recipients of the planned campaigns that are still missing now.

    Args:
        platform: What to repair.
        author: Who does it, for the journal.
        plan: Which campaigns; their evidence is read anew.
        lock: The sweep lock, held.
        confirmed: A person has confirmed that the breaker may be passed.
    """
    items = plan.of(RepairKind.REENQUEUE)
    done = Done(RepairKind.REENQUEUE, planned=len(items))
    if platform.queue is None:
        return done
    try:
        settle_intents(platform, platform.queue)
    except QueueUnavailable as error:
        done.held_back = str(error) if items else None
        return done
    if breaker := plan.held_back(RepairKind.REENQUEUE, confirmed=confirmed):
        done.held_back = str(breaker)
        return done
    if not items:
        return done
    with looking(platform, only=[item.target for item in items]) as look:
        problem = look.observation.queue.problem if look.observation.queue else "there is no queue"
        if problem or look.snapshot is None:
            done.held_back = problem
            return done
        reenqueue_seen(platform, platform.queue, author, lock, look, done)
    return done


def settle_intents(platform: Platform, queue: Queue) -> None:
    """Confirm intents of an earlier sweep that died before it could: those whose jobs are in the queue."""
    open_jobs = platform.database.run(platform.attempts.open_intents)
    present = queue.present(open_jobs) if open_jobs else frozenset()

    def _settle(connection: sa.Connection) -> None:
        platform.attempts.added(connection, platform.attempts.unconfirmed_campaigns(connection, present))
        platform.attempts.confirm_intents(connection, present)

    if present:
        platform.database.run(_settle)


def reenqueue_seen(platform: Platform, queue: Queue, author: Author, lock: SweepLock, look: Look, done: Done) -> None:
    """Put back what the look shows to be missing, within the limits; ``done`` tells what became of it."""
    observation, policy = look.observation, platform.policy
    judged = {
        evidence.campaign.id: (evidence, decide(evidence, observation.queue, policy, observation.at))
        for evidence in observation.evidence
    }
    chosen = {key: pair for key, pair in judged.items() if pair[1].action is Action.REENQUEUE}
    assert platform.profile.queue is not None
    size = platform.profile.queue.batch_size
    depth = observation.queue.depth if observation.queue else 0
    budget = min(policy.max_jobs_per_sweep, max(policy.max_queue_depth - depth, 0))
    wanted = [
        (key, evidence.campaign.tenant, ceil((evidence.coverage.missing if evidence.coverage else 0) / size))
        for key, (evidence, _) in chosen.items()
    ]
    granted = share_out(wanted, budget)
    done.deferred = len(chosen) - len(granted)
    limits = [(key, granted[key] * size) for key in chosen if key in granted]
    work = _Work(platform, queue, author, lock, look, chosen, done)
    for page in in_pages(_batches(look, limits, size), JOBS_PER_PAGE):
        if not _add_page(work, page):
            return


def _batches(look: Look, limits: Sequence[tuple[str, int]], size: int) -> Iterator[_Batch]:
    for campaign_id, rows in groupby(look.missing(limits), key=itemgetter(0)):
        for recipients in in_pages((recipient_id for _, recipient_id in rows), size):
            yield _Batch(campaign_id, tuple(recipients))


def _add_page(work: _Work, page: Sequence[_Batch]) -> bool:
    """Add one page of batches; False when nothing more is to be tried in this sweep."""
    campaigns = {batch.campaign_id for batch in page} - work.dropped
    assert work.look.snapshot is not None
    try:
        work.dropped |= work.queue.newcomers(work.look.snapshot, campaigns, ours=work.job_ids)
        batches = _unmarked(work, [batch for batch in page if batch.campaign_id not in work.dropped])
        intended_at = _now_awake_or_asleep()
        intent = _intend(work, batches)
        if not intent.jobs:
            return True
        work.lock.check()
        if _now_awake_or_asleep() - intended_at > MAX_SECONDS_TO_ADD:
            return _stop(work, "this process slept for too long to be sure of what it saw")
    except StatementRejected as error:
        work.done.failures.extend(Failure(one, str(error)) for one in sorted(campaigns))
        work.dropped |= campaigns
        return True
    except (Unavailable, Refused) as error:
        return _stop(work, str(error))
    return _add(work, intent)


def _add(work: _Work, intent: _Intent) -> bool:
    """Add what was intended, confirm and count what is really there; False when something went wrong."""
    trouble = ""
    try:
        added = work.queue.add(intent.jobs)
    except Refused as error:
        return _stop(work, str(error))
    except QueueUnavailable as error:
        trouble = str(error)
        try:
            added = work.queue.present([job.id for job in intent.jobs])
        except QueueUnavailable:
            return _stop(work, f"{trouble}; how many of {len(intent.jobs)} jobs were added is not known yet")
    begun = {job.campaign_id for job in intent.jobs if job.id in added} - work.counted

    def _confirm(connection: sa.Connection) -> None:
        work.platform.attempts.confirm_intents(connection, added)
        work.platform.attempts.added(connection, begun)

    try:
        work.platform.database.run(_confirm)
    except Unavailable as error:
        return _stop(work, f"{len(added)} jobs were added and could not be confirmed: {error}")
    work.counted |= begun
    _count(work, intent, added)
    return _stop(work, trouble) if trouble else True


def _stop(work: _Work, why: str) -> bool:
    work.done.held_back = f"stopped half way: {why}"
    return False


def _now_awake_or_asleep() -> float:
    """Seconds that go on while the machine is suspended, unlike the monotonic clock's on Linux."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _count(work: _Work, intent: _Intent, added: frozenset[str]) -> None:
    """Count what really is in the queue; a campaign counts once its first job is."""
    for job in intent.jobs:
        if job.id not in added:
            continue
        work.done.jobs += 1
        work.done.recipients += len(job.recipient_ids)
        attempt = work.attempts[job.campaign_id]
        if attempt.repair_id not in work.done.repair_ids:
            work.done.repair_ids.append(attempt.repair_id)
            work.done.entries.append(attempt.entry)


def _intend(work: _Work, batches: Sequence[_Batch]) -> _Intent:
    """Journal what is about to be added, and commit."""
    if not batches:
        return _Intent()
    intent = work.platform.database.run(lambda connection: _write_intent(work, connection, batches))
    work.attempts.update(intent.attempts)
    work.dropped |= intent.moved
    work.job_ids.update(job.id for job in intent.jobs)
    return intent


def _write_intent(work: _Work, connection: sa.Connection, batches: Sequence[_Batch]) -> _Intent:
    """The intent of one page, for campaigns that are as observed and recipients that are waiting still.

    The rows are read again here, after the second look at the queue: a job that came and went in between has
    written what it did.
    """
    batches = _still_waiting(work, connection, batches)
    wanted = sorted({batch.campaign_id for batch in batches})
    observed = {"ids": wanted, "updated_ats": [work.chosen[one][0].campaign.updated_at for one in wanted]}
    unmoved = set(connection.scalars(repairs.still_to_send(work.platform.tables(connection)), observed))
    attempts = {one: work.attempts[one] for one in unmoved if one in work.attempts}
    attempts |= _begin(work, connection, sorted(unmoved - attempts.keys()))
    jobs: list[NewJob] = []
    rows: list[dict[str, object]] = []
    for batch in batches:
        attempt = attempts.get(batch.campaign_id)
        if attempt is None:
            continue
        name = job_id(batch.campaign_id, attempt.number, attempt.batches, salt=str(attempt.repair_id))
        tenant = work.chosen[batch.campaign_id][0].campaign.tenant
        jobs.append(NewJob(name, batch.campaign_id, tenant, batch.recipient_ids))
        rows.append(
            {
                "job_id": name,
                "repair_id": attempt.repair_id,
                "campaign_id": batch.campaign_id,
                "attempt": attempt.number,
                "batch": attempt.batches,
                "recipients": len(batch.recipient_ids),
            }
        )
        attempts[batch.campaign_id] = replace(attempt, batches=attempt.batches + 1)
    work.platform.attempts.add_intents(connection, rows)
    return _Intent(jobs, attempts, frozenset(wanted) - attempts.keys())


def _still_waiting(work: _Work, connection: sa.Connection, batches: Sequence[_Batch]) -> list[_Batch]:
    ids = [one for batch in batches for one in batch.recipient_ids]
    query = repairs.still_waiting(work.platform.tables(connection))
    waiting = set(connection.scalars(query, {"ids": ids}))
    return _only(batches, lambda one: one in waiting)


def _unmarked(work: _Work, batches: Sequence[_Batch]) -> list[_Batch]:
    """Without those who were marked since the look: a job that came and went may have sent and never written it."""
    marked = work.queue.marked([one for batch in batches for one in batch.recipient_ids])
    return _only(batches, lambda one: one not in marked)


def _only(batches: Sequence[_Batch], keep: Callable[[str], bool]) -> list[_Batch]:
    kept = [replace(batch, recipient_ids=tuple(filter(keep, batch.recipient_ids))) for batch in batches]
    return [batch for batch in kept if batch.recipient_ids]


def _begin(work: _Work, connection: sa.Connection, campaign_ids: Sequence[str]) -> dict[str, _Attempt]:
    """Count and journal new attempts; those campaigns are left out of which somebody else began one meanwhile."""
    judged = {one: work.chosen[one] for one in campaign_ids}
    in_vain = {one: attempts_without_progress(evidence) for one, (evidence, _) in judged.items()}
    for one in _waiting_their_turn(work, connection, [one for one, number in in_vain.items() if number]):
        in_vain[one] -= 1
    beginnings = {
        one: Beginning(evidence.attempts.total + 1, evidence.tally.pending, in_vain[one])
        for one, (evidence, _) in judged.items()
    }
    numbers = work.platform.attempts.begin(connection, beginnings)
    entries = [_entry(*judged[one], number) for one, number in numbers.items()]
    repair_ids = work.platform.journal.record(connection, work.author, entries)
    return {
        entry.target: _Attempt(repair_id, numbers[entry.target], entry)
        for repair_id, entry in zip(repair_ids, entries, strict=True)
    }


def _entry(evidence: Evidence, decision: Decision, attempt: int) -> Entry:
    return Entry(
        kind=RepairKind.REENQUEUE,
        target=evidence.campaign.id,
        campaign_id=evidence.campaign.id,
        tenant=evidence.campaign.tenant,
        reason=decision.reason,
        verdict=decision.verdict,
        after={"attempt": attempt, "missing": evidence.coverage.missing if evidence.coverage else None},
    )


def _waiting_their_turn(work: _Work, connection: sa.Connection, campaign_ids: Sequence[str]) -> list[str]:
    """Campaigns of whose last attempt every job is in the queue still: as much as the limits allowed, not in vain."""
    assert work.look.snapshot is not None
    last = {one: work.chosen[one][0].attempts.total for one in campaign_ids}
    jobs = work.platform.attempts.jobs_of_attempts(connection, last)
    return [one for one, added in jobs.items() if work.look.snapshot.live.keys() >= set(added)]
