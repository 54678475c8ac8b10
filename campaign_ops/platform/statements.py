"""Every statement on the platform's own tables that reads. Each has a name and a purpose; nobody else writes SQL.

Ids go in as text arrays and come out as text; moments come out aware. Phone numbers and texts are not selected.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_ops.platform.tables import PlatformTables, as_moment, as_text, aware, db_now, one_of, words

IDS = sa.bindparam("ids", type_=sa.ARRAY(sa.Text))
# EXISTS (SELECT *) would ask for the right to read every column, phone numbers too.
ONE: sa.ColumnElement[int] = sa.literal_column("1")
Query = sa.Select[*tuple[Any, ...]]


def seconds(name: str) -> sa.ColumnElement[Any]:
    """The bound number of seconds as an interval."""
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.bindparam(name, type_=sa.Float))


def clock() -> Query:
    """The database's clock, the only one that decides."""
    return sa.select(sa.func.now())


def campaign_columns(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """What is read of a campaign, always under the same names."""
    campaign = tables.campaign.c
    null_moment = sa.cast(sa.null(), sa.DateTime(timezone=True))
    return [
        as_text(campaign.id).label("id"),
        as_text(campaign.tenant).label("tenant"),
        as_text(campaign.name).label("name"),
        as_text(campaign.status).label("status"),
        aware(campaign.updated_at).label("updated_at"),
        (aware(campaign.started_at) if "started_at" in campaign else null_moment).label("started_at"),
        *(
            (sa.func.coalesce(campaign[key], 0) if key in campaign else sa.null()).label(key)
            for key in ("total", "succeeded", "failed")
        ),
    ]


def is_sending(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The campaign is being sent."""
    return words(tables.campaign.c.status, (tables.profile.campaign.words.sending,))


def is_stuck(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The campaign is being sent and was not touched for ``stuck_after`` seconds (an index on both serves)."""
    updated_at = tables.campaign.c.updated_at
    return sa.and_(is_sending(tables), updated_at < db_now(updated_at) - seconds("stuck_after"))


def stuck_campaigns(tables: PlatformTables, *, first: bool) -> Query:
    """One keyset page of stuck campaigns, the longest untouched first.

    Binds: stuck_after, limit, after_at, after_id.
    """
    campaign = tables.campaign.c
    query = sa.select(*campaign_columns(tables)).where(is_stuck(tables))
    if not first:
        after_at = as_moment(campaign.updated_at, sa.bindparam("after_at"))
        after_id = sa.bindparam("after_id", type_=campaign.id.type)
        query = query.where(sa.tuple_(campaign.updated_at, campaign.id) > sa.tuple_(after_at, after_id))
    return query.order_by(campaign.updated_at, campaign.id).limit(sa.bindparam("limit", type_=sa.Integer))


def stuck_among(tables: PlatformTables) -> Query:
    """Those of the given campaigns that are stuck still. Binds: ids, stuck_after."""
    return sa.select(*campaign_columns(tables)).where(is_stuck(tables), one_of(tables.campaign.c.id, IDS))


def campaigns(tables: PlatformTables) -> Query:
    """The given campaigns, whatever their status. Binds: ids."""
    return sa.select(*campaign_columns(tables)).where(one_of(tables.campaign.c.id, IDS))


def sending_count(tables: PlatformTables) -> Query:
    """How many campaigns are being sent, stuck or not."""
    return sa.select(sa.func.count()).select_from(tables.campaign).where(is_sending(tables))


def is_pending(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The recipient's word says not sent yet, whether or not the provider has it."""
    return words(tables.recipient.c.status, tables.profile.recipient.words.pending)


def is_accepted(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The provider has given the message an id: never to be sent again."""
    if "provider_id" not in tables.recipient.c:
        return sa.false()
    return tables.recipient.c.provider_id.is_not(None)


def to_send(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The recipient still waits to be sent to."""
    return sa.and_(is_pending(tables), sa.not_(is_accepted(tables)))


def waits(recipient_id: sa.ColumnElement[str], tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The recipient with this id, as text, still waits to be sent to, in whatever campaign.

    A scalar subquery: EXISTS would be planned as a join, which reads all recipients where statistics are old.
    """
    recipient = tables.recipient.c
    same = recipient.id == sa.cast(recipient_id, recipient.id.type)
    return sa.func.coalesce(sa.select(sa.true()).where(same, to_send(tables)).limit(1).scalar_subquery(), sa.false())


def is_settled(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The recipient needs nothing more: ended well, ended badly, or accepted by the provider."""
    known = tables.profile.recipient.words
    ended = words(tables.recipient.c.status, (*known.succeeded, *known.failed))
    return sa.or_(ended, sa.and_(is_pending(tables), is_accepted(tables)))


def went_well(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The message was handed over."""
    ended = words(tables.recipient.c.status, tables.profile.recipient.words.succeeded)
    return sa.or_(ended, sa.and_(is_pending(tables), is_accepted(tables)))


def tallies(tables: PlatformTables) -> Query:
    """Recipients of the given campaigns by status and by whether the provider has them. Binds: ids."""
    recipient = tables.recipient.c
    moments = [aware(column) for column in tables.activity_columns]
    latest = sa.func.greatest(*moments) if moments else sa.cast(sa.null(), sa.DateTime(timezone=True))
    return (
        sa.select(
            as_text(recipient.campaign_id).label("campaign_id"),
            as_text(recipient.status).label("status"),
            is_accepted(tables).label("accepted"),
            sa.func.count().label("number"),
            sa.func.max(latest).label("last_activity"),
        )
        .where(one_of(recipient.campaign_id, IDS))
        .group_by(recipient.campaign_id, recipient.status, is_accepted(tables))
    )


_WRITERS = sa.text(
    """
    WITH RECURSIVE parts AS (
        SELECT CAST(:recipient_table AS regclass)::oid AS oid
        UNION ALL
        SELECT i.inhrelid FROM pg_inherits i JOIN parts p ON i.inhparent = p.oid
    )
    SELECT l.pid, l.virtualtransaction, max(a.application_name) AS application_name, max(a.xact_start) AS xact_start,
           coalesce(bool_or(pg_backend_pid() = ANY (pg_blocking_pids(l.pid))), false) AS waits_for_us
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.relation IN (SELECT oid FROM parts)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode IN (
          'RowShareLock', 'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
      )
      AND l.pid IS DISTINCT FROM pg_backend_pid()
    GROUP BY l.pid, l.virtualtransaction
    """
)


def recipient_writers(connection: sa.Connection, tables: PlatformTables) -> sa.TextClause:
    """Transactions of others that have written or locked recipients, in any partition, and are not over yet.

    A lock is held to the end of its transaction, prepared ones (without pid) included, and any role may see it.
    """
    name = connection.dialect.identifier_preparer.format_table(tables.recipient)
    return _WRITERS.bindparams(recipient_table=name)


def reopened(tables: PlatformTables, *, by_any_row: bool = False) -> Query:
    """Those of the given campaigns that have somebody to send to, or with ``by_any_row`` any recipient. Binds: ids."""
    recipient = tables.recipient.c
    query = sa.select(as_text(recipient.campaign_id)).where(one_of(recipient.campaign_id, IDS)).distinct()
    return query if by_any_row else query.where(to_send(tables))


def held_totals(tables: PlatformTables) -> Query:
    """Credits held per tenant: in all, and for campaigns that are sending; the largest holders first. Binds: limit."""
    reservation, campaign = tables.reservations.c, tables.campaign.c
    tenant = as_text(reservation.tenant)
    total = sa.func.sum(reservation.amount)
    return (
        sa.select(
            tenant.label("tenant"),
            sa.func.count().label("reservations"),
            total.label("held"),
            sa.func.coalesce(total.filter(is_sending(tables)), 0).label("held_sending"),
        )
        .select_from(tables.reservations.outerjoin(tables.campaign, campaign.id == reservation.campaign_id))
        .where(is_held(tables))
        .group_by(tenant)
        .order_by(total.desc(), tenant)
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )


def held_count(tables: PlatformTables) -> Query:
    """Reservations that are held. Binds: none."""
    return sa.select(sa.func.count()).select_from(tables.reservations).where(is_held(tables))


def is_held(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The reservation still sets credits aside."""
    profile = tables.profile.reservation
    assert profile is not None
    return words(tables.reservations.c.status, (profile.words.held,))


def is_expired(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The reservation is past its own end."""
    reservation = tables.reservations.c
    if "expires_at" not in reservation:
        return sa.false()
    return reservation.expires_at <= db_now(reservation.expires_at)


def is_old(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The reservation is older than ``max_age`` seconds."""
    created_at = tables.reservations.c.created_at
    return created_at < db_now(created_at) - seconds("max_age")


def questionable_reservations(tables: PlatformTables) -> Query:
    """Held reservations whose campaign is not sending, or that are late. Binds: max_age.

    One statement, to be streamed: pages of it would join all that remain each time.
    """
    reservation, campaign = tables.reservations.c, tables.campaign.c
    return (
        sa.select(*reservation_columns(tables))
        .select_from(tables.reservations.outerjoin(tables.campaign, campaign.id == reservation.campaign_id))
        .where(
            is_held(tables),
            sa.or_(campaign.id.is_(None), sa.not_(is_sending(tables)), is_expired(tables), is_old(tables)),
        )
        .order_by(reservation.id)
    )


def reservation_columns(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """What is read of a reservation, with its campaign's status; needs a join with the campaign."""
    reservation, campaign = tables.reservations.c, tables.campaign.c
    never = sa.cast(sa.null(), sa.DateTime(timezone=True))
    return [
        as_text(reservation.id).label("id"),
        as_text(reservation.tenant).label("tenant"),
        as_text(reservation.campaign_id).label("campaign_id"),
        as_text(reservation.amount).label("amount"),
        as_text(reservation.status).label("status"),
        aware(reservation.created_at).label("created_at"),
        (aware(reservation.expires_at) if "expires_at" in reservation else never).label("expires_at"),
        # NULL where there is no such campaign, and only there.
        sa.case((campaign.id.is_not(None), sa.func.coalesce(as_text(campaign.status), ""))).label("campaign_status"),
    ]


def reservations(tables: PlatformTables) -> Query:
    """The given reservations, whatever their state. Binds: ids."""
    reservation, campaign = tables.reservations.c, tables.campaign.c
    return (
        sa.select(*reservation_columns(tables))
        .select_from(tables.reservations.outerjoin(tables.campaign, campaign.id == reservation.campaign_id))
        .where(one_of(reservation.id, IDS))
    )
