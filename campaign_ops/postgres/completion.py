"""Writes on campaigns: complete those that are finished, raise counters that are behind. Each repeats its premise.

They come in pairs: lock the rows (skipping what another transaction holds), then write, as a second statement, so that
the premise is judged on what was committed before our lock was granted.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import Outcome
from campaign_ops.postgres.campaigns import is_sending
from campaign_ops.postgres.expressions import (
    IDS,
    ONE,
    Query,
    as_moment,
    as_text,
    db_now,
    exact,
    one_of,
    settable,
    words,
)
from campaign_ops.postgres.recipients import is_settled, standings, went_well
from campaign_ops.postgres.tables import PlatformTables, made_once

# As text, exactly as the database writes it: the driver cannot hold infinity, and NULL is a value here, too.
UPDATED_ATS = sa.bindparam("updated_ats", type_=sa.ARRAY(sa.Text))
COUNTER_KEYS = ("succeeded", "failed")


def _observed() -> sa.TableValuedAlias:
    """The observed campaigns: ids, and the ``updated_at`` that must not have moved. Binds: ids, updated_ats."""
    return sa.func.unnest(IDS, UPDATED_ATS).table_valued("id", "updated_at").render_derived(name="observed")


def _unmoved(tables: PlatformTables, observed: sa.FromClause) -> sa.ColumnElement[bool]:
    campaign = tables.campaign.c
    return sa.and_(
        campaign.id == sa.cast(observed.c.id, campaign.id.type),
        is_sending(tables),
        campaign.updated_at.is_not_distinct_from(as_moment(campaign.updated_at, observed.c.updated_at)),
    )


def campaign_state(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    """The campaign columns that a repair may write, as the journal keeps them."""
    campaign = tables.campaign.c
    columns = [as_text(campaign.id).label("id"), as_text(campaign.tenant).label("tenant")]
    columns += [as_text(campaign.status).label("status"), exact(campaign.updated_at).label("updated_at")]
    if "completed_at" in campaign:
        columns.append(exact(campaign.completed_at).label("completed_at"))
    return columns + [campaign[key].label(key) for key in COUNTER_KEYS if key in campaign]


@made_once
def lock_observed(tables: PlatformTables) -> Query:
    """Lock the campaigns that are as observed and not locked; their state before. Binds: ids, updated_ats.

    FOR UPDATE also makes inserts of recipients that reference the campaign wait, or be seen.
    """
    observed = _observed()
    return (
        sa.select(*campaign_state(tables))
        .select_from(tables.campaign.join(observed, _unmoved(tables, observed)))
        .order_by(tables.campaign.c.id)
        .with_for_update(skip_locked=True, of=tables.campaign)
    )


@made_once
def lock_still_sending(tables: PlatformTables) -> Query:
    """Lock the campaigns that are as observed, so that none ends meanwhile. Binds: ids, updated_ats.

    Whether recipients wait in them is known from the recipients themselves, read right before.
    """
    observed = _observed()
    return (
        sa.select(as_text(tables.campaign.c.id))
        .select_from(tables.campaign.join(observed, _unmoved(tables, observed)))
        .with_for_update(skip_locked=True, of=tables.campaign, key_share=True)
    )


@made_once
def complete(tables: PlatformTables, empty_outcome: Outcome | None = None, *, by_person: bool = False) -> sa.Update:
    """Complete campaigns in which nothing is pending; the word follows from the rows. Binds: ids, updated_ats.

    With ``empty_outcome``, complete those without any recipient instead, with the word that the policy names. A person
    (``by_person``) may decide between rows and counters that disagree.
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
        .where(_unmoved(tables, seen), premise, _is_the_only_one(tables))
        .returning(*campaign_state(tables))
    )


def _is_the_only_one(tables: PlatformTables) -> sa.ColumnElement[bool]:
    """No other tenant has a campaign with this id: its recipients and its credits would count as this one's."""
    campaign, other = tables.campaign.c, tables.campaign.alias("other")
    differs = as_text(other.c.tenant).is_distinct_from(as_text(campaign.tenant))
    return sa.not_(sa.exists(ONE).where(other.c.id == campaign.id, differs).correlate(tables.campaign))


