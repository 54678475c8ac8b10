"""The queue now, and the number of sending campaigns when it is empty: read twice a minute by a sensor."""

from __future__ import annotations

from campaign_ops.core.queue_state import QueueState
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns


def queue_now(platform: Platform) -> tuple[QueueState, int]:
    """Return the queue, and the number of campaigns in sending if it is empty; 0 without a query otherwise.

    Raises:
        Unavailable: The queue or the database could not be read.
    """
    assert platform.queue is not None, f"{platform.name} has no queue"
    queue = platform.queue.state()
    if queue.problem or queue.live:
        return queue, 0
    with platform.database.transaction(read_only=True) as connection:
        return queue, connection.scalar(campaigns.sending_count(platform.tables(connection))) or 0
