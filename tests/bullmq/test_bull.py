"""Queues of Bull, the library before BullMQ: the keys are laid as Bull 3.29.3 and 4.16.5 were observed to write them.

Both write the same. Neither writes a version, a stream of events, or anything into `meta` but the flag `paused`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from campaign_ops.bullmq.queue import Queue
from campaign_ops.core.errors import Refused
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import a_job, add_by_bullmq, contents, key, payload

NOW = "1795559288368"


def lay(raw: Any, job_id: str, **options: Any) -> None:
    """Return the hash of a job."""
    fields = {"name": "sendBulkSMS", "data": payload("c1", "r1"), "timestamp": NOW, "delay": "0", "priority": "0"}
    opts = json.dumps({"attempts": 1, "delay": 0, "timestamp": int(NOW), **options}, separators=(",", ":"))
    raw.hset(key(job_id), mapping={**fields, "opts": opts})
    raw.incr(key("id"))


def waiting(raw: Any) -> None:
    lay(raw, "1", attempts=5, backoff={"type": "exponential", "delay": 3000})
    raw.lpush(key("wait"), "1")


def delayed(raw: Any) -> None:
    lay(raw, "1", delay=100_000)
    raw.zadd(key("delayed"), {"1": 7354611254763522})


def by_priority(raw: Any) -> None:
    lay(raw, "1", priority=3)
    raw.zadd(key("priority"), {"1": 3})
    raw.rpush(key("wait"), "1")


def paused(raw: Any) -> None:
    lay(raw, "1")
    raw.lpush(key("paused"), "1")
    raw.hset(key("meta"), "paused", "1")
    raw.set(key("meta-paused"), "1")


def worked_off(raw: Any) -> None:
    lay(raw, "1")
    raw.zadd(key("completed"), {"1": int(NOW)})
    raw.set(key("stalled-check"), NOW)


@pytest.mark.parametrize("lay_queue", [waiting, delayed, by_priority, paused, worked_off])
def test_a_queue_of_bull_is_recognised_by_its_keys_and_nothing_is_added(
    queue: Queue, server: EmbeddedRedis, raw: Any, lay_queue: Callable[[Any], None]
) -> None:
    """Measured before: it was acted on, and BullMQ's `meta`, `events` and `marker` were in it afterwards."""
    lay_queue(raw)
    before = contents(server)
    for state in (queue.state(), queue.snapshot().state):
        assert "the queue belongs to Bull" in (state.problem or "")
        assert state.exists
        assert state.paused is (lay_queue is paused)
    with pytest.raises(Refused, match="belongs to Bull"):
        queue.add([a_job("ops-1")])
    assert contents(server) == before


def test_a_queue_of_bull_in_which_bullmq_has_written_too_is_recognised_by_its_jobs(
    queue: Queue, server: EmbeddedRedis, raw: Any
) -> None:
    add_by_bullmq(server, [{"name": "sendBulkSMS", "data": {"campaignId": "c2", "recipientIds": ["r2"]}, "opts": {}}])
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    assert list(reading) == []
    assert reading.result.state.problem is None
    lay(raw, "17")
    raw.lpush(key("wait"), "17")
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    assert [job.id for job in reading] == ["17"]
    assert "the queue belongs to Bull" in (reading.result.state.problem or "")
