"""Complete campaigns: the status word, the release of what was held for them, and the journal, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from campaign_ops.core.errors import Conflict
from campaign_ops.core.model import Outcome, RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.wording import plural
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import completion, planner, recipients
from campaign_ops.sweep.awake import awake_or_asleep
from campaign_ops.sweep.guarded import Written, campaign_entries, lock_stuck, write_locked
from campaign_ops.sweep.live_work import LiveWork
from campaign_ops.sweep.release import release_with_campaigns
from campaign_ops.sweep.writers import wait_out

MAX_SECONDS_TO_COMMIT = 10
"""From the last look at the queue to the commit: a process may sleep."""


def complete_page(
    platform: Platform,
    author: Author,
    work: LiveWork,
    connection: sa.Connection,
    page: Sequence[PlanItem],
    *,
    empty_outcome: Outcome | None = None,
    by_person: bool = False,
) -> Written:
    """Complete those of the page that are finished now, and release what was held for them.

    The queue is asked before the rows, and open transactions that have written recipients are waited for: before our
    locks, since they may want the same campaigns; before the premise is read; and once more before the commit, with
    whatever was committed while the premise was being read.

    Args:
        platform: The platform to repair.
        author: Who does it, for the journal.
        work: The live jobs of these campaigns.
        connection: The transaction.
        page: The campaigns, as planned.
        empty_outcome: How campaigns without recipients end; None completes no such campaign.
        by_person: See `guarded.lock_stuck`.

    Raises:
        QueueUnavailable: Whether a live job lists one of them cannot be known.
        StillWriting: A transaction has written recipients and does not end.
        Conflict: One of them got work while it was completed; the same call finds it open.
    """
    tables, where = platform.tables(connection), platform.database.where
    busy = work.now({item.target for item in page})
    page = [item for item in page if item.target not in busy]
    if not page:
        return [], []

    wait_out(connection, tables, where)
    before = lock_stuck(platform, connection, page, by_person=by_person)
    if not before:
        return [], []

    wait_out(connection, tables, where)
    statement = completion.complete(tables, empty_outcome, by_person=by_person)
    over = platform.profile.campaign.words.all_over
    after = write_locked(platform, connection, statement, before, into=over)
    if not after:
        return [], []

    completed = campaign_entries(RepairKind.COMPLETE, page, before, after)
    repair_ids = platform.journal.record(connection, author, completed)
    parents = {entry.target: repair_id for entry, repair_id in zip(completed, repair_ids, strict=True)}
    released = list(release_with_campaigns(platform, connection, parents, by_person=by_person))
    repair_ids += platform.journal.record(connection, author, released)

    wait_out(connection, tables, where)
    _check_still_over(platform, connection, work, parents.keys(), empty=empty_outcome is not None)
    return completed + released, repair_ids


def _check_still_over(
    platform: Platform, connection: sa.Connection, work: LiveWork, campaign_ids: Collection[str], *, empty: bool
) -> None:
    """Raise Conflict if one of the campaigns that are about to be completed has got work again, or may have."""
    where, began = platform.database.where, awake_or_asleep()
    with planner.by_index(connection):
        query = recipients.reopened(platform.tables(connection), by_any_row=empty)
        reopened = set(connection.scalars(query, {"ids": list(campaign_ids)}))
    rows_read = awake_or_asleep()
    if changed := reopened | work.now(campaign_ids):
        raise Conflict(
            f"{plural(len(changed), 'campaign')} got work while being completed, such as {min(changed)}",
            where=where,
        )
    longest = platform.database.timeouts.statement_seconds
    if rows_read - began > longest or awake_or_asleep() - rows_read > MAX_SECONDS_TO_COMMIT:
        raise Conflict("this process slept for too long to be sure that the campaigns are over", where=where)
