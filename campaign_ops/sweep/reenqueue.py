"""Re-enqueue what nobody will send. Looks again before it adds; never trusts the snapshot of an earlier step.

Order of one page: look (queue, then rows) -> journal the intent and commit -> look at the queue for the last time ->
read the page's rows, markers and campaigns again -> check that we still hold the lock -> add, in one step inside Redis
that refuses whatever got a job since the last look -> ask rows and campaigns once more, and take out again what they no
longer want -> confirm what is really there. The intent comes first: its commit may be slow, and a look before it would
grow old. A crash between any two leaves a fresh intent, and a campaign with one is in cooldown: the next sweep leaves
it alone until its jobs had their time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import sqlalchemy as sa

from campaign_ops.core.errors import QueueUnavailable, QueueUnclear, Refused, StatementRejected, Unavailable
from campaign_ops.core.model import Action, Campaign, Decision, Evidence, RepairKind
from campaign_ops.core.plan import Plan, share_out
from campaign_ops.core.verdicts import attempts_without_progress, decide, goes_on
from campaign_ops.platform import repairs
from campaign_ops.platform.attempts import Beginning, Closed
from campaign_ops.platform.database import SweepLock
from campaign_ops.platform.journal import Author, Entry
from campaign_ops.platform.platform import Platform
from campaign_ops.platform.queue import Guard, LastLook, LookAgain, NewJob, Queue, Snapshot, job_id
from campaign_ops.platform.queue_sample import misfit, sample_jobs
from campaign_ops.sweep.act import Done, Failure, Orders
from campaign_ops.sweep.observe import Look, Observation, OpenBatch, looking
from campaign_ops.sweep.settle import settle_intents
from campaign_ops.sweep.suspects import marked_meanwhile, remember

log = logging.getLogger(__name__)
JOBS_PER_PAGE = 250
RECIPIENTS_PER_PAGE = 25_000
MAX_SECONDS_TO_ADD = 10  # from the last look to the add; rows and markers are as old, and a process may sleep
LOOKS = 3  # at one page, where something happens in the queue each time that cannot be judged


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One campaign's attempt, as journaled: what its jobs are named after."""

    repair_id: int
    number: int
    entry: Entry
    batches: int = 0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of the jobs of a page: added, taken out again, or not known. The others were not added."""

    added: Mapping[str, NewJob] = field(default_factory=dict)
    taken_back: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    trouble: str = ""
    away: bool = False


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

    def campaign(self, campaign_id: str) -> Campaign:
        """The campaign as it was observed."""
        return self.chosen[campaign_id][0].campaign


def reenqueue(
    platform: Platform,
    author: Author,
    plan: Plan,
    lock: SweepLock,
    *,
    orders: Callable[[Observation | None], Orders],
    look: Look | None = None,
) -> Done:
    """Put back the missing recipients of the planned campaigns that are still missing now.

    Args:
        platform: What to repair.
        author: Who does it, for the journal.
        plan: Which campaigns, and of how many recipients at most; their evidence is read anew.
        lock: The sweep lock, held.
        orders: Says what may be done by a look at all campaigns; by the plan's own for None.
        look: The look that the plan was made from, if it is going on still; without one all is looked at anew.
    """
    done = Done(RepairKind.REENQUEUE, planned=len(plan.of(RepairKind.REENQUEUE)))
    if platform.queue is None:
        return done
    if look is not None:
        if done.planned:
            _put_back(platform, author, lock, look, done, orders(None))
        return done
    try:
        done.settled = settle_intents(platform)
    except QueueUnavailable as error:
        done.held_back = str(error) if done.planned else None
        done.away = bool(done.planned)
        return done
    if done.planned:
        with looking(platform) as fresh:
            remember(platform, fresh)
            _put_back(platform, author, lock, fresh, done, orders(fresh.observation))
    return done


def _put_back(platform: Platform, author: Author, lock: SweepLock, look: Look, done: Done, orders: Orders) -> None:
    only = {item.target for item in orders.targets(RepairKind.REENQUEUE, done)}
    if not done.tripped:
        reenqueue_seen(platform, author, lock, look, done, only=only)


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
    _count_left(done, chosen, {key: look.missing[key][:jobs] for key, jobs in granted.items()}, platform)
    if granted and not _profile_describes_jobs(platform.queue, done):
        return
    work = _Work(platform, platform.queue, author, lock, look, look.snapshot, chosen, done)
    for page in _pages(batch for key in granted for batch in look.missing[key][: granted[key]]):
        if not _add_page(work, page):
            return


def _count_left(
    done: Done,
    chosen: Mapping[str, tuple[Evidence, Decision]],
    granted: Mapping[str, Sequence[OpenBatch]],
    platform: Platform,
) -> None:
    """Count what the limits leave to the next sweep."""
    size = platform.queue.profile.batch_size if platform.queue else 1
    for key, (evidence, _) in chosen.items():
        left = _missing(evidence) - sum(batch.recipients for batch in granted.get(key, ()))
        if left > 0:
            done.deferred += key not in granted
            done.cut += key in granted
            done.left_recipients += left
            done.left_jobs += ceil(left / size)


def _profile_describes_jobs(queue: Queue, done: Done) -> bool:
    """Whether jobs made by the profile would be like the application's; else the repair is held back."""
    try:
        problem = misfit(sample_jobs(queue), queue.profile, numeric_ids=queue.numeric_ids)
    except QueueUnavailable as error:
        done.held_back, done.away = str(error), True
        return False
    if problem is not None:
        done.held_back = f"the profile does not describe the jobs of {queue.where}: {problem.what}; {problem.mend}"
    return problem is None


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
    try:
        intent = _intend(work, [batch for batch in page if batch.campaign_id in campaigns])
    except StatementRejected as error:
        return _failed(work, campaigns, error)
    except Unavailable as error:
        return _stop(work, str(error), away=True)
    if not intent:
        return True
    try:
        outcome = _add(work, intent)
    except StatementRejected as error:
        _failed(work, campaigns, error)
        outcome = _Outcome()
    except LookAgain:
        outcome = _Outcome()
    except (Unavailable, Refused) as error:
        away = isinstance(error, Unavailable) and not isinstance(error, QueueUnclear)
        outcome = _Outcome(trouble=str(error), away=away)
    try:
        _settle(work, intent, outcome)
    except Unavailable as error:
        return _stop(work, f"{len(outcome.added)} jobs were added and could not be confirmed: {error}", away=True)
    _count(work, outcome)
    return _stop(work, outcome.trouble, away=outcome.away) if outcome.trouble else True


