"""Guarded writes: lock the rows that a premise names, change them, and journal those that really changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import StatementRejected
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.journal.journal import Entry
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns, completion, guarded, planner

Rows = Mapping[str, sa.Row[Any]]
"""Rows by their id."""

Written = tuple[list[Entry], list[int]]
"""Journal entries of what a transaction has changed, and their ids in the journal."""


def lock_stuck(
    platform: Platform, connection: sa.Connection, page: Sequence[PlanItem], *, by_person: bool = False
) -> Rows:
    """Lock those campaigns of the page that are still stuck, and return them as they are now.

    A person (``by_person``) may change a campaign of any age. A sweep leaves alone what a person has undone: an undo
    puts back the very ``updated_at`` that an older plan has seen.
    """
    observed = observed_now(platform, connection, page, any_age=by_person)
    held = set() if by_person else platform.attempts.held(connection, observed["ids"])
    rows = connection.execute(completion.lock_observed(platform.tables(connection)), observed)
    return {row.id: row for row in rows if row.id not in held}


def observed_now(
    platform: Platform, connection: sa.Connection, page: Sequence[PlanItem], *, any_age: bool
) -> dict[str, Any]:
    """The rows that must not have changed when we write: those of the page that are still stuck now."""
    binds = {"ids": [item.target for item in page], "stuck_after_seconds": platform.policy.stuck_after_seconds}
    rows = list(connection.execute(campaigns.stuck_among(platform.tables(connection), any_age=any_age), binds))
    return {"ids": [row.id for row in rows], "updated_ats": [row.updated_at_exact for row in rows]}


def write_locked(
    platform: Platform,
    connection: sa.Connection,
    statement: sa.Update,
    locked: Rows,
    *,
    into: Collection[str],
    changes: Sequence[str] = ("status",),
) -> list[sa.Row[Any]]:
    """The rows that a guarded statement on locked campaigns has changed; see `effective`."""
    binds = {"ids": list(locked), "updated_ats": [row.updated_at for row in locked.values()]}
    with planner.by_index(connection):
        return effective(platform, connection, statement, binds, locked, into=into, changes=changes)


def effective(
    platform: Platform,
    connection: sa.Connection,
    statement: sa.Update,
    binds: Mapping[str, Any],
    before: Rows,
    *,
    into: Collection[str],
    changes: Sequence[str] = ("status",),
) -> list[sa.Row[Any]]:
    """The rows that a guarded statement has changed: all of those that its premise holds for.

    Args:
        platform: The platform whose rows they are.
        connection: The transaction that has locked them.
        statement: Update whose premise is in its WHERE.
        binds: Its binds.
        before: The rows as they were locked.
        into: The status words that they may have afterwards.
        changes: Columns, at least one of which differs afterwards.

    Raises:
        StatementRejected: Something keeps rows from being changed, or changes them back or to another word.
    """
    rows = list(connection.execute(statement, dict(binds)))
    wanted: set[str] = set()
    if len(rows) < len(binds["ids"]):
        wanted = set(connection.scalars(guarded.matching(statement), dict(binds)))
        if wanted:  # once more: the premise may have come true between the two statements
            rows += connection.execute(statement, dict(binds))
    changed = {row.id for row in rows if any(getattr(row, key) != getattr(before[row.id], key) for key in changes)}
    turned = {row.id: row.status for row in rows if row.status not in {*into, before[row.id].status}}
    if resisting := (wanted | {row.id for row in rows}) - changed | turned.keys():
        triggers, first = guarded.update_triggers(connection, statement), min(resisting)
        end = f"would leave it {turned[first]!r}" if first in turned else "has no effect"
        raise StatementRejected(
            f"the update of {first} {end}; {triggers}",
            where=platform.database.where,
            mend="let the trigger pass the change, or end the campaign in the application",
        )
    return rows


def campaign_entries(
    kind: RepairKind, page: Sequence[PlanItem], before: Rows, after: Sequence[sa.Row[Any]]
) -> list[Entry]:
    """The journal entries of the campaign rows that a statement has really changed."""
    planned = {item.target: item for item in page}
    return [
        Entry(
            kind=kind,
            target=row.id,
            campaign_id=row.id,
            tenant=row.tenant,
            reason=planned[row.id].reason,
            verdict=planned[row.id].verdict,
            before=columns(before[row.id]),
            after=columns(row),
        )
        for row in after
    ]


def columns(row: sa.Row[Any]) -> dict[str, Any]:
    """The written columns of a row, as JSON takes them."""
    kept = {key: value for key, value in row._mapping.items() if key not in ("id", "tenant", "campaign_id", "amount")}  # noqa: SLF001 - the documented accessor
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in kept.items()}
