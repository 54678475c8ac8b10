"""Idempotency keys: each request that brings one is carried out once, and its answer is kept for a day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.idempotency import Beginning, Begun, Finished, InProgress, Mismatch
from campaign_ops.journal import schema

UNKNOWN_AFTER = timedelta(minutes=10)
"""A request without an answer after this time has died with its process; the same request may then begin again."""
KEPT = timedelta(hours=25)
"""A client may send a request again for a day, and some minutes more for clocks that differ."""


class IdempotencyLog:
    """The keys of one platform, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def begin(self, connection: sa.Connection, key: str, token_id: str, request_hash: str) -> Beginning:
        """Claim a key for a request, or return what is known of the request that has claimed it.

        The same request takes over a claim without an answer after `UNKNOWN_AFTER`. What the first one did is not done
        twice: both have the run that the key names, and every repair repeats its premise in its write.

        Of two that begin at the same time, one waits until the other's transaction ends. Commit before the request is
        carried out: its effect must not be rolled back without its claim.
        """
        table = schema.idempotency
        mine = (table.c.tables == self.tables, table.c.key == key)
        values = {"tables": self.tables, "key": key, "token_id": token_id, "request_hash": request_hash}
        claim = insert(table).values(values).on_conflict_do_nothing().returning(table.c.key)
        same = (table.c.token_id == token_id, table.c.request_hash == request_hash, table.c.finished_at.is_(None))
        dead = table.c.started_at < sa.func.now() - UNKNOWN_AFTER
        take_over = sa.update(table).where(*mine, *same, dead).values(started_at=sa.func.now())
        while connection.execute(claim).one_or_none() is None:
            if connection.execute(take_over).rowcount:
                return Begun()
            row = connection.execute(sa.select(table).where(*mine)).one_or_none()
            if row is None:  # the other request was abandoned in between: the key is free again
                continue
            if (row.token_id, row.request_hash) != (token_id, request_hash):
                return Mismatch()
            if row.finished_at is None:
                return InProgress(row.started_at)
            return Finished(row.status, row.body)
        return Begun()

    def finish(self, connection: sa.Connection, key: str, status: int, body: Any) -> None:
        """Keep the answer to a request; a first answer stays."""
        table = schema.idempotency
        mine = (table.c.tables == self.tables, table.c.key == key, table.c.finished_at.is_(None))
        values = {"status": status, "body": body, "finished_at": sa.func.clock_timestamp()}
        connection.execute(sa.update(table).where(*mine).values(values))

    def abandon(self, connection: sa.Connection, key: str) -> None:
        """Let go of a key whose request did nothing, so that it can be sent again."""
        table = schema.idempotency
        mine = (table.c.tables == self.tables, table.c.key == key, table.c.finished_at.is_(None))
        connection.execute(sa.delete(table).where(*mine))

    def prune(self, connection: sa.Connection) -> None:
        """Forget the requests that began more than a day ago."""
        table = schema.idempotency
        old = table.c.started_at < sa.func.now() - KEPT
        connection.execute(sa.delete(table).where(table.c.tables == self.tables, old))