def _add(work: _Work, intent: Mapping[str, OpenBatch]) -> _Outcome:
    """Add what was intended and is still wanted. Raises only where nothing was added."""
    for looks_left in reversed(range(LOOKS)):
        began = _now_awake_or_asleep()
        look = work.queue.last_look()
        jobs = _still_wanted(work, intent, look)
        if not jobs:
            break
        work.lock.check()
        try:
            added = _add_now(work, jobs, look, began)
        except LookAgain:
            if not looks_left:
                raise
        except QueueUnavailable as error:
            return _after_lost_answer(work, jobs, str(error))
        else:
            return _taken_back(work, intent, {job.id: job for job in jobs if job.id in added})
    return _Outcome()


def _add_now(work: _Work, jobs: Sequence[NewJob], look: LastLook, began: float) -> frozenset[str]:
    """Add if Redis sees what we saw; our own clock counts, too, since not every Redis tells its time."""
    if _now_awake_or_asleep() - began > MAX_SECONDS_TO_ADD:
        raise LookAgain("this process slept for too long to be sure of what it saw")
    state = work.snapshot.state
    return work.queue.add(jobs, Guard(look, work.job_ids, work.snapshot.covering, state.server_id, MAX_SECONDS_TO_ADD))


def _still_wanted(work: _Work, intent: Mapping[str, OpenBatch], look: LastLook) -> list[NewJob]:
    """The intended jobs with those recipients that wait, unmarked, in campaigns that nobody has touched."""
    campaigns = {batch.campaign_id for batch in intent.values()} - work.dropped
    work.dropped |= work.queue.newcomers(work.snapshot, campaigns, ours=work.job_ids, look=look)
    # Rows and markers after that: a job that came and went in between has written what it did.
    batches = {name: batch for name, batch in intent.items() if batch.campaign_id not in work.dropped}
    waiting = work.look.read_again(list(batches.values()))
    jobs = [
        NewJob(name, batch.campaign_id, work.campaign(batch.campaign_id).tenant, tuple(waiting.get(batch.key, ())))
        for name, batch in batches.items()
    ]
    jobs = _unmarked(work, jobs)
    now = work.look.campaigns_now({job.campaign_id for job in jobs})
    untouched = {
        key for key, campaign in now.items() if campaign.updated_at_exact == work.campaign(key).updated_at_exact
    }
    work.dropped |= now.keys() - untouched
    wanted = untouched & _as_observed(work, now)
    return [job for job in jobs if job.campaign_id in wanted]


