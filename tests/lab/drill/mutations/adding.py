"""Planted faults of adding: the second look, the guard inside Redis, what is done after the add."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from campaign_ops.bullmq import guard
from campaign_ops.bullmq.guard import Guard, LastLook
from campaign_ops.bullmq.queue import NewJob, Queue
from campaign_ops.bullmq.queue_group import QueueGroup
from campaign_ops.bullmq.reader import QueueReader
from campaign_ops.core.model import Campaign
from campaign_ops.journal.attempts import AttemptLog, Closed
from campaign_ops.postgres import cover
from campaign_ops.postgres.database import SweepLock
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.sweep import add_page, settle
from campaign_ops.sweep.add_page import Adder, _Outcome
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.look import Look
from tests.lab.drill.mutations.mutation import Planted, put, without


def _rows_not_read_again() -> None:
    """Add the recipients that the first look has shown; those marked then stay out."""

    def as_before(
        connection: sa.Connection, _tables: PlatformTables, chosen: Sequence[tuple[str, int]]
    ) -> Iterator[cover.Batch]:
        for batch in list(cover.batches(connection, size=1, marked=True)):
            if (batch.campaign_id, batch.number) in chosen:
                yield replace(batch, recipient_ids=[one for one in batch.recipient_ids if one not in batch.marked])

    put(cover, "read_again", as_before)


def _campaigns_not_read_again() -> None:
    def as_before(look: Look, campaign_ids: Collection[str]) -> dict[str, Campaign]:
        campaigns = (evidence.campaign for evidence in look.observation.evidence)
        return {campaign.id: campaign for campaign in campaigns if campaign.id in campaign_ids}

    put(Look, "campaigns_now", as_before)


def _no_second_look() -> None:
    """Add what the first look has shown, at once."""

    def at_once(adder: Adder, intent: Mapping[str, OpenBatch], _last_look: LastLook) -> list[NewJob]:
        pending = adder._look.read_again(list(intent.values()))
        jobs = [adder._job(name, batch, pending) for name, batch in intent.items()]
        return [job for job in jobs if job.recipient_ids]

    _rows_not_read_again()
    put(Adder, "_still_wanted", at_once)


def _newcomers_not_asked() -> None:
    for kind in (QueueReader, QueueGroup):
        put(kind, "newcomers", lambda *_, **__: frozenset())


def _lock_not_checked_before_add() -> None:
    def unlocked(adder: Adder, *arguments: Any) -> None:
        begin(adder, *arguments)
        adder._lock = _Unchecked(adder._lock._database, "")

    begin = put(Adder, "__init__", unlocked)


class _Unchecked(SweepLock):
    def check(self) -> None:
        pass


def _server_not_compared() -> None:
    def any_server(look: LastLook, ours: Any, covering: Any, _server_id: object, seconds: float) -> Guard:
        return Guard(look, ours, covering, None, seconds)

    put(add_page, "Guard", any_server)


def _lock_and_server() -> None:
    _lock_not_checked_before_add()
    _server_not_compared()


def _no_guard() -> None:
    for kind in (Queue, QueueGroup):
        _unguarded(kind)


def _unguarded(kind: type[Queue]) -> None:
    add = kind.__dict__["add"]
    put(kind, "add", lambda queue, jobs, _guard=None: add(queue, jobs, None))


def _guard_without(part: str, instead: str = "") -> None:
    put(guard, "_GUARDED", without(guard._GUARDED, part, instead))


def _pause_not_asked() -> None:
    """Neither Redis nor this process asks again, after the plan, whether the queue is paused."""

    def never_paused(queue: Queue, jobs: Sequence[NewJob], guard: Guard | None = None) -> frozenset[str]:
        state = queue.state
        queue.__dict__["state"] = lambda: replace(state(), paused=False)
        try:
            return frozenset(add(queue, jobs, guard))
        finally:
            del queue.__dict__["state"]

    add = put(Queue, "add", never_paused)
    _guard_without("if redis.call('HEXISTS', KEYS[7], 'paused') == 1 then return {'paused'} end")


def _not_taken_back() -> None:
    put(Adder, "_take_back", lambda _adder, _intent, added: _Outcome(added))


def _all_not_added() -> None:
    put(settle, "_fates", lambda _queue, open_jobs, *_: dict.fromkeys(open_jobs, Closed.NOT_ADDED))


PLANTED: Mapping[str, Planted] = {
    "no_second_look": Planted(
        rule=4, what="what the first look has shown is added without a second one", apply=_no_second_look
    ),
    "rows_not_read_again": Planted(
        rule=4, what="the recipients are not read again before the add", apply=_rows_not_read_again
    ),
    "campaigns_not_read_again": Planted(
        rule=4, what="the campaigns are read again neither before nor after the add", apply=_campaigns_not_read_again
    ),
    "markers_not_asked_again": Planted(
        rule=17,
        what="markers are not asked for again before the add",
        apply=lambda: put(add_page, "marked_meanwhile", lambda *_, **__: frozenset()),
    ),
    "newcomers_not_asked": Planted(
        rule=4, what="jobs that came since the look are not asked for", apply=_newcomers_not_asked
    ),
    "lock_not_checked_before_add": Planted(
        rule=10, what="the sweep lock is not checked before an add", apply=_lock_not_checked_before_add
    ),
    "server_not_compared": Planted(
        rule=6, what="an add goes to a Redis process that was never looked at", apply=_server_not_compared
    ),
    "lock_and_server": Planted(
        rule=10, what="before an add neither the lock is checked nor the Redis process compared", apply=_lock_and_server
    ),
    "look_never_old": Planted(
        rule=16,
        what="a look may be of any age when jobs are added",
        apply=lambda: put(add_page, "MAX_SECONDS_TO_ADD", 3600),
    ),
    "no_guard": Planted(rule=4, what="jobs are added without a guard inside Redis", apply=_no_guard),
    "guard_without_new_jobs": Planted(
        rule=4,
        what="the guard takes no campaign out that got a job since the last look",
        apply=lambda: _guard_without("for campaign in pairs(campaigns) do taken[campaign] = true end"),
    ),
    "guard_without_events": Planted(
        rule=4,
        what="the guard does not see jobs that came and went since the last look",
        apply=lambda: _guard_without("seen.event ~= ''", "false"),
    ),
    "pause_not_asked": Planted(
        rule=16, what="whether the queue is paused is not asked again before the add", apply=_pause_not_asked
    ),
    "not_taken_back": Planted(
        rule=16, what="jobs of a campaign that was cancelled at the moment of the add stay", apply=_not_taken_back
    ),
    "unconfirmed": Planted(
        rule=8,
        what="what was added counts as added, although Redis lost it at once",
        apply=lambda: put(Queue, "_confirmed", lambda _queue, job_ids, _server_id: frozenset(job_ids)),
    ),
    "all_not_added": Planted(
        rule=7, what="the jobs of a sweep that was killed count as not added", apply=_all_not_added
    ),
    "progress_not_counted": Planted(
        rule=13,
        what="attempts without progress are not counted",
        apply=lambda: put(AttemptLog, "added", lambda *_: None),
    ),
}
