"""Reads of campaigns, and what makes one stuck. Writes are in `completion`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_ops.postgres.expressions import (
    IDS,
    NO_MOMENT,
    ONE,
    Query,
    as_moment,
    as_text,
    aware,
    db_now,
    exact,
    impossible,
    one_of,
    readable,
    say_if,
    seconds,
    tomorrow,
    words,
)
from campaign_ops.postgres.tables import PlatformTables, made_once


def campaign_columns(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """The columns of a campaign, always under the same names."""
    campaign = tables.campaign.c
    return [
        as_text(campaign.id).label("id"),
        as_text(campaign.tenant).label("tenant"),
        as_text(campaign.name).label("name"),
        as_text(campaign.status).label("status"),
        readable(campaign.updated_at).label("updated_at"),
        exact(campaign.updated_at).label("updated_at_exact"),
        (readable(campaign.started_at) if "started_at" in campaign else NO_MOMENT).label("started_at"),
        (readable(campaign.created_at) if "created_at" in campaign else NO_MOMENT).label("created_at"),
        _impossible_moments(tables).label("impossible"),
        *(
            (sa.func.coalesce(campaign[key], 0) if key in campaign else sa.null()).label(key)
            for key in ("total", "succeeded", "failed")
        ),
    ]


def _impossible_moments(tables: PlatformTables) -> sa.ColumnElement[str]:
    """The campaign's impossible moments, in words; empty without any."""
    moments = [tables.campaign.c[key] for key in ("updated_at", "started_at") if key in tables.campaign.c]
    return sa.func.concat_ws(", ", *(say_if(moment, exact(moment), impossible(moment)) for moment in moments))


def is_sending(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The campaign is being sent."""
    return words(tables.campaign.c.status, (tables.profile.campaign.words.sending,))


def is_stuck(tables: PlatformTables, *, any_age: bool = False) -> sa.ColumnElement[bool]:
    """The campaign is being sent and was not touched for ``stuck_after_seconds``; an index on both columns serves.

    With ``any_age`` it may have been touched at any moment. Campaigns of `is_undated` are left to `is_stuck_undated`.
    """
    updated_at = tables.campaign.c.updated_at
    if any_age:
        return sa.and_(is_sending(tables), updated_at <= tomorrow(updated_at))
    return sa.and_(is_sending(tables), updated_at < db_now(updated_at) - seconds("stuck_after_seconds"))


def is_undated(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """``updated_at`` tells no age: it is NULL, infinity, or a day still to come."""
    updated_at = tables.campaign.c.updated_at
    return sa.or_(updated_at.is_(None), updated_at > tomorrow(updated_at))


def is_stuck_undated(tables: PlatformTables, *, any_age: bool = False) -> sa.ColumnElement[bool]:
    """The campaign is being sent, is undated, and no moment says that it began within ``stuck_after_seconds``.

    With ``any_age`` it may have begun at any moment. Campaigns of `is_stuck` are left out.
    """
    if any_age:
        return sa.and_(is_sending(tables), is_undated(tables))
    campaign, latest = tables.campaign.c, sa.func.now() - seconds("stuck_after_seconds")
    others = [aware(campaign[key]) for key in ("started_at", "created_at") if key in campaign]
    began = sa.func.coalesce(*others) if others else NO_MOMENT
    old = sa.or_(began.is_(None), began < latest, impossible(began))
    ahead = sa.and_(is_undated(tables), aware(campaign.updated_at) >= latest)
    return sa.and_(is_sending(tables), sa.or_(sa.and_(campaign.updated_at.is_(None), old), ahead))


@made_once
def stuck(tables: PlatformTables, *, first: bool, any_age: bool = False) -> Query:
    """One keyset page of stuck campaigns, the longest untouched first; with ``any_age`` of all in sending.

    Binds: stuck_after_seconds, limit, after_at, after_id.
    """
    campaign = tables.campaign.c
    query = sa.select(*campaign_columns(tables)).where(is_stuck(tables, any_age=any_age))
    if not first:
        after_at = as_moment(campaign.updated_at, sa.bindparam("after_at"))
        after_id = sa.bindparam("after_id", type_=campaign.id.type)
        query = query.where(sa.tuple_(campaign.updated_at, campaign.id) > sa.tuple_(after_at, after_id))
    return query.order_by(campaign.updated_at, campaign.id).limit(sa.bindparam("limit", type_=sa.Integer))


@made_once
def stuck_among(tables: PlatformTables, *, any_age: bool = False) -> Query:
    """The given campaigns that are still stuck, including undated ones. Binds: ids, stuck_after_seconds.

    With ``any_age``, those that are being sent.
    """
    stuck = is_sending(tables) if any_age else sa.or_(is_stuck(tables), is_stuck_undated(tables))
    return sa.select(*campaign_columns(tables)).where(stuck, one_of(tables.campaign.c.id, IDS))


@made_once
def stuck_undated(tables: PlatformTables, *, first: bool, any_age: bool = False) -> Query:
    """One keyset page of the stuck campaigns that `stuck` leaves out. Binds: stuck_after_seconds, limit, after_id."""
    campaign = tables.campaign.c
    query = sa.select(*campaign_columns(tables)).where(is_stuck_undated(tables, any_age=any_age))
    if not first:
        query = query.where(campaign.id > sa.bindparam("after_id", type_=campaign.id.type))
    return query.order_by(campaign.id).limit(sa.bindparam("limit", type_=sa.Integer))


@made_once
def by_id(tables: PlatformTables) -> Query:
    """The given campaigns, whatever their status. Binds: ids."""
    return sa.select(*campaign_columns(tables)).where(one_of(tables.campaign.c.id, IDS))


@made_once
def tenants_among(tables: PlatformTables) -> sa.Select[str]:
    """Those of the given tenants that a campaign has. Binds: ids."""
    tenant = tables.campaign.c.tenant
    return sa.select(as_text(tenant)).where(one_of(tenant, IDS)).distinct()


def own_spelling(campaign_id: str, tables: PlatformTables) -> Query:
    """The spelling in which a campaign's id is journaled, of a text that may be its id; also once the row is gone."""
    return sa.select(tables.campaign_of(sa.bindparam(None, campaign_id, type_=tables.campaign.c.id.type)))


def any_stuck(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """A campaign is stuck, or its age cannot be told. Binds: stuck_after_seconds."""
    undated = sa.and_(is_sending(tables), is_undated(tables))
    return sa.or_(*(sa.exists(ONE).where(condition) for condition in (is_stuck(tables), undated)))


@made_once
def sending_count(tables: PlatformTables) -> Query:
    """The number of campaigns being sent, stuck or not, and of those that are undated."""
    number = sa.func.count()
    undated = number.filter(is_undated(tables)).label("undated")
    return sa.select(number.label("sending"), undated).select_from(tables.campaign).where(is_sending(tables))


@made_once
def sending_tenants(tables: PlatformTables) -> sa.Select[str]:
    """The tenants of campaigns that are being sent."""
    tenant = as_text(tables.campaign.c.tenant)
    return sa.select(tenant).where(is_sending(tables)).distinct().order_by(tenant)


@made_once
def lock_sending(tables: PlatformTables) -> Query:
    """Lock the given campaigns that are being sent, so that none ends meanwhile. Binds: ids."""
    campaign = tables.campaign.c
    return (
        sa.select(as_text(campaign.id))
        .where(one_of(campaign.id, IDS), is_sending(tables))
        .with_for_update(of=tables.campaign, key_share=True)
    )
