"""Changes of a queue while the database is read."""

from __future__ import annotations

from typing import Any

import pytest

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.errors import QueueUnavailable
from tests.bullmq.kit import PROFILE, key, payload, put, read


def test_newcomers_are_the_campaigns_that_got_a_job_since_the_snapshot(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "old", payload("c1", "r1"))
    before = read(queue, ["c1", "c2", "c3"])
    assert queue.newcomers(before, ["c1", "c2"]) == frozenset()
    raw.rpoplpush(key("wait"), key("active"))
    put(raw, "delayed", "new", payload("c2", "r2"))
    put(raw, "wait", "else", payload("c3", "r3"))
    put(raw, "wait", "foreign", "x", name="sendEmail")
    assert queue.newcomers(before, ["c1", "c2"]) == {"c2"}


def test_a_job_of_another_name_makes_its_campaigns_newcomers_and_those_it_may_be_about(queue: Queue, raw: Any) -> None:
    before = read(queue, ["c1", "c2", "c3"])
    put(raw, "wait", "retry", payload("c1", "r1"), name="retryBulkSMS")
    put(raw, "wait", "batches", '{"campaignId": "c2"}', name="makeBatches")
    assert queue.newcomers(before, ["c1", "c2", "c3"]) == {"c1", "c2"}


def test_our_own_jobs_never_make_newcomers(queue: Queue, raw: Any) -> None:
    before = read(queue, ["c1", "c2", "c3"])
    put(raw, "wait", "ops-1", payload("c1", "r1"))
    raw.lpush(key("wait"), "ops-2")
    assert queue.newcomers(before, ["c1"], ours=["ops-1", "ops-2"]) == frozenset()


def test_a_newcomer_that_cannot_be_read_blocks(queue: Queue, raw: Any) -> None:
    before = read(queue, ["c1", "c2", "c3"])
    put(raw, "wait", "new", "{")
    with pytest.raises(QueueUnavailable, match="may cover any recipient"):
        queue.newcomers(before, ["c1"])


def test_a_newcomer_without_a_job_blocks(queue: Queue, raw: Any) -> None:
    before = read(queue, ["c1", "c2", "c3"])
    raw.lpush(key("wait"), "new")
    with pytest.raises(QueueUnavailable, match="may cover any recipient"):
        queue.newcomers(before, ["c1"])


def test_an_id_that_finished_and_came_back_is_new_again(queue: Queue, raw: Any) -> None:
    """Applications that make their ids from campaign and batch use them again once the old job is removed."""
    put(raw, "wait", "c1-batch-1", payload("c1", "r1"))
    jobs = queue.live_jobs(queue.snapshot(), ["c1"])
    raw.delete(key("wait"), key("c1-batch-1"))
    assert list(jobs) == []
    put(raw, "wait", "c1-batch-1", payload("c1", "r1"))
    assert queue.newcomers(jobs.result, ["c1"]) == {"c1"}


def test_a_recipient_is_marked_by_a_marker_under_any_of_its_keys(queue: Queue, raw: Any) -> None:
    everybody = [f"r{number}" for number in range(1_200)]
    assert queue.marked(everybody) == frozenset()
    raw.set("sms:sent:campaignRecipient:r3", "1")
    raw.set("sms:send-claim:r3", "1")
    raw.set("sms:send-claim:r1100", "1", ex=60)
    assert queue.marked(everybody) == {"r3", "r1100"}
    assert queue.marked([]) == frozenset()


def test_without_markers_in_the_profile_no_recipient_is_marked_and_nothing_is_asked() -> None:
    profile = PROFILE.model_copy(update={"markers": ()})
    assert Queue(QueueAddress("redis://127.0.0.1:1/0"), profile).marked(["r1"]) == frozenset()


def test_a_job_kept_aside_is_read_while_the_job_it_waits_for_is_to_be_tried_again(queue: Queue, raw: Any) -> None:
    """A failed try leaves `active` for `delayed`, a stalled one for `wait`: what was kept aside stays aside."""
    aside = {"name": "sendBulkSMS", "data": payload("c1", "r1"), "jid": "17"}
    put(raw, "delayed", "1", payload("c9", "r9"), deid="tried", processedOn="1")
    put(raw, "wait", "2", payload("c9", "r9"), deid="later")
    raw.hset(key("dn:tried"), mapping=aside)
    jobs = queue.live_jobs(queue.snapshot(), ["c1", "c2", "c3", "c4"])
    assert [job.recipient_ids for job in jobs] == [("r1",)]
    before = jobs.result
    assert queue.newcomers(before, ["c1", "c2"]) == frozenset()
    raw.hset(key("dn:tried"), mapping=aside | {"data": payload("c2", "r2"), "jid": "18"})
    raw.lrem(key("wait"), 1, "2")
    put(raw, "delayed", "2", payload("c9", "r9"), deid="later", processedOn="1")
    raw.hset(key("dn:later"), mapping=aside | {"data": payload("c3", "r3")})
    put(raw, "delayed", "3", payload("c9", "r9"), deid="new", processedOn="1")
    raw.hset(key("dn:new"), mapping=aside | {"data": payload("c4", "r4")})
    everybody = ["c1", "c2", "c3", "c4"]
    assert queue.newcomers(before, everybody) == {"c2", "c3", "c4"}
    assert queue.newcomers(before, everybody, look=queue.last_look()) == {"c2", "c3", "c4"}
