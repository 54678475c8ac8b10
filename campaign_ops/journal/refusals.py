"""Repairs that the database refuses repeatedly: after some tries they need a person, and are tried once a day."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.model import RepairKind
from campaign_ops.core.wording import REFUSED_AGAIN
from campaign_ops.journal import schema

_A_DAY = sa.func.make_interval(0, 0, 0, 1)


class Refusals:
    """The refused repairs of one platform, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def note(self, connection: sa.Connection, kind: RepairKind, target: str, why: str) -> None:
        """Count one more refusal; the count restarts after two days without one."""
        table = schema.refusal
        statement = insert(table).values(tables=self.tables, kind=kind.value, target=target, why=why)
        recent = table.c.last_at > sa.func.now() - 2 * _A_DAY
        values = {"times": sa.case((recent, table.c.times + 1), else_=1), "why": why, "last_at": sa.func.now()}
        connection.execute(statement.on_conflict_do_update(index_elements=["tables", "kind", "target"], set_=values))

    def given_up(self, connection: sa.Connection, *, after: int) -> dict[tuple[RepairKind, str], str]:
        """Repairs by kind and target, with the reason, refused ``after`` times or more and last within a day."""
        table = schema.refusal.c
        query = sa.select(table.kind, table.target, table.times, table.why).where(
            table.tables == self.tables, table.times >= after, table.last_at > sa.func.now() - _A_DAY
        )
        return {
            (RepairKind(row.kind), row.target): f"refused {row.times}{REFUSED_AGAIN}{row.why}"
            for row in connection.execute(query)
        }
