"""Statements on credit reservations: what is held, and its release, which repeats the premise that nothing needs it.

They come in pairs: lock the rows (skipping what another transaction holds), then write, as a second statement, so that
the premise is judged on what was committed before our lock was granted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from campaign_ops.postgres.campaigns import is_sending
from campaign_ops.postgres.expressions import (
    IDS,
    NO_MOMENT,
    ONE,
    Query,
    as_text,
    aware,
    db_now,
    exact,
    impossible,
    in_our_years,
    is_finite,
    is_recent,
    one_of,
    readable,
    say_if,
    seconds,
    settable,
    summable,
    words,
)
from campaign_ops.postgres.tables import PlatformTables, made_once


def is_held(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The reservation still holds credits."""
    profile = tables.profile.reservation
    assert profile is not None
    return words(tables.reservations.c.status, (profile.words.held,))


def is_expired(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The reservation has expired."""
    reservation = tables.reservations.c
    if "expires_at" not in reservation:
        return sa.false()
    return reservation.expires_at <= db_now(reservation.expires_at)


def is_old(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The reservation is older than ``max_age`` seconds."""
    created_at = tables.reservations.c.created_at
    return created_at < db_now(created_at) - seconds("max_age")


def held_totals(tables: PlatformTables, tenants: Collection[str] | None = None) -> Query:
    """Credits held per tenant, in total and for sending campaigns; the largest holders first. Binds: limit.

    ``held_by_all`` is the sum of all tenants, also those beyond the limit; it is the same in every row. Only of
    ``tenants``, if given.
    """
    reservation, campaign = tables.reservations.c, tables.campaign.c
    tenant, amount = as_text(reservation.tenant), summable(reservation.amount)
    total = sa.func.sum(amount).filter(is_finite(reservation.amount))
    return (
        sa.select(
            tenant.label("tenant"),
            sa.func.count().label("reservations"),
            sa.func.coalesce(total, 0).label("held"),
            sa.func.coalesce(sa.func.sum(total).over(), 0).label("held_by_all"),
            sa.func.coalesce(sa.func.sum(amount).filter(is_finite(reservation.amount), is_sending(tables)), 0).label(
                "held_sending"
            ),
        )
        .select_from(tables.reservations.outerjoin(tables.campaign, campaign.id == reservation.campaign_id))
        .where(is_held(tables), *([] if tenants is None else [tenant.in_(sorted(tenants))]))
        .group_by(tenant)
        .order_by(total.desc(), tenant)
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )


@made_once
def held_as_text(tables: PlatformTables) -> Query | None:
    """The same, as text: a document would round the sums; None on a platform without reservations. Binds: limit."""
    if tables.reservation is None:
        return None
    held = held_totals(tables).subquery().c
    return sa.select(held.tenant, *(sa.cast(held[name], sa.Text).label(name) for name in ("held", "held_by_all")))


@made_once
def held_count(tables: PlatformTables) -> sa.Select[int]:
    """The number of held reservations."""
    return sa.select(sa.func.count()).select_from(tables.reservations).where(is_held(tables))


def free_credits(balance: sa.Table, tables: PlatformTables) -> Query:
    """The credits that the given tenants can still spend, where the profile names their balance. Binds: ids."""
    profile, reservation = tables.profile.balance, tables.reservations.c
    assert profile is not None
    tenant = as_text(balance.c.tenant)
    held = (
        sa.select(sa.func.coalesce(sa.func.sum(summable(reservation.amount)), 0))
        .where(is_held(tables), is_finite(reservation.amount), as_text(reservation.tenant) == tenant)
        .correlate(balance)
        .scalar_subquery()
    )
    owned = summable(balance.c.credits)
    spendable = owned - held if profile.includes_held else owned
    return sa.select(tenant.label("tenant"), as_text(spendable).label("left")).where(tenant == sa.any_(IDS))


@made_once
def strange_holds(tables: PlatformTables) -> Query:
    """The given campaigns whose reservations all have unknown status words, with the words. Binds: ids."""
    reservation, profile = tables.reservations.c, tables.profile.reservation
    assert profile is not None
    word = sa.func.coalesce(as_text(reservation.status), "NULL")
    known = sa.func.coalesce(words(reservation.status, profile.words.all_known), sa.false())
    return (
        sa.select(
            tables.campaign_of(reservation.campaign_id).label("campaign_id"),
            sa.func.array_agg(word.distinct()).label("words"),
        )
        .where(one_of(reservation.campaign_id, IDS))
        .group_by(reservation.campaign_id)
        .having(sa.not_(sa.func.bool_or(known)))
    )


def reservation_columns(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """The columns of a reservation with its campaign's status; needs a join with the campaign."""
    reservation, campaign = tables.reservations.c, tables.campaign.c
    expires_at = reservation.expires_at if "expires_at" in reservation else NO_MOMENT
    return [
        as_text(reservation.id).label("id"),
        as_text(reservation.tenant).label("tenant"),
        tables.campaign_of(reservation.campaign_id).label("campaign_id"),
        as_text(reservation.amount).label("amount"),
        as_text(reservation.status).label("status"),
        readable(reservation.created_at).label("created_at"),
        readable(expires_at).label("expires_at"),
        _impossible_hold(tables).label("impossible"),
        # NULL where there is no such campaign, and only there.
        sa.case((campaign.id.is_not(None), sa.func.coalesce(as_text(campaign.status), ""))).label("campaign_status"),
        sa.case((sa.not_(impossible(campaign.updated_at)), aware(campaign.updated_at))).label("campaign_updated_at"),
    ]


def _impossible_hold(tables: PlatformTables) -> sa.ColumnElement[str]:
    """The reservation's impossible values, in words; empty without any. An end at infinity is possible."""
    reservation = tables.reservations.c
    parts = [say_if(reservation.created_at, exact(reservation.created_at), impossible(reservation.created_at))]
    if "expires_at" in reservation:
        end = reservation.expires_at
        parts.append(say_if(end, exact(end), sa.and_(sa.not_(in_our_years(end)), end < db_now(end))))
    parts.append(say_if(reservation.amount, as_text(reservation.amount), sa.not_(is_finite(reservation.amount))))
    return sa.func.concat_ws(", ", *parts)


@made_once
def questionable(tables: PlatformTables) -> Query:
    """Held reservations whose campaign is not sending, or that are late. Binds: max_age.

    One statement, to be streamed: each page of a paged one would join all the remaining rows again.
    """
    return _questionable(tables, *reservation_columns(tables)).order_by(tables.reservations.c.id)


def any_questionable(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """There are such reservations; none on a platform without any. Binds: max_age."""
    return sa.false() if tables.reservation is None else _questionable(tables, ONE).exists()


def _questionable(tables: PlatformTables, *columns: sa.ColumnElement[Any]) -> Query:
    reservation, campaign = tables.reservations.c, tables.campaign.c
    return (
        sa.select(*columns)
        .select_from(tables.reservations.outerjoin(tables.campaign, campaign.id == reservation.campaign_id))
        .where(
            is_held(tables),
            sa.or_(campaign.id.is_(None), sa.not_(is_sending(tables)), is_expired(tables), is_old(tables)),
        )
    )


@made_once
def by_id(tables: PlatformTables) -> Query:
    """The given reservations, whatever their state. Binds: ids."""
    reservation, campaign = tables.reservations.c, tables.campaign.c
    return (
        sa.select(*reservation_columns(tables))
        .select_from(tables.reservations.outerjoin(tables.campaign, campaign.id == reservation.campaign_id))
        .where(one_of(reservation.id, IDS))
    )


_RELEASE_MOMENTS = ("released_at", "updated_at")


def reservation_state(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """The reservation columns that a repair may write, as the journal keeps them."""
    reservation = tables.reservations.c
    texts = ("id", "tenant", "amount", "status")
    columns: list[sa.ColumnElement[Any]] = [as_text(reservation[key]).label(key) for key in texts]
    columns.append(tables.campaign_of(reservation.campaign_id).label("campaign_id"))
    columns += [exact(reservation[key]).label(key) for key in _RELEASE_MOMENTS if key in reservation]
    return columns


@made_once
def lock_holds_of_campaigns(tables: PlatformTables) -> Query:
    """Lock every held reservation of the given campaigns; their state before. Binds: ids.

    Those whose amount is not a number are left out: the journal could not record what was released.
    """
    reservation = tables.reservations.c
    return (
        sa.select(*reservation_state(tables))
        .where(is_held(tables), is_finite(reservation.amount), one_of(reservation.campaign_id, IDS))
        .order_by(reservation.id)
        .with_for_update()
    )


@made_once
def lock_holds(tables: PlatformTables) -> Query:
    """Lock the given reservations that are still held; their state before. Binds: ids."""
    reservation = tables.reservations.c
    return (
        sa.select(*reservation_state(tables))
        .where(is_held(tables), one_of(reservation.id, IDS))
        .order_by(reservation.id)
        .with_for_update(skip_locked=True)
    )


@made_once
def lock_campaigns_of_holds(tables: PlatformTables) -> Query:
    """Lock the given reservations' campaigns, so that their status stays; the ids of those locked. Binds: ids."""
    campaign, reservation = tables.campaign.c, tables.reservations.c
    theirs = sa.select(reservation.campaign_id).where(one_of(reservation.id, IDS))
    return (
        sa.select(as_text(campaign.id))
        .where(campaign.id.in_(theirs))
        .order_by(campaign.id)
        .with_for_update(read=True, skip_locked=True, of=tables.campaign)
    )


def _released_values(tables: PlatformTables) -> dict[Any, Any]:
    reservation, profile = tables.reservations.c, tables.profile.reservation
    assert profile is not None
    values: dict[Any, Any] = {
        reservation.status: sa.bindparam(None, profile.words.released, type_=reservation.status.type)
    }
    values |= {reservation[key]: db_now(reservation[key]) for key in _RELEASE_MOMENTS if key in reservation}
    return settable(values)


@made_once
def release_locked(tables: PlatformTables) -> sa.Update:
    """Release reservations that this transaction has locked, with the campaign that it has completed. Binds: ids."""
    reservation = tables.reservations.c
    return (
        sa.update(tables.reservations)
        .values(_released_values(tables))
        .where(is_held(tables), one_of(reservation.id, IDS))
        .returning(*reservation_state(tables))
    )


@made_once
def release(tables: PlatformTables) -> sa.Update:
    """Release reservations whose campaign is over, or that are late and whose campaign is not sending.

    Where the campaign was touched or the hold made within ``stuck_after_seconds``, the application may still settle it.
    Binds: ids, locked (campaigns whose status cannot change now), max_age, stuck_after_seconds (None: at any age).
    """
    reservation, campaign = tables.reservations.c, tables.campaign.c
    known = tables.profile.campaign.words

    def _campaign(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        belongs = campaign.id == reservation.campaign_id
        return sa.exists(ONE).where(belongs, *conditions).select_from(tables.campaign).correlate(tables.reservations)

    locked = sa.bindparam("locked", type_=sa.ARRAY(sa.Text))
    over = sa.func.coalesce(words(campaign.status, known.all_over), sa.false())
    recent = is_recent(campaign.updated_at, "stuck_after_seconds")
    is_over = sa.and_(
        _campaign(over),
        sa.not_(_campaign(sa.or_(sa.not_(over), recent))),  # another tenant's may have the same id
        sa.not_(is_recent(reservation.created_at, "stuck_after_seconds")),
    )
    is_idle = _campaign(words(campaign.status, known.idle)) if known.idle else sa.false()
    gone = sa.not_(_campaign())
    late = sa.or_(is_expired(tables), is_old(tables))
    return (
        sa.update(tables.reservations)
        .values(_released_values(tables))
        .where(
            is_held(tables),
            one_of(reservation.id, IDS),
            sa.or_(gone, one_of(reservation.campaign_id, locked)),
            sa.or_(is_over, sa.and_(sa.or_(gone, is_idle), late)),
        )
        .returning(*reservation_state(tables))
    )
