"""The audit of the HTTP interface: every attempt to change something, accepted or refused, with its actor.

Here is what was asked for. What was done is in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from campaign_ops.journal import schema

KEPT = timedelta(days=90)
KEPT_ROWS = 100_000
"""Most rows that are kept: refused attempts cost a stranger nothing, and must not fill the platform's disk."""
_LONGEST = 500  # characters of one text: paths and addresses come from strangers


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One attempt.

    Attributes:
        at: When it was answered.
        token_id: The public part of the token's text; None where none was recognised.
        actor: The name of the token, or of the person whom a trusted proxy named; may be empty.
        address: Where the request came from.
        method: The HTTP method.
        path: The path of the URL, without its query; for a fix from the console, the page that it begins on.
        status: The HTTP status of the answer.
        why: Why it was refused, or the reason that the person gave; after ``dry run: `` if it was one.
    """

    at: datetime
    token_id: str | None
    actor: str
    address: str
    method: str
    path: str
    status: int
    why: str


class AuditLog:
    """The attempts on one platform, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def write(
        self,
        connection: sa.Connection,
        *,
        token_id: str | None,
        actor: str,
        address: str,
        method: str,
        path: str,
        status: int,
        why: str,
    ) -> None:
        """Record an attempt; texts are cut at 500 characters, and characters that PostgreSQL refuses are escaped."""
        texts = {"actor": actor, "address": address, "method": method, "path": path, "why": why}
        row = {name: _storable(text) for name, text in texts.items()}
        known = None if token_id is None else _storable(token_id)
        connection.execute(sa.insert(schema.audit).values(tables=self.tables, token_id=known, status=status, **row))

    def latest(self, connection: sa.Connection, limit: int) -> list[AuditEntry]:
        """The latest attempts, the newest first."""
        table = schema.audit.c
        columns = (table.token_id, table.actor, table.address, table.method, table.path, table.status, table.why)
        mine = sa.select(table.at, *columns).where(table.tables == self.tables)
        return [AuditEntry(*row) for row in connection.execute(mine.order_by(table.id.desc()).limit(limit))]

    def prune(self, connection: sa.Connection) -> None:
        """Forget attempts of more than 90 days ago, and all but the latest 100,000."""
        table = schema.audit
        mine = table.c.tables == self.tables
        oldest_kept = sa.select(table.c.id).where(mine).order_by(table.c.id.desc()).offset(KEPT_ROWS).limit(1)
        old = table.c.at < sa.func.now() - KEPT
        connection.execute(sa.delete(table).where(mine, sa.or_(old, table.c.id <= oldest_kept.scalar_subquery())))


def _storable(text: str) -> str:
    """Text that PostgreSQL takes: it has no NUL, and no half of a surrogate pair."""
    return text[:_LONGEST].replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
