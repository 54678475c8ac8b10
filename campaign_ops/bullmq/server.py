"""The facts that a Redis server reports about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerFacts:
    """None where the server does not report it. ``server_id`` changes when it restarts."""

    redis_version: str | None
    role: str | None
    eviction_policy: str | None
    server_id: str | None
