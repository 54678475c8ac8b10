"""Every statement on the platform's own tables that writes. Each repeats the premise of its repair.

They come in pairs: lock the rows (skipping what somebody else holds), then write, as a second statement, so that
the premise is judged on what was committed before our lock was granted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import Outcome
from campaign_ops.postgres.reads import (
    IDS,
    ONE,
    Query,
    is_accepted,
    is_expired,
    is_held,
    is_old,
    is_sending,
    is_settled,
    standings,
    to_send,
    went_well,
)
from campaign_ops.postgres.tables import (
    PlatformTables,
    as_moment,
    as_text,
    db_now,
    exact,
    is_finite,
    one_of,
    settable,
    words,
)

# As text, exactly as the database writes it: the driver cannot hold infinity, and NULL is a value here, too.
UPDATED_ATS = sa.bindparam("updated_ats", type_=sa.ARRAY(sa.Text))
COUNTER_KEYS = ("succeeded", "failed")


def _observed() -> sa.TableValuedAlias:
    """The campaigns as observed: id and the ``updated_at`` that must not have moved. Binds: ids, updated_ats."""
    return sa.func.unnest(IDS, UPDATED_ATS).table_valued("id", "updated_at").render_derived(name="observed")


def _unmoved(tables: PlatformTables, observed: sa.FromClause) -> sa.ColumnElement[bool]:
    campaign = tables.campaign.c
    return sa.and_(
        campaign.id == sa.cast(observed.c.id, campaign.id.type),
        is_sending(tables),
        campaign.updated_at.is_not_distinct_from(as_moment(campaign.updated_at, observed.c.updated_at)),
    )


def campaign_state(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """The campaign columns that a repair may write, as they are kept in the journal."""
    campaign = tables.campaign.c
    columns = [as_text(campaign.id).label("id"), as_text(campaign.tenant).label("tenant")]
    columns += [as_text(campaign.status).label("status"), exact(campaign.updated_at).label("updated_at")]
    if "completed_at" in campaign:
        columns.append(exact(campaign.completed_at).label("completed_at"))
    return columns + [campaign[key].label(key) for key in COUNTER_KEYS if key in campaign]


def lock_observed(tables: PlatformTables) -> Query:
    """Lock the campaigns that are as observed and that nobody else holds; the state before. Binds: ids, updated_ats.

    FOR UPDATE also makes inserts of recipients that reference the campaign wait, or be seen.
    """
    observed = _observed()
    return (
        sa.select(*campaign_state(tables))
        .select_from(tables.campaign.join(observed, _unmoved(tables, observed)))
        .order_by(tables.campaign.c.id)
        .with_for_update(skip_locked=True, of=tables.campaign)
    )


def _observed_and_counted(tables: PlatformTables) -> sa.CTE:
    """The campaigns as observed, with what their recipients say, counted in one pass. Binds: ids, updated_ats.

    Subqueries that refer to the campaign would be planned for the average one: with a single campaign of millions among
    them, each would read the whole table, while the campaigns are locked.
    """
    observed, number = _observed(), sa.func.count()
    source, kinds = _kinds_of_rows(tables)
    counted = (
        sa.select(
            source.c.campaign_id.label("campaign_id"),
            number.label("rows"),
            *(number.filter(condition).label(key) for key, condition in kinds.items()),
        )
        .where(one_of(source.c.campaign_id, IDS))
        .group_by(source.c.campaign_id)
        .subquery("counted")
    )
    same = counted.c.campaign_id == sa.cast(observed.c.id, tables.campaign.c.id.type)
    numbers = (sa.func.coalesce(counted.c[key], 0).label(key) for key in ("rows", *kinds))
    query = sa.select(observed.c.id, observed.c.updated_at, *numbers).select_from(observed.outerjoin(counted, same))
    return query.cte("seen").prefix_with("MATERIALIZED")


def _kinds_of_rows(tables: PlatformTables) -> tuple[sa.FromClause, dict[str, sa.ColumnElement[bool]]]:
    """Where rows are counted, and which of them as what: as `sweep.evidence.tally` does."""
    if tables.profile.recipient.rows == "sent":
        rows = standings(tables)
        counts = rows.c.standing.in_(("sure", "unsure"))
        return rows, {
            "settled": counts,
            "open": rows.c.standing == "open",
            "succeeded": sa.and_(counts, rows.c.well),
            "failed": sa.and_(counts, sa.not_(rows.c.well)),
            "not_counted": rows.c.standing.in_(("earlier", "repeated")),
            "unsure": rows.c.standing == "unsure",
        }
    settled = is_settled(tables)
    return tables.recipient, {
        "settled": settled,
        # A status of NULL is a word that nobody knows, and NOT (NULL IN ...) would hide it.
        "open": settled.is_not(sa.true()),
        "succeeded": went_well(tables),
        "failed": words(tables.recipient.c.status, tables.profile.recipient.words.failed),
    }


def _raised(tables: PlatformTables, seen: sa.CTE) -> dict[str, sa.ColumnElement[Any]]:
    """The counters at what the rows say, never lower than they are, and only by rows that prove something."""
    campaign = tables.campaign.c
    written = [key for key in COUNTER_KEYS if key in campaign and not campaign[key].info["generated"]]
    said: dict[str, sa.ColumnElement[Any]] = {key: seen.c[key] for key in written}
    if tables.profile.recipient.rows == "sent":
        said = {key: sa.case((_rows_prove(tables, seen), value), else_=0) for key, value in said.items()}
    return {key: sa.func.greatest(sa.func.coalesce(campaign[key], 0), value) for key, value in said.items()}


def _finished(tables: PlatformTables, seen: sa.CTE, *, by_person: bool) -> sa.ColumnElement[bool]:
    """Every recipient is accounted for, and there is at least one; for a person, by rows or by counters."""
    campaign = tables.campaign.c
    nothing_open = seen.c.open == 0
    if "total" not in campaign:
        return sa.and_(nothing_open, seen.c.rows > 0)
    total, rows, counted = sa.func.coalesce(campaign.total, 0), seen.c.settled, _counted(tables)
    most: sa.ColumnElement[Any] = sa.func.greatest(rows, counted)
    if tables.profile.recipient.rows == "sent":
        most = sa.case((seen.c.not_counted > 0, rows), else_=most)
    enough = sa.and_(sa.func.greatest(total, seen.c.rows) > 0, total <= most)
    if tables.profile.recipient.rows == "all":  # then counters have a say only when all rows have vanished
        return sa.and_(nothing_open, sa.or_(seen.c.rows > 0, enough))
    if by_person:
        return sa.and_(nothing_open, enough)
    alone = sa.func.greatest(rows, sa.func.coalesce(campaign.succeeded, 0) + seen.c.failed)
    proven = sa.or_(total <= sa.func.least(rows, counted), sa.and_(_rows_prove(tables, seen), total <= alone))
    return sa.and_(nothing_open, enough, total > 0, proven)


def _rows_prove(tables: PlatformTables, seen: sa.CTE) -> sa.ColumnElement[bool]:
    """Each row is known to be of this run, and of a recipient of its own (`core.verdicts`)."""
    if "about" not in tables.recipient.c or "started_at" not in tables.campaign.c:
        return sa.literal_column("false")
    return sa.and_(tables.campaign.c.started_at.is_not(None), seen.c.unsure == 0)


def _counted(tables: PlatformTables) -> sa.ColumnElement[Any]:
    """Recipients that the campaign's own counters account for."""
    campaign = tables.campaign.c
    return sa.func.coalesce(campaign.succeeded, 0) + sa.func.coalesce(campaign.failed, 0)


