"""Pending recipients and the jobs that cover them, in temporary tables of one transaction.

The *cover* holds the recipients in live jobs; the *batches* hold the pending recipients in no job, cut as jobs would
carry them; *marked* are recipients that the provider may have: by a marker, by a completed job, or because an earlier
look saw one of these (``known``). Ids stream through: neither this process nor a statement holds them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql import ARRAY

from campaign_ops.core.model import Suspect
from campaign_ops.postgres import planner
from campaign_ops.postgres.copying import LINES, copy_into, lines_of, lines_of_pairs
from campaign_ops.postgres.expressions import IDS, Query, as_text, one_of
from campaign_ops.postgres.recipients import to_send
from campaign_ops.postgres.tables import PlatformTables, made_once

COVER, MARKED = "campaign_ops_cover", "campaign_ops_marked"
IDS_AT_ONCE = 50_000  # recipients per round trip
BATCHES_AT_ONCE = 40
LISTED_AS_SET = 500_000
"""Recipients in live jobs whose set fits into ``work_mem``, long ids too: PostgreSQL makes no larger one, and searches
row by row instead."""

_COVER = sa.table(COVER, sa.column("recipient_id"))
_MARKED = sa.table(MARKED, sa.column("recipient_id"), sa.column("job_id", sa.Text), sa.column("known", sa.Boolean))
_BATCH = sa.table("campaign_ops_batch", sa.column("campaign_id"), sa.column("number"), sa.column("recipient_ids"))
_BATCH_KEY = (_BATCH.c.campaign_id, _BATCH.c.number)
_JOB_IDS = sa.func.array_agg(sa.distinct(_MARKED.c.job_id)).filter(_MARKED.c.job_id.is_not(None))
READ_ONLY = sa.text("SET TRANSACTION READ ONLY")
# With the default of 4 MB a hash of 100,000 ids goes to disk and takes twice as long. A higher setting stays.
_WORK_MEM = sa.text(
    "SELECT set_config('work_mem', '64MB', true) WHERE pg_size_bytes(current_setting('work_mem')) < 64 * 1024 * 1024"
)
_DOUBLED = sa.select(_COVER.c.recipient_id).group_by(_COVER.c.recipient_id).having(sa.func.count() > 1)


@dataclass(frozen=True, slots=True)
class Batch:
    """Pending recipients of one campaign, enough for one job.

    ``marked`` are those that the provider may have, as far as was known before the batch was read;
    ``in_completed_jobs`` of them are listed by completed jobs.
    """

    campaign_id: str
    number: int
    recipient_ids: list[str]
    marked: Collection[str] = ()
    in_completed_jobs: int = 0


Fingerprint = tuple[int, int]
"""The number of a campaign's pending recipients and the XOR of their ids' 64-bit hashes: others have the same by one
chance in 2**64."""


class Cut(NamedTuple):
    """The pending recipients of one campaign, and how many of them are in no live job, cut into batches."""

    campaign_id: str
    fingerprint: Fingerprint
    missing: int


class Remembered(Protocol):
    """Findings of earlier looks and people's decisions, as statements to join with; `AmbiguousLog` keeps them."""

    def undecided(self) -> sa.Select[str, str | None]:
        """(recipient id, a completed job that lists it) of each recipient that is not decided."""

    def is_decided(self, recipient_id: sa.ColumnElement[str], job_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """A person has decided about this recipient, knowing of this completed job."""


def create(connection: sa.Connection, tables: PlatformTables) -> None:
    """Create the tables. From here on the transaction is read only, except for them."""
    spec = _id_spec(tables)
    connection.execute(sa.text(f"CREATE TEMP TABLE {COVER} (recipient_id {spec}) ON COMMIT DROP"))
    marks = f"recipient_id {spec}, job_id text, known boolean NOT NULL DEFAULT false"
    connection.execute(sa.text(f"CREATE TEMP TABLE {MARKED} ({marks}) ON COMMIT DROP"))
    batches = f'campaign_id text COLLATE "C", number int, recipient_ids {spec}[], PRIMARY KEY (campaign_id, number)'
    connection.execute(sa.text(f"CREATE TEMP TABLE campaign_ops_batch ({batches}) ON COMMIT DROP"))
    # Compressing ids takes longer than writing them.
    connection.execute(sa.text("ALTER TABLE campaign_ops_batch ALTER recipient_ids SET STORAGE EXTERNAL"))
    connection.execute(sa.text(f"CREATE INDEX ON {MARKED} (recipient_id)"))
    connection.execute(_WORK_MEM)
    connection.execute(READ_ONLY)


def load(connection: sa.Connection, recipient_ids: Iterable[str], table: str = COVER) -> None:
    """Add recipients to the cover, or to those marked, as they come. If the source fails midway, none of them stays.

    Raises:
        QueueUnavailable: The source failed.
        QueueUnclear: An id is not of the type of the platform's ids.
    """
    copy_into(
        connection, sql.SQL("COPY {} (recipient_id) FROM STDIN").format(sql.Identifier(table)), lines_of(recipient_ids)
    )


def load_remembered(connection: sa.Connection, tables: PlatformTables, log: Remembered) -> int:
    """Add the undecided recipients that an earlier look saw marked; return their number."""
    undecided = log.undecided().subquery("undecided").c
    columns = sa.select(sa.cast(undecided.recipient_id, tables.recipient.c.id.type), undecided.job_id, sa.true())
    return connection.execute(_insert(_MARKED, ["recipient_id", "job_id", "known"], columns)).rowcount


def load_completed(connection: sa.Connection, listed: Iterable[tuple[str, str]], log: Remembered | None) -> int:
    """Mark the missing recipients that completed jobs list; return the number of entries that stay.

    Args:
        connection: The transaction of the look, its batches filled.
        listed: (recipient id, job id), as the jobs are read.
        log: Earlier decisions, whose recipients are left out; None before ``campaign-ops migrate``.
    """
    into = sql.SQL("COPY {} (recipient_id, job_id) FROM STDIN").format(sql.Identifier(MARKED))
    copy_into(connection, into, lines_of_pairs(listed))
    missing = sa.select(sa.func.unnest(_BATCH.c.recipient_ids).label("id")).subquery("missing")
    beside_the_point = sa.not_(sa.exists().where(missing.c.id == _MARKED.c.recipient_id).correlate(_MARKED))
    if log is not None:
        decided = log.is_decided(as_text(_MARKED.c.recipient_id), _MARKED.c.job_id)
        beside_the_point = sa.or_(beside_the_point, decided)
    fresh = sa.and_(_MARKED.c.job_id.is_not(None), sa.not_(_MARKED.c.known))
    with planner.hash_joins(connection):
        connection.execute(sa.delete(_MARKED).where(fresh, beside_the_point))
    return connection.scalar(sa.select(sa.func.count()).select_from(_MARKED).where(fresh)) or 0


def any_doubled(connection: sa.Connection) -> bool:
    """Return whether a recipient is in two or more live jobs; nearly always none is."""
    return bool(connection.scalar(sa.select(_DOUBLED.exists())))


def doubled(connection: sa.Connection, tables: PlatformTables, campaign_ids: Sequence[str]) -> Mapping[str, int]:
    """The number of pending recipients of each campaign that are in two or more live jobs; absent where none is."""
    recipient = tables.recipient.c
    query = (
        sa.select(tables.campaign_of(recipient.campaign_id).label("campaign_id"), sa.func.count().label("number"))
        .where(one_of(recipient.campaign_id, IDS), to_send(tables), recipient.id.in_(_DOUBLED))
        .group_by(recipient.campaign_id)
    )
    with planner.hash_joins(connection):
        return {row.campaign_id: row.number for row in connection.execute(query, {"ids": list(campaign_ids)})}


def may_be_without_id(tables: PlatformTables) -> bool:
    """Return whether the table allows recipients without an id."""
    return tables.catalog.column(tables.recipient.name, tables.recipient.c.id.name).nullable


def without_id(connection: sa.Connection, tables: PlatformTables, campaign_ids: Sequence[str]) -> Mapping[str, int]:
    """The number of pending recipients of each campaign that have no id; absent where all have one.

    No job, marker or cover can name them.
    """
    recipient = tables.recipient.c
    query = (
        sa.select(tables.campaign_of(recipient.campaign_id).label("campaign_id"), sa.func.count().label("number"))
        .where(one_of(recipient.campaign_id, IDS), to_send(tables), recipient.id.is_(None))
        .group_by(recipient.campaign_id)
    )
    return {row.campaign_id: row.number for row in connection.execute(query, {"ids": list(campaign_ids)})}


def fill_batches(
    connection: sa.Connection, tables: PlatformTables, campaign_ids: Sequence[str], *, size: int, listed: int
) -> list[Cut]:
    """Cut the pending recipients of these campaigns that are in no live job into batches.

    One GROUP BY over all campaigns. To number the rows and sort them took twice as long; a LATERAL, which would hash
    the cover again for each campaign, 20 times as long for 500 campaigns and 500,000 covered recipients. Nested loops
    took minutes for 20,000 recipients without statistics.

    Args:
        connection: The transaction of the look, its cover loaded.
        tables: The platform's tables.
        campaign_ids: The campaigns.
        size: Recipients of a batch.
        listed: Recipients in the cover, each as often as a job lists it.
    """
    filling = _filling(tables, size, as_set=listed <= LISTED_AS_SET)
    with planner.hash_joins(connection):
        rows = connection.execute(filling, {"ids": list(campaign_ids)})
        return [Cut(key, (number, hashes), open_) for key, number, hashes, open_ in rows]


@made_once
def _filling(tables: PlatformTables, size: int, *, as_set: bool) -> Query:
    """Fill the batches with those of the given campaigns; a `Cut` of each campaign. Binds: ids.

    ``as_set``: look ids up in a set of the covered ones, which must fit into memory. To join 450,000 with 200,000 takes
    0.67 s of CPU, to look them up 0.42 s.
    """
    recipient = tables.recipient.c
    pending: sa.FromClause = tables.recipient
    is_open = recipient.id.not_in(sa.select(_COVER.c.recipient_id))
    if not as_set:
        covered = sa.select(_COVER.c.recipient_id).distinct().subquery("covered")
        pending = tables.recipient.outerjoin(covered, covered.c.recipient_id == recipient.id)
        is_open = covered.c.recipient_id.is_(None)
    cut = (
        sa.select(
            tables.campaign_of(recipient.campaign_id).label("campaign_id"),
            *_fingerprint(tables),
            sa.literal_column("0", sa.Integer).label("start"),
            sa.func.array_agg(recipient.id).filter(is_open, recipient.id.is_not(None)).label("ids"),
        )
        .select_from(pending)
        .where(one_of(recipient.campaign_id, IDS), to_send(tables))
        .group_by(recipient.campaign_id)
        .cte("cut")
        .prefix_with("MATERIALIZED")
    )
    # An array is read from its beginning to where a slice starts: in one go, 400,000 ids took six times as long.
    batches = _slices(_slices(cut, BATCHES_AT_ONCE * size), size).c
    numbered = sa.select(batches.campaign_id, batches.start // size, batches.ids)
    filled = sa.insert(_BATCH).from_select(["campaign_id", "number", "recipient_ids"], numbered).cte("filled")
    missing = sa.func.coalesce(sa.func.cardinality(cut.c.ids), 0)
    return sa.select(cut.c.campaign_id, cut.c.number, cut.c.hashes, missing).add_cte(filled)


def fingerprints(
    connection: sa.Connection, tables: PlatformTables, campaign_ids: Collection[str]
) -> dict[str, Fingerprint]:
    """The fingerprints of these campaigns now; none of those in which nothing is pending."""
    rows = connection.execute(_fingerprints(tables), {"ids": list(campaign_ids)})
    return {campaign_id: (number, hashes) for campaign_id, number, hashes in rows}


@made_once
def _fingerprints(tables: PlatformTables) -> Query:
    recipient = tables.recipient.c
    return (
        sa.select(tables.campaign_of(recipient.campaign_id), *_fingerprint(tables))
        .where(one_of(recipient.campaign_id, IDS), to_send(tables))
        .group_by(recipient.campaign_id)
    )


def _fingerprint(tables: PlatformTables) -> list[sa.ColumnElement[Any]]:
    hashes = sa.func.hashtextextended(as_text(tables.recipient.c.id), 0)
    return [sa.func.count().label("number"), sa.func.bit_xor(hashes).label("hashes")]


def _slices(rows: sa.FromClause, length: int) -> sa.Subquery:
    """Rows with slices, of this length, of the arrays of ``rows``."""
    here = sa.func.generate_series(0, sa.func.cardinality(rows.c.ids) - 1, length, type_=sa.Integer).label("here")
    cut = sa.select(rows.c.campaign_id, rows.c.start, rows.c.ids, here).subquery().c
    ids = cut.ids[cut.here + 1 : cut.here + length].label("ids")
    sliced = sa.select(cut.campaign_id, (cut.start + cut.here).label("start"), ids)
    # OFFSET 0 is a fence: an outer query would cut the slice again for each part of it.
    return sliced.offset(sa.literal_column("0")).subquery()


def missing_of_rows(tables: PlatformTables, *, listed: int) -> sa.Select[str | None]:
    """For each recipient of the given campaigns its id, or NULL unless it is pending and in no live job. Binds: ids.

    To be streamed: with a row for each recipient, all pieces read as many of them. One that several of the ``listed``
    recipients of jobs are may have several rows, all NULL.
    """
    return _missing_of_rows(tables, as_set=listed <= LISTED_AS_SET)


@made_once
def _missing_of_rows(tables: PlatformTables, *, as_set: bool) -> sa.Select[str | None]:
    """``as_set``: NOT IN makes the cover the side that is hashed, and the first piece comes at once.

    Beyond some 2.3 million PostgreSQL makes no set, and searched 2.7 million for each row: one piece took more than 60
    s. To join 3 million rows with them takes 4.4 s, the first piece 1.2 s.
    """
    recipient = tables.recipient.c
    rows: sa.FromClause = tables.recipient
    is_open = recipient.id.not_in(sa.select(_COVER.c.recipient_id))
    if not as_set:
        rows = rows.outerjoin(_COVER, _COVER.c.recipient_id == recipient.id)
        is_open = _COVER.c.recipient_id.is_(None)
    missing = sa.case((sa.and_(to_send(tables), is_open), as_text(recipient.id)))
    return sa.select(missing).select_from(rows).where(one_of(recipient.campaign_id, IDS))


def fill_from(
    connection: sa.Connection,
    tables: PlatformTables,
    campaign_id: str,
    pieces: Iterable[Sequence[sa.Row[Any]]],
    *,
    size: int,
) -> int:
    """Cut what `missing_of_rows` streams of one campaign into batches; return the number of recipients."""
    ids = sa.cast(sa.bindparam("recipient_ids", type_=ARRAY(sa.Text)), ARRAY(tables.recipient.c.id.type))
    insert = sa.insert(_BATCH).values(
        campaign_id=campaign_id, number=sa.bindparam("number", type_=sa.Integer), recipient_ids=ids
    )
    filled = 0
    recipients = (recipient_id for piece in pieces for (recipient_id,) in piece if recipient_id is not None)
    while some := list(islice(recipients, IDS_AT_ONCE // size * size or size)):
        starts = range(0, len(some), size)
        connection.execute(
            insert, [{"number": (filled + at) // size, "recipient_ids": some[at : at + size]} for at in starts]
        )
        filled += len(some)
    return filled


def campaigns_with_batches(connection: sa.Connection) -> list[str]:
    """The campaigns with a pending recipient in no live job."""
    return list(connection.scalars(sa.select(_BATCH.c.campaign_id).distinct()))


def batches(connection: sa.Connection, *, size: int, marked: bool = False) -> Iterator[Batch]:
    """All batches, streamed, campaign by campaign; with their marked recipients, if ``marked`` (there are any)."""
    query = sa.select(*_BATCH_KEY, _texts(_BATCH.c.recipient_ids)).order_by(*_BATCH_KEY)
    if marked:
        suspects = _suspects_of_batch()
        query = query.add_columns(_texts(suspects.c.ids), suspects.c.in_completed_jobs)
        query = query.select_from(_BATCH.join(suspects, sa.true()))
    rows = max(1, IDS_AT_ONCE // size)
    # Per statement: on a connection the option would stay.
    options = {"stream_results": True, "yield_per": rows}
    for row in connection.execute(query, execution_options=options):
        campaign_id, number, recipient_ids = row[:3]
        known, in_completed_jobs = row[3:] or (None, 0)
        yield Batch(campaign_id, number, recipient_ids, frozenset(known or ()), in_completed_jobs)


def sizes(connection: sa.Connection) -> Iterator[tuple[str, int, int]]:
    """Campaign, number and recipients of all batches, streamed in the order of `batches`."""
    query = sa.select(*_BATCH_KEY, sa.func.cardinality(_BATCH.c.recipient_ids)).order_by(*_BATCH_KEY)
    for row in connection.execute(query, execution_options={"stream_results": True, "yield_per": LINES}):
        yield row[0], row[1], row[2]


def _suspects_of_batch() -> sa.FromClause:
    """The marked recipients of a batch, and the number of them that completed jobs list."""
    distinct = sa.distinct(_MARKED.c.recipient_id)
    return (
        sa.select(
            sa.func.array_agg(distinct).label("ids"),
            sa.func.count(distinct).filter(_MARKED.c.job_id.is_not(None)).label("in_completed_jobs"),
        )
        .where(_MARKED.c.recipient_id == sa.any_(_BATCH.c.recipient_ids))
        .correlate(_BATCH)
        .lateral("suspects")
    )


def as_cut(connection: sa.Connection, chosen: Sequence[tuple[str, int]]) -> Iterator[Batch]:
    """These batches, by campaign and number, as they were cut."""
    return _chosen(connection, chosen, _AS_CUT)


def read_again(connection: sa.Connection, tables: PlatformTables, chosen: Sequence[tuple[str, int]]) -> Iterator[Batch]:
    """These batches, by campaign and number, with only the recipients that still wait in that campaign, unmarked."""
    return _chosen(connection, chosen, _still_waiting(tables))


@made_once
def _still_waiting(tables: PlatformTables) -> Query:
    recipient = tables.recipient.c
    listed = sa.func.unnest(_BATCH.c.recipient_ids).table_valued("id").render_derived(name="listed")
    # Named, since a column of any other collation than ours cannot be compared without.
    same_campaign = tables.campaign_of(recipient.campaign_id) == _BATCH.c.campaign_id.collate("C")
    waits = sa.and_(to_send(tables), same_campaign)
    # OFFSET 0 is a fence: rows are found by id alone. Recipients inserted since the last ANALYZE look like a handful,
    # and the planner would read all that wait, or the whole campaign, again for each id.
    seen = (
        sa.select(recipient.id, waits.label("waits"))
        .select_from(listed.join(tables.recipient, recipient.id == listed.c.id))
        .correlate(_BATCH)
        .offset(sa.literal_column("0"))
        .subquery("seen")
    )
    # A recipient that was marked once stays out, though its marker may be gone by now.
    marked_before = sa.exists().where(_MARKED.c.recipient_id == seen.c.id).select_from(_MARKED)
    waiting = sa.select(as_text(seen.c.id)).where(seen.c.waits, sa.not_(marked_before))
    return _of_chosen(sa.func.array(waiting.scalar_subquery()))


def _of_chosen(recipient_ids: sa.ColumnElement[Any]) -> Query:
    """The chosen batches with the recipients that an expression on each gives. Binds: ids, numbers."""
    wanted = (
        sa.func.unnest(IDS, sa.bindparam("numbers", type_=sa.ARRAY(sa.Integer)))
        .table_valued("campaign_id", "number")
        .render_derived(name="wanted")
    )
    same = sa.and_(wanted.c.campaign_id == _BATCH.c.campaign_id, wanted.c.number == _BATCH.c.number)
    return sa.select(*_BATCH_KEY, _texts(recipient_ids)).select_from(_BATCH.join(wanted, same)).order_by(*_BATCH_KEY)


def _chosen(connection: sa.Connection, chosen: Sequence[tuple[str, int]], query: Query) -> Iterator[Batch]:
    if not chosen:
        return
    binds = {"ids": [campaign_id for campaign_id, _ in chosen], "numbers": [number for _, number in chosen]}
    for campaign_id, number, ids in connection.execute(query, binds):
        yield Batch(campaign_id, number, ids)


def marked(connection: sa.Connection, *, limit: int) -> list[Suspect]:
    """The missing recipients that the provider may have."""
    missing = sa.select(_BATCH.c.campaign_id, sa.func.unnest(_BATCH.c.recipient_ids).label("id")).subquery("missing")
    query = (
        sa.select(missing.c.campaign_id, as_text(missing.c.id), _JOB_IDS)
        .select_from(missing.join(_MARKED, _MARKED.c.recipient_id == missing.c.id))
        .group_by(missing.c.campaign_id, missing.c.id)
        .order_by(missing.c.id)
        .limit(limit)
    )
    return [_suspect(row) for row in connection.execute(query)]


def not_remembered(connection: sa.Connection, tables: PlatformTables) -> Iterator[list[Suspect]]:
    """Marked recipients that still wait and that no earlier look saw marked, page by page."""
    recipient = tables.recipient.c
    campaign_id, recipient_id = tables.campaign_of(recipient.campaign_id), as_text(recipient.id)
    query = (
        sa.select(campaign_id, recipient_id, _JOB_IDS)
        .select_from(tables.recipient.join(_MARKED, _MARKED.c.recipient_id == recipient.id))
        .where(to_send(tables))
        .group_by(recipient.campaign_id, recipient.id)
        .having(sa.not_(sa.func.bool_or(_MARKED.c.known)))
        .execution_options(stream_results=True, yield_per=LINES)
    )
    with planner.by_index(connection):
        rows = connection.execute(query)
    with rows:
        for page in rows.partitions():
            yield [_suspect(row) for row in page]


def _suspect(row: Sequence[Any]) -> Suspect:
    campaign_id, recipient_id, job_ids = row
    return Suspect(campaign_id, recipient_id, tuple(job_ids or ()))


def _insert(table: sa.TableClause, names: list[str], rows: sa.Select[*tuple[Any, ...]]) -> sa.Insert:
    """An insert that keeps its number of rows, which SQLAlchemy drops by default."""
    return sa.insert(table).from_select(names, rows).execution_options(preserve_rowcount=True)


def _id_spec(tables: PlatformTables) -> str:
    """The type of recipient ids, without a length: an id in a job may be longer than any in the table."""
    names = tables.profile.recipient
    column = tables.catalog.column(names.table, names.id)
    return column.type_name if column.type_name in ("varchar", "bpchar") else column.spec


def _texts(ids: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Ids as the driver's own list of strings: SQLAlchemy would copy each list."""
    return sa.type_coerce(sa.cast(ids, ARRAY(sa.Text)), sa.types.NullType())


_AS_CUT = _of_chosen(_BATCH.c.recipient_ids)
