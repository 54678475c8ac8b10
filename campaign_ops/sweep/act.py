"""Act: the repairs. Each is a guarded write that repeats its premise; what changed is what is counted and journaled.

Works page by page; when one campaign makes a page fail, the page is done again one campaign at a time, so that it
stops nobody but itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import (
    Conflict,
    QueueUnavailable,
    QueueUnclear,
    StatementRejected,
    StillWriting,
    Unavailable,
)
from campaign_ops.core.model import Outcome, RepairKind
from campaign_ops.core.paging import in_pages
from campaign_ops.core.plan import Plan, PlanItem
from campaign_ops.core.wording import plural
from campaign_ops.journal.journal import Entry
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns, completion, guarded, planner, recipients, reservations
from campaign_ops.postgres.database import SweepLock
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.sweep.live_work import LiveWork
from campaign_ops.sweep.writers import wait_out

log = logging.getLogger(__name__)
PAGE = 500
OF_ALL = (QueueUnavailable, StillWriting)  # of one campaign alone no more can be known than of all together
GIVE_UP_AFTER = 3  # targets in a row that time out: each takes three statement timeouts, under the sweep lock


@dataclass(frozen=True, slots=True)
class Failure:
    """One target that could not be repaired, and why."""

    target: str
    error: str


@dataclass
class StepResult:
    """What one kind of repair really changed. ``held_back`` says why nothing was tried, or no more than was done.

    ``tripped``: it was the breaker, which a person may confirm. ``away``: it was an outage, perhaps over next time.
    ``taken_back`` jobs were added and taken out of the queue again: their campaign had changed meanwhile. A limit left
    ``deferred`` campaigns out, and parts of the ``cut`` ones: ``left_recipients``, in ``left_jobs`` next time.
    ``settled`` counts the jobs of earlier sweeps that ended before they could confirm them, by what became of them.
    """

    kind: RepairKind
    planned: int = 0
    entries: list[Entry] = field(default_factory=list)
    repair_ids: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    held_back: str | None = None
    tripped: bool = False
    jobs: int = 0
    recipients: int = 0
    deferred: int = 0
    cut: int = 0
    left_jobs: int = 0
    left_recipients: int = 0
    taken_back: int = 0
    settled: Mapping[str, int] = field(default_factory=dict)
    away: bool = False

    @property
    def count(self) -> int:
        """Repairs that took effect."""
        return sum(entry.kind is self.kind for entry in self.entries)

    @property
    def left(self) -> int:
        """Planned but not done, because the premise no longer held: somebody else was there first."""
        return max(self.planned - self.count - len(self.failures) - self.deferred, 0) if not self.held_back else 0

    def amount(self) -> Decimal:
        """Credits released."""
        return sum((Decimal(entry.amount) for entry in self.entries if entry.amount is not None), Decimal(0))


@dataclass(frozen=True, slots=True)
class Orders:
    """What a repairing step may do: what was planned and what a look of its own says now, whichever is less.

    ``confirmed`` kinds may pass the breaker: a person's code covers them. ``refused`` ones it does not cover, and why.
    """

    planned: Plan
    now: Plan
    confirmed: frozenset[RepairKind] = frozenset()
    refused: Mapping[RepairKind, str] = field(default_factory=dict)

    def begin(self, kind: RepairKind) -> tuple[StepResult, list[PlanItem]]:
        """The record of one kind of repair and its targets; none where the breaker holds it back."""
        result = StepResult(kind, planned=len(self.planned.of(kind)))
        return result, self.targets(kind, result)

    def targets(self, kind: RepairKind, result: StepResult) -> list[PlanItem]:
        """The targets of one kind of repair; where the breaker holds it back none, and ``result`` says so."""
        breaker = self.now.held_back(kind) if result.planned else None
        if breaker is None or kind in self.confirmed:
            return self.now.within(self.planned, kind)
        result.held_back, result.tripped = (
            "; not confirmed: ".join(filter(None, [str(breaker), self.refused.get(kind)])),
            True,
        )
        return []


def complete(platform: Platform, author: Author, orders: Orders, lock: SweepLock) -> StepResult:
    """Complete what is finished: the word, its reservations and the journal rows, together or not at all."""
    result, items = orders.begin(RepairKind.COMPLETE)
    try:
        work = LiveWork(platform, {item.target for item in items})
        for outcome in (None, Outcome.DONE, Outcome.FAILED):
            chosen = [item for item in items if (item.outcome if item.verdict == "empty" else None) is outcome]
            _by_pages(
                platform,
                lock,
                result,
                chosen,
                lambda connection, page, outcome=outcome: complete_page(  # type: ignore[misc]
                    platform, connection, author, page, work, empty_outcome=outcome
                ),
            )
    except OF_ALL as error:
        result.held_back = str(error)
        result.away = isinstance(error, QueueUnavailable) and not isinstance(error, QueueUnclear)
    return result


def recount(platform: Platform, author: Author, orders: Orders, lock: SweepLock) -> StepResult:
    """Raise counters that are behind the rows, of campaigns that are not complete."""
    result, items = orders.begin(RepairKind.RECOUNT)
    _by_pages(platform, lock, result, items, lambda connection, page: _recount_page(platform, connection, author, page))
    return result


def release(platform: Platform, author: Author, orders: Orders, lock: SweepLock) -> StepResult:
    """Release credits that are held for nothing."""
    result, items = orders.begin(RepairKind.RELEASE)
    _by_pages(platform, lock, result, items, lambda connection, page: release_page(platform, connection, author, page))
    return result


Work = Callable[[sa.Connection, Sequence[PlanItem]], tuple[list[Entry], list[int]]]


def _by_pages(platform: Platform, lock: SweepLock, result: StepResult, items: Sequence[PlanItem], work: Work) -> None:
    for page in in_pages(items, PAGE):
        lock.check()
        try:
            _note(result, platform.database.run(lambda connection, page=page: work(connection, page)))  # type: ignore[misc]
        except OF_ALL:
            raise
        except (StatementRejected, Unavailable) as error:
            log.warning(
                "%s: %s of %s campaigns failed together, trying one by one: %s",
                platform.name,
                result.kind,
                len(page),
                error,
            )
            _one_by_one(platform, lock, result, page, work)


def _one_by_one(platform: Platform, lock: SweepLock, result: StepResult, page: Sequence[PlanItem], work: Work) -> None:
    away = 0
    for item in page:
        lock.check()
        try:
            _note(result, platform.database.run(lambda connection, item=item: work(connection, [item])))  # type: ignore[misc]
        except OF_ALL:
            raise
        except (StatementRejected, Unavailable) as error:
            state = json.dumps({key: value for key, value in asdict(item).items() if value is not None}, default=str)
            log.error("%s: could not %s %s: %s; its state: %s", platform.name, result.kind, item.target, error, state)
            result.failures.append(Failure(item.target, str(error)))
            if isinstance(error, StatementRejected):
                _note_refusal(platform, result.kind, item.target, error.what)
            away = away + 1 if isinstance(error, Unavailable) else 0
            if away == GIVE_UP_AFTER:
                result.held_back = f"stopped half way: {error}"
                result.away = True
                return


def _note_refusal(platform: Platform, kind: RepairKind, target: str, why: str) -> None:
    try:
        platform.database.run(lambda connection: platform.refusals.note(connection, kind, target, why))
    except (StatementRejected, Unavailable) as error:
        log.warning("%s: that %s of %s was refused could not be noted: %s", platform.name, kind, target, error)


def _note(result: StepResult, page_result: tuple[list[Entry], list[int]]) -> None:
    entries, repair_ids = page_result
    result.entries.extend(entries)
    result.repair_ids.extend(repair_ids)


def complete_page(
    platform: Platform,
    connection: sa.Connection,
    author: Author,
    page: Sequence[PlanItem],
    work: LiveWork,
    *,
    empty_outcome: Outcome | None = None,
    by_person: bool = False,
) -> tuple[list[Entry], list[int]]:
    """Complete those of the page that are finished now, and release what was held for them.

    The queue is asked before the rows, and open transactions that have written recipients are waited for: before our
    locks, since they may want the same campaigns; before the premise is read; and once more before the commit, with
    whatever was committed while the premise was being read.

    A person (``by_person``) may complete a campaign of any age. A sweep leaves alone what a person has undone: an undo
    puts back the very ``updated_at`` that an older plan has seen.

    Raises:
        QueueUnavailable: Nobody can know whether a live job lists one of them.
        StillWriting: A transaction has written recipients and does not end.
        Conflict: One of them got work while it was completed; the same call finds it open.
    """
    tables, where = platform.tables(connection), platform.database.where
    busy = work.now({item.target for item in page})
    page = [item for item in page if item.target not in busy]
    if not page:
        return [], []
    wait_out(connection, tables, where)
    observed = observed_now(platform, connection, page, any_age=by_person)
    held = set() if by_person else platform.attempts.held(connection, observed["ids"])
    locked_rows = connection.execute(completion.lock_observed(tables), observed)
    before = {row.id: row for row in locked_rows if row.id not in held}
    if not before:
        return [], []
    wait_out(connection, tables, where)
    locked = {"ids": list(before), "updated_ats": [row.updated_at for row in before.values()]}
    with planner.by_index(connection):
        statement = completion.complete(tables, empty_outcome, by_person=by_person)
        after = _effective(platform, connection, statement, locked, was=platform.profile.campaign.words.sending)
    if not after:
        return [], []
    entries = _entries(RepairKind.COMPLETE, page, before, after)
    repair_ids = platform.journal.record(connection, author, entries)
    parents = dict(zip((row.id for row in after), repair_ids, strict=True))
    released = list(_release_with(platform, connection, parents, by_person=by_person))
    repair_ids += platform.journal.record(connection, author, released)
    wait_out(connection, tables, where)
    _check_still_over(platform, connection, work, list(parents), empty=empty_outcome is not None)
    return entries + released, repair_ids


def _check_still_over(
    platform: Platform, connection: sa.Connection, work: LiveWork, campaign_ids: list[str], *, empty: bool
) -> None:
    """Raise Conflict if one of the campaigns that are about to be completed has got work again."""
    with planner.by_index(connection):
        query = recipients.reopened(platform.tables(connection), by_any_row=empty)
        reopened = set(connection.scalars(query, {"ids": campaign_ids}))
    if changed := reopened | work.now(campaign_ids):
        raise Conflict(
            f"{plural(len(changed), 'campaign')} got work while being completed, such as {min(changed)}",
            where=platform.database.where,
        )


def _release_with(
    platform: Platform, connection: sa.Connection, parents: dict[str, int], *, by_person: bool
) -> Iterator[Entry]:
    """Release every hold of campaigns that this transaction has just completed."""
    tables = platform.tables(connection)
    if tables.reservation is None or not parents:
        return
    ids = {"ids": list(parents)}
    before = {row.id: row for row in connection.execute(reservations.lock_holds_of_campaigns(tables), ids)}
    if not by_person:
        before = _without_undone(platform, connection, before)
    if not before:
        return
    for row in _effective(
        platform, connection, reservations.release_locked(tables), {"ids": list(before)}, was=_held(tables)
    ):
        yield release_entry(before[row.id], row, "its campaign is over: completed with it", parents[row.campaign_id])


def _held(tables: PlatformTables) -> str:
    profile = tables.profile.reservation
    assert profile is not None
    return profile.words.held


def release_entry(before: sa.Row[Any], after: sa.Row[Any], reason: str, parent_id: int | None = None) -> Entry:
    """The journal entry of one released reservation."""
    return Entry(
        kind=RepairKind.RELEASE,
        target=after.id,
        campaign_id=after.campaign_id,
        tenant=after.tenant,
        reason=reason,
        amount=after.amount,
        before=columns(before),
        after=columns(after),
        parent_id=parent_id,
    )


def _recount_page(
    platform: Platform, connection: sa.Connection, author: Author, page: Sequence[PlanItem]
) -> tuple[list[Entry], list[int]]:
    tables = platform.tables(connection)
    observed = observed_now(platform, connection, page)
    held = platform.attempts.held(connection, observed["ids"])
    locked_rows = connection.execute(completion.lock_observed(tables), observed)
    before = {row.id: row for row in locked_rows if row.id not in held}
    locked = {"ids": list(before), "updated_ats": [row.updated_at for row in before.values()]}
    with planner.by_index(connection):
        after = _effective(platform, connection, completion.recount(tables), locked)
    entries = _entries(RepairKind.RECOUNT, page, before, after)
    return entries, platform.journal.record(connection, author, entries)


def _entries(
    kind: RepairKind, page: Sequence[PlanItem], before: Mapping[str, sa.Row[Any]], after: Sequence[sa.Row[Any]]
) -> list[Entry]:
    """The journal entries of the campaign rows that a statement really changed."""
    why = {item.target: item for item in page}
    return [
        Entry(
            kind=kind,
            target=row.id,
            campaign_id=row.id,
            tenant=row.tenant,
            reason=why[row.id].reason,
            verdict=why[row.id].verdict,
            before=columns(before[row.id]),
            after=columns(row),
        )
        for row in after
    ]


def _without_undone(
    platform: Platform, connection: sa.Connection, before: dict[str, sa.Row[Any]]
) -> dict[str, sa.Row[Any]]:
    """Without the reservations whose release a person has undone."""
    undone = platform.journal.undone_releases(connection, before)
    return {key: row for key, row in before.items() if key not in undone}


def release_page(
    platform: Platform,
    connection: sa.Connection,
    author: Author,
    page: Sequence[PlanItem],
    *,
    by_person: bool = False,
) -> tuple[list[Entry], list[int]]:
    """Release those of the page that nothing holds any more; what a person has undone only ``by_person``."""
    tables = platform.tables(connection)
    ids = {"ids": [item.target for item in page]}
    unmoving = list(connection.scalars(reservations.lock_campaigns_of_holds(tables), ids))
    before = {row.id: row for row in connection.execute(reservations.lock_holds(tables), ids)}
    if not by_person:
        before = _without_undone(platform, connection, before)
    binds = {"ids": list(before), "locked": unmoving, "max_age": platform.policy.reservation_max_age_seconds}
    why = {item.target: item.reason for item in page}
    released = _effective(platform, connection, reservations.release(tables), binds, was=_held(tables))
    entries = [release_entry(before[row.id], row, why[row.id]) for row in released]
    return entries, platform.journal.record(connection, author, entries)


def _effective(
    platform: Platform, connection: sa.Connection, statement: sa.Update, binds: Mapping[str, Any], *, was: str = ""
) -> list[sa.Row[Any]]:
    """The rows that a guarded statement changed: all of those that its premise holds for.

    Args:
        platform: Whose rows they are.
        connection: The transaction that has locked them.
        statement: Update whose premise is in its WHERE.
        binds: Its binds.
        was: The status word that it replaces; empty for one that sets none.

    Raises:
        StatementRejected: Something keeps rows from being changed, or changes them back.
    """
    rows = list(connection.execute(statement, dict(binds)))
    resisting = {row.id for row in rows if was and row.status == was}
    if len(rows) < len(binds["ids"]):
        wanted = set(connection.scalars(guarded.matching(statement), dict(binds)))
        if wanted:  # once more: the premise may have come true between the two statements
            rows += connection.execute(statement, dict(binds))
            resisting |= wanted - {row.id for row in rows}
    if resisting:
        culprits = guarded.update_triggers(connection, statement)
        raise StatementRejected(
            f"the update of {min(resisting)} has no effect; triggers on it: {', '.join(culprits) or 'none'}",
            where=platform.database.where,
            mend="let the trigger pass the change, or end the campaign in the application",
        )
    return rows


def observed_now(
    platform: Platform, connection: sa.Connection, page: Sequence[PlanItem], *, any_age: bool = False
) -> dict[str, Any]:
    """The rows that must not have changed when we write: those of the page that are still stuck now."""
    binds = {"ids": [item.target for item in page], "stuck_after_seconds": platform.policy.stuck_after_seconds}
    rows = list(connection.execute(campaigns.stuck_among(platform.tables(connection), any_age=any_age), binds))
    return {"ids": [row.id for row in rows], "updated_ats": [row.updated_at_exact for row in rows]}


def columns(row: sa.Row[Any]) -> dict[str, Any]:
    """The written columns of a row, as JSON takes them."""
    kept = {key: value for key, value in row._mapping.items() if key not in ("id", "tenant", "campaign_id", "amount")}  # noqa: SLF001 - the documented accessor
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in kept.items()}
