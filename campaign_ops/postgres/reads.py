"""Every statement on the platform's own tables that reads. Each has a name and a purpose; nobody else writes SQL.

Ids go in as text arrays and come out as text; moments come out aware. Phone numbers and texts are not selected.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_ops.postgres.tables import (
    PlatformTables,
    as_moment,
    as_text,
    aware,
    db_now,
    exact,
    impossible,
    in_our_years,
    is_finite,
    one_of,
    readable,
    tomorrow,
    words,
)

IDS = sa.bindparam("ids", type_=sa.ARRAY(sa.Text))
# EXISTS (SELECT *) would ask for the right to read every column, phone numbers too.
ONE: sa.ColumnElement[int] = sa.literal_column("1")
Query = sa.Select[*tuple[Any, ...]]
NO_MOMENT = sa.cast(sa.null(), sa.DateTime(timezone=True))


def seconds(name: str) -> sa.ColumnElement[Any]:
    """The bound number of seconds as an interval."""
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.bindparam(name, type_=sa.Float))


def clock() -> Query:
    """The database's clock, the only one that decides."""
    return sa.select(sa.func.now())


def campaign_columns(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """What is read of a campaign, always under the same names."""
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
    """In words, which of the campaign's moments cannot be; empty when they all can."""
    moments = [tables.campaign.c[key] for key in ("updated_at", "started_at") if key in tables.campaign.c]
    return sa.func.concat_ws(", ", *(_told(one, exact(one), impossible(one)) for one in moments))


def _told(column: sa.ColumnElement[Any], text: sa.ColumnElement[str], condition: sa.ColumnElement[bool]) -> Any:
    return sa.case((condition, sa.literal(f"{column.name} is ", sa.Text).concat(text)))


def is_sending(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The campaign is being sent."""
    return words(tables.campaign.c.status, (tables.profile.campaign.words.sending,))


def is_stuck(tables: PlatformTables, *, any_age: bool = False) -> sa.ColumnElement[bool]:
    """The campaign is being sent and was not touched for ``stuck_after_seconds`` (an index on both serves).

    With ``any_age`` it may have been touched at any moment. Campaigns of `is_undated` are left to `is_stuck_undated`.
    """
    updated_at = tables.campaign.c.updated_at
    if any_age:
        return sa.and_(is_sending(tables), updated_at <= tomorrow(updated_at))
    return sa.and_(is_sending(tables), updated_at < db_now(updated_at) - seconds("stuck_after_seconds"))


def is_undated(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """No time without a touch makes it stuck: ``updated_at`` is NULL, infinity, or a day that is yet to come."""
    updated_at = tables.campaign.c.updated_at
    return sa.or_(updated_at.is_(None), updated_at > tomorrow(updated_at))


def is_stuck_undated(tables: PlatformTables, *, any_age: bool = False) -> sa.ColumnElement[bool]:
    """The campaign is being sent, undated, and nothing says that it began less than ``stuck_after_seconds`` ago.

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


def stuck_campaigns(tables: PlatformTables, *, first: bool, any_age: bool = False) -> Query:
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


def stuck_among(tables: PlatformTables, *, any_age: bool = False) -> Query:
    """Those of the given campaigns that are still stuck, undated ones included. Binds: ids, stuck_after_seconds.

    With ``any_age`` those that are in sending.
    """
    stuck = is_sending(tables) if any_age else sa.or_(is_stuck(tables), is_stuck_undated(tables))
    return sa.select(*campaign_columns(tables)).where(stuck, one_of(tables.campaign.c.id, IDS))


def stuck_undated(tables: PlatformTables, *, first: bool, any_age: bool = False) -> Query:
    """One keyset page of what `stuck_campaigns` leaves out. Binds: stuck_after_seconds, limit, after_id."""
    campaign = tables.campaign.c
    query = sa.select(*campaign_columns(tables)).where(is_stuck_undated(tables, any_age=any_age))
    if not first:
        query = query.where(campaign.id > sa.bindparam("after_id", type_=campaign.id.type))
    return query.order_by(campaign.id).limit(sa.bindparam("limit", type_=sa.Integer))


def campaigns(tables: PlatformTables) -> Query:
    """The given campaigns, whatever their status. Binds: ids."""
    return sa.select(*campaign_columns(tables)).where(one_of(tables.campaign.c.id, IDS))


def sending_count(tables: PlatformTables) -> Query:
    """How many campaigns are being sent, stuck or not, and how many of them are undated."""
    number = sa.func.count()
    undated = number.filter(is_undated(tables)).label("undated")
    return sa.select(number.label("sending"), undated).select_from(tables.campaign).where(is_sending(tables))


def sending_tenants(tables: PlatformTables) -> sa.Select[str]:
    """Tenants with a campaign that is being sent."""
    tenant = as_text(tables.campaign.c.tenant)
    return sa.select(tenant).where(is_sending(tables)).distinct().order_by(tenant)


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


def standings(tables: PlatformTables) -> sa.Subquery:
    """Recipient rows of the given campaigns, with what each stands for where rows appear only when sent. Binds: ids.

    ``open``: not settled. ``earlier``: made before the campaign started (or last completed), so of an earlier run.
    ``repeated``: another row of this run speaks for the same recipient already, the best of them. Of the rest, that
    count as recipients, ``sure`` are those that are known to be of this run and of somebody of their own; ``unsure``
    the others.
    """
    recipient, campaign = tables.recipient.c, tables.campaign.c
    moments = [recipient.created_at] if "created_at" in recipient else tables.activity_columns
    began = [aware(campaign[key]) for key in ("started_at", "completed_at") if key in campaign]
    of_this_run: sa.ColumnElement[Any] = sa.null()
    if moments and "started_at" in campaign:
        start = sa.case((campaign.started_at.is_not(None), sa.func.greatest(*began)))
        of_this_run = sa.func.least(*(sa.case((sa.not_(impossible(one)), aware(one))) for one in moments)) >= start
    settled, about = is_settled(tables), recipient.about if "about" in recipient else sa.null()
    comparable = sa.and_(settled, of_this_run.is_not(sa.false()), about.is_not(None))
    best_first = sa.case((went_well(tables), 0), else_=1)
    rank = sa.func.row_number().over(partition_by=(recipient.campaign_id, about, comparable), order_by=best_first)
    standing = sa.case(
        (settled.is_not(sa.true()), "open"),
        (of_this_run.is_(sa.false()), "earlier"),
        (sa.and_(comparable, rank > 1), "repeated"),
        (sa.and_(comparable, of_this_run), "sure"),
        else_="unsure",
    )
    return (
        sa.select(
            recipient.campaign_id.label("campaign_id"),
            as_text(recipient.status).label("status"),
            is_accepted(tables).label("accepted"),
            went_well(tables).label("well"),
            latest_activity(tables).label("last_activity"),
            standing.label("standing"),
        )
        .select_from(tables.recipient.join(tables.campaign, campaign.id == recipient.campaign_id))
        .where(one_of(recipient.campaign_id, IDS))
        .subquery("standings")
    )


def tallies(tables: PlatformTables) -> Query:
    """Recipients of the given campaigns by status, by whether the provider has them, and by `standings`. Binds: ids."""
    recipient = tables.recipient.c
    latest: sa.ColumnElement[Any]
    if tables.profile.recipient.rows == "sent":
        row = standings(tables).c
        kinds = [row.status.label("status"), row.accepted.label("accepted"), row.standing.label("standing")]
        latest = row.last_activity
    else:
        row = recipient
        kinds = [as_text(row.status).label("status"), is_accepted(tables).label("accepted")]
        latest = latest_activity(tables)
    return (
        sa.select(
            as_text(row.campaign_id).label("campaign_id"),
            *kinds,
            sa.func.count().label("number"),
            aware(sa.func.max(latest).filter(sa.not_(impossible(latest)))).label("last_activity"),
            sa.func.count().filter(impossible(latest)).label("impossible"),
        )
        .where(one_of(row.campaign_id, IDS))
        .group_by(row.campaign_id, *(kind.element for kind in kinds))
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


def latest_activity(tables: PlatformTables) -> sa.ColumnElement[Any]:
    """When a recipient last moved, in its columns' own terms where they are of one type: faster than each as aware."""
    columns: list[sa.ColumnElement[Any]] = list(tables.activity_columns)
    if not columns:
        return NO_MOMENT
    if len({column.type.timezone for column in columns}) > 1:  # type: ignore[attr-defined]
        columns = [aware(column) for column in columns]
    return sa.func.greatest(*columns, type_=columns[0].type)


def held_totals(tables: PlatformTables) -> Query:
    """Credits held per tenant: in all, and for campaigns that are sending; the largest holders first. Binds: limit.

    ``held_by_all`` is the sum of all tenants, those beyond the limit too; the same in every row.
    """
    reservation, campaign = tables.reservations.c, tables.campaign.c
    tenant = as_text(reservation.tenant)
    total = sa.func.sum(reservation.amount).filter(is_finite(reservation.amount))
    return (
        sa.select(
            tenant.label("tenant"),
            sa.func.count().label("reservations"),
            sa.func.coalesce(total, 0).label("held"),
            sa.func.coalesce(sa.func.sum(total).over(), 0).label("held_by_all"),
            sa.func.coalesce(
                sa.func.sum(reservation.amount).filter(is_finite(reservation.amount), is_sending(tables)), 0
            ).label("held_sending"),
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


def free_credits(balance: sa.Table, tables: PlatformTables) -> Query:
    """What the given tenants have left to spend, where the profile names their balance. Binds: ids."""
    profile, reservation = tables.profile.balance, tables.reservations.c
    assert profile is not None
    tenant = as_text(balance.c.tenant)
    held = (
        sa.select(sa.func.coalesce(sa.func.sum(reservation.amount), 0))
        .where(is_held(tables), as_text(reservation.tenant) == tenant)
        .correlate(balance)
        .scalar_subquery()
    )
    left = balance.c.credits - held if profile.includes_held else balance.c.credits
    return sa.select(tenant.label("tenant"), as_text(left).label("left")).where(tenant == sa.any_(IDS))


def strange_holds(tables: PlatformTables) -> Query:
    """Those of the campaigns that have reservations of which none has a known word, and the words. Binds: ids."""
    reservation, profile = tables.reservations.c, tables.profile.reservation
    assert profile is not None
    word = sa.func.coalesce(as_text(reservation.status), "NULL")
    known = sa.func.coalesce(words(reservation.status, profile.words.all_known), sa.false())
    return (
        sa.select(
            as_text(reservation.campaign_id).label("campaign_id"),
            sa.func.array_agg(word.distinct()).label("words"),
        )
        .where(one_of(reservation.campaign_id, IDS))
        .group_by(reservation.campaign_id)
        .having(sa.not_(sa.func.bool_or(known)))
    )


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
    expires_at = reservation.expires_at if "expires_at" in reservation else NO_MOMENT
    return [
        as_text(reservation.id).label("id"),
        as_text(reservation.tenant).label("tenant"),
        as_text(reservation.campaign_id).label("campaign_id"),
        as_text(reservation.amount).label("amount"),
        as_text(reservation.status).label("status"),
        readable(reservation.created_at).label("created_at"),
        readable(expires_at).label("expires_at"),
        _impossible_hold(tables).label("impossible"),
        # NULL where there is no such campaign, and only there.
        sa.case((campaign.id.is_not(None), sa.func.coalesce(as_text(campaign.status), ""))).label("campaign_status"),
    ]


def _impossible_hold(tables: PlatformTables) -> sa.ColumnElement[str]:
    """In words, which of the reservation's values cannot be; empty when they all can. An end at infinity can."""
    reservation = tables.reservations.c
    told = [_told(reservation.created_at, exact(reservation.created_at), impossible(reservation.created_at))]
    if "expires_at" in reservation:
        end = reservation.expires_at
        told.append(_told(end, exact(end), sa.and_(sa.not_(in_our_years(end)), end < db_now(end))))
    told.append(_told(reservation.amount, as_text(reservation.amount), sa.not_(is_finite(reservation.amount))))
    return sa.func.concat_ws(", ", *told)


def reservations(tables: PlatformTables) -> Query:
    """The given reservations, whatever their state. Binds: ids."""
    reservation, campaign = tables.reservations.c, tables.campaign.c
    return (
        sa.select(*reservation_columns(tables))
        .select_from(tables.reservations.outerjoin(tables.campaign, campaign.id == reservation.campaign_id))
        .where(one_of(reservation.id, IDS))
    )
