"""Bounded samples of the platform's rows for the doctor: status words, ids, the newest update."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.postgres.campaigns import is_sending
from campaign_ops.postgres.expressions import IDS, as_text, aware, in_our_years, one_of, words
from campaign_ops.postgres.tables import PlatformTables

SAMPLE_ROWS = 20_000
SENDING_LOOKED_AT = 500


def sample_words(connection: sa.Connection, table: sa.Table, rows: int) -> list[str]:
    """The status words in a random sample of about ``SAMPLE_ROWS`` rows; ``rows`` is about the table's size."""
    percent = 100.0 if rows <= SAMPLE_ROWS else 100.0 * SAMPLE_ROWS / rows
    sampled = table.tablesample(sa.func.system(percent), name="sampled")
    some = sa.select(sampled.c.status).limit(2 * SAMPLE_ROWS).subquery()
    found = connection.scalars(sa.select(as_text(some.c.status)).distinct())
    return sorted("NULL" if word is None else word for word in found)


def count_words(
    connection: sa.Connection, table: sa.Table, rows: int, finished_at: Collection[str]
) -> tuple[dict[str, int], set[str]]:
    """Status words of a sample of campaigns: their counts, and the words of rows with a ``finished_at`` column set.

    The profile need not name the columns of ``finished_at``.
    """
    moments: list[sa.ColumnClause[Any]] = [sa.column(name) for name in finished_at]
    whole = sa.table(table.name, sa.column(table.c.status.name), *moments, schema=table.schema)
    percent = 100.0 if rows <= SAMPLE_ROWS else 100.0 * SAMPLE_ROWS / rows
    some = whole.tablesample(sa.func.system(percent), name="sampled")
    word = sa.func.coalesce(as_text(some.c[table.c.status.name]), "NULL")
    ended = [sa.func.bool_or(some.c[moment.name].is_not(None)) for moment in moments]
    finished = sa.or_(*ended) if ended else sa.false()
    found = connection.execute(sa.select(word.label("word"), sa.func.count(), finished).group_by(word)).all()
    return {row[0]: row[1] for row in found}, {row[0] for row in found if row[2]}


def words_while_sending(connection: sa.Connection, tables: PlatformTables) -> list[str]:
    """The status words of the reservations of sending campaigns, at most ``SENDING_LOOKED_AT`` of them."""
    reservation, campaign = tables.reservations.c, tables.campaign.c
    sending = sa.select(campaign.id).where(is_sending(tables)).limit(SENDING_LOOKED_AT)
    found = connection.scalars(
        sa.select(as_text(reservation.status)).where(reservation.campaign_id.in_(sending)).distinct()
    )
    return sorted("NULL" if word is None else word for word in found)


def existing(connection: sa.Connection, table: sa.Table, ids: Collection[str]) -> list[str]:
    """The given ids that exist in the table."""
    return list(connection.scalars(sa.select(as_text(table.c.id)).where(one_of(table.c.id, IDS)), {"ids": list(ids)}))


def newest_update(connection: sa.Connection, tables: PlatformTables) -> datetime | None:
    """The latest ``updated_at`` of any campaign: one step down an index on (status, updated_at) for each known word."""
    campaign, known = tables.campaign.c, tables.profile.campaign.words.all_known
    latest: list[sa.Select[Any]] = [
        sa.select(sa.func.max(campaign.updated_at).label("at")).where(
            words(campaign.status, (word,)), in_our_years(campaign.updated_at)
        )
        for word in known
    ]
    each = sa.union_all(*latest).subquery()
    newest: datetime | None = connection.scalar(sa.select(aware(sa.func.max(each.c.at))))
    return newest