def _empty(tables: PlatformTables, seen: sa.CTE) -> sa.ColumnElement[bool]:
    """Not one recipient, by rows and by the platform's own total where it keeps one."""
    nobody = seen.c.rows == 0
    if "total" not in tables.campaign.c:
        return nobody
    return sa.and_(nobody, sa.func.coalesce(tables.campaign.c.total, 0) == 0)


def complete(tables: PlatformTables, empty_outcome: Outcome | None = None, *, by_person: bool = False) -> sa.Update:
    """Complete campaigns in which nothing is pending; the word follows from the rows. Binds: ids, updated_ats.

    With ``empty_outcome``, complete instead those that have no recipient at all, with the word the policy names. A
    person (``by_person``) may decide between rows and counters that disagree.
    """
    campaign, known = tables.campaign.c, tables.profile.campaign.words
    failed_word = known.failed or known.done
    seen = _observed_and_counted(tables)
    if empty_outcome is not None:
        word: Any = sa.bindparam(
            None, known.done if empty_outcome is Outcome.DONE else failed_word, type_=campaign.status.type
        )
    else:
        well: sa.ColumnElement[bool] = seen.c.succeeded > 0
        if "succeeded" in campaign:
            well = sa.or_(well, sa.func.coalesce(campaign.succeeded, 0) > 0)
        word = sa.case(
            (well, sa.bindparam(None, known.done, type_=campaign.status.type)),
            else_=sa.bindparam(None, failed_word, type_=campaign.status.type),
        )
    values: dict[Any, Any] = {campaign.status: word, campaign.updated_at: db_now(campaign.updated_at)}
    if "completed_at" in campaign:
        values[campaign.completed_at] = sa.func.coalesce(campaign.completed_at, db_now(campaign.completed_at))
    values |= {campaign[key]: value for key, value in _raised(tables, seen).items()}
    premise = _finished(tables, seen, by_person=by_person) if empty_outcome is None else _empty(tables, seen)
    return (
        sa.update(tables.campaign)
        .values(settable(values))
        .where(_unmoved(tables, seen), premise)
        .returning(*campaign_state(tables))
    )


