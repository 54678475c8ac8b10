"""The recipients that a live job or a marker speaks for, in a temporary table of one transaction.

The ids stream through: neither this process nor a statement holds them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

import psycopg
import sqlalchemy as sa

from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.platform import statements
from campaign_ops.platform.tables import PlatformTables

JOB, MARKER = "j", "m"
LINES = 1000
_SPECIAL = re.compile(r"[\\\r]")
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def create(connection: sa.Connection, tables: PlatformTables) -> None:
    """Make the table. From here on the transaction is read only, but for this table."""
    connection.execute(statements.create_cover(tables))
    connection.execute(statements.NO_NESTED_LOOPS)
    connection.execute(sa.text("SET TRANSACTION READ ONLY"))


def load(connection: sa.Connection, recipient_ids: Iterable[str], kind: str) -> None:
    """Add recipients as they come. If the source fails half way, nothing of it stays.

    Raises:
        QueueUnavailable: The source failed, or an id is not of the type of the platform's ids.
    """
    with connection.begin_nested():
        driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            with driver.cursor() as cursor, cursor.copy(statements.COPY_COVER) as copy:
                for lines in _lines(recipient_ids, kind):
                    copy.write(lines)
        except psycopg.DataError:
            raise QueueUnavailable(
                "a job lists a recipient id that is not of the platform's id type, so nobody knows whom it covers",
                mend="look at the newest jobs' payload, or correct id_type in the profile",
            ) from None


def _lines(recipient_ids: Iterable[str], kind: str) -> Iterator[str]:
    """Rows in COPY's text format, many at a time: row by row the driver takes several times as long."""
    iterator, end = iter(recipient_ids), f"\t{kind}\n"
    while chunk := list(islice(iterator, LINES)):
        lines = end.join(chunk) + end
        if lines.count("\t") != len(chunk) or lines.count("\n") != len(chunk) or _SPECIAL.search(lines):
            lines = end.join(one.translate(_ESCAPED) for one in chunk) + end
        yield lines


def analyze(connection: sa.Connection) -> None:
    """Tell the planner how large the table has become."""
    connection.execute(statements.ANALYZE_COVER)
