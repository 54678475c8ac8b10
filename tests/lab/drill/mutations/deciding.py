"""Rules about decisions (1 to 8), each removed as a careless programmer would."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from campaign_ops.bullmq import address
from campaign_ops.bullmq.address import QueueAddress
from campaign_ops.bullmq.jobs import FailedJob, LiveJob
from campaign_ops.bullmq.live_jobs import LiveJobs, Reading
from campaign_ops.bullmq.queue import Queue
from campaign_ops.bullmq.reader import QueueReader
from campaign_ops.bullmq.writer import job_id
from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.core.model import Campaign
from campaign_ops.core.plan import PlanItem
from campaign_ops.lab.drill.options import Size
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns, completion, cover, database
from campaign_ops.postgres.expressions import as_text
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.sweep import act, coverage, guarded, intents, look
from campaign_ops.sweep.add_page import Adder
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.intents import Attempt, Intents
from tests.lab.drill.mutations.mutation import OFTEN, UNSLOWED, Mutation, put, slowed, wait

_BATCH = sa.table("campaign_ops_batch", sa.column("campaign_id"))
_COVER = sa.table("campaign_ops_cover", sa.column("recipient_id"))


def _no_age() -> None:
    put(campaigns, "is_stuck", lambda tables, **_: campaigns.is_sending(tables))


def _edge() -> None:
    """Consider only campaigns that were not stuck in this process's previous sweep."""
    before: set[str] = set()

    def new_ones(
        platform: Platform, connection: sa.Connection, only: Collection[str] | None, *, any_age: bool
    ) -> Iterator[Campaign]:
        found = list(everything(platform, connection, only, any_age=any_age))
        yield from (one for one in found if only is not None or one.id not in before)
        before.clear()
        before.update(one.id for one in found)

    everything = put(look, "stuck_campaigns", new_ones)


def _no_premise() -> None:
    """Overwrite every campaign that the plan calls finished, whatever its current state."""

    def as_planned(
        _platform: Platform, _connection: sa.Connection, page: Sequence[PlanItem], **_: bool
    ) -> dict[str, Any]:
        ids = [item.target for item in page]
        return {"ids": ids, "updated_ats": [None for _ in ids]}

    def same_id(tables: PlatformTables, observed: sa.TableValuedAlias) -> sa.ColumnElement[bool]:
        return tables.campaign.c.id == sa.cast(observed.c.id, tables.campaign.c.id.type)

    put(guarded, "observed_now", as_planned)
    put(completion, "_unmoved", same_id)
    put(completion, "_finished", lambda _tables, _seen, **_: sa.true())
    slowed(act, "complete", 0.4)


def _rows_first() -> None:
    """Read the database in one consistent snapshot, as for a report: its rows are older than the queue's snapshot."""
    put(database, "_BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ")
    slowed(look, "read_queue", 2.0)


def _live_job_hides() -> None:
    """Treat a campaign with a live job as covered completely."""

    def of_idle_campaigns(
        connection: sa.Connection, tables: PlatformTables, campaign_ids: Sequence[str], **options: int
    ) -> list[cover.Cut]:
        recipient = tables.recipient.c
        busy = sa.select(as_text(recipient.campaign_id)).where(recipient.id.in_(sa.select(_COVER.c.recipient_id)))
        covered = set(connection.scalars(busy.distinct()))
        idle: list[cover.Cut] = fill(connection, tables, [one for one in campaign_ids if one not in covered], **options)
        return idle

    fill = put(cover, "fill_batches", of_idle_campaigns)


def _whole_campaign() -> None:
    """Re-enqueue all pending recipients of a campaign if any recipient is missing."""

    def of_whole_campaigns(
        connection: sa.Connection, tables: PlatformTables, campaign_ids: Sequence[str], **options: int
    ) -> list[cover.Cut]:
        cuts: list[cover.Cut] = fill(connection, tables, campaign_ids, **options)
        lost = connection.scalars(sa.select(_BATCH.c.campaign_id).distinct()).all()
        recipient = tables.recipient.c
        theirs = sa.select(recipient.id).where(as_text(recipient.campaign_id).in_(lost))
        connection.execute(sa.delete(_COVER).where(_COVER.c.recipient_id.in_(theirs)))
        connection.execute(sa.delete(_BATCH).where(_BATCH.c.campaign_id.in_(lost)))
        return [cut for cut in cuts if cut.campaign_id not in lost] + list(fill(connection, tables, lost, **options))

    fill = put(cover, "fill_batches", of_whole_campaigns)


def _half_read() -> None:
    """Treat jobs that could not be read as an empty queue."""

    def as_far_as_it_goes(jobs: LiveJobs) -> LiveJob:
        try:
            return real(jobs)
        except QueueUnavailable:
            jobs._result = Reading(jobs.snapshot, jobs.snapshot.state)
            raise StopIteration from None

    def failed_as_far_as_it_goes(queue: QueueReader, *arguments: Any) -> list[FailedJob]:
        try:
            return list(failed_jobs(queue, *arguments))
        except QueueUnavailable:
            return []

    real: Callable[[LiveJobs], LiveJob] = put(LiveJobs, "__next__", as_far_as_it_goes)
    failed_jobs = put(QueueReader, "failed_jobs", failed_as_far_as_it_goes)
    slowed(coverage, "_load_cover", 1.0)
    _impatient()


