"""The workers of a platform's queues, as the latest look saw them."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from campaign_ops.journal.migrations import check_current
from campaign_ops.journal.queue_looks import SeenWorker, WorkerHealth
from campaign_ops.platform import Platform


@dataclass(frozen=True, slots=True)
class Workers:
    """Figures of each queue, and the workers that were seen in the last two days, the connected ones first."""

    queues: list[WorkerHealth]
    workers: list[SeenWorker]


def workers(platform: Platform) -> Workers:
    """Read what looks have left; the queue itself is not read.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """

    def _read(connection: sa.Connection) -> Workers:
        check_current(connection, platform.database.where)
        looks = platform.queue_looks
        return Workers(looks.health(connection), looks.workers(connection))

    return platform.database.run(_read, read_only=True)
