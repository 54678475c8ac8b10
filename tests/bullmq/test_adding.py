"""Jobs that are added, counted as added, and removed again."""

from __future__ import annotations

import asyncio
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign_ops.bullmq.facts import FixedFacts
from campaign_ops.bullmq.queue import NewJob, NothingAdded, Queue, QueueAddress
from campaign_ops.bullmq.writer import job_id
from campaign_ops.core.errors import Refused
from campaign_ops.core.ids import JobIds
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import PROFILE, a_job, connect, key, payload, put, until, workers


def test_an_added_job_carries_the_payload_and_the_options_of_the_profile(queue: Queue, raw: Any) -> None:
    assert queue.add([a_job("ops-1", "c1", "r1", "r2")]) == {"ops-1"}
    job = raw.hgetall(key("ops-1"))
    assert job["name"] == "sendBulkSMS"
    assert json.loads(job["data"]) == {
        "campaignId": "c1",
        "shopId": "shop",
        "recipientIds": ["r1", "r2"],
        "source": "ops",
    }
    options = json.loads(job["opts"])
    assert (options["attempts"], options["backoff"]) == (5, {"type": "exponential", "delay": 3000})
    assert [one.recipient_ids for one in queue.live_jobs(queue.snapshot(), ["c1"])] == [("r1", "r2")]


def test_ids_are_numbers_where_the_platform_has_numbers(server: EmbeddedRedis, raw: Any) -> None:
    with Queue(QueueAddress(server.url()), PROFILE) as queue:
        queue.facts = FixedFacts(JobIds(numeric=True))
        queue.add([NewJob("ops-1", "41", "7", ("1", "2")), NewJob("ops-2", "41", "my-shop", ("3",))])
        assert json.loads(raw.hget(key("ops-1"), "data")) == {
            "campaignId": 41,
            "shopId": 7,
            "recipientIds": [1, 2],
            "source": "ops",
        }
        assert json.loads(raw.hget(key("ops-2"), "data"))["shopId"] == "my-shop"
        for bad in ("x", "007", str(2**53)):
            with pytest.raises(Refused):
                queue.add([NewJob("ops-3", bad, "7", ("1",))])
        assert queue.present(["ops-3"]) == frozenset()


@pytest.mark.parametrize("options", [{}, {"priority": 5}, {"delay": 60_000}, {"lifo": True}])
def test_hundreds_of_jobs_are_added_and_confirmed_in_any_state(
    server: EmbeddedRedis, raw: Any, options: dict[str, Any]
) -> None:
    profile = PROFILE.model_copy(update={"options": options})
    for number in range(1_100):
        put(raw, "wait", f"old-{number}", payload("c0", "r0"))
    with Queue(QueueAddress(server.url()), profile) as queue:
        assert queue.add([a_job(f"ops-{number}") for number in range(250)]) == {
            f"ops-{number}" for number in range(250)
        }
        assert queue.snapshot().state.live == 1_350


@pytest.mark.parametrize("state", ["wait", "paused", "active", "prioritized", "delayed", "failed", "completed"])
def test_an_id_that_exists_in_any_state_is_left_alone_and_not_counted(queue: Queue, raw: Any, state: str) -> None:
    """BullMQ answers such an add with the id, as if it had added it."""
    put(raw, state, "ops-1", payload("c1", "r1"))
    before = raw.hgetall(key("ops-1"))
    assert queue.add([a_job("ops-1"), a_job("ops-2")]) == {"ops-2"}
    assert raw.hgetall(key("ops-1")) == before


def test_a_job_that_deduplication_dropped_is_not_counted(server: EmbeddedRedis, raw: Any) -> None:
    profile = PROFILE.model_copy(update={"options": {"deduplication": {"id": "only-one"}}})
    with Queue(QueueAddress(server.url()), profile) as queue:
        assert queue.add([a_job("ops-1"), a_job("ops-2")]) == {"ops-1"}
        assert queue.present(["ops-1", "ops-2"]) == {"ops-1"}


def test_options_that_bullmq_s_client_refuses_are_an_error_of_ours(server: EmbeddedRedis, raw: Any) -> None:
    """A ValueError of the client ended the sweep, whose intents were committed."""
    profile = PROFILE.model_copy(update={"options": {"failParentOnFailure": 1, "continueParentOnFailure": 1}})
    refused = "failParentOnFailure, continueParentOnFailure; correct queue.options"
    with Queue(QueueAddress(server.url()), profile) as queue, pytest.raises(NothingAdded, match=refused):
        queue.add([a_job("ops-1")])
    assert not raw.exists(key("ops-1"))


