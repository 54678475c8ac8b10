"""Journal what is about to be added: the attempts and intents of one page, committed before any effect.

A fresh intent counts as coverage: whatever happens after its commit, its campaign is left alone for a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from campaign_ops.bullmq.completed_jobs import CompletedJobs
from campaign_ops.bullmq.queue import Queue, Reading
from campaign_ops.bullmq.writer import job_id
from campaign_ops.core.model import Campaign, Decision, Evidence, RepairKind
from campaign_ops.core.verdicts import attempts_without_progress, goes_on
from campaign_ops.journal.attempts import Beginning
from campaign_ops.journal.journal import Entry
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import completion
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.look import Look
from campaign_ops.sweep.result import StepResult


@dataclass(frozen=True, slots=True)
class Attempt:
    """One campaign's attempt, as journaled: what its jobs are named after."""

    repair_id: int
    number: int
    entry: Entry
    batches: int = 0


@dataclass
class Work:
    """One re-enqueueing under way. ``dropped`` campaigns moved meanwhile and are left to the next sweep."""

    platform: Platform
    queue: Queue
    author: Author
    lock: SweepLock
    look: Look
    reading: Reading
    completed: CompletedJobs
    chosen: Mapping[str, tuple[Evidence, Decision]]
    result: StepResult
    attempts: dict[str, Attempt] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    job_ids: set[str] = field(default_factory=set)

    def campaign(self, campaign_id: str) -> Campaign:
        """The campaign as it was observed."""
        return self.chosen[campaign_id][0].campaign


def intend(work: Work, batches: Sequence[OpenBatch]) -> Mapping[str, OpenBatch]:
    """Journal what is about to be added, and commit: the batches by their job's id."""
    if not batches:
        return {}
    intent, attempts = work.platform.database.run(lambda connection: _write_intent(work, connection, batches))
    work.attempts.update(attempts)
    work.dropped |= {batch.campaign_id for batch in batches} - attempts.keys()
    work.job_ids.update(intent)
    return intent


def _write_intent(
    work: Work, connection: sa.Connection, batches: Sequence[OpenBatch]
) -> tuple[dict[str, OpenBatch], dict[str, Attempt]]:
    """The intent of one page, for the campaigns that are as observed."""
    wanted = sorted({batch.campaign_id for batch in batches})
    observed = {"ids": wanted, "updated_ats": [work.campaign(one).updated_at_exact for one in wanted]}
    unmoved = set(connection.scalars(completion.lock_still_sending(work.platform.tables(connection)), observed))
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


def _begin(work: Work, connection: sa.Connection, campaign_ids: Sequence[str]) -> dict[str, Attempt]:
    """Count and journal new attempts; those campaigns are left out of which somebody else began one meanwhile."""
    judged = {one: work.chosen[one] for one in campaign_ids}
    in_vain = {one: attempts_without_progress(evidence) for one, (evidence, _) in judged.items()}
    counted = [one for one, number in in_vain.items() if number]
    going_on = {one for one in counted if goes_on(judged[one][0])}
    for one in going_on | set(_waiting_their_turn(work, connection, [one for one in counted if one not in going_on])):
        in_vain[one] -= 1
    beginnings = {
        one: Beginning(evidence.attempts.total + 1, evidence.tally.pending, missing(evidence), in_vain[one])
        for one, (evidence, _) in judged.items()
    }
    numbers = work.platform.attempts.begin(connection, beginnings)
    entries = [_entry(*judged[one], number) for one, number in numbers.items()]
    repair_ids = work.platform.journal.record(connection, work.author, entries)
    return {
        entry.target: Attempt(repair_id, numbers[entry.target], entry)
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
        after={"attempt": attempt, "missing": missing(evidence)},
    )


def missing(evidence: Evidence) -> int:
    """Recipients that stand in no job."""
    return evidence.coverage.missing if evidence.coverage else 0


def _waiting_their_turn(work: Work, connection: sa.Connection, campaign_ids: Sequence[str]) -> list[str]:
    """Campaigns of whose last attempt every job is in the queue still: as much as the limits allowed, not in vain."""
    last = {one: work.chosen[one][0].attempts.total for one in campaign_ids}
    jobs = work.platform.attempts.jobs_of_attempts(connection, last)
    return [one for one, added in jobs.items() if work.reading.snapshot.live.keys() >= set(added)]