def _as_observed(work: _Work, now: Mapping[str, Campaign]) -> set[str]:
    """Campaigns that are being sent for the same tenant as when they were observed."""
    observed = {key: work.campaign(key) for key in now}
    return {
        key
        for key, campaign in now.items()
        if (campaign.status, campaign.tenant) == (observed[key].status, observed[key].tenant)
    }


def _taken_back(work: _Work, intent: Mapping[str, OpenBatch], added: Mapping[str, NewJob]) -> _Outcome:
    """Ask rows and campaigns once more, and take out again the jobs that they no longer want and no worker has taken.

    A campaign may have been cancelled in the milliseconds between the last reading and the add.
    """
    if not added:
        return _Outcome()
    removed: frozenset[str] = frozenset()
    try:
        # Campaigns first: their rows are read in a tenth of the time, and workers take jobs meanwhile.
        wanted = _as_observed(work, work.look.campaigns_now({job.campaign_id for job in added.values()}))
        removed = work.queue.remove_waiting(name for name, job in added.items() if job.campaign_id not in wanted)
        waiting = work.look.read_again([intent[name] for name in added.keys() - removed])
        moved = [
            name
            for name in added.keys() - removed
            if not set(added[name].recipient_ids) <= set(waiting.get(intent[name].key, ()))
        ]
        removed |= work.queue.remove_waiting(moved)
    except (StatementRejected, Unavailable) as error:
        trouble = f"{len(added)} jobs were added, and could not be looked at once more: {error}"
        return _Outcome(_without(added, removed), removed, trouble=trouble, away=True)
    return _Outcome(_without(added, removed), removed)


def _without(jobs: Mapping[str, NewJob], names: Collection[str]) -> dict[str, NewJob]:
    return {name: job for name, job in jobs.items() if name not in names}


def _after_lost_answer(work: _Work, jobs: Sequence[NewJob], trouble: str) -> _Outcome:
    """Redis went away while it added: what is there was added; what is not may have been added, sent and removed."""
    names = frozenset(job.id for job in jobs)
    try:
        present = work.queue.present(names)
    except QueueUnavailable:
        trouble = f"{trouble}; how many of {len(jobs)} jobs were added is not known yet"
        return _Outcome(unknown=names, trouble=trouble, away=True)
    added = {job.id: job for job in jobs if job.id in present}
    return _Outcome(added, unknown=names - present, trouble=trouble, away=True)


def _settle(work: _Work, intent: Mapping[str, OpenBatch], outcome: _Outcome) -> None:
    """Write down what became of the intent."""
    open_or_added = outcome.added.keys() | outcome.taken_back | outcome.unknown
    log = work.platform.attempts

    def _write(connection: sa.Connection) -> None:
        # Asked, not remembered: when the answer to a commit is lost, this is done again.
        begun = log.unconfirmed_campaigns(connection, outcome.added)
        recipients = {name: len(job.recipient_ids) for name, job in outcome.added.items()}
        log.confirm_intents(connection, recipients)
        log.added(connection, begun)
        log.close_intents(connection, intent.keys() - open_or_added, Closed.NOT_ADDED)
        log.close_intents(connection, outcome.taken_back, Closed.TAKEN_BACK)

    work.platform.database.run(_write)


def _failed(work: _Work, campaigns: Collection[str], error: StatementRejected) -> bool:
    work.done.failures.extend(Failure(one, str(error)) for one in sorted(campaigns))
    work.dropped |= set(campaigns)
    return True


def _stop(work: _Work, why: str, *, away: bool = False) -> bool:
    work.done.held_back = f"stopped half way: {why}"
    work.done.away = away
    return False


