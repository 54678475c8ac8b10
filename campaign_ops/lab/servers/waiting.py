"""Waiting for a state of the world outside, for a limited time."""

from __future__ import annotations

from collections.abc import Callable

import tenacity


def wait_until(condition: Callable[[], bool], *, seconds: float, poll_seconds: float = 0.02) -> bool:
    """Return whether the condition came true in time. It is checked at least once."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda true: not true),
        wait=tenacity.wait_fixed(poll_seconds),
        stop=tenacity.stop_after_delay(seconds),
        retry_error_callback=lambda _state: False,
    )(condition)
