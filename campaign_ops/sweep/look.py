"""Observe: one look at a platform, with everything that a decision needs, read in the order that makes it safe.

The queue is read first, whole and at one moment; only then are the pending recipients read. A job that finished
before the snapshot has written its recipients; a job alive at the snapshot covers its own. The other order sends twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Literal

import sqlalchemy as sa

from campaign_ops.bullmq.completed_jobs import CompletedJobs
from campaign_ops.bullmq.queue import Reading
from campaign_ops.core.model import Campaign, Evidence, Suspect
from campaign_ops.core.queue_state import QueueState
from campaign_ops.journal.migrations import has_records
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns, cover, planner
from campaign_ops.postgres.bounded import Patience
from campaign_ops.postgres.clock import database_now
from campaign_ops.postgres.errors import mapped
from campaign_ops.sweep.coverage import OpenBatch, add_coverage, read_queue
from campaign_ops.sweep.evidence import (
    campaign_of,
    read_evidence,
    several_tenants,
    stuck_campaigns,
    stuck_undated,
    without_pending,
)
from campaign_ops.sweep.progress import doing
from campaign_ops.sweep.suspects import keep_suspects


@dataclass(frozen=True, slots=True)
class Observation:
    """The findings of one look. ``at`` is the database's clock."""

    at: datetime
    sending: int
    evidence: tuple[Evidence, ...]
    queue: QueueState | None = None

    @property
    def put_back_into(self) -> set[str]:
        """Names of the queues that missing recipients would be put back into."""
        if self.queue is None:
            return set()
        tenants = {case.campaign.tenant for case in self.evidence if case.coverage and case.coverage.missing}
        return {queue.name for queue in map(self.queue.of, tenants) if queue is not None}


@dataclass(frozen=True, slots=True)
class Look:
    """A look whose transaction is still open: its temporary tables hold who is pending and whom the queue covers.

    Attributes:
        platform: The platform that is looked at.
        connection: The transaction.
        observation: The findings.
        reading: The queue as it was read; None where it was not read whole.
        completed: Reads the completed jobs that the queue keeps; None like ``reading``.
        missing: By campaign, the batches that a re-enqueue would add.
        fingerprints: See `Covered`; a campaign without one is always read by its recipients' ids.
        has_new_suspects: Some recipients were found marked whom our own tables may not know yet.
    """

    platform: Platform
    connection: sa.Connection
    observation: Observation
    reading: Reading | None
    completed: CompletedJobs | None
    missing: Mapping[str, Sequence[OpenBatch]]
    fingerprints: Mapping[str, cover.Fingerprint]
    has_new_suspects: bool = False

    def read_again(self, chosen: Sequence[OpenBatch], *, moved_only: bool = False) -> dict[tuple[str, int], list[str]]:
        """Recipients of these batches that are still pending now, by the batch's key.

        Of a campaign with the very recipients pending that were pending at the cut, all batches are as they were cut;
        ``moved_only`` leaves these out. The others are read by their ids, which takes six times as long.
        """
        tables = self.platform.tables(self.connection)
        # Apart: an error in here must not spoil the look for the steps that follow.
        with mapped(self.platform.database.where), planner.by_index_apart(self.connection):
            now = cover.fingerprints(self.connection, tables, {batch.campaign_id for batch in chosen})
            unmoved = {key for key, fingerprint in now.items() if self.fingerprints.get(key) == fingerprint}
            as_cut = [batch.key for batch in chosen if batch.campaign_id in unmoved and not moved_only]
            by_id = [batch.key for batch in chosen if batch.campaign_id not in unmoved]
            batches = chain(cover.as_cut(self.connection, as_cut), cover.read_again(self.connection, tables, by_id))
            return {(batch.campaign_id, batch.number): batch.recipient_ids for batch in batches}

    def campaigns_now(self, campaign_ids: Collection[str]) -> dict[str, Campaign]:
        """These campaigns as they are now; none whose id another tenant's campaign has, too."""
        query = campaigns.by_id(self.platform.tables(self.connection))
        with mapped(self.platform.database.where), planner.by_index_apart(self.connection):
            now = [campaign_of(row) for row in self.connection.execute(query, {"ids": list(campaign_ids)})]
        shared = several_tenants(now)
        return {campaign.id: campaign for campaign in now if campaign.id not in shared}

    def marked(self, limit: int) -> list[Suspect]:
        """Pending recipients in no live job that the provider may have."""
        return cover.marked(self.connection, limit=limit)

    def remember(self) -> None:
        """Write down the recipients that this look has found marked for the first time; only for callers that write."""
        if self.has_new_suspects:
            for page in cover.not_remembered(self.connection, self.platform.tables(self.connection)):
                keep_suspects(self.platform, page, self.observation.at)


