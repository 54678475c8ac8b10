"""The workers of a platform's queues, as the latest look saw them."""

from __future__ import annotations

from dataclasses import dataclass

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
    looks = platform.queue_looks
    return platform.on_state(
        lambda connection: Workers(looks.health(connection), looks.workers(connection)), read_only=True
    )
