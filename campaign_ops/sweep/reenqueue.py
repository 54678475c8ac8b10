"""Re-enqueue what nobody will send. Looks again before it adds; never trusts the snapshot of an earlier step.

Order of one page: look (queue, then rows) -> look at the queue again, whether anybody enqueued meanwhile -> read the
page's rows and markers again -> journal the intent and commit -> check that we still hold the lock -> add -> confirm
what is really there. A crash between any two leaves a fresh intent, and a campaign with one is in cooldown: the next
sweep leaves it alone until its jobs had their time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from campaign_ops.core.errors import QueueUnavailable, QueueUnclear, Refused, StatementRejected, Unavailable
from campaign_ops.core.model import Action, Decision, Evidence, RepairKind
from campaign_ops.core.plan import Plan, share_out
from campaign_ops.core.verdicts import attempts_without_progress, decide
from campaign_ops.platform import repairs
from campaign_ops.platform.attempts import Beginning
from campaign_ops.platform.database import SweepLock
from campaign_ops.platform.journal import Author, Entry
from campaign_ops.platform.platform import Platform
from campaign_ops.platform.queue import NewJob, Queue, Snapshot, job_id
from campaign_ops.sweep.act import Done, Failure, Orders
from campaign_ops.sweep.observe import Look, Observation, OpenBatch, looking
from campaign_ops.sweep.suspects import marked_meanwhile, remember

log = logging.getLogger(__name__)
JOBS_PER_PAGE = 250
RECIPIENTS_PER_PAGE = 25_000
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
    snapshot: Snapshot
    chosen: Mapping[str, tuple[Evidence, Decision]]
    done: Done
    attempts: dict[str, _Attempt] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    job_ids: set[str] = field(default_factory=set)


def reenqueue(
    platform: Platform,
    author: Author,
    plan: Plan,
    lock: SweepLock,
    *,
    judge: Callable[[Observation], Plan],
    confirmed: bool = False,
    look: Look | None = None,
) -> Done:
    """Put back the missing recipients of the planned campaigns that are still missing now.

    Args:
        platform: What to repair.
        author: Who does it, for the journal.
        plan: Which campaigns, and of how many recipients at most; their evidence is read anew.
        lock: The sweep lock, held.
        judge: Says what a look at all campaigns would have a sweep do; whatever it holds back is held back.
        confirmed: A person has confirmed that the breaker may be passed.
        look: The look that the plan was made from, if it is going on still; without one all is looked at anew.
    """
    done = Done(RepairKind.REENQUEUE, planned=len(plan.of(RepairKind.REENQUEUE)))
    if platform.queue is None:
        return done
    if look is not None:
        _put_back(platform, author, lock, look, done, Orders(plan, plan, confirmed))
        return done
    try:
        settle_intents(platform)
    except QueueUnavailable as error:
        done.held_back = str(error) if done.planned else None
        done.away = bool(done.planned)
        return done
    if done.planned:
        with looking(platform) as fresh:
            remember(platform, fresh)
            _put_back(platform, author, lock, fresh, done, Orders(plan, judge(fresh.observation), confirmed))
    return done


def _put_back(platform: Platform, author: Author, lock: SweepLock, look: Look, done: Done, orders: Orders) -> None:
    if not done.planned:
        return
    if breaker := orders.now.held_back(RepairKind.REENQUEUE, confirmed=orders.confirmed):
        done.trip(breaker)
        return
    only = {item.target for item in orders.now.within(orders.planned, RepairKind.REENQUEUE)}
    reenqueue_seen(platform, author, lock, look, done, only=only)


def settle_intents(platform: Platform) -> None:
    """Confirm intents of an earlier sweep that died before it could: those whose jobs are in the queue."""
    queue = platform.queue
    open_jobs = platform.database.run(platform.attempts.open_intents) if queue is not None else []
    if queue is None or not open_jobs:
        return
    present = queue.present(open_jobs)

    def _settle(connection: sa.Connection) -> None:
        platform.attempts.added(connection, platform.attempts.unconfirmed_campaigns(connection, present))
        platform.attempts.confirm_intents(connection, present)

    if present:
        platform.database.run(_settle)


def reenqueue_seen(
    platform: Platform, author: Author, lock: SweepLock, look: Look, done: Done, *, only: Collection[str] | None = None
) -> None:
    """Put back what the look shows to be missing, within the limits; ``done`` tells what became of it.

    Args:
        platform: What to repair.
        author: Who does it, for the journal.
        lock: The sweep lock, held.
        look: A look at these campaigns.
        done: Is filled.
        only: Campaigns of the look; None for all that should be re-enqueued.
    """
    observation, policy = look.observation, platform.policy
    problem = observation.queue.problem if observation.queue else "there is no queue"
    if problem or look.snapshot is None or platform.queue is None:
        done.held_back = problem
        done.away = observation.queue is not None and observation.queue.away
        return
    chosen = {}
    for evidence in observation.evidence:
        decision = decide(evidence, observation.queue, policy, observation.at)
        key = evidence.campaign.id
        if decision.action is Action.REENQUEUE and (only is None or key in only):
            chosen[key] = (evidence, decision)
    depth = observation.queue.depth if observation.queue else 0
    budget = min(policy.max_jobs_per_sweep, max(policy.max_queue_depth - depth, 0))
    wanted = [(key, evidence.campaign.tenant, len(look.missing[key])) for key, (evidence, _) in chosen.items()]
    granted = share_out(wanted, budget)
    done.deferred = len(chosen) - len(granted)
    work = _Work(platform, platform.queue, author, lock, look, look.snapshot, chosen, done)
    for page in _pages(batch for key in granted for batch in look.missing[key][: granted[key]]):
        if not _add_page(work, page):
            return


def _pages(batches: Iterable[OpenBatch]) -> Iterator[list[OpenBatch]]:
    """Batches that are added together: few enough for the second look to be fresh when the last of them is added."""
    page: list[OpenBatch] = []
    recipients = 0
    for batch in batches:
        if page and (len(page) == JOBS_PER_PAGE or recipients + batch.recipients > RECIPIENTS_PER_PAGE):
            yield page
            page, recipients = [], 0
        page.append(batch)
        recipients += batch.recipients
    if page:
        yield page


def _add_page(work: _Work, page: Sequence[OpenBatch]) -> bool:
    """Add one page of batches; False when nothing more is to be tried in this sweep."""
    campaigns = {batch.campaign_id for batch in page} - work.dropped
    looked_at = _now_awake_or_asleep()
    try:
        work.dropped |= work.queue.newcomers(work.snapshot, campaigns, ours=work.job_ids)
        # Rows and markers after that: a job that came and went in between has written what it did.
        kept = [batch for batch in page if batch.campaign_id not in work.dropped]
        waiting = [_Batch(key, tuple(recipients)) for key, recipients in work.look.read_again(kept) if recipients]
        batches = _unmarked(work, waiting)
        intent = _intend(work, batches)
        if not intent.jobs:
            return True
        work.lock.check()
        if _now_awake_or_asleep() - looked_at > MAX_SECONDS_TO_ADD:
            return _stop(work, "this process slept for too long to be sure of what it saw")
    except StatementRejected as error:
        work.done.failures.extend(Failure(one, str(error)) for one in sorted(campaigns))
        work.dropped |= campaigns
        return True
    except (Unavailable, Refused) as error:
        return _stop(work, str(error), away=isinstance(error, Unavailable) and not isinstance(error, QueueUnclear))
    return _add(work, intent)


def _add(work: _Work, intent: _Intent) -> bool:
    """Add what was intended, confirm and count what is really there; False when something went wrong."""
    trouble = ""
    try:
        added = work.queue.add(intent.jobs, server_id=work.snapshot.state.server_id)
    except Refused as error:
        return _stop(work, str(error))
    except QueueUnavailable as error:
        trouble = str(error)
        try:
            added = work.queue.present([job.id for job in intent.jobs])
        except QueueUnavailable:
            unknown = f"how many of {len(intent.jobs)} jobs were added is not known yet"
            return _stop(work, f"{trouble}; {unknown}", away=True)

    def _confirm(connection: sa.Connection) -> None:
        # Asked, not remembered: when the answer to a commit is lost, this is done again.
        begun = work.platform.attempts.unconfirmed_campaigns(connection, added)
        work.platform.attempts.confirm_intents(connection, added)
        work.platform.attempts.added(connection, begun)

    try:
        work.platform.database.run(_confirm)
    except Unavailable as error:
        return _stop(work, f"{len(added)} jobs were added and could not be confirmed: {error}", away=True)
    _count(work, intent, added)
    return _stop(work, trouble, away=True) if trouble else True


def _stop(work: _Work, why: str, *, away: bool = False) -> bool:
    work.done.held_back = f"stopped half way: {why}"
    work.done.away = away
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
    """The intent of one page, for the campaigns that are as observed."""
    wanted = sorted({batch.campaign_id for batch in batches})
    observed = {"ids": wanted, "updated_ats": [work.chosen[one][0].campaign.updated_at for one in wanted]}
    unmoved = set(connection.scalars(repairs.lock_still_sending(work.platform.tables(connection)), observed))
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


def _unmarked(work: _Work, batches: Sequence[_Batch]) -> list[_Batch]:
    """Without those who are marked by now: a job that came and went may have sent and never written it."""
    waiting = {one: batch.campaign_id for batch in batches for one in batch.recipient_ids}
    at = work.look.observation.at
    marked = marked_meanwhile(work.platform, work.queue, work.snapshot, waiting, at=at)
    if not marked:
        return list(batches)
    kept = [
        replace(batch, recipient_ids=tuple(one for one in batch.recipient_ids if one not in marked))
        for batch in batches
    ]
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
    last = {one: work.chosen[one][0].attempts.total for one in campaign_ids}
    jobs = work.platform.attempts.jobs_of_attempts(connection, last)
    return [one for one, added in jobs.items() if work.snapshot.live.keys() >= set(added)]
