"""Add one page of jobs, after its intent, and record the fate of each job.

Order: journal the intent and commit -> look at the queue for the last time -> read the page's rows, markers and
campaigns again -> check that we still hold the lock -> add, in one step inside Redis that refuses every campaign that
got a job since the last look -> read campaigns and rows once more, and take out again the jobs that they no longer want
-> confirm what is really there. The intent comes first: its commit may be slow, and a look before it would grow old.
A crash between any two leaves a fresh intent, and a campaign with one is in cooldown: the next sweep leaves it alone
until its jobs had their time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from campaign_ops.bullmq.queue import Guard, LastLook, LookAgain, NewJob, NothingAdded, PartlyAdded
from campaign_ops.core.errors import QueueUnavailable, QueueUnclear, Refused, StatementRejected, Unavailable
from campaign_ops.core.model import Campaign
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep.awake import awake_or_asleep
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.intents import Intents
from campaign_ops.sweep.look import Look
from campaign_ops.sweep.result import Failure, StepResult
from campaign_ops.sweep.suspects import marked_meanwhile

MAX_SECONDS_TO_ADD = 10  # from the last look to the add; rows and markers are as old, and a process may sleep
LOOKS = 3  # at one page, where something happens in the queue each time that cannot be judged


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The fate of a page's jobs: added, taken out again, or not known. The others were not added."""

    added: Mapping[str, NewJob] = field(default_factory=dict)
    taken_back: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    trouble: str = ""
    away: bool = False


