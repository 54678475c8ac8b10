"""Sweeps, their figures, and the rows that each step leaves in its history.

Takes an open connection everywhere, so that a step's records commit with its effects.
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
from campaign_ops.journal.bulk import insert_rows, texts
from campaign_ops.postgres.expressions import ONE

CONFIRMED = "confirmed"
"""Among a sweep's figures: a person's code, and the kinds of repair that it let pass the breaker."""


@dataclass(frozen=True, slots=True)
class Author:
    """The sweep that a row belongs to and its actor; for a fix or a confirmation, the person and their reason.

    ``is_first_of_hour``: it is the platform's first sweep in this hour of the clock, which prunes.
    """

    sweep_id: int
    run_id: str
    actor: str
    person_reason: str = ""
    is_first_of_hour: bool = False


class SweepLog:
    """The sweeps of one platform: written with its name, for people, and found again by its campaign table.

    Args:
        platform: The platform's name in the configuration.
        tables: The campaign table, as `Profile.tables_key` names it.
    """

    def __init__(self, platform: str, tables: str) -> None:
        self.platform = platform
        self.tables = tables

    def begin(
        self,
        connection: sa.Connection,
        run_id: str,
        trigger: str,
        actor: str,
        *,
        premise: sa.ColumnElement[bool] | None = None,
        figures: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Author | None:
        """Begin the sweep of this run, or return it as it was begun, for a later step of the same run.

        None where the ``premise`` does not hold: then nothing was written. With the ``figures`` of all its steps, the
        sweep is finished, too.
        """
        row = {
            "platform": self.platform,
            "tables": self.tables,
            "run_id": run_id,
            "trigger": trigger,
            "actor": actor,
        }
        columns: dict[str, sa.ColumnElement[Any]] = {
            name: sa.bindparam(None, value, type_=sa.Text) for name, value in row.items()
        }
        if figures is not None:
            columns |= {
                "figures": sa.bindparam(None, figures, type_=JSONB),
                "finished_at": sa.func.clock_timestamp(),
            }
        values = sa.select(*columns.values())
        statement = insert(schema.sweep).from_select(
            list(columns), values if premise is None else values.where(premise), include_defaults=False
        )
        statement = statement.on_conflict_do_update(
            index_elements=["platform", "run_id"], set_={"run_id": statement.excluded.run_id}
        )
        sweep = schema.sweep.c
        is_first = self._is_first_of_hour(run_id).label("is_first")
        begun = connection.execute(statement.returning(sweep.id, sweep.actor, is_first)).one_or_none()
        return Author(begun.id, run_id, begun.actor, is_first_of_hour=begun.is_first) if begun is not None else None

    def add_figures(
        self,
        connection: sa.Connection,
        sweep_id: int,
        figures: Mapping[str, Mapping[str, Any]],
        *,
        along: Insert | None = None,
    ) -> None:
        """Merge the numbers of steps, by name, into the sweep; from then on their latest views show this sweep.

        ``along`` is written by the same statement: a sweep that finds nothing needs no further round trip.
        """
        new = {step: dict(numbers) for step, numbers in figures.items()}
        merged = schema.sweep.c.figures.op("||")(sa.bindparam(None, new, type_=JSONB))
        statement = sa.update(schema.sweep).where(schema.sweep.c.id == sweep_id).values(figures=merged)
        if along is not None:
            statement = statement.add_cte(along.cte("along"))
        connection.execute(statement)

    def is_known(self, run_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """A sweep of this run was begun."""
        sweep = schema.sweep.c
        return sa.exists(ONE).where(sweep.platform == self.platform, sweep.run_id == run_id)

    def _is_first_of_hour(self, run_id: str) -> sa.ColumnElement[bool]:
        """No other sweep was begun in this hour of the clock."""
        sweep, hour = schema.sweep.alias("earlier").c, sa.func.date_trunc("hour", sa.func.now())
        others = sa.exists(ONE).where(sweep.tables == self.tables, sweep.started_at >= hour, sweep.run_id != run_id)
        return sa.not_(others)

    def finish(self, connection: sa.Connection, sweep_id: int) -> None:
        """Record that the sweep has finished."""
        connection.execute(
            sa.update(schema.sweep).where(schema.sweep.c.id == sweep_id).values(finished_at=sa.func.now())
        )

    def finished_at(self, connection: sa.Connection, sweep_id: int) -> datetime | None:
        """When one of these sweeps finished; None if it has not, or is not known any more."""
        sweep = schema.sweep.c
        moment: datetime | None = connection.scalar(
            sa.select(sweep.finished_at).where(sweep.tables == self.tables, sweep.id == sweep_id)
        )
        return moment

    def curves(
        self, connection: sa.Connection, names: Sequence[str], *, hours: int
    ) -> list[tuple[datetime, Mapping[str, int | None]]]:
        """When each sweep of the last hours finished, with figures of its report and the depth of its queue."""
        sweep = schema.sweep.c
        health, queue = sweep.figures["campaign_health"], sweep.figures["queue_state"]
        query = (
            sa.select(
                sweep.finished_at,
                *(health[name].astext.cast(sa.BigInteger).label(name) for name in names),
                queue["depth"].astext.cast(sa.BigInteger).label("waiting"),
            )
            .where(
                sweep.tables == self.tables,
                sweep.started_at > sa.func.now() - timedelta(hours=hours),
                sweep.finished_at.is_not(None),
                sweep.figures.has_key("campaign_health"),
            )
            .order_by(sweep.started_at)
        )
        rows = connection.execute(query)
        return [(row.finished_at, {name: getattr(row, name) for name in (*names, "waiting")}) for row in rows]

    def of_run(self, connection: sa.Connection, run_id: str) -> Mapping[str, Any] | None:
        """The sweep, or the fix, that a run has begun: a row of ``sweep``."""
        query = sa.select(schema.sweep).where(schema.sweep.c.tables == self.tables, schema.sweep.c.run_id == run_id)
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else dict(row)

    def figures(self, connection: sa.Connection, sweep_id: int) -> Mapping[str, Any]:
        """The numbers of every step of one sweep so far."""
        return connection.scalar(sa.select(schema.sweep.c.figures).where(schema.sweep.c.id == sweep_id)) or {}

    def latest_step(
        self,
        connection: sa.Connection,
        step: str,
        *,
        sweep_id: int | None = None,
        before: int | None = None,
        younger_than: timedelta | None = None,
    ) -> tuple[int, Mapping[str, Any]] | None:
        """The newest sweep that made this step: (sweep id, the step's figures).

        Args:
            connection: An open connection.
            step: Name of the step.
            sweep_id: Only this sweep.
            before: Only sweeps before this one.
            younger_than: Only sweeps begun within this time.
        """
        sweep, query = schema.sweep.c, self.newest(step)
        if sweep_id is not None:
            query = query.where(sweep.id == sweep_id)
        if before is not None:
            query = query.where(sweep.id < before)
        if younger_than is not None:
            query = query.where(sweep.started_at > sa.func.now() - younger_than)
        row = connection.execute(query).first()
        return (row.id, row.figures) if row is not None else None

    def newest(self, step: str) -> sa.Select[int, Mapping[str, Any]]:
        """The newest sweep that made this step, with the step's figures."""
        sweep = schema.sweep.c
        return (
            sa.select(sweep.id, sweep.figures[step].label("figures"))
            .where(sweep.tables == self.tables, sweep.figures.has_key(step))
            .order_by(sweep.id.desc())
            .limit(1)
        )

    def add_history(
        self,
        connection: sa.Connection,
        table: sa.Table,
        author: Author,
        at: datetime,
        rows: Sequence[Mapping[str, Any]],
        *,
        is_new: bool = False,
    ) -> None:
        """Replace this sweep's rows of one history table; a sweep that this transaction has begun has none."""
        if not is_new:
            connection.execute(sa.delete(table).where(table.c.sweep_id == author.sweep_id))
        common = {"platform": self.platform, "sweep_id": author.sweep_id, "observed_at": at}
        insert_rows(connection, table, [{**common, **row} for row in rows])

    def history(
        self, connection: sa.Connection, table: sa.Table, sweep_id: int, *, without: RepairKind | None = None
    ) -> list[Mapping[str, Any]]:
        """One sweep's rows of one history table; of a plan, without those of one kind if asked."""
        query = sa.select(table).where(table.c.sweep_id == sweep_id)
        if without is not None:
            query = query.where(table.c.kind != without.value)
        return [dict(row) for row in connection.execute(query).mappings()]

    def row_count(self, connection: sa.Connection, step: str) -> int:
        """The number of rows that the latest view of a step shows of this platform."""
        latest = self.latest_step(connection, step)
        if latest is None:
            return 0
        rows = sa.table(f"{step}_history", sa.column("sweep_id"), schema=schema.metadata.schema)
        counted = sa.select(sa.func.count()).select_from(rows).where(rows.c.sweep_id == latest[0])
        return connection.scalar(counted) or 0

    def pending_before(
        self, connection: sa.Connection, campaign_ids: Collection[str], *, before: int | None
    ) -> dict[str, tuple[int, datetime]]:
        """The unsent recipients of each campaign at the sweep before, and the moment of that look."""
        latest = self.latest_step(connection, "recipient_status", before=before)
        if latest is None:
            return {}
        table = schema.recipient_status.c
        query = sa.select(table.campaign_id, table.unsent, table.observed_at).where(
            table.sweep_id == latest[0], table.campaign_id == sa.any_(texts(campaign_ids))
        )
        return {row.campaign_id: (row.unsent, row.observed_at) for row in connection.execute(query)}

    def accepted(self, connection: sa.Connection, sweep_id: int, campaign_ids: Collection[str]) -> int:
        """The number of these campaigns' recipients that this sweep saw accepted, though pending by status."""
        table = schema.recipient_status.c
        these = sa.and_(table.sweep_id == sweep_id, table.campaign_id == sa.any_(texts(campaign_ids)))
        return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(table.accepted), 0)).where(these)) or 0)

    def releases_tried(self, connection: sa.Connection, *, before: int | None) -> set[str]:
        """Reservations that the newest plan wanted to release, if it could not plan all of them; else none.

        Args:
            connection: An open connection.
            before: Only sweeps before this one; None for all.
        """
        latest = self.latest_step(connection, "repair_plan", before=before)
        if latest is None or not latest[1].get("more_releases"):
            return set()
        plan = schema.repair_plan.c
        query = sa.select(plan.target).where(plan.sweep_id == latest[0], plan.kind == RepairKind.RELEASE.value)
        return set(connection.scalars(query))

    def prune(self, connection: sa.Connection, days: int) -> None:
        """Delete histories older than ``days``; the journal and the sweeps with their figures stay."""
        sweep = schema.sweep.c
        old = sa.func.now() - sa.func.make_interval(0, 0, 0, days)
        last = sa.select(sa.func.max(sweep.id)).where(sweep.tables == self.tables, sweep.started_at < old)
        for table in schema.HISTORIES:
            before = table.c.sweep_id <= last.scalar_subquery()
            ours = sa.exists().where(sweep.id == table.c.sweep_id, sweep.tables == self.tables)
            connection.execute(sa.delete(table).where(before, ours))
