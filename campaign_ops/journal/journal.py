"""Our record of every sweep and repair: before, after, why, who, which run. Speaks to our own tables only.

Takes an open connection everywhere, so that a journal row commits with the repair that it records.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert

from campaign_ops.core.model import RepairKind
from campaign_ops.journal import schema
from campaign_ops.journal.bulk import insert_rows

CONFIRMED = "confirmed"
"""Among a sweep's figures: a person's code, and the kinds of repair that it let pass the breaker."""


@dataclass(frozen=True, slots=True)
class Author:
    """The sweep that a row belongs to and its actor; for a fix or a confirmation, the person and their reason."""

    sweep_id: int
    run_id: str
    actor: str
    person_reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One repair to be recorded; ``reason`` is the evidence. ``before`` and ``after`` hold only written columns."""

    kind: RepairKind
    target: str
    campaign_id: str | None
    tenant: str | None
    reason: str
    verdict: str | None = None
    amount: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    parent_id: int | None = None


class Journal:
    """The journal of one platform: written with its name, for people, and found again by its campaign table.

    Args:
        platform: The platform's name in the configuration.
        tables: The campaign table, as `Profile.tables_key` names it.
    """

    def __init__(self, platform: str, tables: str) -> None:
        self.platform = platform
        self.tables = tables

    # -- sweeps ------------------------------------------------------------------------------------------------

    def begin_sweep(
        self,
        connection: sa.Connection,
        run_id: str,
        trigger: str,
        actor: str,
        *,
        premise: sa.ColumnElement[bool] | None = None,
    ) -> Author | None:
        """The sweep of this run: begun now, or, for a later step of the same run, as it was begun.

        None where the ``premise`` does not hold: then nothing was written.
        """
        row = {
            "platform": self.platform,
            "tables": self.tables,
            "run_id": run_id,
            "trigger": trigger,
            "actor": actor,
        }
        values = sa.select(*(sa.bindparam(None, value, type_=sa.Text) for value in row.values()))
        statement = insert(schema.sweep).from_select(
            list(row), values if premise is None else values.where(premise), include_defaults=False
        )
        statement = statement.on_conflict_do_update(
            index_elements=["platform", "run_id"], set_={"run_id": statement.excluded.run_id}
        )
        begun = connection.execute(statement.returning(schema.sweep.c.id, schema.sweep.c.actor)).one_or_none()
        return Author(begun.id, run_id, begun.actor) if begun is not None else None

    def add_figures(
        self,
        connection: sa.Connection,
        sweep_id: int,
        figures: Mapping[str, Mapping[str, Any]],
        *,
        along: Insert | None = None,
    ) -> None:
        """Merge the numbers of steps, by name, into the sweep; from then on their latest views show this sweep.

        ``along`` is written by the same statement: a sweep that finds nothing asks for no more round trips.
        """
        given = {step: dict(numbers) for step, numbers in figures.items()}
        merged = schema.sweep.c.figures.op("||")(sa.bindparam(None, given, type_=JSONB))
        statement = sa.update(schema.sweep).where(schema.sweep.c.id == sweep_id).values(figures=merged)
        if along is not None:
            statement = statement.add_cte(along.cte("along"))
        connection.execute(statement)

    def finish_sweep(self, connection: sa.Connection, sweep_id: int) -> None:
        """Note that the sweep came to its end."""
        connection.execute(
            sa.update(schema.sweep).where(schema.sweep.c.id == sweep_id).values(finished_at=sa.func.now())
        )

    def last_finished(self, connection: sa.Connection) -> datetime | None:
        """When the latest sweep came to its end; None when none has yet."""
        sweep = schema.sweep.c
        moment: datetime | None = connection.scalar(
            sa.select(sweep.finished_at)
            .where(sweep.tables == self.tables, sweep.finished_at.is_not(None))
            .order_by(sweep.started_at.desc())
            .limit(1)
        )
        return moment

    def latest_step(
        self,
        connection: sa.Connection,
        step: str,
        *,
        sweep_id: int | None = None,
        before: int | None = None,
        younger_than: timedelta | None = None,
    ) -> tuple[int, Mapping[str, Any]] | None:
        """The newest sweep that made this step, with the step's figures: (sweep id, figures).

        Args:
            connection: An open connection.
            step: Name of the step.
            sweep_id: Only this sweep.
            before: Only sweeps before this one.
            younger_than: Only sweeps begun within this time.
        """
        sweep = schema.sweep.c
        query = sa.select(sweep.id, sweep.figures[step].label("figures")).where(
            sweep.tables == self.tables, sweep.figures.has_key(step)
        )
        if sweep_id is not None:
            query = query.where(sweep.id == sweep_id)
        if before is not None:
            query = query.where(sweep.id < before)
        if younger_than is not None:
            query = query.where(sweep.started_at > sa.func.now() - younger_than)
        row = connection.execute(query.order_by(sweep.id.desc()).limit(1)).first()
        return (row.id, row.figures) if row is not None else None

    def figures(self, connection: sa.Connection, sweep_id: int) -> Mapping[str, Any]:
        """The numbers of every step of one sweep so far."""
        found = connection.scalar(sa.select(schema.sweep.c.figures).where(schema.sweep.c.id == sweep_id))
        return found or {}

    # -- histories ---------------------------------------------------------------------------------------------

    def add_history(
        self,
        connection: sa.Connection,
        table: sa.Table,
        author: Author,
        at: datetime,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        """Replace this sweep's rows of one history table."""
        connection.execute(sa.delete(table).where(table.c.sweep_id == author.sweep_id))
        common = {"platform": self.platform, "sweep_id": author.sweep_id, "observed_at": at}
        insert_rows(connection, table, [{**common, **row} for row in rows])

    def history(self, connection: sa.Connection, table: sa.Table, sweep_id: int) -> list[Mapping[str, Any]]:
        """One sweep's rows of one history table."""
        return [
            dict(row) for row in connection.execute(sa.select(table).where(table.c.sweep_id == sweep_id)).mappings()
        ]

    def row_count(self, connection: sa.Connection, step: str) -> int:
        """How many rows the latest view of a step shows of this platform."""
        found = self.latest_step(connection, step)
        if found is None:
            return 0
        rows = sa.table(f"{step}_history", sa.column("sweep_id"), schema=schema.metadata.schema)
        counted = sa.select(sa.func.count()).select_from(rows).where(rows.c.sweep_id == found[0])
        return connection.scalar(counted) or 0

    def prune(self, connection: sa.Connection, days: int) -> None:
        """Forget histories older than ``days``; the journal and the sweeps with their figures stay."""
        sweep = schema.sweep.c
        old = sa.func.now() - sa.func.make_interval(0, 0, 0, days)
        last = sa.select(sa.func.max(sweep.id)).where(sweep.tables == self.tables, sweep.started_at < old)
        for table in schema.HISTORIES:
            before = table.c.sweep_id <= last.scalar_subquery()
            ours = sa.exists().where(sweep.id == table.c.sweep_id, sweep.tables == self.tables)
            connection.execute(sa.delete(table).where(before, ours))

    def pending_before(
        self, connection: sa.Connection, campaign_ids: Collection[str], *, before: int | None
    ) -> dict[str, tuple[int, datetime]]:
        """What was unsent of each campaign when the sweep before looked, and when that was."""
        found = self.latest_step(connection, "recipient_status", before=before)
        if found is None:
            return {}
        table = schema.recipient_status.c
        query = sa.select(table.campaign_id, table.unsent, table.observed_at).where(
            table.sweep_id == found[0], table.campaign_id == sa.any_(texts(campaign_ids))
        )
        return {row.campaign_id: (row.unsent, row.observed_at) for row in connection.execute(query)}

    def accepted(self, connection: sa.Connection, sweep_id: int, campaign_ids: Collection[str]) -> int:
        """Recipients of these campaigns that this sweep saw accepted by the provider, though pending by their word."""
        table = schema.recipient_status.c
        these = sa.and_(table.sweep_id == sweep_id, table.campaign_id == sa.any_(texts(campaign_ids)))
        return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(table.accepted), 0)).where(these)) or 0)

    # -- repairs -----------------------------------------------------------------------------------------------

    def record(self, connection: sa.Connection, author: Author, entries: Sequence[Entry]) -> list[int]:
        """Write repairs into the journal; their numbers, in the same order."""
        if not entries:
            return []
        rows = [
            {
                "platform": self.platform,
                "tables": self.tables,
                "sweep_id": author.sweep_id,
                "run_id": author.run_id,
                "actor": author.actor,
                "kind": entry.kind.value,
                "target": entry.target,
                "campaign_id": entry.campaign_id,
                "tenant": entry.tenant,
                "reason": entry.reason,
                "person_reason": author.person_reason or None,
                "verdict": entry.verdict,
                "amount": entry.amount,
                "before": dict(entry.before or {}),
                "after": dict(entry.after or {}),
                "parent_id": entry.parent_id,
            }
            for entry in entries
        ]
        statement = sa.insert(schema.repair).returning(schema.repair.c.id, sort_by_parameter_order=True)
        return [row.id for row in connection.execute(statement, rows)]

    def repairs(
        self,
        connection: sa.Connection,
        *,
        sweep_id: int | None = None,
        campaign_id: str | None = None,
        tenant: str | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Mapping[str, Any]]:
        """Repairs, the newest first, with how many jobs each put into the queue."""
        repair, intent = schema.repair, schema.intent
        # Ids first: rows are wide, and to sort all of them to show a few would go to disk.
        ids = sa.select(repair.c.id).where(repair.c.tables == self.tables).order_by(repair.c.id.desc()).limit(limit)
        wanted = {"sweep_id": sweep_id, "campaign_id": campaign_id, "tenant": tenant, "kind": kind}
        for column, value in wanted.items():
            if value is not None:
                ids = ids.where(repair.c[column] == value)
        if since is not None:
            ids = ids.where(repair.c.at >= since)
        page = ids.subquery("page")
        mine = sa.select(repair).join(page, page.c.id == repair.c.id).subquery("mine")
        jobs = (
            sa.select(
                sa.func.nullif(sa.func.count(), 0).label("jobs"),
                sa.func.nullif(sa.func.count(intent.c.added_at), 0).label("jobs_added"),
                sa.func.sum(intent.c.recipients).filter(intent.c.added_at.is_not(None)).label("recipients_added"),
            )
            .where(intent.c.repair_id == mine.c.id)
            .lateral("jobs")
        )
        query = sa.select(mine, jobs).select_from(mine.join(jobs, sa.true())).order_by(mine.c.id.desc())
        return [dict(row) for row in connection.execute(query).mappings()]

    def targets(self, connection: sa.Connection, sweep_id: int) -> list[sa.Row[Any]]:
        """What one sweep repaired: (kind, target, tenant, amount, parent_id), the parent being what it was made with.

        A re-enqueue counts once a job was really added.
        """
        repair = schema.repair
        query = sa.select(repair.c.kind, repair.c.target, repair.c.tenant, repair.c.amount, repair.c.parent_id)
        return list(
            connection.execute(query.where(repair.c.sweep_id == sweep_id, _took_effect()).order_by(repair.c.id))
        )

    def reenqueued_lately(self, connection: sa.Connection, *, seconds: float, before: int | None) -> set[str]:
        """Campaigns that sweeps of the last seconds put back, those that a person had confirmed left out.

        Args:
            connection: An open connection.
            seconds: How far to look back.
            before: Only sweeps before this one; None for all.
        """
        repair, sweep = schema.repair.c, schema.sweep.c
        since = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.bindparam(None, float(seconds)))
        query = (
            sa.select(repair.target)
            .select_from(schema.repair.join(schema.sweep, sweep.id == repair.sweep_id))
            .where(
                repair.tables == self.tables,
                repair.at > sa.func.now() - since,
                repair.kind == RepairKind.REENQUEUE.value,
                repair.undone_by.is_(None),
                sweep.figures.has_key("repair_plan"),  # no fix by hand
                sa.func.coalesce(sa.not_(sweep.figures[CONFIRMED]["kinds"].has_key(RepairKind.REENQUEUE.value)), True),
                _took_effect(),
            )
        )
        return set(connection.scalars(query if before is None else query.where(sweep.id < before)))

    def releases_tried(self, connection: sa.Connection, *, before: int | None) -> set[str]:
        """Reservations that the newest plan was to release, if it could not plan all of them; else none.

        Args:
            connection: An open connection.
            before: Only sweeps before this one; None for all.
        """
        found = self.latest_step(connection, "repair_plan", before=before)
        if found is None or not found[1].get("more_releases"):
            return set()
        plan = schema.repair_plan.c
        query = sa.select(plan.target).where(plan.sweep_id == found[0], plan.kind == RepairKind.RELEASE.value)
        return set(connection.scalars(query))

    def repair_counts(self, connection: sa.Connection, *, hours: int) -> dict[str, int]:
        """How many repairs of each kind took effect within the last hours."""
        repair = schema.repair
        recent = repair.c.at > sa.func.now() - sa.func.make_interval(0, 0, 0, 0, hours)
        query = (
            sa.select(repair.c.kind, sa.func.count().label("number"))
            .where(repair.c.tables == self.tables, recent, _took_effect())
            .group_by(repair.c.kind)
        )
        return {row.kind: row.number for row in connection.execute(query)}

    def repair(self, connection: sa.Connection, repair_id: int, *, lock: bool = False) -> Mapping[str, Any] | None:
        """One repair by its number; locked until the transaction ends if asked."""
        query = sa.select(schema.repair).where(schema.repair.c.tables == self.tables, schema.repair.c.id == repair_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().first()
        return dict(row) if row is not None else None

    def children(self, connection: sa.Connection, repair_id: int) -> list[Mapping[str, Any]]:
        """Repairs that were made together with this one."""
        query = sa.select(schema.repair).where(schema.repair.c.parent_id == repair_id).order_by(schema.repair.c.id)
        return [dict(row) for row in connection.execute(query).mappings()]

    def undone_releases(self, connection: sa.Connection, reservation_ids: Collection[str]) -> set[str]:
        """Reservations whose own release a person has undone: sweeps leave them alone.

        Not those that are held again since their campaign's completion was undone: they are released with it next time.
        """
        repair, undo = schema.repair.c, schema.repair.alias("undo")
        query = (
            sa.select(repair.target)
            .join_from(schema.repair, undo, undo.c.id == repair.undone_by)
            .where(
                repair.tables == self.tables,
                repair.kind == RepairKind.RELEASE.value,
                repair.target == sa.any_(texts(reservation_ids)),
                undo.c.parent_id == repair.id,
            )
        )
        return set(connection.scalars(query))

    def made(self, connection: sa.Connection, run_id: str, kind: RepairKind, target: str) -> list[int]:
        """Repairs of one target by one run: what became of a commit whose answer was lost."""
        repair = schema.repair.c
        query = sa.select(repair.id).where(
            repair.tables == self.tables,
            repair.run_id == run_id,
            repair.kind == kind.value,
            repair.target == target,
        )
        return list(connection.scalars(query.order_by(repair.id)))

    def set_after(self, connection: sa.Connection, repair_id: int, after: Mapping[str, Any]) -> None:
        """Complete the record of a repair whose effect outside the database is known only now."""
        connection.execute(sa.update(schema.repair).where(schema.repair.c.id == repair_id).values(after=dict(after)))

    def mark_undone(self, connection: sa.Connection, repair_ids: Collection[int], by: int) -> None:
        """Note which repair undid these."""
        connection.execute(
            sa.update(schema.repair).where(schema.repair.c.id.in_(list(repair_ids))).values(undone_by=by)
        )


def texts(values: Collection[str]) -> sa.ColumnElement[Any]:
    """The values as one bound text array."""
    return sa.bindparam(None, list(values), type_=sa.ARRAY(sa.Text))


def _took_effect() -> sa.ColumnElement[bool]:
    """A re-enqueue took effect once one of its jobs was confirmed; every other repair commits with its row."""
    added = sa.exists().where(schema.intent.c.repair_id == schema.repair.c.id, schema.intent.c.added_at.is_not(None))
    return sa.or_(schema.repair.c.kind != RepairKind.REENQUEUE.value, added)
