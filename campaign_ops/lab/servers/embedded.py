"""PostgreSQL and Redis, started together."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from campaign_ops.lab.servers.postgres import EmbeddedPostgres
from campaign_ops.lab.servers.redis import EmbeddedRedis

__all__ = ["EmbeddedPostgres", "EmbeddedRedis", "EmbeddedServers"]


class EmbeddedServers:
    """PostgreSQL and Redis below one directory.

    Args:
        work_dir: Holds their logs.
        postgres_port: See ``EmbeddedPostgres``.
        settings: PostgreSQL settings on top of ours.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        postgres_port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.work_dir = work_dir.resolve()
        self.postgres = EmbeddedPostgres(work_dir, port=postgres_port, settings=settings)
        self.redis = EmbeddedRedis(work_dir)

    def start(self) -> Self:
        """Start both at the same time; if one fails, the other is stopped."""
        try:
            with ThreadPoolExecutor(max_workers=1) as pool:
                starting = pool.submit(self.postgres.start)
                self.redis.start()
                starting.result()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop both, the queue first: no worker takes a job while the database goes away."""
        try:
            self.redis.stop()
        finally:
            self.postgres.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
