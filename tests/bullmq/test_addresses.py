"""The addresses a queue may have, none of which shows its password."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.errors import ConfigurationError, QueueUnavailable
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from campaign_ops.lab.servers.ports import free_port
from tests.bullmq.kit import PROFILE, a_job, redis_process, until


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("redis://bob:s%3Acret@cache.local:6380/3", "cache.local:6380/3"),
        ("rediss://:secret@cache.local", "cache.local:6379/0"),
        ("unix://bob:secret@/run/redis.sock?db=2", "/run/redis.sock/2"),
        ("redis+sentinel://bob:secret@one:26379,two/mymaster/1", "one:26379,two:26379/mymaster/1"),
        ("redis://[::1]:6380/0?password=secret", "::1:6380/0"),
    ],
)
def test_an_address_shows_its_endpoint_and_never_the_password(url: str, endpoint: str) -> None:
    address = QueueAddress(url)
    assert address.endpoint == endpoint
    for shown in (repr(address), str(address), f"{address}", Queue(address, PROFILE).where):
        assert "cret" not in shown
        assert "bob" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "http://secret@host",
        "host:6379",
        "",
        "redis://:pa/secret@host:6379/0",
        "redis://host/name-secret",
        "redis://host?secret=1",
        "redis+sentinel://secret@host",
        "redis+sentinel:///mymaster",
        "unix://",
    ],
)
def test_a_malformed_url_is_refused_before_any_connection(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        QueueAddress(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_queue_is_found_through_sentinels(own_server: EmbeddedRedis, tmp_path: Path) -> None:
    file = tmp_path / "sentinel.conf"
    port = free_port()
    file.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {own_server.port} 1\n")
    address = QueueAddress(f"redis+sentinel://127.0.0.1:{port}/mymaster/2", connect_timeout_seconds=2)
    with redis_process(tmp_path, str(file), "--sentinel"), Queue(address, PROFILE) as queue:
        until(lambda: answers(queue))
        assert queue.add([a_job("ops-1")]) == {"ops-1"}
        assert queue.snapshot().live == {"ops-1": "wait"}
        own_server.kill()
        with pytest.raises(QueueUnavailable, match="cannot be reached"):
            queue.state()


def test_the_queue_is_found_on_a_unix_socket_and_under_a_hash_tag(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    address = QueueAddress(f"unix://{path}?db=1", prefix="{bull}")
    with redis_process(tmp_path, "--port", "0", "--unixsocket", str(path), "--save", ""):
        with Queue(address, PROFILE) as queue:
            until(lambda: answers(queue))
            assert queue.add([a_job("ops-1")]) == {"ops-1"}
            assert queue.present(["ops-1"]) == {"ops-1"}
        with redis.Redis(unix_socket_path=str(path), db=1, decode_responses=True) as client:
            assert client.lrange("{bull}:sms-send:wait", 0, -1) == ["ops-1"]


def answers(queue: Queue) -> bool:
    try:
        return bool(queue.state())
    except QueueUnavailable:
        return False
