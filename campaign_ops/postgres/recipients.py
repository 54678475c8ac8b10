"""Statements on recipients: what their rows say, and the words that a person's choice writes.

Phone numbers and texts are not selected.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_ops.postgres.campaigns import is_sending
from campaign_ops.postgres.catalog import NUMBER_TYPES, TEXT_TYPES
from campaign_ops.postgres.expressions import (
    IDS,
    NO_MOMENT,
    ONE,
    Query,
    as_moment,
    as_text,
    aware,
    id_type,
    impossible,
    one_of,
    words,
)
from campaign_ops.postgres.tables import PlatformTables, made_once

_NO_ID = ("", "false", "null", '""', "{}", "[]", "\\x", "00000000-0000-0000-0000-000000000000")
"""As text, what a column of another type than text or a number has by default where there is no id."""


def is_pending(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The recipient's status word says not sent yet, whether or not the provider has the message."""
    return words(tables.recipient.c.status, tables.profile.recipient.words.pending)


def is_accepted(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The provider has given the message an id, other than an empty text, 0 or false: never to be sent again."""
    if "provider_id" not in tables.recipient.c:
        return sa.false()
    provider_id = tables.recipient.c.provider_id
    type_name = tables.catalog.column(tables.recipient.name, provider_id.name).type_name
    if type_name in NUMBER_TYPES:
        return sa.and_(provider_id.is_not(None), provider_id != sa.literal_column("0"))
    empty = ("",) if type_name in TEXT_TYPES else _NO_ID
    return sa.and_(provider_id.is_not(None), as_text(provider_id).not_in(empty))


def to_send(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The recipient still has to be sent to."""
    return sa.and_(is_pending(tables), sa.not_(is_accepted(tables)))


def waits(recipient_id: sa.ColumnElement[str], tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The recipient with this id, as text, still has to be sent to, in any campaign.

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
    """The provider has the message."""
    ended = words(tables.recipient.c.status, tables.profile.recipient.words.succeeded)
    return sa.or_(ended, sa.and_(is_pending(tables), is_accepted(tables)))


def latest_activity(tables: PlatformTables) -> sa.ColumnElement[Any]:
    """The moment of a recipient's last move; in its columns' own type where they share one, which is faster."""
    columns: list[sa.ColumnElement[Any]] = list(tables.activity_columns)
    if not columns:
        return NO_MOMENT
    if len({column.type.timezone for column in columns}) > 1:  # type: ignore[attr-defined]
        columns = [aware(column) for column in columns]
    return sa.func.greatest(*columns, type_=columns[0].type)


def standings(tables: PlatformTables) -> sa.Subquery:
    """Rows of the given campaigns with their standing, for platforms whose rows appear only when sent. Binds: ids.

    ``open``: not settled. ``earlier``: made before the campaign started (or last completed), so of an earlier run.
    ``repeated``: a better row of this run is about the same recipient. The others count as recipients: ``sure`` when
    known to be of this run and of a recipient of their own, else ``unsure``.
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


@made_once
def tallies(tables: PlatformTables, *, exact: bool = True) -> Query:
    """Counts of the given campaigns' recipients by status, by acceptance and by `standings`. Binds: ids.

    Unless ``exact``, ``impossible`` only says of each group whether it has impossible moments, and ``last_activity``
    counts where it has none: to judge a million recipients' moments each takes 0.05 s of 0.35.
    """
    row, status, accepted, standing, latest = _kind(tables)
    newest, oldest = sa.func.max(latest), sa.func.min(latest)
    last_activity: sa.ColumnElement[Any] = sa.case((sa.not_(impossible(newest)), newest))
    any_impossible = sa.func.coalesce(sa.or_(impossible(newest), impossible(oldest)), False)
    number_impossible: sa.ColumnElement[int] = sa.cast(any_impossible, sa.Integer)
    if exact:
        last_activity = newest.filter(sa.not_(impossible(latest)))
        number_impossible = sa.func.count().filter(impossible(latest))
    kinds = [row.campaign_id, status, accepted, *([standing] if tables.profile.recipient.rows == "sent" else [])]
    return (
        sa.select(
            tables.campaign_of(row.campaign_id).label("campaign_id"),
            status.label("status"),
            accepted.label("accepted"),
            standing.label("standing"),
            sa.func.count().label("number"),
            aware(last_activity).label("last_activity"),
            number_impossible.label("impossible"),
        )
        .where(one_of(row.campaign_id, IDS))
        .group_by(*kinds)
    )


@made_once
def kinds_of_rows(tables: PlatformTables) -> Query:
    """Each recipient of the given campaigns as `tallies` would count it, to be streamed. Binds: ids."""
    row, status, accepted, standing, latest = _kind(tables)
    return sa.select(
        status.label("status"),
        accepted.label("accepted"),
        standing.label("standing"),
        sa.case((sa.not_(impossible(latest)), aware(latest))).label("moment"),
        impossible(latest).label("impossible"),
    ).where(one_of(row.campaign_id, IDS))


def _kind(tables: PlatformTables) -> tuple[Any, Any, Any, Any, sa.ColumnElement[Any]]:
    """The columns of a row, and what it is counted by: status, acceptance, standing, the moment of its last move."""
    if tables.profile.recipient.rows == "sent":
        row = standings(tables).c
        return row, row.status, row.accepted, row.standing, row.last_activity
    columns = tables.recipient.c
    no_standing: sa.ColumnElement[str] = sa.literal_column("''")
    return columns, as_text(columns.status), is_accepted(tables), no_standing, latest_activity(tables)


@made_once
def with_more_than(tables: PlatformTables) -> sa.Select[str]:
    """Those of the given campaigns with more recipients than a number; reads no more than that of each.

    Binds: ids, number.
    """
    recipient = tables.recipient.c
    given = sa.func.unnest(IDS).table_valued("id").render_derived(name="given")
    same = recipient.campaign_id == sa.cast(given.c.id, id_type(recipient.campaign_id))
    beyond = sa.select(ONE).select_from(tables.recipient).where(same).offset(sa.bindparam("number")).limit(1)
    return sa.select(given.c.id).where(sa.exists(beyond.correlate(given)))


@made_once
def with_pending(tables: PlatformTables) -> sa.Select[str]:
    """Those of the given campaigns in which a recipient still has to be sent to; reads one of each. Binds: ids.

    A scalar subquery, as in `waits`.
    """
    recipient = tables.recipient.c
    given = sa.func.unnest(IDS).table_valued("id").render_derived(name="given")
    same = recipient.campaign_id == sa.cast(given.c.id, id_type(recipient.campaign_id))
    pending = sa.select(sa.true()).where(same, to_send(tables)).limit(1).correlate(given)
    return sa.select(given.c.id).where(pending.scalar_subquery())


@made_once
def reopened(tables: PlatformTables, *, by_any_row: bool = False) -> Query:
    """The given campaigns with a recipient to send to, or with ``by_any_row`` with any recipient. Binds: ids."""
    recipient = tables.recipient.c
    query = sa.select(tables.campaign_of(recipient.campaign_id)).where(one_of(recipient.campaign_id, IDS)).distinct()
    return query if by_any_row else query.where(to_send(tables))


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


def writers(connection: sa.Connection, tables: PlatformTables) -> sa.TextClause:
    """Other open transactions that have written or locked recipients, in any partition.

    A lock is held until its transaction ends, including prepared ones (without pid), and any role may see it.
    """
    name = connection.dialect.identifier_preparer.format_table(tables.recipient)
    return _WRITERS.bindparams(recipient_table=name)


@made_once
def lock_waiting(tables: PlatformTables) -> Query:
    """Lock the given recipients that still have to be sent to in a sending campaign; id and word. Binds: ids."""
    recipient = tables.recipient.c
    return (
        sa.select(as_text(recipient.id).label("id"), as_text(recipient.status).label("status"))
        .where(one_of(recipient.id, IDS), to_send(tables), _campaign_is_sending(tables))
        .order_by(recipient.id)
        .with_for_update(of=tables.recipient)
    )


@made_once
def take_as_sent(tables: PlatformTables) -> sa.Update:
    """Mark the given recipients as sent, where they still have to be and their campaign is sending; id and word.

    Binds: ids.
    """
    recipient = tables.recipient.c
    return (
        sa.update(tables.recipient)
        .values(
            {recipient.status: sa.bindparam(None, tables.profile.recipient.words.sent, type_=recipient.status.type)}
        )
        .where(one_of(recipient.id, IDS), to_send(tables), _campaign_is_sending(tables))
        .returning(as_text(recipient.id).label("id"), as_text(recipient.status).label("status"))
    )


def as_taken(tables: PlatformTables) -> Query:
    """The given recipients that are still as `take_as_sent` left them. Binds: ids, taken_at."""
    return sa.select(as_text(tables.recipient.c.id)).where(*_as_taken(tables))


def give_back(word: str, tables: PlatformTables) -> sa.Update:
    """Set the given recipients that are still as `take_as_sent` left them to ``word``; id and word.

    Binds: ids, taken_at.
    """
    recipient = tables.recipient.c
    return (
        sa.update(tables.recipient)
        .values({recipient.status: sa.bindparam(None, word, type_=recipient.status.type)})
        .where(*_as_taken(tables))
        .returning(as_text(recipient.id).label("id"), as_text(recipient.status).label("status"))
    )


def _as_taken(tables: PlatformTables) -> list[sa.ColumnElement[bool]]:
    recipient = tables.recipient.c
    taken_at = sa.bindparam("taken_at", type_=sa.DateTime(timezone=True))
    untouched = [
        sa.func.coalesce(column <= as_moment(column, taken_at), sa.true()) for column in tables.activity_columns
    ]
    is_taken = words(recipient.status, (tables.profile.recipient.words.sent,))
    return [one_of(recipient.id, IDS), is_taken, sa.not_(is_accepted(tables)), _campaign_is_sending(tables), *untouched]


def _campaign_is_sending(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """The recipient's campaign is being sent."""
    belongs = sa.exists(ONE).where(tables.campaign.c.id == tables.recipient.c.campaign_id, is_sending(tables))
    return belongs.select_from(tables.campaign).correlate(tables.recipient)
