"""Intents: the jobs that are about to be added, journaled with their attempts and committed before any effect.

A fresh intent counts as coverage: whatever happens after its commit, its campaign is left alone for a while.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import NamedTuple

import sqlalchemy as sa

from campaign_ops.bullmq.writer import job_id
from campaign_ops.core.model import Campaign, Decision, Evidence, RepairKind
from campaign_ops.core.verdicts import attempts_without_progress, goes_on
from campaign_ops.journal.attempts import Beginning, Closed
from campaign_ops.journal.journal import Entry
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import completion
from campaign_ops.sweep.coverage import OpenBatch


class Judged(NamedTuple):
    """A campaign to be re-enqueued: its evidence and what was decided from it."""

    evidence: Evidence
    decision: Decision

    @property
    def missing(self) -> int:
        """Recipients that are in no job."""
        return self.evidence.coverage.missing if self.evidence.coverage else 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One campaign's attempt, as journaled: its jobs are named after it."""

    repair_id: int
    number: int
    entry: Entry
    batches: int = 0


class Intents:
    """The attempts and intended jobs of one re-enqueueing.

    Args:
        platform: The platform to repair.
        author: Who does it, for the journal.
        judged: The campaigns that may get jobs.
        live_jobs: Ids of the jobs that were alive at the look.

    Attributes:
        attempts: The attempts begun so far, by campaign.
        job_ids: Every job intended so far, added or not.
    """

    def __init__(
        self, platform: Platform, author: Author, judged: Mapping[str, Judged], live_jobs: AbstractSet[str]
    ) -> None:
        self.attempts: dict[str, Attempt] = {}
        self.job_ids: set[str] = set()
        self._platform = platform
        self._author = author
        self._judged = judged
        self._live_jobs = live_jobs

    @property
    def campaigns(self) -> Collection[str]:
        """The campaigns that may get jobs."""
        return self._judged.keys()

    def campaign(self, campaign_id: str) -> Campaign:
        """The campaign as it was observed."""
        return self._judged[campaign_id].evidence.campaign

    def write(self, batches: Sequence[OpenBatch]) -> Mapping[str, OpenBatch]:
        """Journal jobs for these batches, and commit: the batches by their job's id.

        Batches of campaigns that are not as observed any more, or of which another process began an attempt meanwhile,
        are left out.
        """
        if not batches:
            return {}
        intent, attempts = self._platform.database.run(lambda connection: self._write(connection, batches))
        self.attempts.update(attempts)
        self.job_ids.update(intent)
        return intent

    def _write(
        self, connection: sa.Connection, batches: Sequence[OpenBatch]
    ) -> tuple[dict[str, OpenBatch], dict[str, Attempt]]:
        wanted = sorted({batch.campaign_id for batch in batches})
        observed = {"ids": wanted, "updated_ats": [self.campaign(key).updated_at_exact for key in wanted]}
        unmoved = set(connection.scalars(completion.lock_still_sending(self._platform.tables(connection)), observed))
        attempts = {key: self.attempts[key] for key in unmoved if key in self.attempts}
        attempts |= self._begin(connection, sorted(unmoved - attempts.keys()))
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
        self._platform.attempts.add_intents(connection, rows)
        return intent, attempts

    def _begin(self, connection: sa.Connection, campaign_ids: Sequence[str]) -> dict[str, Attempt]:
        """Count and journal new attempts; campaigns of which another process began one meanwhile are left out."""
        judged = {key: self._judged[key] for key in campaign_ids}
        in_vain = {key: attempts_without_progress(case.evidence) for key, case in judged.items()}
        counted = [key for key, number in in_vain.items() if number]
        going_on = {key for key in counted if goes_on(judged[key].evidence)}
        waiting = self._waiting_their_turn(connection, [key for key in counted if key not in going_on])
        for key in going_on | waiting:
            in_vain[key] -= 1
        beginnings = {
            key: Beginning(case.evidence.attempts.total + 1, case.evidence.tally.pending, case.missing, in_vain[key])
            for key, case in judged.items()
        }
        numbers = self._platform.attempts.begin(connection, beginnings)
        entries = [_entry(judged[key], number) for key, number in numbers.items()]
        repair_ids = self._platform.journal.record(connection, self._author, entries)
        return {
            entry.target: Attempt(repair_id, numbers[entry.target], entry)
            for repair_id, entry in zip(repair_ids, entries, strict=True)
        }

    def _waiting_their_turn(self, connection: sa.Connection, campaign_ids: Sequence[str]) -> set[str]:
        """Campaigns whose last attempt still has every job in the queue: as much as the limits allowed, not in vain."""
        last = {key: self._judged[key].evidence.attempts.total for key in campaign_ids}
        jobs = self._platform.attempts.jobs_of_attempts(connection, last)
        return {key for key, added in jobs.items() if self._live_jobs >= set(added)}

    def close(
        self,
        intended: Collection[str],
        *,
        added: Mapping[str, int],
        taken_back: Collection[str],
        unknown: Collection[str],
    ) -> None:
        """Write down which intended jobs were added, with how many recipients; those of an unknown fate stay open."""
        log = self._platform.attempts
        not_added = [name for name in intended if not (name in added or name in taken_back or name in unknown)]

        def _close(connection: sa.Connection) -> None:
            # Asked, not remembered: when the answer to a commit is lost, this is done again.
            begun = log.unconfirmed_campaigns(connection, added)
            log.confirm_intents(connection, added)
            log.added(connection, begun)
            log.close_intents(connection, not_added, Closed.NOT_ADDED)
            log.close_intents(connection, taken_back, Closed.TAKEN_BACK)

        self._platform.database.run(_close)


def _entry(case: Judged, attempt: int) -> Entry:
    campaign, decision = case.evidence.campaign, case.decision
    return Entry(
        kind=RepairKind.REENQUEUE,
        target=campaign.id,
        campaign_id=campaign.id,
        tenant=campaign.tenant,
        reason=decision.reason,
        verdict=decision.verdict,
        after={"attempt": attempt, "missing": case.missing},
    )
