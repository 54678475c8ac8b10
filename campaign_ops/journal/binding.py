"""Binds a campaign table to the configuration that sweeps it: name, Redis and queues, as of the last sweep.

The binding is in schema ``campaign_ops`` of the platform's own database, so two deployments meet there whatever they
call the platform and however they spell its URLs. A sweep that would look at fewer queues than the last one is refused:
it would re-enqueue what waits in the others. Also moves records to another key: see `rekey`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.errors import Refused
from campaign_ops.journal import incidents, schema
from campaign_ops.journal.bulk import texts


@dataclass(frozen=True, slots=True)
class Claim:
    """One configuration's statement about its campaign table.

    Attributes:
        platform: The platform's configured name.
        tables: The campaign table, as `Profile.tables_key` names it.
        table_oid: Its oid in the database.
        redis: The endpoint of its queue's Redis; None without a queue.
        queues: Every queue that is looked at, as ``prefix:name``, sorted.
    """

    platform: str
    tables: str
    table_oid: int
    redis: str | None
    queues: Sequence[str]


def by_name(platform: str) -> str:
    """The key of rows from before revision 0002, which knew the platform's name only."""
    return f"name:{platform}"


def holds(claim: Claim) -> sa.ColumnElement[bool]:
    """The campaign table is bound as the claim says, and no other row of ``binding`` concerns it."""
    table = schema.binding.c
    bound = sa.exists().where(
        table.tables == claim.tables,
        table.platform == claim.platform,
        table.table_oid == claim.table_oid,
        table.redis.op("@>")(texts(_redis(claim))),
        table.queues == texts(claim.queues),
    )
    other = sa.exists().where(table.tables != claim.tables, _concerns(claim))
    return sa.and_(bound, sa.not_(other))


@dataclass(frozen=True, slots=True)
class Answers:
    """Questions that only the platform can answer, asked when a binding differs from the claim.

    Attributes:
        table_oid: The oid of the table that this key names now; None where there is none.
        is_same_redis: Whether the claim's Redis is the server of the last sweep, under another address.
        is_watched_as: Whether this configuration has a platform of that name over the same campaign table.
    """

    table_oid: Callable[[str], int | None]
    is_same_redis: Callable[[], bool]
    is_watched_as: Callable[[str], bool]


def check(connection: sa.Connection, claim: Claim, answers: Answers) -> None:
    """Check that the claim may replace the table's binding without a person.

    Raises:
        Refused: Jobs may wait where this configuration does not look, or another platform watches the same table.
    """
    if (row := bound_to(connection, claim)) is not None:
        _check_name(claim, row, answers)
        _check_queues(claim, row, answers)


def bind(connection: sa.Connection, claim: Claim, answers: Answers) -> None:
    """Bind the campaign table as the claim says; adopt the records of its earlier names.

    Raises:
        Refused: As `check`.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("campaign_ops:binding", 0))))
    check(connection, claim, answers)
    adopt(connection, claim, answers)
    bound = bound_to(connection, claim)
    known = bound.redis if bound is not None else []
    write(connection, claim, list(dict.fromkeys([*known, *_redis(claim)])), by="sweep")


def adopt(connection: sa.Connection, claim: Claim, answers: Answers) -> None:
    """Move the records from before revision 0002, or of a former name of the table, to the claim's key."""
    others = sa.select(schema.binding).where(schema.binding.c.tables != claim.tables, _concerns(claim))
    for row in connection.execute(others).all():
        renamed = row.table_oid == claim.table_oid and answers.table_oid(row.tables) is None
        if renamed or row.tables == by_name(claim.platform):
            rekey(connection, row.tables, claim.tables)
        else:  # a restored dump gives the oid to another table
            mine = schema.binding.c.tables == row.tables
            connection.execute(sa.update(schema.binding).where(mine).values(table_oid=None))


