"""The latest look at each queue and at its workers, by sweeps and by the watcher. Speaks to our own tables only.

A client id of Redis is new after every restart or reconnect. A look counts as restarts the new ids that took the place
of ids that are gone since the last look, and those on the host of a worker that went within the last ten minutes and
was not replaced yet: one that crashes again and again is away for up to five (Kubernetes), so that looks see it go and
come. Ids beyond those are workers that were added. An unreadable queue, or a host that hides its
clients, leaves the workers as they were seen last: unknown is not none, and the next look compares with those.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from campaign_ops.core.queue_state import QueueState
from campaign_ops.journal import schema

RESTARTS = "worker_restarts"
"""Name of the counter; its label is the queue."""
_FORGET_DAYS = 2

# A look and the workers that it saw carry the same moment, the transaction's, so that the two can be joined.
_NOTE = sa.text("""
WITH look AS (
    SELECT * FROM jsonb_to_recordset(CAST(:looks AS jsonb)) AS look
        (queue text, counts jsonb, depth bigint, paused boolean, workers int, problem text, away boolean)
), connected AS (
    SELECT * FROM jsonb_to_recordset(CAST(:workers AS jsonb)) AS connected
        (queue text, server_id text, client_id bigint, name text, address text, age_seconds bigint)
), gone AS (
    SELECT before.queue, count(*) AS clients
    FROM campaign_ops.worker AS before
    JOIN campaign_ops.queue_look AS last
        ON last.tables = before.tables AND last.queue = before.queue AND last.workers_seen_at = before.last_seen_at
    JOIN look ON look.queue = before.queue AND look.workers IS NOT NULL
    WHERE before.tables = :tables AND NOT EXISTS (
        SELECT FROM connected AS still
        WHERE (still.queue, still.server_id, still.client_id) = (before.queue, before.server_id, before.client_id)
    )
    GROUP BY before.queue
), away AS (
    SELECT queue, host,
        count(*) FILTER (WHERE NOT connected) - count(*) FILTER (WHERE restarted AND began) AS clients
    FROM (
        SELECT known.queue, regexp_replace(known.address, ':[0-9]+$', '') AS host, known.restarted,
            known.first_seen_at > now() - interval '10 minutes' AS began,
            EXISTS (
                SELECT FROM connected AS still
                WHERE (still.queue, still.server_id, still.client_id) = (known.queue, known.server_id, known.client_id)
            ) AS connected
        FROM campaign_ops.worker AS known
        WHERE known.tables = :tables AND known.last_seen_at > now() - interval '10 minutes'
    ) AS lately
    GROUP BY queue, host
), fresh AS (
    SELECT connected.*,
        row_number() OVER (PARTITION BY queue ORDER BY client_id)
            <= coalesce((SELECT clients FROM gone WHERE gone.queue = connected.queue), 0)
        OR row_number() OVER (PARTITION BY queue, regexp_replace(address, ':[0-9]+$', '') ORDER BY client_id)
            <= coalesce((
                SELECT clients FROM away
                WHERE (away.queue, away.host) = (connected.queue, regexp_replace(connected.address, ':[0-9]+$', ''))
            ), 0) AS restarted
    FROM connected
    WHERE NOT EXISTS (
        SELECT FROM campaign_ops.worker AS known
        WHERE (known.tables, known.queue, known.server_id, known.client_id)
            = (:tables, connected.queue, connected.server_id, connected.client_id)
    )
), restarts AS (
    INSERT INTO campaign_ops.counter AS kept (tables, name, labels, value)
    SELECT :tables, :restarts, ARRAY[queue], count(*) FROM fresh WHERE restarted GROUP BY queue
    ON CONFLICT (tables, name, labels) DO UPDATE SET value = kept.value + excluded.value
), seen AS (
    INSERT INTO campaign_ops.worker
        (tables, queue, server_id, client_id, name, address, connected_at, first_seen_at, last_seen_at, restarted)
    SELECT :tables, queue, server_id, client_id, name, address, now() - make_interval(secs => age_seconds), now(),
        now(), coalesce(fresh.restarted, false)
    FROM connected LEFT JOIN fresh USING (queue, server_id, client_id, name, address, age_seconds)
    ON CONFLICT (tables, queue, server_id, client_id) DO UPDATE SET last_seen_at = now()
)
INSERT INTO campaign_ops.queue_look AS kept
    (tables, queue, counts, depth, paused, workers, problem, away, seen_at, workers_seen_at)
SELECT :tables, queue, counts, depth, paused, workers, problem, away, now(),
    CASE WHEN workers IS NOT NULL THEN now() END
FROM look
ON CONFLICT (tables, queue) DO UPDATE SET
    counts = excluded.counts, depth = excluded.depth, paused = excluded.paused, workers = excluded.workers,
    problem = excluded.problem, away = excluded.away, seen_at = excluded.seen_at,
    workers_seen_at = coalesce(excluded.workers_seen_at, kept.workers_seen_at)
