"""Open transactions of others that have written recipients: their writes are not visible yet.

A premise that is read meanwhile is read without these writes. We wait for the transactions that are open now, and for
no later ones: a busy table starves nothing, since each of them ends soon, and one that does not end is named.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from campaign_ops.core.errors import Conflict, StillWriting
from campaign_ops.postgres import recipients
from campaign_ops.postgres.tables import PlatformTables

PATIENCE_SECONDS = 5.0  # per wait; for so long we may hold locks on finished campaigns
POLL_SECONDS = 0.02


def wait_out(connection: sa.Connection, tables: PlatformTables, where: str) -> None:
    """Return when every transaction that has written recipients by now is over, and its writes can be read.

    Raises:
        StillWriting: One of them is still open after `PATIENCE_SECONDS`.
        Conflict: One of them waits for a lock of ours, and would wait forever.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    query = recipients.writers(connection, tables)
    open_ = {row.virtualtransaction: row for row in connection.execute(query)}
    while open_:
        if any(row.waits_for_us for row in open_.values()):
            raise Conflict("a transaction that has written recipients waits for a campaign that we lock", where=where)
        if time.monotonic() > until:
            raise StillWriting(
                f"{_describe(next(iter(open_.values())))} has written or locked rows of {tables.recipient.name} and is"
                " still open: its changes are not known yet",
                where=where,
                mend="the next sweep tries again; end that transaction if it was forgotten",
            )
        time.sleep(POLL_SECONDS)
        now = {row.virtualtransaction: row for row in connection.execute(query)}
        open_ = {key: now[key] for key in open_ if key in now}


def _describe(row: sa.Row[tuple[object, ...]]) -> str:
    if row.pid is None:
        return "a prepared transaction (see pg_prepared_xacts)"
    name = f" ({row.application_name})" if row.application_name else ""
    since = f", begun at {row.xact_start:%H:%M:%S} UTC," if row.xact_start else ""
    return f"a transaction of pid {row.pid}{name}{since}"
