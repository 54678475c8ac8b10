"""Real Redis servers and the queue under test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import PROFILE, connect


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared_server: EmbeddedRedis) -> EmbeddedRedis:
    """The shared server, emptied."""
    with connect(shared_server) as client:
        client.flushall()
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that a test may kill, stop and reconfigure."""
    with EmbeddedRedis(tmp_path) as server:
        yield server


@pytest.fixture
def raw(server: EmbeddedRedis) -> Iterator[Any]:
    with connect(server) as client:
        yield client


@pytest.fixture
def queue(server: EmbeddedRedis) -> Iterator[Queue]:
    with Queue(QueueAddress(server.url()), PROFILE) as it:
        yield it