def recount(tables: PlatformTables) -> sa.Update:
    """Raise counters to what the rows say. Leaves ``updated_at`` alone: a recount is no progress.

    Never where counters are evidence (rows appear only when sent): a sender that was only slow adds its own share to
    what we have raised, and the campaign looks finished. Binds: ids, updated_ats.
    """
    campaign, seen = tables.campaign.c, _observed_and_counted(tables)
    raised = _raised(tables, seen)
    behind = sa.or_(sa.false(), *(sa.func.coalesce(campaign[key], 0) < value for key, value in raised.items()))
    if tables.profile.recipient.rows == "sent" or not raised:
        behind = sa.literal_column("false")  # sa.false() would fold the join away, and warn of it
    return (
        sa.update(tables.campaign)
        .values({campaign[key]: value for key, value in raised.items()} or {campaign.status: campaign.status})
        .where(_unmoved(tables, seen), behind)
        .returning(*campaign_state(tables))
    )


def matching(statement: sa.Update) -> Query:
    """The rows that a guarded statement would change now. Binds: as the statement."""
    assert isinstance(statement.table, sa.Table)
    assert statement.whereclause is not None
    return sa.select(as_text(statement.table.c.id)).where(statement.whereclause)


_UPDATE_TRIGGERS = sa.text(
    """
    SELECT t.tgname::text FROM pg_trigger t
    WHERE t.tgrelid = CAST(:name AS regclass) AND NOT t.tgisinternal AND t.tgenabled <> 'D'
      AND t.tgtype & 16 <> 0 AND t.tgtype & 2 <> 0
    ORDER BY 1
    """
)


def update_triggers(connection: sa.Connection, statement: sa.Update) -> list[str]:
    """Triggers before an update of the statement's table."""
    assert isinstance(statement.table, sa.Table)
    name = connection.dialect.identifier_preparer.format_table(statement.table)
    return list(connection.scalars(_UPDATE_TRIGGERS, {"name": name}))


