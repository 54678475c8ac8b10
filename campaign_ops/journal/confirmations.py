"""Confirmation codes: what each one allows, who used it, and why."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_ops.core.confirmation import VALID_FOR, Confirmation, Covers, Offer, new_code
from campaign_ops.journal import schema

KEPT_DAYS = 1  # an unused code is kept so long, so that it can be reported as expired


class ConfirmationLog:
    """The confirmations of one platform, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def offer(self, connection: sa.Connection, what: str, covers: Covers, run_id: str) -> Offer:
        """Create a code.

        Args:
            connection: An open connection.
            what: The purpose of the code: a sweep's repairs or a manual fix.
            covers: What it allows.
            run_id: The run that shows it.
        """
        table = schema.confirmation
        old = sa.func.now() - sa.func.make_interval(0, 0, 0, KEPT_DAYS)
        forgotten = (table.c.tables == self.tables, table.c.used_at.is_(None), table.c.expires_at < old)
        connection.execute(sa.delete(table).where(*forgotten))
        values = {
            "code": new_code(what, covers),
            "tables": self.tables,
            "what": what,
            "covers": dict(covers),
            "run_id": run_id,
            "expires_at": sa.func.now() + VALID_FOR,
        }
        row = connection.execute(sa.insert(table).values(values).returning(table)).one()
        return _offer(row)

    def open_offers(self, connection: sa.Connection, run_id: str) -> list[tuple[Offer, Covers]]:
        """The codes of a run that may still be used, the oldest first."""
        table = schema.confirmation.c
        mine = (table.tables == self.tables, table.run_id == run_id)
        query = sa.select(schema.confirmation).where(*mine, table.used_at.is_(None), table.expires_at > sa.func.now())
        return [(_offer(row), row.covers) for row in connection.execute(query.order_by(table.offered_at, table.code))]

    def newest(self, connection: sa.Connection, what: str) -> Offer | None:
        """The newest code for this purpose that may still be used."""
        table = schema.confirmation.c
        mine = (table.tables == self.tables, table.what == what)
        query = sa.select(schema.confirmation).where(*mine, table.used_at.is_(None), table.expires_at > sa.func.now())
        row = connection.execute(query.order_by(table.offered_at.desc()).limit(1)).first()
        return _offer(row) if row is not None else None

    def look_up(self, connection: sa.Connection, what: str, code: str, run_id: str) -> tuple[str, Covers]:
        """The reason why a code cannot be used, or an empty text; and what it covers. Locks it for the transaction.

        A run may use its code again: each of its steps is a call of its own.
        """
        table = schema.confirmation
        written = code.strip().lower()
        query = sa.select(table, (table.c.expires_at <= sa.func.now()).label("expired"))
        row = connection.execute(
            query.where(table.c.tables == self.tables, table.c.code == written).with_for_update()
        ).first()
        if row is None:
            return f"code {code!r} was never shown for this platform", {}
        if row.what != what:
            return f"code {code} was given for {row.what}, not for {what}", {}
        if row.used_at is not None and row.used_run != run_id:
            return f"code {code} was used already, by {row.used_by} at {row.used_at:%H:%M} UTC", {}
        if row.used_at is None and row.expired:
            return f"code {code} expired at {row.expires_at:%H:%M} UTC", {}
        return "", row.covers

    def use(self, connection: sa.Connection, what: str, given: Confirmation, run_id: str) -> bool:
        """Use a code up, and delete those that other runs have shown for the same purpose; False if it was used."""
        table = schema.confirmation
        mine = (table.c.tables == self.tables, table.c.what == what, table.c.used_at.is_(None))
        written = given.code.strip().lower()
        used: dict[str, Any] = {"used_at": sa.func.now(), "used_by": given.by, "reason": given.reason}
        first = connection.execute(
            sa.update(table).where(*mine, table.c.code == written).values(**used, used_run=run_id)
        ).rowcount
        if first:
            connection.execute(sa.delete(table).where(*mine, table.c.run_id != run_id))
        return first > 0

    def give_back(self, connection: sa.Connection, run_id: str) -> None:
        """Make the code of a run usable again, after the run has done nothing at all."""
        table = schema.confirmation
        unused = {"used_at": None, "used_by": None, "reason": None, "used_run": None}
        mine = (table.c.tables == self.tables, table.c.used_run == run_id)
        connection.execute(sa.update(table).where(*mine).values(**unused))


def _offer(row: sa.Row[Any]) -> Offer:
    return Offer(row.code, row.expires_at, tuple(row.covers.get("repairs", ())))
