"""Planner settings where PostgreSQL's statistics may mislead it. Each holds for the statements within its block.

Rows that were inserted since the last ANALYZE look like a handful, and one campaign of millions makes every other look
as large. A plan for the wrong size can take minutes where another takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import sqlalchemy as sa


def hash_joins(connection: sa.Connection) -> AbstractContextManager[None]:
    """Use joins that suit every size: neither side is read again for each row of the other."""
    return _set(connection, "enable_nestloop", "off")


def by_index(connection: sa.Connection) -> AbstractContextManager[None]:
    """Find the rows of the given campaigns by index, not by reading the whole table."""
    return _set(connection, "enable_seqscan", "off")


@contextmanager
def by_index_apart(connection: sa.Connection) -> Iterator[None]:
    """Read as `by_index` does; an error spoils the block, and not the transaction. Two round trips, not four."""
    connection.execute(sa.text("SAVEPOINT apart; SET LOCAL enable_seqscan = off"))
    try:
        yield
    finally:
        connection.execute(sa.text("ROLLBACK TO SAVEPOINT apart; RELEASE SAVEPOINT apart"))


def read_to_the_end(connection: sa.Connection) -> AbstractContextManager[None]:
    """A stream that begins here is planned as what it is, and not for its first tenth."""
    return _set(connection, "cursor_tuple_fraction", "1")


@contextmanager
def for_stream(connection: sa.Connection) -> Iterator[None]:
    """A stream of one campaign's recipients: found by index, and joined with what suits every size."""
    with by_index(connection), hash_joins(connection), read_to_the_end(connection):
        yield


@contextmanager
def _set(connection: sa.Connection, setting: str, value: str) -> Iterator[None]:
    # An error of the database ends the transaction, or its savepoint, and the setting with it.
    connection.execute(sa.text(f"SET LOCAL {setting} = {value}"))
    yield
    connection.execute(sa.text(f"SET LOCAL {setting} TO DEFAULT"))
