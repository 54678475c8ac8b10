"""The clock by which a look grows old, also while this process is stopped or its machine sleeps."""

from __future__ import annotations

import time


def awake_or_asleep() -> float:
    """Seconds that go on while the machine is suspended, unlike the monotonic clock's on Linux."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
