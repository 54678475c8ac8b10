"""A reading sees every live job and leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from campaign_ops.bullmq.queue import LiveJob, Queue
from campaign_ops.core.errors import Refused
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import PROFILE, a_job, add_by_bullmq, contents, key, payload, put, until, workers


def test_reading_leaves_redis_byte_for_byte_as_it_was(queue: Queue, server: EmbeddedRedis, raw: Any) -> None:
    for state in ("wait", "paused", "active", "prioritized", "delayed", "waiting-children", "failed", "completed"):
        put(raw, state, f"job-{state}", payload("c1", "r1"))
    put(raw, "wait", "broken", "{")
    raw.rpush(key("wait"), "0:0", "no-such-job")
    raw.hset(key("meta"), mapping={"paused": "1", "version": "bullmq:4.18.3"})
    raw.set("sms:send-claim:r1", "1")
    before = contents(server)
    queue.state()
    snapshot = queue.snapshot()
    reading = queue.live_jobs(snapshot, ["c1"])
    list(reading)
    list(queue.failed_jobs(snapshot, ["c1"]))
    list(queue.completed_jobs(snapshot).new(["c1"]))
    queue.marked(["r1", "r2"])
    queue.present(["broken", "nothing"])
    queue.server()
    raw.lpush(key("wait"), "1")
    raw.lpop(key("wait"))
    queue.newcomers(reading.result, ["c1"])
    with Queue(queue.address, PROFILE) as another, pytest.raises(Refused):
        another.add([a_job("ops-1")])
    assert contents(server) == before


def test_jobs_of_every_live_state_are_seen_and_those_of_other_campaigns_are_not(queue: Queue, raw: Any) -> None:
    states = ("wait", "paused", "active", "prioritized", "delayed", "waiting-children")
    for state in (*states, "failed", "completed"):
        put(raw, state, f"job-{state}", payload("c1", f"{state}-1", f"{state}-2"))
        put(raw, state, f"else-{state}", payload("c2", "r9"))
    snapshot = queue.snapshot()
    reading = queue.live_jobs(snapshot, ["c1"])
    assert {job.id: job for job in reading} == {
        f"job-{state}": LiveJob(f"job-{state}", state, "c1", (f"{state}-1", f"{state}-2")) for state in states
    }
    assert reading.result.state == snapshot.state
    assert [(job.id, job.recipient_ids) for job in queue.failed_jobs(snapshot, ["c1"])] == [
        ("job-failed", ("failed-1", "failed-2"))
    ]


def test_ids_that_are_numbers_come_back_as_text(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "1", payload(41, 7, 9007199254740993))
    (job,) = queue.live_jobs(queue.snapshot(), ["41"])
    assert job.recipient_ids == ("7", "9007199254740993")


def test_a_job_that_stalled_too_often_covers_and_is_counted(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "1", payload("c1", "r1"), defa="job stalled more than allowable limit")
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    assert [job.recipient_ids for job in reading] == [("r1",)]
    assert reading.result.state.doomed_jobs == 1


def test_jobs_of_other_names_that_say_nothing_of_a_wanted_campaign_are_only_counted(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "1", "not even JSON", name="sendEmail")
    put(raw, "wait", "2", payload("c2", "r1"), name="sendEmail")
    put(raw, "wait", "3", "{}", name="sendEmail")
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    assert list(reading) == []
    assert reading.result.state.foreign_jobs == 3
    assert not reading.result.state.unclear_jobs
    assert not reading.result.unclear


def test_a_job_of_any_name_that_carries_the_payloads_keys_covers_its_recipients(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "1", payload("c1", "r1"), name="retryBulkSMS")
    put(raw, "failed", "2", payload("c1", "r2"), name="retryBulkSMS")
    snapshot = queue.snapshot()
    assert [job.recipient_ids for job in queue.live_jobs(snapshot, ["c1"])] == [("r1",)]
    assert [job.recipient_ids for job in queue.failed_jobs(snapshot, ["c1"])] == [("r2",)]


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "null",
        "[]",
        '"c1"',
        '{"recipientIds": ["r1"]}',
        '{"campaignId": "c1"}',
        '{"campaignId": null, "recipientIds": ["r1"]}',
        '{"campaignId": true, "recipientIds": ["r1"]}',
        '{"campaignId": "", "recipientIds": ["r1"]}',
        '{"campaignId": "c1", "recipientIds": "r1"}',
        '{"campaignId": "c1", "recipientIds": [{"id": "r1"}]}',
        '{"campaignId": "c1", "recipientIds": ["r1", null]}',
        '{"campaignId": "c1", "recipientIds": [1.5]}',
        "[" * 100_000,
        b'{"campaignId": "c1", "recipientIds": ["r\xff"]}',
    ],
)
def test_a_payload_that_cannot_be_decoded_is_doubt_and_neither_coverage_nor_its_absence(
    queue: Queue, raw: Any, data: str
) -> None:
    put(raw, "delayed", "good", payload("c1", "r1"))
    put(raw, "wait", "bad", data)
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    assert [job.id for job in reading] == ["good"]
    assert reading.result.unclear == {"c1": {"sendBulkSMS": 1}}
    assert reading.result.state.unclear_jobs == {"sendBulkSMS": 1}


def test_a_job_without_data_is_doubt_too(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "bad", "")
    raw.hdel(key("bad"), "data")
    reading = queue.live_jobs(queue.snapshot(), ["c1", "c2"])
    assert list(reading) == []
    assert reading.result.unclear == {"c1": {"sendBulkSMS": 1}, "c2": {"sendBulkSMS": 1}}


def test_unreadable_recipients_are_doubt_about_their_own_campaign_alone(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "bad", payload("c2", None))
    reading = queue.live_jobs(queue.snapshot(), ["c1", "c2"])
    assert list(reading) == []
    assert reading.result.unclear == {"c2": {"sendBulkSMS": 1}}
    another = queue.live_jobs(queue.snapshot(), ["c1"])
    assert list(another) == []
    assert another.result.unclear == {}


def test_the_result_of_a_reading_does_not_exist_before_its_end(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "1", payload("c1", "r1"))
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    next(reading)
    with pytest.raises(RuntimeError):
        _ = reading.result.state


def test_a_job_that_finished_since_the_snapshot_is_not_an_orphan(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "1", payload("c1", "r1"))
    snapshot = queue.snapshot()
    raw.delete(key("1"), key("wait"))
    reading = queue.live_jobs(snapshot, ["c1"])
    assert list(reading) == []
    assert reading.result.state.orphans == 0
    assert reading.result.state.problem is None


def test_a_job_that_finished_and_came_back_under_its_id_while_it_was_read_is_seen(
    queue: Queue, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(raw, "wait", "c1-batch-1", payload("c1", "r1"))
    snapshot = queue.snapshot()
    raw.delete(key("c1-batch-1"), key("wait"))
    look_again = queue.live_ids

    def after_it_was_added_again() -> Any:
        put(raw, "delayed", "c1-batch-1", payload("c1", "r2"))
        return look_again()

    monkeypatch.setattr(queue, "live_ids", after_it_was_added_again)
    reading = queue.live_jobs(snapshot, ["c1"])
    assert list(reading) == [LiveJob("c1-batch-1", "delayed", "c1", ("r2",))]
    assert reading.result.state.orphans == 0


def test_an_id_that_is_listed_without_a_job_is_an_orphan_and_covers_no_recipient(queue: Queue, raw: Any) -> None:
    raw.lpush(key("wait"), "lost")
    raw.lpush(key("active"), "lost-too")
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    assert list(reading) == []
    assert reading.result.state.orphans == 2
    assert reading.result.state.problem is None


def test_a_worker_busy_with_a_job_whose_data_is_gone_may_be_sending_to_any_recipient(queue: Queue, raw: Any) -> None:
    """An evicting Redis takes the job away under the worker that still sends it."""
    raw.lpush(key("active"), "evicted")
    raw.set(key("evicted:lock"), "token")
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    assert list(reading) == []
    assert reading.result.state.orphans == 1
    assert "evicted" in (reading.result.state.problem or "")


def test_reading_thousands_of_jobs_sees_each_once_while_workers_move_them(
    queue: Queue, server: EmbeddedRedis, tmp_path: Path
) -> None:
    """Waiting, delayed for a retry, active, failed: a job that moves between two reads would be missed or doubled."""
    expected = {f"job-{number}" for number in range(2_000)}
    jobs = [
        {
            "name": "sendBulkSMS",
            "data": {"campaignId": f"c{number % 7}", "recipientIds": [f"r{number}"]},
            "opts": {"jobId": f"job-{number}", "attempts": 1_000, "backoff": {"type": "fixed", "delay": 30}}
            | ({"priority": 1 + number % 3} if number % 2 else {}),
        }
        for number in range(2_000)
    ]
    add_by_bullmq(server, jobs)
    with workers(server, 2, tmp_path, fail="the provider says no", concurrency=10) as taken:
        until(lambda: len(taken()) > 20)
        before = len(taken())
        for _ in range(5):
            snapshot = queue.snapshot()
            reading = queue.live_jobs(snapshot, [f"c{number}" for number in range(7)])
            seen = [job.id for job in reading]
            assert len(seen) == len(set(seen))
            assert set(seen) == expected
            assert reading.result.state.live == 2_000
            assert reading.result.state.problem is None
        assert len(taken()) > before, "the workers did not work meanwhile"
