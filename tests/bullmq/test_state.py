"""The counts and flags of a queue."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import redis

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.errors import Refused
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import PROFILE, a_job, connect, key, payload, put, until, workers


def test_a_queue_that_was_never_used_does_not_exist(queue: Queue) -> None:
    state = queue.state()
    assert not state.exists
    assert state.live == state.depth == 0
    assert state.problem is None


def test_depth_counts_what_waits_under_any_name(queue: Queue, raw: Any) -> None:
    for state, number in {"wait": 1, "paused": 2, "prioritized": 3, "active": 4, "delayed": 5, "failed": 6}.items():
        for one in range(number):
            put(raw, state, f"{state}-{one}", payload("c1", "r1"))
    for seen in (queue.state(), queue.snapshot().state):
        assert seen.depth == 6
        assert seen.live == 15
        assert seen.counts["failed"] == 6
        assert seen.server_id


def test_markers_of_bullmq_4_are_not_jobs_but_scheduled_ids_with_colons_are(queue: Queue, raw: Any) -> None:
    raw.rpush(key("wait"), "0:0")
    raw.rpush(key("paused"), "0:1712345678901")
    put(raw, "delayed", "repeat:1b2c:1712345678901", payload("c1", "r1"))
    snapshot = queue.snapshot()
    assert snapshot.live == {"repeat:1b2c:1712345678901": "delayed"}
    assert [job.id for job in queue.live_jobs(snapshot, ["c1"])] == ["repeat:1b2c:1712345678901"]
    assert queue.state().live == snapshot.state.live == 1


@pytest.mark.parametrize(
    ("version", "word"),
    [
        ("bullmq:7.0.0", "bullmq:7.0.0"),
        ("bullmq:3.9.1", "bullmq:3.9.1"),
        ("bullmq-pro:7.10.1", "Pro"),
        ("otherqueue:5.1.0", "otherqueue"),
        ("nonsense", "nonsense"),
    ],
)
def test_an_unknown_library_is_a_problem(queue: Queue, raw: Any, version: str, word: str) -> None:
    raw.hset(key("meta"), "version", version)
    for state in (queue.state(), queue.snapshot().state):
        assert state.problem
        assert word in state.problem


@pytest.mark.parametrize("version", ["bullmq:4.18.3", "bullmq:5.81.5", "bullmq:6.7.0", None])
def test_a_known_library_is_not_a_problem(queue: Queue, raw: Any, version: str | None) -> None:
    raw.hset(key("meta"), mapping={"opts.maxLenEvents": 10000} | ({"version": version} if version else {}))
    assert queue.state().problem is None
    assert queue.state().version == version


def test_groups_of_bullmq_pro_are_a_problem_whatever_the_version_says(queue: Queue, raw: Any) -> None:
    raw.hset(key("meta"), "version", "bullmq:5.81.5")
    raw.zadd(key("groups"), {"tenant-1": 1})
    assert "Pro" in (queue.state().problem or "")


def test_a_replica_is_a_problem_because_its_view_may_be_old(
    server: EmbeddedRedis, own_server: EmbeddedRedis, raw: Any
) -> None:
    with connect(own_server) as client:
        client.replicaof("127.0.0.1", server.port)
        until(lambda: client.info()["master_link_status"] == "up")
    with Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        assert "replica" in (queue.state().problem or "")
        assert queue.server().role == "slave"
        with pytest.raises(Refused):
            queue.add([a_job("ops-1")])


def test_workers_are_distinguished_from_listeners_and_from_workers_of_other_queues(
    queue: Queue, server: EmbeddedRedis, raw: Any
) -> None:
    assert queue.state().workers == 0
    name = b64encode(b"sms-send").decode()
    names = [f"bull:{name}", f"bull:{name}:w:first", f"bull:{name}:qe", f"bull:{name}x", f"other:{name}", "bull:mail"]
    clients = [redis.Redis(port=server.port, client_name=one) for one in names]
    try:
        for client in clients:
            client.ping()
        state = queue.state()
        assert state.workers == queue.snapshot().state.workers == 2
        assert [worker.name for worker in state.worker_clients] == ["", "first"]
        assert [worker.client_id for worker in state.worker_clients] == [client.client_id() for client in clients[:2]]
    finally:
        for client in clients:
            client.close()
    until(lambda: queue.state().workers == 0)


@pytest.mark.parametrize("options", [{}, {"name": "first"}])
def test_workers_of_the_python_client_are_counted_once_each(
    queue: Queue, server: EmbeddedRedis, tmp_path: Path, options: dict[str, str]
) -> None:
    with workers(server, 2, tmp_path, **options):
        until(lambda: queue.state().workers == 2)
    until(lambda: queue.state().workers == 0)


def test_the_server_reports_its_facts(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    with Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        facts = queue.server()
    assert (facts.role, facts.eviction_policy) == ("master", "allkeys-lru")
    assert facts.redis_version
    assert facts.server_id


def test_a_new_run_of_the_server_has_a_new_id(own_server: EmbeddedRedis) -> None:
    with Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        before = queue.state().server_id
        own_server.restart()
        assert queue.state().server_id != before