def _impatient() -> None:
    """Wait for no answer of Redis for longer than half a second, once: with three tries of 2 s each, a reading outlasts
    nearly every hang, and nothing is half read. Not a mutation, but it shows one sooner.
    """
    if not os.environ.get(UNSLOWED):
        put(address, "READ_RETRIES", 0)
        answer = QueueAddress.reading_client
        put(
            QueueAddress,
            "reading_client",
            lambda queue: answer(replace(queue, read_timeout_seconds=0.5)),
        )


def _effect_first() -> None:
    """Add jobs before the intent is committed, as if a job without intent were better than an intent without job."""
    there: set[str] = set()
    adders: list[Adder] = []

    def remembered(adder: Adder, page: Sequence[OpenBatch]) -> bool:
        adders[:] = [adder]
        return bool(add_page(adder, page))

    def effect_and_intent(
        intents: Intents, connection: sa.Connection, batches: Sequence[OpenBatch]
    ) -> tuple[dict[str, OpenBatch], dict[str, Attempt]]:
        intent, attempts = write(intents, connection, batches)
        (adder,) = adders
        there.update(add(adder._queue, adder._still_wanted(intent, adder._queue.last_look())))
        wait(2.5)
        return intent, attempts

    add_page = put(Adder, "add_page", remembered)
    write = put(Intents, "_write", effect_and_intent)
    add = put(Queue, "add", lambda _queue, jobs, _guard: frozenset(job.id for job in jobs) & there)


def _same_ids() -> None:
    """Give a batch's job the same id in every attempt, so that it cannot exist twice."""
    put(intents, "job_id", lambda campaign_id, _attempt, batch, **_: job_id(campaign_id, 1, batch, salt=""))


MUTATIONS: dict[str, Mutation] = {
    "no_age": Mutation(
        rule=1,
        what="every sending campaign counts as stuck at once",
        apply=_no_age,
        seen=frozenset({"too_young"}),
        faults=OFTEN,
    ),
    "edge": Mutation(
        rule=2,
        what="a sweep considers only campaigns that became stuck since the last one",
        apply=_edge,
        seen=frozenset({"still_stuck"}),
        faults=("unsendable", "lose_jobs"),
        seconds=8,
        settle_seconds=12,
        worker_module="tests.lab.drill.trusting_worker",  # without completed jobs, which make it `ambiguous`
    ),
    "no_premise": Mutation(
        rule=3,
        what="the write that completes a campaign trusts the plan",
        apply=_no_premise,
        seen=frozenset({"finished_or_revived", "never_sent"}),
        faults=("late_change",) * 4,
    ),
    "rows_first": Mutation(
        rule=4,
        what="the pending recipients are read before the queue's snapshot",
        apply=_rows_first,
        seen=frozenset({"sent_twice"}),
        # A backlog: campaigns wait until they are stuck, and only then their first jobs are taken and soon finished.
        faults=(),
        seconds=60,
        size=Size(campaign_every_seconds=1, recipients=(100, 100), workers=2, max_sending=4),
        workers={
            "concurrency": 1,
            "delay_ms": 20,
            "claims": False,
            "touch_every": 0,
            "lock_ms": 30_000,
            "stalled_ms": 30_000,
        },
        worker_module="tests.lab.drill.trusting_worker",
    ),
    "live_job_hides": Mutation(
        rule=5,
        what="a campaign with any live job counts as covered",
        apply=_live_job_hides,
        seen=frozenset({"still_stuck"}),
        faults=("lose_all_but_one",),
        seconds=8,
        settle_seconds=12,
    ),
    "whole_campaign": Mutation(
        rule=5,
        what="all pending recipients of a campaign are re-enqueued if one is missing",
        apply=_whole_campaign,
        seen=frozenset({"in_two_jobs"}),
        faults=("lose_jobs", "lose_all_but_one"),
    ),
    "half_read": Mutation(
        rule=6,
        what="jobs that could not be read are treated as none",
        apply=_half_read,
        seen=frozenset({"in_two_jobs"}),
        faults=("hang_redis",) * 9,
        seconds=70,
        workers={"delay_ms": 200},
    ),
    "effect_first": Mutation(
        rule=7,
        what="the intent is committed after the jobs were added",
        apply=_effect_first,
        seen=frozenset({"journal", "in_two_jobs"}),
        faults=("drop_connections",) * 10 + ("unsendable",) * 5,
        seconds=40,
        worker_module="tests.lab.drill.trusting_worker",
    ),
    "same_ids": Mutation(
        rule=8,
        what="a batch's job has the same id in every attempt",
        apply=_same_ids,
        seen=frozenset({"still_stuck"}),
        faults=("unsendable",),
        seconds=8,
        worker_module="tests.lab.drill.trusting_worker",
        settle_seconds=12,
    ),
}
