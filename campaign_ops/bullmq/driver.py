"""The errors of the driver, redis-py, which is imported when the first of them is named.

It takes 0.2 s, with asyncio and, where that is installed, OpenTelemetry: a command that asks no queue does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.exceptions import (
        AuthenticationError,
        AuthorizationError,
        BusyLoadingError,
        ClusterCrossSlotError,
        ClusterError,
        MovedError,
        NoPermissionError,
        OutOfMemoryError,
        ReadOnlyError,
        RedisError,
        ResponseError,
        TimeoutError,  # noqa: A004 - its name there
    )

    __all__ = [
        "AuthenticationError",
        "AuthorizationError",
        "BusyLoadingError",
        "ClusterCrossSlotError",
        "ClusterError",
        "MovedError",
        "NoPermissionError",
        "OutOfMemoryError",
        "ReadOnlyError",
        "RedisError",
        "ResponseError",
        "TimeoutError",
    ]
else:

    def __getattr__(name: str) -> Any:
        from redis import exceptions  # noqa: PLC0415 - as said above

        return getattr(exceptions, name)
