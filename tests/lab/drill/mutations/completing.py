"""Planted faults of completing campaigns, releasing credits and undoing both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from campaign_ops.core import credits as judging_credits
from campaign_ops.core import verdicts
from campaign_ops.core.model import Attempts, CreditDecision, RepairKind
from campaign_ops.journal.attempts import AttemptLog
from campaign_ops.journal.journal import Journal
from campaign_ops.postgres import completion, guarded, reservations
from campaign_ops.postgres.expressions import IDS, one_of
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.sweep import complete
from campaign_ops.sweep import credits as judging
from campaign_ops.sweep.live_work import LiveWork
from tests.lab.drill.mutations.mutation import Planted, put


def _row_not_compared() -> None:
    """Write a campaign that moved since it was read."""

    def same_id(tables: PlatformTables, observed: sa.FromClause) -> sa.ColumnElement[bool]:
        return tables.campaign.c.id == sa.cast(observed.c.id, tables.campaign.c.id.type)

    put(completion, "_unmoved", same_id)


def _pending_not_counted() -> None:
    put(completion, "_finished", lambda _tables, seen, **_: seen.c.rows > 0)


def _no_live_work() -> None:
    put(LiveWork, "now", lambda *_: set())


def _live_jobs_finish() -> None:
    """Neither the verdict nor the write asks for jobs that may still send."""
    put(verdicts, "_still_queued", lambda *_: None)
    _no_live_work()


def _first_reservation_only() -> None:
    holds = reservations.lock_holds_of_campaigns
    put(reservations, "lock_holds_of_campaigns", lambda tables: holds(tables).limit(1))


def release_unguarded(tables: PlatformTables) -> sa.Update:
    """Release reservations whatever their campaign does."""
    return (
        sa.update(tables.reservations)
        .values(reservations._released_values(tables))
        .where(reservations.is_held(tables), one_of(tables.reservations.c.id, IDS))
        .returning(*reservations.reservation_state(tables))
    )


def _late_is_leaked() -> None:
    """Release what has expired, whatever its campaign does."""

    def judged(held: Any, *, now: Any, **known: Any) -> CreditDecision:
        if held.expires_at is not None and held.expires_at <= now:
            return CreditDecision(release=True, reason="expired", leaked=True)
        decision: CreditDecision = judge(held, now=now, **known)
        return decision

    judge = put(judging, "judge_reservation", judged)
    put(reservations, "release", release_unguarded)


def _not_left_to_the_application() -> None:
    """Release the credits of a campaign that has just ended, which the application is about to settle."""
    put(judging_credits, "_recent_change", lambda *_: "")
    put(reservations, "is_recent", lambda *_: sa.false())


def _holds_ignored() -> None:
    def of(log: AttemptLog, connection: sa.Connection, campaign_ids: Collection[str]) -> dict[str, Attempts]:
        return {key: replace(one, held_by=None) for key, one in attempts_of(log, connection, campaign_ids).items()}

    attempts_of = put(AttemptLog, "of", of)
    put(AttemptLog, "held", lambda *_: set())


def of_same_id(table: sa.Table, row_id: str, _after: object) -> list[sa.ColumnElement[bool]]:
    """The row that a repair changed, whatever it is now."""
    return [table.c.id == sa.bindparam(None, row_id, type_=table.c.id.type)]


def _undo_not_compared() -> None:
    put(guarded, "_as_left", of_same_id)


def _releases_not_journaled() -> None:
    def rest(journal: Journal, connection: sa.Connection, author: Any, entries: Any) -> list[int]:
        return list(record(journal, connection, author, [one for one in entries if one.kind != RepairKind.RELEASE]))

    record = put(Journal, "record", rest)


PLANTED: Mapping[str, Planted] = {
    "row_not_compared": Planted(
        rule=3, what="a repair is written although its row is no longer as it was read", apply=_row_not_compared
    ),
    "pending_not_counted": Planted(
        rule=3, what="the write that completes a campaign does not count the pending", apply=_pending_not_counted
    ),
    "no_live_work": Planted(
        rule=3, what="the write that completes a campaign does not ask for live jobs", apply=_no_live_work
    ),
    "live_jobs_finish": Planted(
        rule=17, what="a campaign whose failed recipients a live job retries is completed", apply=_live_jobs_finish
    ),
    "writers_not_waited_for": Planted(
        rule=3,
        what="a completion does not wait for open transactions that wrote recipients",
        apply=lambda: put(complete, "wait_out", lambda *_: None),
    ),
    "not_looked_at_before_commit": Planted(
        rule=3,
        what="whether a campaign got work while it was completed is not asked",
        apply=lambda: put(complete, "_check_still_over", lambda *_, **__: None),
    ),
    "always_done": Planted(
        rule=3,
        what="a campaign all of whose recipients failed is called done",
        apply=lambda: put(completion, "went_well", lambda _tables: sa.true()),
    ),
    "first_reservation_only": Planted(
        rule=9, what="only one reservation of a completed campaign is released", apply=_first_reservation_only
    ),
    "release_unguarded": Planted(
        rule=3,
        what="the write that releases a reservation does not look at its campaign",
        apply=lambda: put(reservations, "release", release_unguarded),
    ),
    "late_is_leaked": Planted(
        rule=3, what="an expired reservation is released although its campaign is sending", apply=_late_is_leaked
    ),
    "not_left_to_the_application": Planted(
        rule=9, what="credits of a campaign that has just ended are released", apply=_not_left_to_the_application
    ),
    "releases_not_journaled": Planted(
        rule=9, what="released credits are not in the journal", apply=_releases_not_journaled
    ),
    "holds_ignored": Planted(rule=16, what="a sweep repairs what a person holds", apply=_holds_ignored),
    "undo_holds_nothing": Planted(
        rule=16,
        what="an undone repair is not held",
        apply=lambda: put(AttemptLog, "hold", lambda *_: None),
    ),
    "undone_release_repeated": Planted(
        rule=16,
        what="a release that a person undid is made again",
        apply=lambda: put(Journal, "undone_releases", lambda *_: set()),
    ),
    "undo_not_compared": Planted(
        rule=16, what="an undo overwrites a row that changed since the repair", apply=_undo_not_compared
    ),
}