class Adder:
    """Adds the jobs of one re-enqueueing, page by page.

    Args:
        look: The look that the re-enqueueing was decided from, still open; it has read the queue whole.
        lock: The sweep lock, held.
        intents: The journal of these jobs.
        result: Counts what is added.
    """

    def __init__(self, look: Look, lock: SweepLock, intents: Intents, result: StepResult) -> None:
        queue, reading, completed = look.platform.queue, look.reading, look.completed
        assert queue is not None
        assert reading is not None
        assert completed is not None
        self._look = look
        self._queue = queue
        self._reading = reading
        self._completed = completed
        self._lock = lock
        self._intents = intents
        self._result = result
        self._dropped: set[str] = set()
        """Campaigns that moved meanwhile or failed: left to the next sweep."""
        self._marked: set[str] = set()
        """Recipients that were marked at one of the looks: a marker may be gone at the next."""

    def add_page(self, page: Sequence[OpenBatch]) -> bool:
        """Add one page of batches; False when nothing more is to be tried in this sweep."""
        campaigns = {batch.campaign_id for batch in page} - self._dropped
        try:
            intent = self._intents.write([batch for batch in page if batch.campaign_id in campaigns])
        except StatementRejected as error:
            return self._fail(campaigns, error)
        except Unavailable as error:
            return self._stop(str(error), away=True)
        self._dropped |= campaigns - {batch.campaign_id for batch in intent.values()}
        if not intent:
            return True
        try:
            outcome = self._add(intent)
        except StatementRejected as error:
            self._fail(campaigns, error)
            outcome = _Outcome()
        except LookAgain as error:
            self._result.unsure = error.what
            outcome = _Outcome()
        except (Unavailable, Refused) as error:
            away = isinstance(error, Unavailable) and not isinstance(error, QueueUnclear)
            outcome = _Outcome(trouble=str(error), away=away)
        added = {name: len(job.recipient_ids) for name, job in outcome.added.items()}
        try:
            self._intents.close(intent, added=added, taken_back=outcome.taken_back, unknown=outcome.unknown)
        except Unavailable as error:
            return self._stop(f"{len(added)} jobs were added and could not be confirmed: {error}", away=True)
        self._count(outcome)
        return self._stop(outcome.trouble, away=outcome.away) if outcome.trouble else True

    def _add(self, intent: Mapping[str, OpenBatch]) -> _Outcome:
        """Add what was intended and is still wanted. Raises only where nothing was added."""
        for looks_left in reversed(range(LOOKS)):
            began = awake_or_asleep()
            last_look = self._queue.last_look()
            jobs = self._still_wanted(intent, last_look)
            if not jobs:
                break
            self._lock.check()
            try:
                added = self._add_now(jobs, last_look, began)
            except LookAgain:
                if not looks_left:
                    raise
            except PartlyAdded as error:
                outcome = self._take_back(intent, {job.id: job for job in jobs if job.id in error.added})
                return replace(outcome, trouble="; ".join(filter(None, [str(error), outcome.trouble])), away=True)
            except NothingAdded:
                raise
            except QueueUnavailable as error:
                return self._after_lost_answer(jobs, str(error))
            else:
                return self._take_back(intent, {job.id: job for job in jobs if job.id in added})
        return _Outcome()

    def _add_now(self, jobs: Sequence[NewJob], last_look: LastLook, began: float) -> frozenset[str]:
        """Add if Redis sees what we saw; our own clock counts, too, since not every Redis tells its time."""
        if awake_or_asleep() - began > MAX_SECONDS_TO_ADD:
            raise LookAgain("this process slept for too long to be sure of what it saw")
        reading, ours = self._reading, self._intents.job_ids
        guard = Guard(last_look, ours, reading.dated, reading.snapshot.state.server_id, MAX_SECONDS_TO_ADD)
        return self._queue.add(jobs, guard)

    def _still_wanted(self, intent: Mapping[str, OpenBatch], last_look: LastLook) -> list[NewJob]:
        """The intended jobs with those recipients that are pending and unmarked, of campaigns that nothing touched."""
        campaigns = {batch.campaign_id for batch in intent.values()} - self._dropped
        ours = self._intents.job_ids
        self._dropped |= self._queue.newcomers(self._reading, campaigns, ours=ours, look=last_look)
        # Rows and markers after that: a job that came and went in between has written what it did.
        batches = {name: batch for name, batch in intent.items() if batch.campaign_id not in self._dropped}
        pending = self._look.read_again(list(batches.values()))
        jobs = self._unmarked([self._job(name, batch, pending) for name, batch in batches.items()])
        now = self._look.campaigns_now({job.campaign_id for job in jobs})
        touched = {
            key for key, campaign in now.items() if campaign.updated_at_exact != self._observed(key).updated_at_exact
        }
        self._dropped |= touched
        wanted = self._as_observed(now) - touched
        return [job for job in jobs if job.campaign_id in wanted]

    def _observed(self, campaign_id: str) -> Campaign:
        return self._intents.campaign(campaign_id)

    def _job(self, name: str, batch: OpenBatch, pending: Mapping[tuple[str, int], Sequence[str]]) -> NewJob:
        tenant = self._observed(batch.campaign_id).tenant
        return NewJob(name, batch.campaign_id, tenant, tuple(pending.get(batch.key, ())))

    def _unmarked(self, jobs: Sequence[NewJob]) -> list[NewJob]:
        """Without recipients that are marked by now: a job that came and went may have sent and never written it."""
        among, at = self._intents.campaigns, self._look.observation.at
        self._marked |= marked_meanwhile(self._look.platform, self._queue, self._completed, jobs, among=among, at=at)
        if self._marked:
            jobs = [replace(job, recipient_ids=_others(job.recipient_ids, self._marked)) for job in jobs]
        return [job for job in jobs if job.recipient_ids]

    def _as_observed(self, now: Mapping[str, Campaign]) -> set[str]:
        """Campaigns that are being sent for the same tenant as when they were observed."""
        observed = {key: self._observed(key) for key in now}
        return {
            key
            for key, campaign in now.items()
            if (campaign.status, campaign.tenant) == (observed[key].status, observed[key].tenant)
        }

    def _take_back(self, intent: Mapping[str, OpenBatch], added: Mapping[str, NewJob]) -> _Outcome:
        """Read rows and campaigns once more; take out again the jobs that they no longer want and no worker has taken.

        A campaign may have been cancelled in the milliseconds between the last reading and the add.
        """
        if not added:
            return _Outcome()
        removed: frozenset[str] = frozenset()
        try:
            # Campaigns first: their rows are read in a tenth of the time, and workers take jobs meanwhile.
            wanted = self._as_observed(self._look.campaigns_now({job.campaign_id for job in added.values()}))
            removed = self._queue.remove_waiting(name for name, job in added.items() if job.campaign_id not in wanted)
            rest = {name: intent[name].key for name in added.keys() - removed}
            pending = self._look.read_again([intent[name] for name in rest], moved_only=True)
            moved = [
                name
                for name, key in rest.items()
                if key in pending and not set(added[name].recipient_ids) <= set(pending[key])
            ]
            removed |= self._queue.remove_waiting(moved)
        except (StatementRejected, Unavailable) as error:
            trouble = f"{len(added)} jobs were added, and could not be looked at once more: {error}"
            return _Outcome(_without(added, removed), removed, trouble=trouble, away=True)
        return _Outcome(_without(added, removed), removed)

    def _after_lost_answer(self, jobs: Sequence[NewJob], trouble: str) -> _Outcome:
        """Redis went away during the add: present jobs were added; others may have been added, sent and removed."""
        names = frozenset(job.id for job in jobs)
        try:
            present = self._queue.present(names)
        except QueueUnavailable:
            trouble = f"{trouble}; how many of {len(jobs)} jobs were added is not known yet"
            return _Outcome(unknown=names, trouble=trouble, away=True)
        added = {job.id: job for job in jobs if job.id in present}
        return _Outcome(added, unknown=names - present, trouble=trouble, away=True)

    def _fail(self, campaigns: Collection[str], error: StatementRejected) -> bool:
        self._result.failures.extend(Failure(key, str(error)) for key in sorted(campaigns))
        self._dropped |= set(campaigns)
        return True

    def _stop(self, why: str, *, away: bool = False) -> bool:
        self._result.held_back = f"stopped half way: {why}"
        self._result.away = away
        return False

    def _count(self, outcome: _Outcome) -> None:
        """Count what really is in the queue; a campaign counts once its first job is."""
        result = self._result
        result.taken_back += len(outcome.taken_back)
        for job in outcome.added.values():
            result.jobs += 1
            result.recipients += len(job.recipient_ids)
            attempt = self._intents.attempts[job.campaign_id]
            if attempt.repair_id not in result.repair_ids:
                result.repair_ids.append(attempt.repair_id)
                result.entries.append(attempt.entry)


def _others(ids: Sequence[str], marked: Collection[str]) -> tuple[str, ...]:
    return tuple(id_ for id_ in ids if id_ not in marked)


def _without(jobs: Mapping[str, NewJob], names: Collection[str]) -> dict[str, NewJob]:
    return {name: job for name, job in jobs.items() if name not in names}