def test_a_job_that_a_fast_worker_has_already_removed_counts_as_added(
    queue: Queue, server: EmbeddedRedis, tmp_path: Path
) -> None:
    profile = PROFILE.model_copy(update={"options": {"removeOnComplete": True}})
    with workers(server, 2, tmp_path) as taken, Queue(queue.address, profile) as other:
        until(lambda: queue.state().workers == 2)
        ids = [f"ops-{number}" for number in range(300)]
        assert other.add([a_job(one) for one in ids]) == set(ids)
        until(lambda: set(taken()) == set(ids))


def test_a_job_that_is_in_no_state_after_the_add_is_not_counted(queue: Queue, raw: Any) -> None:
    """Resuming BullMQ 4 or 5 renames `paused` over `wait`, and what was added in between is lost."""
    queue.add([a_job("ops-1"), a_job("ops-2")])
    raw.lrem(key("wait"), 1, "ops-2")
    assert queue._confirmed(["ops-1", "ops-2"], None) == {"ops-1"}


def test_nothing_is_added_to_a_paused_queue(queue: Queue, raw: Any) -> None:
    raw.hset(key("meta"), "paused", "1")
    with pytest.raises(Refused, match="paused"):
        queue.add([a_job("ops-1")])
    assert raw.keys(key("*")) == [key("meta")]


def test_nothing_is_added_to_a_queue_that_may_only_be_observed(queue: Queue, raw: Any) -> None:
    raw.hset(key("meta"), "version", "bullmq:99.0.0")
    with pytest.raises(Refused, match=r"bullmq:99\.0\.0"):
        queue.add([a_job("ops-1")])
    assert raw.keys(key("*")) == [key("meta")]


def test_adding_no_jobs_asks_nothing() -> None:
    assert Queue(QueueAddress("redis://127.0.0.1:1/0"), PROFILE).add([]) == frozenset()


def test_it_works_in_a_thread_whose_event_loop_runs(queue: Queue) -> None:
    async def inside() -> frozenset[str]:
        return queue.add([a_job("ops-1")])

    assert asyncio.run(inside()) == {"ops-1"}
    assert asyncio.run(inside()) == frozenset()


def test_it_works_again_after_close(queue: Queue) -> None:
    assert queue.add([a_job("ops-1")]) == {"ops-1"}
    queue.close()
    queue.close()
    assert queue.add([a_job("ops-2")]) == {"ops-2"}


def test_bullmq_s_client_does_not_warn_about_the_eviction_policy(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    with warnings.catch_warnings(), Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        warnings.simplefilter("error")
        assert queue.add([a_job("ops-1")]) == {"ops-1"}
        assert queue.remove_waiting(["ops-1"]) == {"ops-1"}


def test_only_jobs_that_no_worker_ever_took_are_removed(queue: Queue, raw: Any) -> None:
    queue.add([a_job("ops-wait")])
    put(raw, "delayed", "ops-delayed", payload("c1", "r1"))
    put(raw, "prioritized", "ops-prioritized", payload("c1", "r1"))
    put(raw, "active", "ops-just-taken", payload("c1", "r1"))
    put(raw, "active", "ops-active", payload("c1", "r1"), processedOn="1")
    put(raw, "delayed", "ops-retrying", payload("c1", "r1"), processedOn="1")
    put(raw, "completed", "ops-done", payload("c1", "r1"), processedOn="1", finishedOn="2")
    put(raw, "wait", "ops-locked", payload("c1", "r1"))
    raw.set(key("ops-locked:lock"), "token")
    left = {"ops-just-taken", "ops-active", "ops-retrying", "ops-done", "ops-locked"}
    removed = queue.remove_waiting(["ops-wait", "ops-delayed", "ops-prioritized", "ops-never-was", *left])
    assert removed == {"ops-wait", "ops-delayed", "ops-prioritized"}
    assert queue.present([*removed, *left]) == left
    assert not removed & queue.snapshot().live.keys()


@given(
    st.text(max_size=300),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.text(max_size=80),
)
def test_bullmq_accepts_every_job_id(campaign: str, attempt: int, batch: int, salt: str) -> None:
    one = job_id(campaign, attempt, batch, salt)
    assert ":" not in one
    assert not one.isdigit()
    assert len(one) <= 120
    assert one.isascii()
    assert one.replace("-", "").isalnum()
    assert one == job_id(campaign, attempt, batch, salt)
    assert one != job_id(campaign, attempt + 1, batch, salt)
    assert one != job_id(campaign, attempt, batch + 1, salt)
    assert one != job_id(campaign, attempt, batch, salt + "x")
    assert one != job_id(campaign + "/", attempt, batch, salt)
