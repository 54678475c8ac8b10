"""Waiting for a state of the real world, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(true: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition. The limit only ends a wait in vain: a busy machine takes ten times as long."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
