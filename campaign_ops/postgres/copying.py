"""Copies ids into temporary tables as they stream in: neither this process nor a statement holds them all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

import psycopg
import sqlalchemy as sa
from psycopg import sql

from campaign_ops.core.errors import QueueUnclear

LINES = 10_000
_SPECIAL = re.compile(r"[\\\r\t]")
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_into(connection: sa.Connection, into: sql.Composed, chunks: Iterable[str]) -> None:
    """Copy chunks of lines as they come. If their source fails midway, none of them stays.

    Raises:
        QueueUnclear: An id is not of the type of the platform's ids.
    """
    with connection.begin_nested():
        driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            # A COPY of its own for each chunk: the source may be slow, and a statement must not wait for it.
            for lines in chunks:
                with driver.cursor() as cursor, cursor.copy(into) as copy:
                    copy.write(lines)
        except (psycopg.DataError, UnicodeError):
            raise QueueUnclear(
                "a job lists a recipient id that is not of the platform's id type or encoding, so it is unknown which"
                " recipients it covers",
                mend="look at the newest jobs' payload, or correct id_type in the profile",
            ) from None


def lines_of(recipient_ids: Iterable[str]) -> Iterator[str]:
    """Rows in COPY's text format, many at a time: row by row the driver takes several times as long."""
    iterator = iter(recipient_ids)
    while chunk := list(islice(iterator, LINES)):
        lines = "\n".join(chunk) + "\n"
        if lines.count("\n") != len(chunk) or _SPECIAL.search(lines):
            lines = "\n".join(text.translate(_ESCAPED) for text in chunk) + "\n"
        yield lines


def lines_of_pairs(listed: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Rows of two columns in COPY's text format."""
    iterator = iter(listed)
    while chunk := list(islice(iterator, LINES)):
        yield "".join(f"{first.translate(_ESCAPED)}\t{second.translate(_ESCAPED)}\n" for first, second in chunk)
