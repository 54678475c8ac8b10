"""Add one page of jobs, whose intent comes first, and tell what became of each.

Order: journal the intent and commit -> look at the queue for the last time -> read the page's rows, markers and
campaigns again -> check that we still hold the lock -> add, in one step inside Redis that refuses whatever got a job
since the last look -> ask campaigns and rows once more, and take out again what they no longer want -> confirm what is
really there. The intent comes first: its commit may be slow, and a look before it would grow old. A crash between any
two leaves a fresh intent, and a campaign with one is in cooldown: the next sweep leaves it alone until its jobs had
their time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from campaign_ops.bullmq.queue import Guard, LastLook, LookAgain, NewJob, NothingAdded, PartlyAdded
from campaign_ops.core.errors import QueueUnavailable, QueueUnclear, Refused, StatementRejected, Unavailable
from campaign_ops.core.model import Campaign
from campaign_ops.journal.attempts import Closed
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.intend import Work, intend
from campaign_ops.sweep.result import Failure
from campaign_ops.sweep.suspects import marked_meanwhile

MAX_SECONDS_TO_ADD = 10  # from the last look to the add; rows and markers are as old, and a process may sleep
LOOKS = 3  # at one page, where something happens in the queue each time that cannot be judged


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of the jobs of a page: added, taken out again, or not known. The others were not added."""

    added: Mapping[str, NewJob] = field(default_factory=dict)
    taken_back: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    trouble: str = ""
    away: bool = False


def add_page(work: Work, page: Sequence[OpenBatch]) -> bool:
    """Add one page of batches; False when nothing more is to be tried in this sweep."""
    campaigns = {batch.campaign_id for batch in page} - work.dropped
    try:
        intent = intend(work, [batch for batch in page if batch.campaign_id in campaigns])
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


def _add(work: Work, intent: Mapping[str, OpenBatch]) -> _Outcome:
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
        except PartlyAdded as error:
            outcome = _taken_back(work, intent, {job.id: job for job in jobs if job.id in error.added})
            return replace(outcome, trouble="; ".join(filter(None, [str(error), outcome.trouble])), away=True)
        except NothingAdded:
            raise
        except QueueUnavailable as error:
            return _after_lost_answer(work, jobs, str(error))
        else:
            return _taken_back(work, intent, {job.id: job for job in jobs if job.id in added})
    return _Outcome()


def _add_now(work: Work, jobs: Sequence[NewJob], look: LastLook, began: float) -> frozenset[str]:
    """Add if Redis sees what we saw; our own clock counts, too, since not every Redis tells its time."""
    if _now_awake_or_asleep() - began > MAX_SECONDS_TO_ADD:
        raise LookAgain("this process slept for too long to be sure of what it saw")
    reading = work.reading
    guard = Guard(look, work.job_ids, reading.covering, reading.snapshot.state.server_id, MAX_SECONDS_TO_ADD)
    return work.queue.add(jobs, guard)


def _still_wanted(work: Work, intent: Mapping[str, OpenBatch], look: LastLook) -> list[NewJob]:
    """The intended jobs with those recipients that wait, unmarked, in campaigns that nobody has touched."""
    campaigns = {batch.campaign_id for batch in intent.values()} - work.dropped
    work.dropped |= work.queue.newcomers(work.reading, campaigns, ours=work.job_ids, look=look)
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


def _as_observed(work: Work, now: Mapping[str, Campaign]) -> set[str]:
    """Campaigns that are being sent for the same tenant as when they were observed."""
    observed = {key: work.campaign(key) for key in now}
    return {
        key
        for key, campaign in now.items()
        if (campaign.status, campaign.tenant) == (observed[key].status, observed[key].tenant)
    }


def _taken_back(work: Work, intent: Mapping[str, OpenBatch], added: Mapping[str, NewJob]) -> _Outcome:
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


def _after_lost_answer(work: Work, jobs: Sequence[NewJob], trouble: str) -> _Outcome:
    """Redis went away while it added: what is there was added; what is not may have been added, sent and removed."""
    names = frozenset(job.id for job in jobs)
    try:
        present = work.queue.present(names)
    except QueueUnavailable:
        trouble = f"{trouble}; how many of {len(jobs)} jobs were added is not known yet"
        return _Outcome(unknown=names, trouble=trouble, away=True)
    added = {job.id: job for job in jobs if job.id in present}
    return _Outcome(added, unknown=names - present, trouble=trouble, away=True)


def _settle(work: Work, intent: Mapping[str, OpenBatch], outcome: _Outcome) -> None:
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


def _failed(work: Work, campaigns: Collection[str], error: StatementRejected) -> bool:
    work.result.failures.extend(Failure(one, str(error)) for one in sorted(campaigns))
    work.dropped |= set(campaigns)
    return True


def _stop(work: Work, why: str, *, away: bool = False) -> bool:
    work.result.held_back = f"stopped half way: {why}"
    work.result.away = away
    return False


def _now_awake_or_asleep() -> float:
    """Seconds that go on while the machine is suspended, unlike the monotonic clock's on Linux."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _count(work: Work, outcome: _Outcome) -> None:
    """Count what really is in the queue; a campaign counts once its first job is."""
    work.result.taken_back += len(outcome.taken_back)
    for job in outcome.added.values():
        work.result.jobs += 1
        work.result.recipients += len(job.recipient_ids)
        attempt = work.attempts[job.campaign_id]
        if attempt.repair_id not in work.result.repair_ids:
            work.result.repair_ids.append(attempt.repair_id)
            work.result.entries.append(attempt.entry)


def _unmarked(work: Work, jobs: Sequence[NewJob]) -> list[NewJob]:
    """Without those who are marked by now: a job that came and went may have sent and never written it."""
    waiting = {one: job.campaign_id for job in jobs for one in job.recipient_ids}
    at = work.look.observation.at
    marked = marked_meanwhile(work.platform, work.queue, work.completed, waiting, at=at)
    kept = [
        replace(job, recipient_ids=tuple(one for one in job.recipient_ids if one not in marked)) if marked else job
        for job in jobs
    ]
    return [job for job in kept if job.recipient_ids]
