"""Short statements: none takes longer than a few seconds, and one that does fails alone, not the transaction.

A result too large for one short statement is streamed: of one moment, in pieces that are a statement each.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import DatabaseTimeout
from campaign_ops.postgres import planner
from campaign_ops.postgres.database import Database
from campaign_ops.postgres.errors import mapped

STATEMENT_SECONDS = 5
PIECE = 20_000
"""Rows in a piece: some 10 ms of work for rows in memory."""
PATIENCE_SECONDS = 60


@contextmanager
def bounded(database: Database, connection: sa.Connection) -> Iterator[None]:
    """Statements of this block take at most ``STATEMENT_SECONDS``, or the database's own timeout if that is less.

    Raises:
        DatabaseTimeout: One took longer. The transaction goes on as it was before the block.
    """
    own = database.timeouts.statement_seconds
    with mapped(database.where), connection.begin_nested():  # an error ends the savepoint, and the setting with it
        _set_timeout(connection, min(own, STATEMENT_SECONDS))
        yield
        _set_timeout(connection, own)


def _set_timeout(connection: sa.Connection, seconds: float) -> None:
    connection.execute(sa.select(sa.func.set_config("statement_timeout", str(round(seconds * 1000)), True)))


@dataclass
class Patience:
    """The time that a look may spend on campaigns that are too large for a short statement: all others wait for it."""

    seconds: float = field(default_factory=lambda: PATIENCE_SECONDS)
    _spent: float = field(default=0.0, init=False)

    def stream(
        self, database: Database, connection: sa.Connection, query: sa.Select[Any], binds: Mapping[str, Any]
    ) -> Generator[Sequence[sa.Row[Any]], None, None]:
        """Yield the rows in pieces, all of one moment. What the caller does with a piece counts as spent, too.

        Raises:
            DatabaseTimeout: A piece took too long, or no time is left. The transaction goes on as it was before.
        """
        begun = time.monotonic()
        try:
            with bounded(database, connection), planner.for_stream(connection):
                options = {"stream_results": True, "yield_per": PIECE}
                with connection.execute(query, dict(binds), execution_options=options) as rows:
                    for piece in rows.partitions():
                        yield piece
                        if self._spent + time.monotonic() - begun > self.seconds:
                            raise DatabaseTimeout(
                                f"they were not read to the end within {self.seconds:g} s", where=database.where
                            )
        finally:
            self._spent += time.monotonic() - begun
