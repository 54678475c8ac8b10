"""A read that failed is never an empty one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from campaign_ops.bullmq import guard
from campaign_ops.bullmq.queue import NothingAdded, PartlyAdded, Queue, QueueAddress
from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from campaign_ops.lab.servers.ports import free_port
from tests.bullmq.kit import PROFILE, a_job, answers_lost, connect, key, payload, put, read, redis_process, until


def ask_everything(queue: Queue) -> list[Callable[[], object]]:
    snapshot = Queue.snapshot
    return [
        queue.state,
        lambda: snapshot(queue),
        lambda: queue.marked(["r1"]),
        lambda: queue.present(["1"]),
        lambda: queue.remove_waiting(["1"]),
        lambda: queue.add([a_job("ops-1")]),
        queue.server,
        queue.live_ids,
    ]


def test_a_redis_that_is_away_is_unavailable_and_never_empty(own_server: EmbeddedRedis) -> None:
    own_server.kill()
    with Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        for ask in ask_everything(queue):
            with pytest.raises(QueueUnavailable) as caught:
                ask()
            assert caught.value.where == f"Redis 127.0.0.1:{own_server.port}/0, queue bull:sms-send"
            assert caught.value.mend


def test_a_redis_that_hangs_is_unavailable_soon(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        put(client, "wait", "1", payload("c1", "r1"))
        with Queue(QueueAddress(own_server.url(), read_timeout_seconds=0.2), PROFILE) as queue:
            snapshot = queue.snapshot()
            pid = own_server.pid or 0
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(QueueUnavailable, match="in time"):
                list(queue.live_jobs(snapshot, ["c1"]))
            with pytest.raises(QueueUnavailable, match="in time"):
                queue._writer.add([a_job("ops-1")], {"ops-1": {}})
            os.kill(pid, signal.SIGCONT)
            until(lambda: [job.id for job in queue.live_jobs(snapshot, ["c1"])] == ["1"])


def test_a_redis_that_dies_between_snapshot_and_pages_leaves_no_half_answer(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        for number in range(500):
            put(client, "wait", str(number), payload("c1", "r1"))
    with Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        before = read(queue, ["c1"])
        snapshot = queue.snapshot()
        reading = queue.live_jobs(snapshot, ["c1"])
        next(reading)
        own_server.kill()
        with pytest.raises(QueueUnavailable):
            list(reading)
        with pytest.raises(RuntimeError):
            _ = reading.result.state
        with pytest.raises(QueueUnavailable):
            list(queue.failed_jobs(queue.snapshot(), ["c1"]))
        with pytest.raises(QueueUnavailable):
            queue.newcomers(before, ["c1"])


def test_an_add_whose_redis_dies_counts_nothing(own_server: EmbeddedRedis) -> None:
    with Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        queue.add([a_job("ops-0")])
        add = queue._writer.add

        def dies(*arguments: Any) -> Any:
            own_server.kill()
            return add(*arguments)

        queue._writer.add = dies  # type: ignore[method-assign, assignment]
        with pytest.raises(QueueUnavailable):
            queue.add([a_job(f"ops-{number}") for number in range(1, 250)])


def test_an_add_whose_answer_was_lost_is_not_repeated(server: EmbeddedRedis, queue: Queue) -> None:
    """A fast worker may have sent and removed the job meanwhile: the same add again would send it again."""
    with answers_lost(server, b"EVALSHA") as (port, broken):
        with Queue(QueueAddress(f"redis://127.0.0.1:{port}/0"), PROFILE) as far, pytest.raises(QueueUnavailable):
            far.add([a_job("ops-1")])
        assert len(broken) == 1
    assert queue.present(["ops-1"]) == {"ops-1"}
    assert queue.add([a_job("ops-1"), a_job("ops-2")]) == {"ops-2"}


def test_jobs_that_vanished_with_a_restart_are_not_taken_for_finished(own_server: EmbeddedRedis) -> None:
    with Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        before = queue.state().server_id
        queue.add([a_job("ops-1")])
        own_server.restart()
        with pytest.raises(QueueUnavailable, match="restarted"):
            queue._confirmed(["ops-1"], before)


def test_a_refused_password_is_unavailable_and_stays_secret(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.config_set("requirepass", "right-secret")
    for url in (own_server.url(), own_server.url().replace("//", "//:wrong-secret@")):
        with Queue(QueueAddress(url), PROFILE) as queue, pytest.raises(QueueUnavailable) as caught:
            queue.state()
        assert "secret" not in str(caught.value)
        assert "password" in caught.value.mend
    with Queue(QueueAddress(own_server.url().replace("//", "//:right-secret@")), PROFILE) as queue:
        assert queue.add([a_job("ops-1")]) == {"ops-1"}


def test_a_key_of_another_type_is_unavailable_and_not_empty(queue: Queue, raw: Any) -> None:
    raw.set(key("delayed"), "surprise")
    for ask in (queue.state, queue.snapshot):
        with pytest.raises(QueueUnavailable, match="WRONGTYPE"):
            ask()
    raw.delete(key("delayed"))
    raw.lpush(key("wait"), "1")
    raw.set(key("1"), "surprise")
    with pytest.raises(QueueUnavailable):
        list(queue.live_jobs(queue.snapshot(), ["c1"]))


def test_a_redis_without_memory_takes_no_jobs_and_is_not_empty(own_server: EmbeddedRedis) -> None:
    """A full Redis refuses every transaction, even one that only reads."""
    with Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        queue.add([a_job("ops-1")])
        with connect(own_server) as client:
            client.config_set("maxmemory", "1")
        with pytest.raises(QueueUnavailable, match="out of memory"):
            queue.snapshot()
        with pytest.raises(QueueUnavailable, match="out of memory") as caught:
            queue._writer.add([a_job("ops-2")], {"ops-2": {"recipientIds": ["r1"]}})
        assert "recipientIds" not in str(caught.value)


def test_a_user_with_the_least_rights_can_do_everything_except_list_the_workers(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.execute_command(
            *("ACL", "SETUSER", "ops", "on", ">pw", "~bull:sms-send:*", "~sms:*", "+@all", "-@dangerous", "-@admin")
        )
        client.hset(key("meta"), "version", "bullmq:5.81.5")
        put(client, "wait", "1", payload("c1", "r1"))
    with Queue(QueueAddress(own_server.url().replace("//", "//ops:pw@")), PROFILE) as queue:
        for state in (queue.state(), queue.snapshot().state):
            assert state.workers is None
            assert state.server_id is None
            assert state.live == 1
        assert queue.server().eviction_policy is None
        assert queue.marked(["r1"]) == frozenset()
        assert queue.add([a_job("ops-1")]) == {"ops-1"}


def test_missing_rights_to_read_the_queue_are_reported(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~other:*", "+@all")
    with (
        Queue(QueueAddress(own_server.url().replace("//", "//ops:pw@")), PROFILE) as queue,
        pytest.raises(QueueUnavailable, match="may not"),
    ):
        queue.snapshot()


def test_markers_that_may_not_be_read_are_not_absent(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~bull:*", "+@all")
    with (
        Queue(QueueAddress(own_server.url().replace("//", "//ops:pw@")), PROFILE) as queue,
        pytest.raises(QueueUnavailable, match="may not"),
    ):
        queue.marked(["r1"])


def test_a_redis_that_is_still_loading_is_not_empty(own_server: EmbeddedRedis, tmp_path: Path) -> None:
    with connect(own_server) as client:
        client.config_set("rdbcompression", "no")
        for number in range(50):  # while it loads, it answers only once every 2 MB
            put(client, "wait", str(number), payload("c1", "r" * 1_500_000))
        client.save()
        (home,) = client.config_get("dir").values()
    port = free_port()
    with (
        redis_process(tmp_path, "--port", str(port), "--dir", home, "--save", "", "--key-load-delay", "40000"),
        Queue(QueueAddress(f"redis://127.0.0.1:{port}/0"), PROFILE) as queue,
    ):
        seen: set[str] = set()
        until(lambda: what_it_says(queue, seen) == "50 jobs")
    assert "Redis is still loading its data" in seen


def what_it_says(queue: Queue, seen: set[str]) -> str:
    try:
        says = f"{len(queue.snapshot().live)} jobs"
    except QueueUnavailable as error:
        says = error.what
    seen.add(says)
    return says


def test_one_node_of_a_cluster_is_named_as_such(tmp_path: Path) -> None:
    port = next(filter(lambda one: one < 55_000, iter(free_port, None)))  # its bus listens 10,000 above
    with (
        redis_process(tmp_path, "--port", str(port), "--dir", str(tmp_path), "--cluster-enabled", "yes"),
        Queue(QueueAddress(f"redis://127.0.0.1:{port}/0"), PROFILE) as queue,
    ):
        seen: set[str] = set()
        until(lambda: what_it_says(queue, seen).startswith("this is one node of a Redis Cluster"))


def test_a_redis_that_accepts_no_writes_reports_it_and_keeps_nothing(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client, Queue(QueueAddress(own_server.url()), PROFILE) as queue:
        client.config_set("min-replicas-to-write", 1)
        with pytest.raises(NothingAdded, match="NOREPLICAS") as caught:
            queue.add([a_job("ops-1"), a_job("ops-2")])
        assert "user_script" not in str(caught.value)
        assert client.keys("*") == []


def test_a_missing_right_to_add_is_named(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~bull:*", "+@all", "-lpush")
        queue_of_user = Queue(QueueAddress(own_server.url().replace("//", "//ops:pw@")), PROFILE)
        with queue_of_user as queue, pytest.raises(NothingAdded, match="may not"):
            queue.add([a_job("ops-1")])
        assert queue.snapshot().live == {}


def test_a_job_that_is_in_the_queue_when_its_add_fails_counts_as_added(own_server: EmbeddedRedis) -> None:
    """BullMQ pushes a job before it writes its marker: the intent was closed as not added while the job was live."""
    with connect(own_server) as client:
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~bull:*", "+@all", "-zadd")
        with Queue(QueueAddress(own_server.url().replace("//", "//ops:pw@")), PROFILE) as queue:
            with pytest.raises(PartlyAdded, match="may not") as caught:
                queue.add([a_job("ops-1"), a_job("ops-2")])
            assert caught.value.added == set(queue.snapshot().live) == {"ops-1"}


def test_a_job_whose_add_fails_before_it_is_in_any_state_leaves_nothing(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~bull:*", "+@all", "-lpush")
        with (
            Queue(QueueAddress(own_server.url().replace("//", "//ops:pw@")), PROFILE) as queue,
            pytest.raises(NothingAdded),
        ):
            queue.add([a_job("ops-1")])
        assert not client.exists(f"bull:{PROFILE.name}:ops-1")


def test_what_was_added_before_another_job_failed_is_named_with_the_error(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis takes nothing back of a script that fails half way. The error's text was lost, and no report showed it."""
    fail = "function() error('no ops-2') end"
    failing = guard._GUARDED.replace("pcall(add_job,", f"pcall(id == 'ops-2' and {fail} or add_job,")
    monkeypatch.setattr(guard, "_GUARDED", failing)
    with pytest.raises(PartlyAdded, match="ops-2") as caught:
        queue.add([a_job(f"ops-{number}") for number in range(4)])
    assert caught.value.added == {"ops-0", "ops-1"}
    with pytest.raises(NothingAdded):
        queue.add([a_job("ops-2")])