def write(connection: sa.Connection, claim: Claim, redis: Sequence[str], *, by: str) -> None:
    """Bind the campaign table as the claim says, whatever it was bound to."""
    row = {
        "platform": claim.platform,
        "table_oid": claim.table_oid,
        "redis": list(redis),
        "queues": list(claim.queues),
        "bound_by": by,
    }
    statement = insert(schema.binding).values(tables=claim.tables, **row)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["tables"], set_={**row, "bound_at": sa.func.now()})
    )


def bound_to(connection: sa.Connection, claim: Claim) -> sa.Row[Any] | None:
    """The binding of the campaign table; None where there is none."""
    query = sa.select(schema.binding).where(schema.binding.c.tables == claim.tables)
    return connection.execute(query).one_or_none()


def rekey(connection: sa.Connection, old: str, new: str) -> None:
    """Move all records from one key to another; of two records of one campaign, the stricter counts."""
    _merge_attempts(connection, old, new)
    incidents.merge(connection, old, new)
    for table in schema.metadata.sorted_tables:
        if "tables" not in table.c:
            continue
        statement = sa.update(table).where(table.c.tables == old).values(tables=new)
        if table.primary_key.contains_column(table.c.tables):
            there = table.alias("there")
            rest = [there.c[column.name] == column for column in table.primary_key if column.name != "tables"]
            statement = statement.where(sa.not_(sa.exists().where(there.c.tables == new, *rest)))
        connection.execute(statement)
    connection.execute(sa.delete(schema.binding).where(schema.binding.c.tables == old))


def _merge_attempts(connection: sa.Connection, old: str, new: str) -> None:
    kept, moved = schema.attempt, schema.attempt.alias("moved")
    most = {name: sa.func.greatest(kept.c[name], moved.c[name]) for name in ("total", "without_progress", "last_at")}
    least = {name: sa.func.least(kept.c[name], moved.c[name]) for name in ("pending_at_last", "left_out")}
    first = {name: sa.func.coalesce(kept.c[name], moved.c[name]) for name in ("held_by", "held_reason")}
    connection.execute(
        sa.update(kept)
        .where(kept.c.tables == new, moved.c.tables == old, moved.c.campaign_id == kept.c.campaign_id)
        .values(**most, **least, **first)
    )


def _check_name(claim: Claim, bound: sa.Row[Any], answers: Answers) -> None:
    if bound.platform != claim.platform and answers.is_watched_as(bound.platform):
        raise Refused(
            f"campaign table {claim.tables} is watched as platform {bound.platform} of this configuration, too",
            where=claim.platform,
            mend="take one of the two out; one platform can look at several queues",
        )


def _check_queues(claim: Claim, bound: sa.Row[Any], answers: Answers) -> None:
    if unwatched := sorted({*bound.queues} - {*claim.queues}):
        raise Refused(
            f"the jobs of campaign table {claim.tables} were last looked for in {', '.join(bound.queues)}, and this"
            f" configuration does not look at {', '.join(unwatched)}: the jobs there would be added a second time",
            where=claim.platform,
            mend=f"configure all of them; or, when no job is left there, run `campaign-ops bind {claim.tables}`",
        )
    if not bound.redis or claim.redis is None or claim.redis in bound.redis:
        return
    number = claim.redis.rpartition("/")[2]  # each database of a server has queues of its own
    if number not in {endpoint.rpartition("/")[2] for endpoint in bound.redis} or not answers.is_same_redis():
        raise Refused(
            f"the jobs of campaign table {claim.tables} were last looked for on Redis {', '.join(bound.redis)}, and"
            f" {claim.redis} is another one: the jobs on the first would be added a second time",
            where=claim.platform,
            mend=f"correct queue_url; or, when no job is left on the other, run `campaign-ops bind {claim.tables}`",
        )


def _redis(claim: Claim) -> list[str]:
    return [claim.redis] if claim.redis is not None else []


def _concerns(claim: Claim) -> sa.ColumnElement[bool]:
    table = schema.binding.c
    return sa.or_(table.tables == by_name(claim.platform), table.table_oid == claim.table_oid)
