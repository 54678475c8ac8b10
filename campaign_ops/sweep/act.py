"""Act: the repairs of rows, page by page. What a guarded write has really changed is counted and journaled.

When one campaign makes a page fail, the page is tried again one campaign at a time, so that it stops only itself.
Re-enqueueing, which writes to the queue, is in `reenqueue`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import sqlalchemy as sa

from campaign_ops.core.errors import QueueUnavailable, QueueUnclear, StatementRejected, StillWriting, Unavailable
from campaign_ops.core.model import Outcome, RepairKind, Verdict
from campaign_ops.core.paging import in_pages
from campaign_ops.core.plan import PlanItem
from campaign_ops.journal.journal import Entry
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep.complete import complete_page
from campaign_ops.sweep.guarded import Written
from campaign_ops.sweep.live_work import LiveWork
from campaign_ops.sweep.orders import Orders
from campaign_ops.sweep.progress import doing
from campaign_ops.sweep.recount import recount_page
from campaign_ops.sweep.release import release_page
from campaign_ops.sweep.result import Failure, StepResult

log = logging.getLogger(__name__)
PAGE = 500
OF_ALL = (QueueUnavailable, StillWriting)  # about one campaign no more can be known than about all of them
GIVE_UP_AFTER = 3  # targets in a row that time out: each takes three statement timeouts, under the sweep lock

_ACTING = {
    RepairKind.COMPLETE: "completing campaigns",
    RepairKind.RECOUNT: "raising counters",
    RepairKind.RELEASE: "releasing credits",
}

WritePage = Callable[[sa.Connection, Sequence[PlanItem]], Written]


def complete(platform: Platform, author: Author, orders: Orders, lock: SweepLock) -> StepResult:
    """Complete what is finished: the word, its reservations and the journal rows, together or not at all."""
    result, items = orders.begin(RepairKind.COMPLETE)
    try:
        work = LiveWork(platform, {item.target for item in items})
        # The status word of campaigns with recipients follows from their rows; of empty ones the policy names it.
        for outcome in (None, Outcome.DONE, Outcome.FAILED):
            alike = [item for item in items if _outcome_by_policy(item) is outcome]
            write_page = partial(complete_page, platform, author, work, empty_outcome=outcome)
            _by_pages(platform, lock, result, alike, write_page)
    except OF_ALL as error:
        result.held_back = str(error)
        result.away = isinstance(error, QueueUnavailable) and not isinstance(error, QueueUnclear)
    _add_unanswered(platform, author, result, items)
    return result


def _outcome_by_policy(item: PlanItem) -> Outcome | None:
    return item.outcome if item.verdict is Verdict.EMPTY else None


def recount(platform: Platform, author: Author, orders: Orders, lock: SweepLock) -> StepResult:
    """Raise counters that are behind the rows, of campaigns that are not complete."""
    result, items = orders.begin(RepairKind.RECOUNT)
    _by_pages(platform, lock, result, items, partial(recount_page, platform, author))
    _add_unanswered(platform, author, result, items)
    return result


def release(platform: Platform, author: Author, orders: Orders, lock: SweepLock) -> StepResult:
    """Release credits that are held for nothing."""
    result, items = orders.begin(RepairKind.RELEASE)
    _by_pages(platform, lock, result, items, partial(release_page, platform, author))
    _add_unanswered(platform, author, result, items)
    return result


def _by_pages(
    platform: Platform, lock: SweepLock, result: StepResult, items: Sequence[PlanItem], write_page: WritePage
) -> None:
    done = 0
    for page in in_pages(items, PAGE):
        if result.held_back:  # given up on an earlier page
            return
        doing(platform.name, _ACTING[result.kind], done, len(items))
        done += len(page)
        lock.check()
        try:
            _write(platform, result, page, write_page)
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
            _one_by_one(platform, lock, result, page, write_page)


def _one_by_one(
    platform: Platform, lock: SweepLock, result: StepResult, page: Sequence[PlanItem], write_page: WritePage
) -> None:
    away_in_a_row = 0
    for item in page:
        lock.check()
        try:
            _write(platform, result, [item], write_page)
        except OF_ALL:
            raise
        except (StatementRejected, Unavailable) as error:
            state = json.dumps({key: value for key, value in asdict(item).items() if value is not None}, default=str)
            log.error("%s: could not %s %s: %s; its state: %s", platform.name, result.kind, item.target, error, state)
            result.failures.append(Failure(item.target, str(error)))
            if isinstance(error, StatementRejected):
                _note_refusal(platform, result.kind, item.target, error.what)
            away_in_a_row = away_in_a_row + 1 if isinstance(error, Unavailable) else 0
            if away_in_a_row == GIVE_UP_AFTER:
                result.held_back = f"stopped half way: {error}"
                result.away = True
                return
        else:
            away_in_a_row = 0


def _write(platform: Platform, result: StepResult, page: Sequence[PlanItem], write_page: WritePage) -> None:
    """Write one page in one transaction, and add what it changed to the result."""
    entries, repair_ids = platform.database.run(lambda connection: write_page(connection, page))
    result.entries.extend(entries)
    result.repair_ids.extend(repair_ids)


def _add_unanswered(platform: Platform, author: Author, result: StepResult, items: Sequence[PlanItem]) -> None:
    """Add what the journal has and the result has not: the answer to its commit was lost, and a retry changed nothing.

    It was reported as changed meanwhile, beside a repair that was done.
    """
    unknown = {item.target for item in items} - {entry.target for entry in result.entries}
    if not unknown:
        return

    def _read(connection: sa.Connection) -> dict[int, Entry]:
        return platform.journal.entries_of(connection, author.sweep_id, result.kind, unknown)

    try:
        unanswered = platform.database.run(_read, read_only=True)
    except (StatementRejected, Unavailable) as error:
        log.warning("%s: whether all of %s was written is not known: %s", platform.name, result.kind, error)
        return
    result.repair_ids.extend(unanswered)
    result.entries.extend(unanswered.values())
    written = {entry.target for entry in unanswered.values()}
    result.failures = [failure for failure in result.failures if failure.target not in written]


def _note_refusal(platform: Platform, kind: RepairKind, target: str, why: str) -> None:
    try:
        platform.database.run(lambda connection: platform.refusals.note(connection, kind, target, why))
    except (StatementRejected, Unavailable) as error:
        log.warning("%s: that %s of %s was refused could not be noted: %s", platform.name, kind, target, error)
