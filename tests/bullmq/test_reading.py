"""A reading sees every live job and leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from campaign_ops.bullmq import reader
from campaign_ops.bullmq.queue import LiveJob, Queue
from campaign_ops.core.errors import Refused
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import PROFILE, a_job, add_by_bullmq, contents, key, payload, put, read, until, workers


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


def test_doubt_about_all_campaigns_is_added_to_the_doubt_about_each(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "1", payload("c1", None))
    put(raw, "wait", "2", payload("c1", None))
    assert read(queue, ["c1", "c2"]).unclear == {"c1": {"sendBulkSMS": 2}}
    put(raw, "wait", "3", "{")
    put(raw, "wait", "4", "{")
    raw.hdel(key("4"), "name")
    reading = read(queue, ["c1", "c2"])
    assert reading.unclear == {
        "c1": {"sendBulkSMS": 3, "without a name": 1},
        "c2": {"sendBulkSMS": 1, "without a name": 1},
    }
    assert reading.state.unclear_jobs == {"sendBulkSMS": 3, "without a name": 1}


def test_the_next_job_with_the_deduplication_id_of_an_active_one_covers_its_recipients(queue: Queue, raw: Any) -> None:
    """BullMQ keeps it in a hash beside the states until the active one ends."""
    put(raw, "active", "1", payload("c9", "r9"), deid="a")
    put(raw, "active", "2", payload("c9", "r9"), deid="b")
    put(raw, "wait", "3", payload("c9", "r9"), deid="c")
    put(raw, "active", "4", payload("c9", "r9"), deid="d")
    for name, data in (("a", payload("c1", "r1")), ("b", "{"), ("c", payload("c1", "r2"))):
        raw.hset(key(f"dn:{name}"), mapping={"name": "sendBulkSMS", "data": data, "jid": "17"})
    reading = queue.live_jobs(queue.snapshot(), ["c1"])
    assert list(reading) == [LiveJob("dn:a", "wait", "c1", ("r1",))]
    assert reading.result.unclear == {"c1": {"sendBulkSMS": 1}}
    assert reading.result.dated == {"dn:a": ("c1", "17")}
    raw.hdel(key("dn:b"), "name")
    assert read(queue, ["c1"]).unclear == {"c1": {"without a name": 1}}


def test_jobs_are_remembered_by_the_time_they_were_made_where_their_id_may_come_again(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "7", payload("c1", "r1"), timestamp="70")
    put(raw, "wait", "8", payload("c2", "r1"), timestamp="80")
    put(raw, "wait", "shard", payload("c2", "r1"), timestamp="90")
    put(raw, "wait", "mail", "{}", name="sendEmail", timestamp="91")
    dated = {"7": ("c1", "70"), "shard": (None, "90"), "mail": (None, "91")}
    assert read(queue, ["c1"]).dated == dated
    raw.lpush(key("wait"), "gone")
    assert read(queue, ["c1"]).dated == {**dated, "gone": (None, None)}


def test_a_job_is_taken_when_a_worker_has_it_or_had_it(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "new", payload("c1", "r1"))
    put(raw, "wait", "again", payload("c1", "r1"), processedOn="1")
    put(raw, "active", "just taken", payload("c1", "r1"))
    taken = {job.id: job.taken for job in queue.live_jobs(queue.snapshot(), ["c1"])}
    assert taken == {"new": False, "again": True, "just taken": True}


def test_only_the_newest_dead_jobs_are_read(queue: Queue, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "FAILED_LOOKED_AT", 3)
    monkeypatch.setattr(reader, "COMPLETED_LOOKED_AT", 2)
    for number in range(3):
        for state in ("failed", "completed", "delayed", "waiting-children"):
            put(raw, state, f"{state}-{number}", payload("c2" if number == 1 else "c1", "r1"))
            raw.zadd(key(state), {f"{state}-{number}": number})
        raw.lpush(key("wait"), f"wait-{number}", "0:1712345678901")
    raw.zadd(key("failed"), {"gone": 9})
    raw.lpush(key("wait"), "no-such-job")
    snapshot = queue.snapshot()
    assert [job.id for job in queue.failed_jobs(snapshot, ["c1"])] == ["failed-2"]
    assert queue.completed_ids(snapshot) == ["completed-2", "completed-1"]
    newest = queue.newest(2)
    assert newest["failed"] == ["gone", "failed-2"]
    assert newest["delayed"] == ["delayed-2", "delayed-1"]
    assert newest["wait"] == ["no-such-job"], "a marker of BullMQ 4 is no job"
    assert newest["active"] == []


def test_the_last_look_says_when_it_was_and_what_had_happened(queue: Queue, raw: Any) -> None:
    def clock() -> float:
        whole, micros = raw.time()
        return float(whole + micros / 1_000_000)

    before, look = clock(), queue.last_look()
    assert look.at is not None
    assert before <= look.at <= clock()
    assert (look.event, look.live) == ("0-0", {})
    event = raw.xadd(key("events"), {"event": "added"})
    put(raw, "wait", "1", payload("c1", "r1"))
    assert (queue.last_look().event, queue.last_look().live) == (event, {"1": "wait"})


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
    raw.set(key("lost:lock"), "of a worker that has stalled")
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


def test_a_job_whose_id_looks_like_a_wake_up_marker_is_a_job(queue: Queue, raw: Any, server: EmbeddedRedis) -> None:
    """Python's client takes any id, such as batch and campaign. Only BullMQ 4 has markers, and it sends no such job."""
    ids = {"0:17": "r1", "0:998877665544": "r2"}
    add_by_bullmq(
        server,
        [
            {"name": "sendBulkSMS", "data": json.loads(payload("c1", recipient)), "opts": {"jobId": job_id}}
            for job_id, recipient in ids.items()
        ],
    )
    put(raw, "delayed", "0:1712345678901", payload("c1", "r3"))
    raw.rpush(key("wait"), "0:0", "0:1712345678901.2")
    covered = [recipient for job in queue.live_jobs(queue.snapshot(), ["c1"]) for recipient in job.recipient_ids]
    assert sorted(covered) == ["r1", "r2", "r3"]
