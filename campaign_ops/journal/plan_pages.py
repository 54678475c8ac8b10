"""Stuck campaigns of one sweep, page by page, with their recipients: what pages and the HTTP API list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.journal import schema

_COUNTS = ("pending", "accepted", "succeeded", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class StuckFilter:
    """What to list. None, or False, leaves everything in; ``search`` is a part of the id or the name."""

    verdict: str | None = None
    tenants: Collection[str] | None = None
    needs_person: bool = False
    search: str = ""


def stuck_page(
    connection: sa.Connection,
    sweep_id: int,
    wanted: StuckFilter,
    *,
    after: tuple[int, str] | None = None,
    limit: int = 100,
) -> Sequence[Mapping[str, Any]]:
    """Stuck campaigns of a sweep's plan, the longest stuck first.

    Args:
        connection: An open connection.
        sweep_id: The sweep; its rows never change.
        wanted: What to list.
        after: ``stuck_seconds`` (0 if unknown) and id of the last campaign of the page before.
        limit: The most rows to return.
    """
    plan, status = schema.repair_plan.c, schema.recipient_status.c
    seconds = sa.func.coalesce(plan.stuck_seconds, 0)
    query = (
        sa.select(
            plan.target.label("id"),
            plan.tenant,
            plan.name,
            plan.kind,
            plan.verdict,
            plan.reason,
            plan.needs_person,
            plan.total,
            plan.unsent,
            plan.missing,
            plan.covered,
            plan.marked,
            plan.stuck_seconds,
            *(status[name] for name in _COUNTS),
        )
        .select_from(
            schema.repair_plan.outerjoin(
                schema.recipient_status,
                sa.and_(status.sweep_id == plan.sweep_id, status.campaign_id == plan.target),
            )
        )
        .where(*_wanted(sweep_id, wanted))
        .order_by(seconds.desc(), plan.target)
        .limit(limit)
    )
    if after is not None:
        query = query.where(sa.or_(seconds < after[0], sa.and_(seconds == after[0], plan.target > after[1])))
    return [dict(row) for row in connection.execute(query).mappings()]


def stuck_counts(connection: sa.Connection, sweep_id: int, wanted: StuckFilter) -> Mapping[str, int]:
    """The number of stuck campaigns of a sweep by verdict, as far as they are wanted."""
    plan = schema.repair_plan.c
    query = (
        sa.select(plan.verdict, sa.func.count().label("number"))
        .where(*_wanted(sweep_id, wanted))
        .group_by(plan.verdict)
    )
    return {row.verdict: row.number for row in connection.execute(query)}


def reservations_left(
    connection: sa.Connection, sweep_id: int, *, tenants: Collection[str] | None = None, limit: int = 200
) -> Sequence[Mapping[str, Any]]:
    """Reservations of a sweep's plan that neither it nor anything since has released: for a person first, then by size.

    Args:
        connection: An open connection.
        sweep_id: The sweep.
        tenants: Only of these; None for all.
        limit: The most rows to return.
    """
    plan = schema.repair_plan.c
    query = (
        sa.select(plan.target, plan.tenant, plan.campaign_id, plan.kind, plan.reason, plan.needs_person, plan.amount)
        .where(*_left(sweep_id, tenants))
        .order_by(plan.needs_person.desc(), plan.amount.desc().nulls_first(), plan.target)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def leaked_credits(
    connection: sa.Connection, sweep_id: int, *, tenants: Collection[str] | None = None
) -> Mapping[str, Decimal]:
    """Credits by tenant that a sweep's plan would release, and that neither it nor anything since has released."""
    plan = schema.repair_plan.c
    query = (
        sa.select(plan.tenant, sa.func.sum(plan.amount).label("amount"))
        .where(plan.kind == RepairKind.RELEASE.value, *_left(sweep_id, tenants))
        .group_by(plan.tenant)
    )
    return {row.tenant or "": row.amount or Decimal(0) for row in connection.execute(query)}


def _left(sweep_id: int, tenants: Collection[str] | None) -> list[sa.ColumnElement[bool]]:
    plan, repair = schema.repair_plan.c, schema.repair.c
    tables = sa.select(schema.sweep.c.tables).where(schema.sweep.c.id == sweep_id).scalar_subquery()
    released = sa.exists().where(
        repair.tables == tables,
        repair.sweep_id >= sweep_id,
        repair.kind == RepairKind.RELEASE.value,
        repair.target == plan.target,
        repair.undone_by.is_(None),
    )
    mine = [plan.sweep_id == sweep_id, plan.verdict.is_(None), ~released]
    return mine if tenants is None else [*mine, plan.tenant.in_(sorted(tenants))]


def verdicts_of(
    connection: sa.Connection, tables: str, campaign_id: str, *, sweeps: int
) -> Sequence[Mapping[str, Any]]:
    """The judgements of one campaign by the latest sweeps of a campaign table, the newest first."""
    sweep, plan = schema.sweep.c, schema.repair_plan.c
    latest = sa.select(sweep.id).where(sweep.tables == tables).order_by(sweep.started_at.desc()).limit(sweeps)
    query = (
        sa.select(plan.sweep_id, plan.observed_at, plan.verdict, plan.reason, plan.kind, plan.unsent, plan.missing)
        .where(
            plan.sweep_id.in_(latest.scalar_subquery()),
            plan.target == campaign_id,
            plan.verdict.is_not(None),
            plan.kind != RepairKind.RECOUNT.value,
        )
        .order_by(plan.sweep_id.desc())
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _wanted(sweep_id: int, wanted: StuckFilter) -> list[sa.ColumnElement[bool]]:
    plan = schema.repair_plan.c
    conditions = [plan.sweep_id == sweep_id, plan.verdict.is_not(None), plan.kind != RepairKind.RECOUNT.value]
    if wanted.verdict is not None:
        conditions.append(plan.verdict == wanted.verdict)
    if wanted.tenants is not None:
        conditions.append(plan.tenant.in_(sorted(wanted.tenants)))
    if wanted.needs_person:
        conditions.append(plan.needs_person)
    if wanted.search:
        conditions.append(
            sa.or_(
                plan.target.icontains(wanted.search, autoescape=True),
                plan.name.icontains(wanted.search, autoescape=True),
            )
        )
    return conditions