@made_once
def recount(tables: PlatformTables) -> sa.Update:
    """Raise counters to the numbers of rows. Leaves ``updated_at`` alone: a recount is not progress.

    Never where counters are evidence (rows appear only when sent, or are fewer than the total): a sender that was only
    slow would add its share to the raised number, and the campaign would look finished. Binds: ids, updated_ats.
    """
    campaign, seen = tables.campaign.c, _observed_and_counted(tables)
    raised = _raised(tables, seen)
    behind = sa.or_(sa.false(), *(sa.func.coalesce(campaign[key], 0) < value for key, value in raised.items()))
    if tables.profile.recipient.rows == "sent" or not raised:
        behind = sa.literal_column("false")  # sa.false() would fold the join away, and warn of it
    elif "total" in campaign:
        behind = sa.and_(behind, sa.func.coalesce(campaign.total, 0) <= seen.c.rows)
    return (
        sa.update(tables.campaign)
        .values({campaign[key]: value for key, value in raised.items()} or {campaign.status: campaign.status})
        .where(_unmoved(tables, seen), behind)
        .returning(*campaign_state(tables))
    )


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
    all_have_rows = tables.profile.recipient.rows == "all"
    if by_person and all_have_rows:
        enough = sa.or_(seen.c.rows > 0, enough)
    if by_person or all_have_rows:
        return sa.and_(nothing_open, enough)
    alone = sa.func.greatest(rows, sa.func.coalesce(campaign.succeeded, 0) + seen.c.failed)
    proven = sa.or_(total <= sa.func.least(rows, counted), sa.and_(_rows_prove(tables, seen), total <= alone))
    return sa.and_(nothing_open, enough, total > 0, proven)


def _empty(tables: PlatformTables, seen: sa.CTE) -> sa.ColumnElement[bool]:
    """No recipient at all, by rows and by the platform's own total where it keeps one."""
    no_rows = seen.c.rows == 0
    if "total" not in tables.campaign.c:
        return no_rows
    return sa.and_(no_rows, sa.func.coalesce(tables.campaign.c.total, 0) == 0)


def _raised(tables: PlatformTables, seen: sa.CTE) -> dict[str, sa.ColumnElement[Any]]:
    """The counters raised to the numbers of rows, never lowered, and only by rows that prove something."""
    campaign = tables.campaign.c
    written = [key for key in COUNTER_KEYS if key in campaign and not campaign[key].info["generated"]]
    counted: dict[str, sa.ColumnElement[Any]] = {key: seen.c[key] for key in written}
    if tables.profile.recipient.rows == "sent":
        counted = {key: sa.case((_rows_prove(tables, seen), value), else_=0) for key, value in counted.items()}
    return {key: sa.func.greatest(sa.func.coalesce(campaign[key], 0), value) for key, value in counted.items()}


def _rows_prove(tables: PlatformTables, seen: sa.CTE) -> sa.ColumnElement[bool]:
    """Every row is known to be of this run and of a recipient of its own (`core.verdicts`)."""
    if "about" not in tables.recipient.c or "started_at" not in tables.campaign.c:
        return sa.literal_column("false")
    return sa.and_(tables.campaign.c.started_at.is_not(None), seen.c.unsure == 0)


def _counted(tables: PlatformTables) -> sa.ColumnElement[Any]:
    """Recipients that the campaign's own counters account for."""
    campaign = tables.campaign.c
    return sa.func.coalesce(campaign.succeeded, 0) + sa.func.coalesce(campaign.failed, 0)


def _observed_and_counted(tables: PlatformTables) -> sa.CTE:
    """The observed campaigns with the numbers of their rows, counted in one pass. Binds: ids, updated_ats.

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
    """The rows to count, and the condition for each kind, as in `sweep.evidence.tally`."""
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
        # A status of NULL is an unknown word, and NOT (NULL IN ...) would hide it.
        "open": settled.is_not(sa.true()),
        "succeeded": went_well(tables),
        "failed": words(tables.recipient.c.status, tables.profile.recipient.words.failed),
    }