def _now_awake_or_asleep() -> float:
    """Seconds that go on while the machine is suspended, unlike the monotonic clock's on Linux."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _count(work: _Work, outcome: _Outcome) -> None:
    """Count what really is in the queue; a campaign counts once its first job is."""
    work.done.taken_back += len(outcome.taken_back)
    for job in outcome.added.values():
        work.done.jobs += 1
        work.done.recipients += len(job.recipient_ids)
        attempt = work.attempts[job.campaign_id]
        if attempt.repair_id not in work.done.repair_ids:
            work.done.repair_ids.append(attempt.repair_id)
            work.done.entries.append(attempt.entry)


def _intend(work: _Work, batches: Sequence[OpenBatch]) -> Mapping[str, OpenBatch]:
    """Journal what is about to be added, and commit: the batches by their job's id."""
    if not batches:
        return {}
    intent, attempts = work.platform.database.run(lambda connection: _write_intent(work, connection, batches))
    work.attempts.update(attempts)
    work.dropped |= {batch.campaign_id for batch in batches} - attempts.keys()
    work.job_ids.update(intent)
    return intent


def _write_intent(
    work: _Work, connection: sa.Connection, batches: Sequence[OpenBatch]
) -> tuple[dict[str, OpenBatch], dict[str, _Attempt]]:
    """The intent of one page, for the campaigns that are as observed."""
    wanted = sorted({batch.campaign_id for batch in batches})
    observed = {"ids": wanted, "updated_ats": [work.campaign(one).updated_at_exact for one in wanted]}
    unmoved = set(connection.scalars(repairs.lock_still_sending(work.platform.tables(connection)), observed))
    attempts = {one: work.attempts[one] for one in unmoved if one in work.attempts}
    attempts |= _begin(work, connection, sorted(unmoved - attempts.keys()))
    intent: dict[str, OpenBatch] = {}
    rows: list[dict[str, object]] = []
    for batch in batches:
        attempt = attempts.get(batch.campaign_id)
        if attempt is None:
            continue
        name = job_id(batch.campaign_id, attempt.number, attempt.batches, salt=str(attempt.repair_id))
        intent[name] = batch
        rows.append(
            {
                "job_id": name,
                "repair_id": attempt.repair_id,
                "campaign_id": batch.campaign_id,
                "attempt": attempt.number,
                "batch": attempt.batches,
                "recipients": batch.recipients,
            }
        )
        attempts[batch.campaign_id] = replace(attempt, batches=attempt.batches + 1)
    work.platform.attempts.add_intents(connection, rows)
    return intent, attempts


def _unmarked(work: _Work, jobs: Sequence[NewJob]) -> list[NewJob]:
    """Without those who are marked by now: a job that came and went may have sent and never written it."""
    waiting = {one: job.campaign_id for job in jobs for one in job.recipient_ids}
    at = work.look.observation.at
    marked = marked_meanwhile(work.platform, work.queue, work.snapshot, waiting, at=at)
    kept = [
        replace(job, recipient_ids=tuple(one for one in job.recipient_ids if one not in marked)) if marked else job
        for job in jobs
    ]
    return [job for job in kept if job.recipient_ids]


def _begin(work: _Work, connection: sa.Connection, campaign_ids: Sequence[str]) -> dict[str, _Attempt]:
    """Count and journal new attempts; those campaigns are left out of which somebody else began one meanwhile."""
    judged = {one: work.chosen[one] for one in campaign_ids}
    in_vain = {one: attempts_without_progress(evidence) for one, (evidence, _) in judged.items()}
    counted = [one for one, number in in_vain.items() if number]
    going_on = {one for one in counted if goes_on(judged[one][0])}
    for one in going_on | set(_waiting_their_turn(work, connection, [one for one in counted if one not in going_on])):
        in_vain[one] -= 1
    beginnings = {
        one: Beginning(evidence.attempts.total + 1, evidence.tally.pending, _missing(evidence), in_vain[one])
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
        after={"attempt": attempt, "missing": _missing(evidence)},
    )


def _missing(evidence: Evidence) -> int:
    return evidence.coverage.missing if evidence.coverage else 0


def _waiting_their_turn(work: _Work, connection: sa.Connection, campaign_ids: Sequence[str]) -> list[str]:
    """Campaigns of whose last attempt every job is in the queue still: as much as the limits allowed, not in vain."""
    last = {one: work.chosen[one][0].attempts.total for one in campaign_ids}
    jobs = work.platform.attempts.jobs_of_attempts(connection, last)
    return [one for one, added in jobs.items() if work.snapshot.live.keys() >= set(added)]