@contextmanager
def looking(
    platform: Platform,
    *,
    only: Collection[str] | None = None,
    before: int | None = None,
    compare: Literal["all", "stuck", "none"] = "all",
    any_age: bool = False,
    completing: Collection[str] | None = None,
) -> Iterator[Look]:
    """Look at all stuck campaigns, or at those of ``only`` that are still stuck.

    Args:
        platform: The platform to look at.
        only: Campaign ids; None for all that are stuck.
        before: Compare with the sweeps before this one; None for all.
        compare: The campaigns, of those looked at, whose pending recipients are compared with the queue; with
            ``stuck``, where none is, it is not read. The evidence of others serves no decision about the queue.
        any_age: Look at every campaign in sending, touched this moment or, by a wrong clock, in the future.
        completing: Leave out campaigns with a recipient that still has to be sent to, apart from these: to count them
            decides nothing about what is completed.
    """
    queue = None if compare == "none" else platform.queue
    with platform.database.transaction(read_only=queue is None) as connection:
        doing(platform.name, "looking for stuck campaigns")
        tables = platform.tables(connection)
        sending, undated = connection.execute(campaigns.sending_count(tables)).one()
        looked_at = list(stuck_campaigns(platform, connection, only, any_age=any_age))
        if undated and only is None:
            looked_at += stuck_undated(platform, connection, any_age=any_age)
        if completing is not None:
            looked_at = without_pending(platform, connection, looked_at, beside=completing)
        at = database_now(connection)
        compared = set() if compare == "none" else {campaign.id for campaign in looked_at}
        if compare == "stuck":
            after = platform.policy.stuck_after_seconds
            compared = {campaign.id for campaign in looked_at if campaign.is_stuck(at, after)}
        if queue is not None:
            if compared:
                cover.create(connection, tables)
            else:
                connection.execute(cover.READ_ONLY)
            doing(platform.name, "reading the queue")
        reading = read_queue(queue if compared or compare == "all" else None, connection, compared)
        remembers = bool(looked_at) and has_records(connection, platform.database.where)
        patience = Patience()
        evidence = read_evidence(platform, connection, looked_at, before, remembers=remembers, patience=patience)
        if queue is not None and compared:
            doing(platform.name, "comparing pending recipients with live jobs")
        of_compared = [case for case in evidence if case.campaign.id in compared]
        covered = add_coverage(platform, connection, of_compared, reading, patience, remembers=remembers)
        by_id = {case.campaign.id: case for case in covered.evidence}
        evidence = [by_id.get(case.campaign.id, case) for case in evidence]
        observation = Observation(at, sending, tuple(evidence), covered.queue)
        yield Look(
            platform,
            connection,
            observation,
            reading.live,
            reading.completed,
            covered.missing,
            covered.fingerprints,
            has_new_suspects=remembers and covered.has_new_suspects,
        )


def observe(
    platform: Platform,
    *,
    only: Collection[str] | None = None,
    before: int | None = None,
    compare: Literal["all", "stuck", "none"] = "all",
    any_age: bool = False,
    completing: Collection[str] | None = None,
) -> Observation:
    """Look as `looking` does, for reading only; transient database errors are retried."""

    def _look() -> Observation:
        with looking(
            platform, only=only, before=before, compare=compare, any_age=any_age, completing=completing
        ) as look:
            return look.observation

    return platform.database.retrying(_look)
