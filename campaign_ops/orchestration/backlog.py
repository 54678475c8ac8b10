"""Changes in a queue's depth from one look to the next: it has backed up, or has run dry too early. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field

from campaign_ops.core.queue_state import QueueState

# A depth that fluctuates around the limit is one backlog, not a new one at every look.
REARMED_BELOW = 0.9


@dataclass(frozen=True)
class Watched:
    """What the sensor remembers of a queue. ``drained`` is None before the first look."""

    backed_up: bool = False
    drained: bool | None = None


@dataclass(frozen=True)
class Queues:
    """What the sensor remembers of all queues, by platform, and the platform that it asked last."""

    watched: Mapping[str, Watched] = field(default_factory=dict)
    after: str | None = None

    @classmethod
    def load(cls, cursor: str | None) -> Queues:
        """From a cursor; a cursor that cannot be read is ignored."""
        try:
            remembered = json.loads(cursor) if cursor else {"watched": {}, "after": None}
            watched = {platform: Watched(*facts) for platform, facts in remembered["watched"].items()}
            return cls(watched, remembered["after"])
        except (AttributeError, KeyError, TypeError, ValueError):
            return cls()

    def dump(self) -> str:
        """As a cursor: short, because Dagster stores it with every tick."""
        watched = {platform: astuple(facts) for platform, facts in self.watched.items()}
        return json.dumps({"watched": watched, "after": self.after}, separators=(",", ":"))


@dataclass(frozen=True)
class Noticed:
    """What to remember of a look, and the reason to sweep now; None when there is none."""

    watched: Watched
    why: str | None = None


def notice(before: Watched, queue: QueueState, sending: int, backlog_limit: int) -> Noticed:
    """Compare a look at the queue with the previous one.

    Args:
        before: What was remembered of the previous look.
        queue: The queue now, completely read.
        sending: Campaigns in sending; read only when the queue is empty.
        backlog_limit: Waiting jobs above which the queue is backed up.
    """
    backed_up = queue.depth > (backlog_limit * REARMED_BELOW if before.backed_up else backlog_limit)
    drained = queue.live == 0
    now = Watched(backed_up, drained)
    if backed_up and not before.backed_up:
        return Noticed(now, f"{queue.depth} jobs wait in queue {queue.name}, more than {backlog_limit}")
    if drained and before.drained is False and sending:
        return Noticed(now, f"queue {queue.name} has run dry while {sending} campaigns are sending")
    return Noticed(now)
