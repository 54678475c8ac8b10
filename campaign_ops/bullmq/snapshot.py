"""The live jobs of a queue at one moment, by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from campaign_ops.core.queue_state import QueueState


@dataclass(frozen=True)
class Snapshot:
    """Every live job id of the queue at one moment.

    Attributes:
        state: Counts and flags of that moment.
        live: Job id to its state. All of them: check the depth first where memory is short.
        failed: The newest failed ids, newest first; there may be more.
        parts: Of several queues, the snapshot of each by name, all of one moment.
    """

    state: QueueState
    live: Mapping[str, str]
    failed: tuple[str, ...] = ()
    parts: Mapping[str, Snapshot] = field(default_factory=dict)
