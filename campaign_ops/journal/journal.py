"""The journal: every repair with its rows before and after, the evidence, the actor and the run.

Takes an open connection everywhere, so that a journal row commits with the repair that it records.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.journal import schema
from campaign_ops.journal.bulk import as_rows, document, texts
from campaign_ops.journal.sweeps import CONFIRMED, Author


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

    def record(self, connection: sa.Connection, author: Author, entries: Sequence[Entry]) -> list[int]:
        """Write repairs into the journal; return their numbers, in the same order."""
        if not entries:
            return []
        rows = [
            {
                "place": place,
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
            for place, entry in enumerate(entries)
        ]
        return sorted(connection.scalars(_recording(), document(rows)))

    def repairs(
        self,
        connection: sa.Connection,
        *,
        sweep_id: int | None = None,
        campaign_id: str | None = None,
        tenant: str | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        before: int | None = None,
        tenants: Collection[str] | None = None,
        limit: int = 100,
    ) -> list[Mapping[str, Any]]:
        """Repairs, the newest first, with the number of jobs that each put into the queue."""
        repair, intent = schema.repair, schema.intent
        # Ids first: rows are wide, and sorting all of them to show a few would go to disk.
        ids = sa.select(repair.c.id).where(repair.c.tables == self.tables).order_by(repair.c.id.desc()).limit(limit)
        wanted = {"sweep_id": sweep_id, "campaign_id": campaign_id, "tenant": tenant, "kind": kind}
        for column, value in wanted.items():
            if value is not None:
                ids = ids.where(repair.c[column] == value)
        if since is not None:
            ids = ids.where(repair.c.at >= since)
        if before is not None:
            ids = ids.where(repair.c.id < before)
        if tenants is not None:
            ids = ids.where(repair.c.tenant.in_(sorted(tenants)))
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
        """The repairs of one sweep: (kind, target, tenant, amount, parent_id); the parent is the repair it came with.

        A re-enqueue counts once a job was really added.
        """
        repair = schema.repair
        query = sa.select(repair.c.kind, repair.c.target, repair.c.tenant, repair.c.amount, repair.c.parent_id)
        return list(
            connection.execute(query.where(repair.c.sweep_id == sweep_id, _took_effect()).order_by(repair.c.id))
        )

    def reenqueued_lately(self, connection: sa.Connection, *, seconds: float, before: int | None) -> set[str]:
        """Campaigns that sweeps of the last seconds re-enqueued, without those that a person had confirmed.

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
                sweep.figures.has_key("repair_plan"),  # not a manual fix
                sa.func.coalesce(sa.not_(sweep.figures[CONFIRMED]["kinds"].has_key(RepairKind.REENQUEUE.value)), True),
                _took_effect(),
            )
        )
        return set(connection.scalars(query if before is None else query.where(sweep.id < before)))

    def repair_counts(self, connection: sa.Connection, *, hours: int) -> dict[str, int]:
        """The number of repairs of each kind that took effect within the last hours."""
        return {row.kind: row.number for row in connection.execute(self.counts(hours=hours))}

    def counts(self, *, hours: int) -> sa.Select[str, int]:
        """The kinds of repair that took effect within the last hours, with their numbers."""
        repair = schema.repair
        recent = repair.c.at > sa.func.now() - sa.func.make_interval(0, 0, 0, 0, hours)
        return (
            sa.select(repair.c.kind, sa.func.count().label("number"))
            .where(repair.c.tables == self.tables, recent, _took_effect())
            .group_by(repair.c.kind)
        )

    def repair(self, connection: sa.Connection, repair_id: int, *, lock: bool = False) -> Mapping[str, Any] | None:
        """One repair by its number; with ``lock``, locked until the transaction ends."""
        query = sa.select(schema.repair).where(schema.repair.c.tables == self.tables, schema.repair.c.id == repair_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().first()
        return dict(row) if row is not None else None

    def children(self, connection: sa.Connection, repair_id: int) -> list[Mapping[str, Any]]:
        """Repairs that were made together with this one."""
        query = sa.select(schema.repair).where(schema.repair.c.parent_id == repair_id).order_by(schema.repair.c.id)
        return [dict(row) for row in connection.execute(query).mappings()]

    def undone_releases(self, connection: sa.Connection, reservation_ids: Collection[str]) -> set[str]:
        """Reservations whose own release a person has undone: sweeps leave them alone.

        Those held again because their campaign's completion was undone are not among them: they are released with it.
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
        """Repairs of one target by one run: they show whether a commit took effect whose answer was lost."""
        repair = schema.repair.c
        query = sa.select(repair.id).where(
            repair.tables == self.tables,
            repair.run_id == run_id,
            repair.kind == kind.value,
            repair.target == target,
        )
        return list(connection.scalars(query.order_by(repair.id)))

    def entries_of(
        self, connection: sa.Connection, sweep_id: int, kind: RepairKind, targets: Collection[str]
    ) -> dict[int, Entry]:
        """Repairs of this kind that a sweep made to these targets, with what it made together with them, by number."""
        repair = schema.repair.c
        mine = sa.and_(repair.sweep_id == sweep_id, repair.kind == kind.value, repair.target == sa.any_(texts(targets)))
        parents = sa.select(repair.id).where(mine)
        query = sa.select(schema.repair).where(sa.or_(mine, repair.parent_id.in_(parents))).order_by(repair.id)
        names = [field.name for field in fields(Entry) if field.name != "kind"]
        rows = connection.execute(query).mappings()
        return {row["id"]: Entry(RepairKind(row["kind"]), **{name: row[name] for name in names}) for row in rows}

    def set_after(self, connection: sa.Connection, repair_id: int, after: Mapping[str, Any]) -> None:
        """Add the outcome to a repair whose effect outside the database is known only now."""
        connection.execute(sa.update(schema.repair).where(schema.repair.c.id == repair_id).values(after=dict(after)))

    def mark_undone(self, connection: sa.Connection, repair_ids: Collection[int], by: int) -> None:
        """Record the repair that undid these."""
        connection.execute(
            sa.update(schema.repair).where(schema.repair.c.id.in_(list(repair_ids))).values(undone_by=by)
        )


def _took_effect() -> sa.ColumnElement[bool]:
    """A re-enqueue took effect once one of its jobs was confirmed; every other repair commits with its row."""
    added = sa.exists().where(schema.intent.c.repair_id == schema.repair.c.id, schema.intent.c.added_at.is_not(None))
    return sa.or_(schema.repair.c.kind != RepairKind.REENQUEUE.value, added)


@cache
def _recording() -> sa.Executable:
    """Write repairs; their numbers ascend with their places. Binds: rows.

    With parameters for each row, the driver took 10 ms to find the names of 100 rows in the statement.
    """
    names = [column.name for column in schema.repair.c if column.name not in ("id", "at", "undone_by")]
    given = as_rows(schema.repair, names, numbered=True)
    rows = sa.select(*(given.c[name] for name in names)).order_by(given.c.place)
    return sa.insert(schema.repair).from_select(names, rows).returning(schema.repair.c.id)
