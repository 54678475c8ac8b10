"""Other prefixes on a Redis server under which a queue of this name exists: a wrong prefix is the commonest mistake."""

from __future__ import annotations

import re
import time
from typing import Any

from campaign_ops.bullmq.address import driver_errors_mapped
from campaign_ops.bullmq.queue import QueueAddress

KEYS_PER_PAGE = 2_000
MAX_PAGES = 500
MAX_SECONDS = 2.0


def prefixes_of(address: QueueAddress, queue: str) -> list[str]:
    """Return prefixes under which a BullMQ queue of this name exists, as far as a bounded scan of the keys finds them.

    Raises:
        QueueUnavailable: Redis cannot be reached, or the user may not scan its keys.
    """
    suffix = f":{queue}:meta"
    pattern = "*" + re.sub(r"([\\*?\[\]])", r"\\\1", suffix)
    found: set[str] = set()
    with driver_errors_mapped(f"Redis {address.endpoint}"), address.reading_client() as client:
        scan: Any = client.scan  # untyped in the driver
        cursor, deadline = 0, time.monotonic() + MAX_SECONDS
        for _ in range(MAX_PAGES):
            cursor, keys = scan(cursor, match=pattern, count=KEYS_PER_PAGE)
            found.update(key.removesuffix(suffix) for key in keys)
            if not cursor or time.monotonic() > deadline:
                break
    return sorted(found - {address.prefix})