def lock_still_sending(tables: PlatformTables) -> Query:
    """Those of the observed campaigns that are as they were; nobody ends them while we look. Binds: ids, updated_ats.

    Whether anybody waits in them is known from the recipients themselves, read right before.
    """
    observed = _observed()
    return (
        sa.select(as_text(tables.campaign.c.id))
        .select_from(tables.campaign.join(observed, _unmoved(tables, observed)))
        .with_for_update(skip_locked=True, of=tables.campaign, key_share=True)
    )


def lock_waiting(tables: PlatformTables) -> Query:
    """Lock those of the given recipients that still wait while their campaign is sending; id and word. Binds: ids."""
    recipient = tables.recipient.c
    return (
        sa.select(as_text(recipient.id).label("id"), as_text(recipient.status).label("status"))
        .where(one_of(recipient.id, IDS), to_send(tables), _campaign_is_sending(tables))
        .order_by(recipient.id)
        .with_for_update(of=tables.recipient)
    )


def take_as_sent(tables: PlatformTables) -> sa.Update:
    """Call the given recipients sent, those that still wait, while their campaign is sending. Binds: ids."""
    recipient = tables.recipient.c
    return (
        sa.update(tables.recipient)
        .values(
            {recipient.status: sa.bindparam(None, tables.profile.recipient.words.sent, type_=recipient.status.type)}
        )
        .where(one_of(recipient.id, IDS), to_send(tables), _campaign_is_sending(tables))
        .returning(as_text(recipient.id))
    )


def as_taken(tables: PlatformTables) -> Query:
    """Those of the given recipients that are as `take_as_sent` left them. Binds: ids, taken_at."""
    return sa.select(as_text(tables.recipient.c.id)).where(*_as_taken(tables))


