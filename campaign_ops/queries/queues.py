"""The queues of a platform, as the latest look at each saw them, with their workers and the Redis process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from campaign_ops.core.sighting import Sighting
from campaign_ops.journal.queue_looks import QueueLook, SeenWorker, WorkerHealth
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.queries.metrics import LOOK_MAX_AGE


@dataclass(frozen=True, slots=True)
class SeenQueue:
    """One queue. ``health`` and ``sighting`` are None where no look has told them."""

    look: QueueLook
    age: timedelta
    health: WorkerHealth | None
    sighting: Sighting | None
    workers: tuple[SeenWorker, ...]

    @property
    def fresh(self) -> bool:
        """Return whether the look is young enough to say something about now."""
        return self.age <= LOOK_MAX_AGE


@dataclass(frozen=True, slots=True)
class Queues:
    """All queues that were ever looked at, and the database's clock."""

    at: datetime
    queues: tuple[SeenQueue, ...]


def queues(platform: Platform) -> Queues:
    """Read what looks have left; the queue itself is not read.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
        Unavailable: The database is away.
    """

    def _read(connection: sa.Connection) -> Queues:
        now, looks = database_now(connection), platform.queue_looks
        health = {known.queue: known for known in looks.health(connection)}
        sightings = {} if platform.sightings is None else platform.sightings.last(connection)
        workers = looks.workers(connection)
        seen = [
            SeenQueue(
                look,
                now - look.seen_at,
                health.get(look.queue),
                sightings.get(look.queue),
                tuple(worker for worker in workers if worker.queue == look.queue),
            )
            for look in looks.last(connection)
        ]
        return Queues(now, tuple(seen))

    return platform.on_state(_read, read_only=True)
