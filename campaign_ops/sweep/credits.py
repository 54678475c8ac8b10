"""Held credits: the reservations that are held for nothing, and how much each tenant holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.credits import judge_reservation
from campaign_ops.core.model import CreditDecision, RepairKind, Reservation
from campaign_ops.core.plan import Plan, make_plan, releases_without_asking
from campaign_ops.core.report import CreditLine
from campaign_ops.journal.migrations import has_records
from campaign_ops.platform import Platform
from campaign_ops.postgres import planner, reservations
from campaign_ops.postgres.clock import database_now

TENANTS = 50
PAGE = 1000  # reservations read at a time

Judged = tuple[Reservation, CreditDecision]


def judge_credits(platform: Platform, connection: sa.Connection, *, tried: Collection[str]) -> tuple[list[Judged], int]:
    """Held reservations to release or for a person, with the decision; rightly held ones are left out.

    Args:
        platform: The platform to look at.
        connection: An open connection.
        tried: Reservations that the last plan already listed, when it could not list all. They come last, or those
            that cannot be released would keep all others waiting forever.

    Returns:
        As many to release as one sweep may, and all for a person; how many more could be released.
    """
    if platform.profile.reservation is None:
        return [], 0
    now = database_now(connection)
    most, releases = platform.policy.max_releases_per_sweep, 0
    fresh: list[Judged] = []
    again: list[Judged] = []
    for_person: list[Judged] = []
    for reservation in questionable_reservations(platform, connection):
        decision = _judged(platform, reservation, now)
        if decision.release:
            releases += 1
            kept = again if reservation.id in tried else fresh
            if len(kept) < most:
                kept.append((reservation, decision))
        elif decision.needs_person:
            for_person.append((reservation, decision))
    return [*fresh, *again][:most] + for_person, max(0, releases - most)


def releases_of(platform: Platform, connection: sa.Connection, planned: Collection[str]) -> Plan:
    """A plan of the planned reservations that would be released now, judged together with all others that would be."""
    now = database_now(connection)
    most, more = platform.policy.max_releases_per_sweep, 0
    due: list[Judged] = []
    for reservation in questionable_reservations(platform, connection):
        decision = _judged(platform, reservation, now)
        if decision.release and (reservation.id in planned or len(due) < most):
            due.append((reservation, decision))
        else:
            more += decision.release
    held_count = held_if_many(platform, connection, len(due) + more)
    return make_plan([], due, more_releases=more, sending=0, held=held_count, policy=platform.policy, now=now)


def held_if_many(platform: Platform, connection: sa.Connection, releases: int) -> int | None:
    """The number of held reservations; None where too few would be released for their share to matter."""
    if releases <= releases_without_asking(platform.policy):
        return None
    return connection.scalar(reservations.held_count(platform.tables(connection)))


def judge_one(platform: Platform, reservation: Reservation) -> CreditDecision:
    """Judge one held reservation that a person wants to release, by the database's clock."""
    now = platform.database.run(database_now)
    return _judged(platform, reservation, now, by_person=True)


def _judged(platform: Platform, reservation: Reservation, now: datetime, *, by_person: bool = False) -> CreditDecision:
    words = platform.profile.campaign.words
    return judge_reservation(
        reservation,
        sending=words.sending,
        over=words.all_over,
        known=words.all_known,
        policy=platform.policy,
        now=now,
        by_person=by_person,
    )


def credit_lines(
    platform: Platform, connection: sa.Connection, plan: Plan, released: Iterable[tuple[str, str | None]]
) -> tuple[list[CreditLine], Decimal | None]:
    """Credits per tenant: held now, found leaked by the plan, released since; and what all tenants hold together.

    Args:
        platform: The platform; without reservations there are no lines and no sum.
        connection: An open connection.
        plan: The plan of the sweep.
        released: (tenant, amount) of each reservation that the sweep released.
    """
    if platform.profile.reservation is None:
        return [], None
    rows = connection.execute(reservations.held_totals(platform.tables(connection)), {"limit": TENANTS}).mappings()
    return lines_of(plan, released, rows.all())


def lines_of(
    plan: Plan, released: Iterable[tuple[str, str | None]], rows: Sequence[Mapping[Any, Any]]
) -> tuple[list[CreditLine], Decimal]:
    """Credits per tenant and in all, as `credit_lines`, from the rows of `reservations.held_totals`."""
    leaked: dict[str, Decimal] = defaultdict(Decimal)
    freed: dict[str, Decimal] = defaultdict(Decimal)
    for item in plan.of(RepairKind.RELEASE):
        leaked[item.tenant] += Decimal(item.amount or 0)
    for tenant, amount in released:
        freed[tenant] += Decimal(amount or 0)
    held_by_all = Decimal(rows[0]["held_by_all"]) if rows else Decimal(0)
    held = {row["tenant"] or "": Decimal(row["held"]) for row in rows}
    tenants = list(dict.fromkeys([*leaked, *freed, *held]))
    return [CreditLine(key, held.get(key, Decimal(0)), leaked[key], freed[key]) for key in tenants], held_by_all


def questionable_reservations(platform: Platform, connection: sa.Connection) -> Iterator[Reservation]:
    """Held reservations that a decision is needed about: the campaign is not sending, or they are late."""
    tables = platform.tables(connection)
    if tables.reservation is None:
        return
    known_to_us = has_records(connection, platform.database.where)
    query = reservations.questionable(tables).execution_options(yield_per=PAGE)
    with planner.read_to_the_end(connection):
        questionable = connection.execute(query, {"max_age": platform.policy.reservation_max_age_seconds})
    with questionable:
        for rows in questionable.partitions():
            undone = platform.journal.undone_releases(connection, [row.id for row in rows]) if known_to_us else set()
            yield from (reservation_of(row, release_undone=row.id in undone) for row in rows)


def reservation_of(row: sa.Row[tuple[object, ...]], *, release_undone: bool = False) -> Reservation:
    """A reservation from a row of `reservations.reservation_columns`."""
    return Reservation(
        id=row.id,
        tenant=row.tenant or "",
        campaign_id=row.campaign_id,
        amount=row.amount,
        created_at=row.created_at,
        expires_at=row.expires_at,
        campaign_status=row.campaign_status,
        release_undone=release_undone,
        impossible=row.impossible,
        campaign_updated_at=row.campaign_updated_at,
    )