def give_back(word: str, tables: PlatformTables) -> sa.Update:
    """Put those of the given recipients that are as `take_as_sent` left them back to ``word``. Binds: ids, taken_at."""
    recipient = tables.recipient.c
    return (
        sa.update(tables.recipient)
        .values({recipient.status: sa.bindparam(None, word, type_=recipient.status.type)})
        .where(*_as_taken(tables))
        .returning(as_text(recipient.id))
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


def lock_sending(tables: PlatformTables) -> Query:
    """Keep the given campaigns from ending while we look, those that are being sent. Binds: ids."""
    campaign = tables.campaign.c
    return (
        sa.select(as_text(campaign.id))
        .where(one_of(campaign.id, IDS), is_sending(tables))
        .with_for_update(of=tables.campaign, key_share=True)
    )


_RELEASE_MOMENTS = ("released_at", "updated_at")


def reservation_state(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """The reservation columns that a repair may write, as they are kept in the journal."""
    reservation = tables.reservations.c
    columns: list[sa.ColumnElement[Any]] = [
        as_text(reservation[key]).label(key) for key in ("id", "tenant", "campaign_id", "amount", "status")
    ]
    columns += [exact(reservation[key]).label(key) for key in _RELEASE_MOMENTS if key in reservation]
    return columns


def lock_holds_of_campaigns(tables: PlatformTables) -> Query:
    """Lock every held reservation of the given campaigns; the state before. Binds: ids.

    Without those whose amount is no number: the journal could not say what was released.
    """
    reservation = tables.reservations.c
    return (
        sa.select(*reservation_state(tables))
        .where(is_held(tables), is_finite(reservation.amount), one_of(reservation.campaign_id, IDS))
        .order_by(reservation.id)
        .with_for_update()
    )


def lock_holds(tables: PlatformTables) -> Query:
    """Lock those of the given reservations that are still held; the state before. Binds: ids."""
    reservation = tables.reservations.c
    return (
        sa.select(*reservation_state(tables))
        .where(is_held(tables), one_of(reservation.id, IDS))
        .order_by(reservation.id)
        .with_for_update(skip_locked=True)
    )


def lock_campaigns_of_holds(tables: PlatformTables) -> Query:
    """Keep the given reservations' campaigns from changing status while we look; which of them. Binds: ids."""
    campaign, reservation = tables.campaign.c, tables.reservations.c
    theirs = sa.select(reservation.campaign_id).where(one_of(reservation.id, IDS))
    return (
        sa.select(as_text(campaign.id))
        .where(campaign.id.in_(theirs))
        .order_by(campaign.id)
        .with_for_update(read=True, skip_locked=True, of=tables.campaign)
    )


def _letting_go(tables: PlatformTables) -> dict[Any, Any]:
    reservation, profile = tables.reservations.c, tables.profile.reservation
    assert profile is not None
    values: dict[Any, Any] = {
        reservation.status: sa.bindparam(None, profile.words.released, type_=reservation.status.type)
    }
    values |= {reservation[key]: db_now(reservation[key]) for key in _RELEASE_MOMENTS if key in reservation}
    return settable(values)


def release_locked(tables: PlatformTables) -> sa.Update:
    """Release reservations that this transaction has locked, along with the campaign it has completed. Binds: ids."""
    reservation = tables.reservations.c
    return (
        sa.update(tables.reservations)
        .values(_letting_go(tables))
        .where(is_held(tables), one_of(reservation.id, IDS))
        .returning(*reservation_state(tables))
    )


def release(tables: PlatformTables) -> sa.Update:
    """Release reservations whose campaign is over, or that are late and whose campaign is not sending.

    Binds: ids, locked (campaigns whose status cannot change now), max_age.
    """
    reservation, campaign = tables.reservations.c, tables.campaign.c
    known = tables.profile.campaign.words

    def _campaign(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        belongs = campaign.id == reservation.campaign_id
        return sa.exists(ONE).where(belongs, *conditions).select_from(tables.campaign).correlate(tables.reservations)

    locked = sa.bindparam("locked", type_=sa.ARRAY(sa.Text))
    is_over = _campaign(words(campaign.status, known.all_over))
    is_idle = _campaign(words(campaign.status, known.idle)) if known.idle else sa.false()
    gone = sa.not_(_campaign())
    late = sa.or_(is_expired(tables), is_old(tables))
    return (
        sa.update(tables.reservations)
        .values(_letting_go(tables))
        .where(
            is_held(tables),
            one_of(reservation.id, IDS),
            sa.or_(gone, one_of(reservation.campaign_id, locked)),
            sa.or_(is_over, sa.and_(sa.or_(gone, is_idle), late)),
        )
        .returning(*reservation_state(tables))
    )


def restore(table: sa.Table, row_id: str, *, before: Mapping[str, Any], after: Mapping[str, Any]) -> sa.Update:
    """Put one row back to ``before``, if every column that we keep still is as we left it (``after``)."""
    values = settable({table.c[key]: _value(table.c[key], before[key]) for key in after})
    return sa.update(table).values(values).where(*_as_left(table, row_id, after)).returning(as_text(table.c.id))


def as_left(table: sa.Table, row_id: str, *, after: Mapping[str, Any]) -> Query:
    """One row, if every column that we keep still is as we left it."""
    return sa.select(as_text(table.c.id)).where(*_as_left(table, row_id, after))


def _as_left(table: sa.Table, row_id: str, after: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    same = [table.c[key].is_not_distinct_from(_value(table.c[key], value)) for key, value in after.items()]
    return [table.c.id == sa.bindparam(None, row_id, type_=table.c.id.type), *same]


def _value(column: sa.Column[Any], value: Any) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.DateTime):
        return as_moment(column, sa.cast(sa.bindparam(None, value, type_=sa.Text), sa.DateTime(timezone=True)))
    return sa.bindparam(None, value, type_=column.type)
