"""The BullMQ queues on a Redis server, as far as a bounded scan of its keys finds them. Reads only."""

from __future__ import annotations

import time
from typing import Any

from campaign_ops.bullmq.address import QueueAddress, driver_errors_mapped
from campaign_ops.bullmq.patterns import literal

KEYS_PER_PAGE = 2_000
MAX_PAGES = 500
MAX_SECONDS = 2.0


def queues_on(address: QueueAddress, name: str | None = None) -> list[tuple[str, str]]:
    """Return (prefix, name) of the queues, of this name if one is given.

    Raises:
        QueueUnavailable: Redis cannot be reached, or the user may not scan its keys.
    """
    pattern = "*:meta" if name is None else "*" + literal(f":{name}:meta")
    found: set[tuple[str, str]] = set()
    with driver_errors_mapped(f"Redis {address.endpoint}"), address.reading_client() as client:
        scan: Any = client.scan  # untyped in the driver
        cursor, deadline = 0, time.monotonic() + MAX_SECONDS
        for _ in range(MAX_PAGES):
            cursor, keys = scan(cursor, match=pattern, count=KEYS_PER_PAGE)
            found.update(_parts(key, name) for key in keys if key.count(":") > 1)
            if not cursor or time.monotonic() > deadline:
                break
    return sorted(found)


def _parts(key: str, name: str | None) -> tuple[str, str]:
    """A queue's name may hold a colon only where it is known: BullMQ itself refuses one."""
    whole = key.removesuffix(":meta")
    prefix, _, last = (whole.removesuffix(f":{name}"), "", name) if name is not None else whole.rpartition(":")
    return prefix, last