""")

_WORKERS = sa.text("""
SELECT look.queue, look.workers, look.seen_at,
    CAST(extract(epoch FROM now() - min(worker.connected_at) FILTER (WHERE worker.last_seen_at = look.workers_seen_at))
        AS double precision) AS oldest_uptime_seconds,
    max(worker.last_seen_at) AS last_seen_at,
    count(*) FILTER (WHERE worker.restarted AND worker.first_seen_at > now() - interval '1 hour') AS restarts_last_hour,
    (
        SELECT CAST(coalesce(sum(greatest(restarts - greatest(connected, 1), 0)), 0) AS bigint)
        FROM (
            SELECT count(*) FILTER (WHERE restarted AND first_seen_at > now() - interval '1 hour') AS restarts,
                count(*) FILTER (WHERE last_seen_at = look.workers_seen_at) AS connected
            FROM campaign_ops.worker AS seen
            WHERE seen.tables = look.tables AND seen.queue = look.queue
            GROUP BY regexp_replace(address, ':[0-9]+$', '')
        ) AS by_host
    ) AS restarts_again
FROM campaign_ops.queue_look AS look
LEFT JOIN campaign_ops.worker AS worker ON worker.tables = look.tables AND worker.queue = look.queue
WHERE look.tables = :tables
GROUP BY look.tables, look.queue
ORDER BY look.queue
""")


@dataclass(frozen=True, slots=True)
class QueueLook:
    """One queue as it was seen last. ``depth`` is None, and ``counts`` empty, where it could not be read."""

    queue: str
    counts: dict[str, int]
    depth: int | None
    paused: bool
    workers: int | None
    problem: str | None
    away: bool
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The workers of one queue. ``workers`` is None where the host hides its clients or the queue could not be read.

    ``oldest_uptime_seconds`` is that of the worker that is connected for the longest; None without any.
    ``restarts_last_hour`` counts restarts and reconnects that the looks of the last hour noticed; ``restarts_again``
    those beyond one of each worker, host by host: a deployment, or a restart of Redis, is one of each.
    """

    queue: str
    workers: int | None
    seen_at: datetime
    oldest_uptime_seconds: float | None
    last_seen_at: datetime | None
    restarts_last_hour: int
    restarts_again: int


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """One worker that is connected, or was within the last days."""

    queue: str
    client_id: int
    name: str
    address: str
    connected_at: datetime
    last_seen_at: datetime
    connected: bool
    restarted: bool


class QueueLooks:
    """The looks at the queues of one platform, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def note(self, connection: sa.Connection, queues: Sequence[QueueState]) -> None:
        """Keep a look at these queues, and the workers that it saw, in place of the look before."""
        looks = [
            {
                "queue": queue.name,
                "counts": dict(queue.counts),
                "depth": queue.depth if queue.counts else None,
                "paused": queue.paused,
                "workers": None if queue.away else queue.workers,
                "problem": queue.problem,
                "away": queue.away,
            }
            for queue in queues
        ]
        workers = [
            {
                "queue": queue.name,
                "server_id": queue.server_id or "",
                "client_id": worker.client_id,
                "name": worker.name,
                "address": worker.address,
                "age_seconds": worker.age_seconds,
            }
            for queue in queues
            for worker in queue.worker_clients
        ]
        documents = {"looks": json.dumps(looks), "workers": json.dumps(workers)}
        connection.execute(_NOTE, {"tables": self.tables, "restarts": RESTARTS, **documents})

    def last(self, connection: sa.Connection) -> list[QueueLook]:
        """The latest look at each queue."""
        table = schema.queue_look.c
        columns = [table[name] for name in QueueLook.__dataclass_fields__]
        query = sa.select(*columns).where(table.tables == self.tables).order_by(table.queue)
        return [QueueLook(*row) for row in connection.execute(query)]

    def health(self, connection: sa.Connection) -> list[WorkerHealth]:
        """The workers of each queue in figures."""
        rows = connection.execute(_WORKERS, {"tables": self.tables})
        names = WorkerHealth.__dataclass_fields__
        return [WorkerHealth(**{name: row[name] for name in names}) for row in rows.mappings()]

    def workers(self, connection: sa.Connection) -> list[SeenWorker]:
        """Every worker that was seen lately, the connected ones first."""
        worker, look = schema.worker.c, schema.queue_look.c
        connected = (worker.last_seen_at == look.workers_seen_at).label("connected")
        query = (
            sa.select(
                worker.queue,
                worker.client_id,
                worker.name,
                worker.address,
                worker.connected_at,
                worker.last_seen_at,
                connected,
                worker.restarted,
            )
            .join(schema.queue_look, sa.and_(look.tables == worker.tables, look.queue == worker.queue))
            .where(worker.tables == self.tables)
            .order_by(connected.desc(), worker.queue, worker.connected_at)
        )
        return [SeenWorker(*row) for row in connection.execute(query)]

    def prune(self, connection: sa.Connection) -> None:
        """Forget workers that have been gone for days."""
        worker = schema.worker.c
        old = worker.last_seen_at < sa.func.now() - sa.func.make_interval(0, 0, 0, _FORGET_DAYS)
        connection.execute(sa.delete(schema.worker).where(worker.tables == self.tables, old))
