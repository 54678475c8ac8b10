"""Release held credits: those held for nothing, and those of campaigns that the same transaction has completed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.journal.journal import Entry
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import reservations
from campaign_ops.sweep.guarded import Rows, Written, columns, effective


def release_page(
    platform: Platform, author: Author, connection: sa.Connection, page: Sequence[PlanItem], *, by_person: bool = False
) -> Written:
    """Release those of the page that nothing needs; what a person undid, or ended lately, only ``by_person``."""
    tables = platform.tables(connection)
    ids = {"ids": [item.target for item in page]}
    campaigns = list(connection.scalars(reservations.lock_campaigns_of_holds(tables), ids))
    locked = connection.execute(reservations.lock_holds(tables), ids)
    before = _may_be_released(platform, connection, locked, by_person=by_person)
    binds = {
        "ids": list(before),
        "locked": campaigns,
        "max_age": platform.policy.reservation_max_age_seconds,
        "stuck_after_seconds": None if by_person else platform.policy.stuck_after_seconds,
    }
    reasons = {item.target: item.reason for item in page}
    free = _free_words(platform)
    released = effective(platform, connection, reservations.release(tables), binds, before, into=free)
    entries = [release_entry(before[row.id], row, reasons[row.id]) for row in released]
    return entries, platform.journal.record(connection, author, entries)


def release_with_campaigns(
    platform: Platform, connection: sa.Connection, parents: Mapping[str, int], *, by_person: bool
) -> Iterator[Entry]:
    """Release every hold of campaigns that this transaction has just completed: ``parents`` are their repair ids."""
    tables = platform.tables(connection)
    if tables.reservation is None or not parents:
        return
    locked = connection.execute(reservations.lock_holds_of_campaigns(tables), {"ids": list(parents)})
    before = _may_be_released(platform, connection, locked, by_person=by_person)
    if not before:
        return
    binds, free = {"ids": list(before)}, _free_words(platform)
    for row in effective(platform, connection, reservations.release_locked(tables), binds, before, into=free):
        yield release_entry(before[row.id], row, "its campaign is over: completed with it", parents[row.campaign_id])


def _free_words(platform: Platform) -> tuple[str, ...]:
    """The words of reservations under which nothing is set aside."""
    profile = platform.profile.reservation
    return (profile.words.released, *profile.words.over) if profile is not None else ()


def _may_be_released(
    platform: Platform, connection: sa.Connection, locked: Iterable[sa.Row[Any]], *, by_person: bool
) -> Rows:
    """Locked reservations by their id; a sweep leaves out those whose release a person has undone."""
    rows = {row.id: row for row in locked}
    undone = set() if by_person else platform.journal.undone_releases(connection, rows)
    return {key: row for key, row in rows.items() if key not in undone}


def release_entry(before: sa.Row[Any], after: sa.Row[Any], reason: str, parent_id: int | None = None) -> Entry:
    """The journal entry of one released reservation."""
    return Entry(
        kind=RepairKind.RELEASE,
        target=after.id,
        campaign_id=after.campaign_id,
        tenant=after.tenant,
        reason=reason,
        amount=before.amount,
        before=columns(before),
        after=columns(after),
        parent_id=parent_id,
    )
