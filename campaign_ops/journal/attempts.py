"""Re-enqueues of each campaign: the attempts, the jobs that each intended, and the holds that people put on it.

Apart from the journal because these rows decide: a fresh intent counts as coverage, a hold forbids repairs, too many
attempts end them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.model import Attempts
from campaign_ops.journal import schema
from campaign_ops.journal.bulk import as_rows, document, insert_rows, texts
from campaign_ops.postgres.expressions import IDS, ONE


@dataclass(frozen=True, slots=True)
class Beginning:
    """A new attempt.

    Attributes:
        number: One more than the attempts counted when it was decided on.
        pending: Pending recipients.
        missing: Those of them that are in no job.
        without_progress: Attempts without progress before it.
    """

    number: int
    pending: int
    missing: int
    without_progress: int


class Closed(StrEnum):
    """The outcome of an intended job that does not count as added."""

    NOT_ADDED = "not_added"
    TAKEN_BACK = "taken_back"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intended job whose outcome is unknown, with its number of recipients."""

    recipients: int
    intended_at: datetime


class AttemptLog:
    """The attempts of one platform, kept under its campaign table. Takes an open connection everywhere.

    Args:
        tables: The campaign table, as `Profile.tables_key` names it.
    """

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def of(self, connection: sa.Connection, campaign_ids: Collection[str]) -> dict[str, Attempts]:
        """The attempts of each campaign that has any, with the hold that a person put on it."""
        table = schema.attempt
        query = sa.select(table).where(
            table.c.tables == self.tables, table.c.campaign_id == sa.any_(texts(campaign_ids))
        )
        return {
            row.campaign_id: Attempts(
                row.total,
                row.without_progress,
                row.last_at,
                row.pending_at_last,
                row.held_by,
                row.held_reason,
                row.left_out,
            )
            for row in connection.execute(query)
        }

    def begin(self, connection: sa.Connection, beginnings: Mapping[str, Beginning]) -> dict[str, int]:
        """Count one more attempt of each campaign that is not held and not counted meanwhile; return the numbers.

        An attempt counts as one without progress only once its first job is in the queue: see `added`. Missing
        recipients are left out of it until `add_intents` names their jobs.
        """
        rows = [
            {
                "tables": self.tables,
                "campaign_id": campaign_id,
                "total": beginning.number,
                "without_progress": beginning.without_progress,
                "pending_at_last": beginning.pending,
                "left_out": beginning.missing,
            }
            for campaign_id, beginning in beginnings.items()
        ]
        if not rows:
            return {}
        begun = connection.execute(_beginning(), document(rows))
        return {row.campaign_id: row.total for row in begun}

    def added(self, connection: sa.Connection, campaign_ids: Collection[str]) -> None:
        """Record that a job of the current attempt really is in the queue."""
        connection.execute(_counting_one_more(), {"tables_key": self.tables, "ids": list(campaign_ids)})

    def add_intents(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record the jobs that are about to be added to the queue."""
        insert_rows(connection, schema.intent, [{"tables": self.tables, **row} for row in rows])
        intended: Counter[str] = Counter()
        for row in rows:
            intended[row["campaign_id"]] -= row["recipients"]
        self._leave_out(connection, intended)

    def _leave_out(self, connection: sa.Connection, recipients: Mapping[str, int]) -> None:
        """Add to the recipients of each campaign that its last attempt left out."""
        if not recipients:
            return
        rows = [{"campaign_id": campaign_id, "left_out": number} for campaign_id, number in recipients.items()]
        connection.execute(_leaving_out(), {"tables_key": self.tables, **document(rows)})

    def unconfirmed_campaigns(self, connection: sa.Connection, job_ids: Collection[str]) -> set[str]:
        """The campaigns of these open jobs whose attempt was not counted before."""
        return set(connection.scalars(_unconfirmed(), {"ids": list(job_ids)}))

    def confirm_intents(self, connection: sa.Connection, recipients: Mapping[str, int]) -> None:
        """Record that these jobs really are in the queue, with their numbers of recipients."""
        rows = [{"job_id": job_id, "recipients": number} for job_id, number in recipients.items()]
        connection.execute(_confirming(), document(rows))

    def close_intents(self, connection: sa.Connection, job_ids: Collection[str], closed_as: Closed) -> None:
        """Record that these jobs do not count as added, and why; unless unknown, their recipients were left out."""
        if not job_ids:
            return
        intent = schema.intent
        statement = sa.update(intent).where(intent.c.job_id == sa.any_(texts(job_ids)), _is_open())
        statement = statement.values(closed_as=closed_as.value)
        left_out: Counter[str] = Counter()
        for row in connection.execute(statement.returning(intent.c.campaign_id, intent.c.recipients)):
            left_out[row.campaign_id] += row.recipients
        if closed_as is not Closed.UNKNOWN:
            self._leave_out(connection, left_out)

    def open_intents(self, connection: sa.Connection, *, limit: int = 10_000) -> dict[str, OpenIntent]:
        """Jobs whose outcome is unknown, the newest first."""
        intent = schema.intent
        query = (
            sa.select(intent.c.job_id, intent.c.recipients, intent.c.intended_at)
            .where(intent.c.tables == self.tables, _is_open())
            .order_by(intent.c.intended_at.desc())
            .limit(limit)
        )
        return {row.job_id: OpenIntent(row.recipients, row.intended_at) for row in connection.execute(query)}

    def has_open(self, connection: sa.Connection) -> bool:
        """Return whether there are jobs whose outcome is unknown."""
        return bool(connection.scalar(sa.select(self.any_open())))

    def any_open(self) -> sa.ColumnElement[bool]:
        """There are jobs whose outcome is unknown."""
        return sa.exists(ONE).where(schema.intent.c.tables == self.tables, _is_open())

    def tenants_of(self, connection: sa.Connection, job_ids: Collection[str]) -> set[str]:
        """The tenants of the campaigns that these jobs were made for."""
        repair, intent = schema.repair.c, schema.intent.c
        query = sa.select(repair.tenant).join_from(schema.repair, schema.intent, intent.repair_id == repair.id)
        wanted = query.where(intent.job_id == sa.any_(texts(list(job_ids))), repair.tenant.is_not(None))
        return set(connection.scalars(wanted))

    def job_ids(self, connection: sa.Connection, repair_id: int) -> list[str]:
        """The jobs of one re-enqueue."""
        query = sa.select(schema.intent.c.job_id).where(schema.intent.c.repair_id == repair_id)
        return list(connection.scalars(query.order_by(schema.intent.c.batch)))

    def jobs_of_attempts(self, connection: sa.Connection, attempts: Mapping[str, int]) -> dict[str, list[str]]:
        """The jobs that these attempts really put into the queue, by campaign; ``attempts`` has one number for each."""
        if not attempts:
            return {}
        intent, repair = schema.intent, schema.repair
        given = as_rows(intent, ("campaign_id", "attempt"))
        query = (
            sa.select(repair.c.campaign_id, intent.c.job_id)
            .select_from(
                given.join(repair, repair.c.campaign_id == given.c.campaign_id).join(
                    intent, sa.and_(intent.c.repair_id == repair.c.id, intent.c.attempt == given.c.attempt)
                )
            )
            .where(repair.c.tables == self.tables, intent.c.added_at.is_not(None))
        )
        rows = [{"campaign_id": campaign_id, "attempt": number} for campaign_id, number in attempts.items()]
        jobs: dict[str, list[str]] = {}
        for row in connection.execute(query, document(rows)):
            jobs.setdefault(row.campaign_id, []).append(row.job_id)
        return jobs

    def hold(self, connection: sa.Connection, campaign_id: str, by: str, reason: str) -> None:
        """Keep sweeps from repairing this campaign until a person releases the hold."""
        statement = insert(schema.attempt).values(
            tables=self.tables, campaign_id=campaign_id, held_by=by, held_reason=reason
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tables", "campaign_id"], set_={"held_by": by, "held_reason": reason}
            )
        )

    def let_go(self, connection: sa.Connection, campaign_id: str) -> bool:
        """End a hold or a quarantine, but not the cooldown; return whether there was one."""
        table = schema.attempt
        statement = (
            sa.update(table)
            .where(table.c.tables == self.tables, table.c.campaign_id == campaign_id)
            .where(sa.or_(table.c.held_by.is_not(None), table.c.without_progress > 0))
            .values(held_by=None, held_reason=None, without_progress=0)
        )
        return connection.execute(statement).rowcount > 0

    def put_back(self, connection: sa.Connection, campaign_id: str, before: Attempts) -> bool:
        """Restore a hold or a quarantine that was ended, unless a person holds the campaign now."""
        table = schema.attempt
        without_progress = sa.func.greatest(table.c.without_progress, before.without_progress)
        statement = (
            sa.update(table)
            .where(table.c.tables == self.tables, table.c.campaign_id == campaign_id, table.c.held_by.is_(None))
            .values(held_by=before.held_by, held_reason=before.held_reason, without_progress=without_progress)
        )
        return connection.execute(statement).rowcount > 0

    def held(self, connection: sa.Connection, campaign_ids: Collection[str]) -> set[str]:
        """The given campaigns that a person holds."""
        table = schema.attempt.c
        query = sa.select(table.campaign_id).where(
            table.tables == self.tables,
            table.held_by.is_not(None),
            table.campaign_id == sa.any_(texts(campaign_ids)),
        )
        return set(connection.scalars(query))


def _is_open() -> sa.ColumnElement[bool]:
    """The outcome of the intended job is not known yet."""
    return sa.and_(schema.intent.c.added_at.is_(None), schema.intent.c.closed_as.is_(None))


# The statements of every page of jobs, made once: to make one takes SQLAlchemy as long as to send it.


@cache
def _beginning() -> sa.Executable:
    """Count new attempts. Binds: rows."""
    table = schema.attempt
    names = ["tables", "campaign_id", "total", "without_progress", "pending_at_last", "left_out"]
    given = as_rows(table, names)
    # Always in one order: two concurrent writers must not wait for each other.
    source = sa.select(*given.c, sa.func.now()).order_by(given.c.campaign_id)
    statement = insert(table).from_select([*names, "last_at"], source)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["tables", "campaign_id"],
        set_={name: new[name] for name in ("total", "without_progress", "pending_at_last", "left_out", "last_at")},
        where=sa.and_(table.c.total + 1 == new.total, table.c.held_by.is_(None)),
    )
    return statement.returning(table.c.campaign_id, table.c.total)


@cache
def _counting_one_more() -> sa.Update:
    """Count the last attempt of these campaigns. Binds: tables_key, ids."""
    table = schema.attempt
    ours = sa.and_(table.c.tables == sa.bindparam("tables_key"), table.c.campaign_id == sa.any_(IDS))
    return sa.update(table).where(ours).values(without_progress=table.c.without_progress + 1)


@cache
def _leaving_out() -> sa.Update:
    """Add to what the last attempts left out. Binds: tables_key, rows."""
    table = schema.attempt
    given = as_rows(table, ("campaign_id", "left_out"))
    ours = sa.and_(table.c.tables == sa.bindparam("tables_key"), table.c.campaign_id == given.c.campaign_id)
    return sa.update(table).where(ours).values(left_out=sa.func.greatest(table.c.left_out + given.c.left_out, 0))


@cache
def _unconfirmed() -> sa.Select[str]:
    """The campaigns of open jobs whose attempt was not counted before. Binds: ids."""
    intent, other = schema.intent, schema.intent.alias("other")
    counted = sa.or_(other.c.added_at.is_not(None), other.c.closed_as == Closed.UNKNOWN.value)
    confirmed = sa.exists().where(other.c.repair_id == intent.c.repair_id, counted)
    return sa.select(intent.c.campaign_id).where(intent.c.job_id == sa.any_(IDS), _is_open(), sa.not_(confirmed))


@cache
def _confirming() -> sa.Update:
    """Confirm open jobs. Binds: rows."""
    intent = schema.intent
    given = as_rows(intent, ("job_id", "recipients"))
    return (
        sa.update(intent)
        .where(intent.c.job_id == given.c.job_id, _is_open())
        .values(added_at=sa.func.clock_timestamp(), recipients=given.c.recipients)
    )
