"""Other prefixes on a Redis server under which a queue of this name exists: a wrong prefix is the commonest mistake."""

from __future__ import annotations

from campaign_ops.bullmq.discovery import queues_on
from campaign_ops.bullmq.queue import QueueAddress


def prefixes_of(address: QueueAddress, queue: str) -> list[str]:
    """Return prefixes under which a BullMQ queue of this name exists, as far as a bounded scan of the keys finds them.

    Raises:
        QueueUnavailable: Redis cannot be reached, or the user may not scan its keys.
    """
    return [prefix for prefix, _ in queues_on(address, queue) if prefix != address.prefix]
