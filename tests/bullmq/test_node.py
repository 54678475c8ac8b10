"""The queue as the Node clients of BullMQ 4, 5 and 6 fill it and as their workers empty it."""

from __future__ import annotations

from typing import Any

import pytest

from campaign_ops.bullmq.queue import Guard, Queue
from campaign_ops.core.errors import Refused
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import a_job, contents, key, read, until
from tests.bullmq.node import Node, missing

pytestmark = pytest.mark.node


@pytest.fixture(params=[4, 5, 6], ids=lambda major: f"bullmq{major}")
def node(request: pytest.FixtureRequest, server: EmbeddedRedis) -> Node:
    if why := missing(request.param):
        pytest.skip(why)
    return Node(request.param, server)


def batch(campaign: str, *recipients: str, **options: object) -> dict[str, Any]:
    data = {"campaignId": campaign, "shopId": "shop", "recipientIds": recipients}
    return {"name": "sendBulkSMS", "data": data, "opts": options}


def states(queue: Queue, campaign: str = "c1") -> dict[str, str]:
    """Return the state of each live job by its first recipient."""
    return {job.recipient_ids[0]: job.state for job in queue.live_jobs(queue.snapshot(), [campaign])}


def test_jobs_are_read_in_every_state_that_a_client_puts_them_in(
    node: Node, queue: Queue, server: EmbeddedRedis
) -> None:
    node.run(
        "add",
        jobs=[
            batch("c1", "plain"),
            batch("c1", "urgent", priority=1),
            batch("c1", "later", delay=600_000),
            batch("c2", "other"),
            {"name": "sendEmail", "data": {"to": "anybody"}},
        ],
    )
    node.run("flow", **batch("c1", "parent"), children=[batch("c1", "child")])
    node.run("schedule", every=600_000, **batch("c1", "nightly"))
    before = contents(server)
    snapshot = queue.snapshot()
    reading = queue.live_jobs(snapshot, ["c1"])
    found = {job.recipient_ids[0]: job for job in reading}
    nightly = found.pop("nightly")
    assert {one: job.state for one, job in found.items()} == {
        "plain": "wait",
        "urgent": "prioritized",
        "later": "delayed",
        "parent": "waiting-children",
        "child": "wait",
    }
    assert nightly.id.count(":") == 2
    assert nightly.state in {"delayed", "wait"}
    state = reading.result.state
    assert state.problem is None
    assert state.version is not None
    assert state.version.startswith(f"bullmq:{node.major}.")
    assert state.exists
    assert (state.foreign_jobs, state.orphans, state.unclear_jobs) == (1, 0, {})
    assert state.counts == queue.state().counts
    assert contents(server) == before


def test_a_paused_queue_shows_its_jobs_and_accepts_none(node: Node, queue: Queue, raw: Any) -> None:
    node.run("add", jobs=[batch("c1", "before")])
    node.run("pause")
    node.run("add", jobs=[batch("c1", "during")])
    where = "wait" if node.major >= 6 else "paused"
    assert states(queue) == {"before": where, "during": where}
    assert queue.state().paused
    assert queue.state().depth == 2
    with pytest.raises(Refused):
        queue.add([a_job("ops-1")])
    node.run("resume")
    assert not queue.state().paused
    assert queue.add([a_job("ops-1", "c1", "after")]) == {"ops-1"}
    assert states(queue) == dict.fromkeys(("before", "during", "after"), "wait")


def test_the_marker_of_an_idle_queue_is_not_a_job(node: Node, queue: Queue, raw: Any) -> None:
    node.run("add", jobs=[batch("c1", "later", delay=600_000), batch("c1", "urgent", delay=600_000, priority=3)])
    markers = raw.lrange(key("wait"), 0, -1) if node.major == 4 else raw.zrange(key("marker"), 0, -1)
    assert markers, "this client leaves no marker any more"
    assert states(queue) == {"later": "delayed", "urgent": "delayed"}
    for state in (queue.state(), queue.snapshot().state):
        assert (state.depth, state.live) == (0, 2)


def test_workers_are_counted_and_listeners_are_not(node: Node, queue: Queue) -> None:
    named = {} if node.major == 4 else {"name": "first"}
    with node.stay("listen"):
        assert queue.state().workers == 0
        with node.stay("work"), node.stay("work", options=named):
            until(lambda: queue.state().workers == 2)
    until(lambda: queue.state().workers == 0)


def test_an_idle_worker_wakes_at_once_and_gets_exactly_the_payload(node: Node, queue: Queue, raw: Any) -> None:
    """A job that is pushed without the client's marker waits for the worker's own poll: here for an hour."""
    with node.stay("work", options={"drainDelay": 3600}) as worker:
        until(lambda: any("b" in client["flags"] for client in raw.client_list()))
        assert queue.add([a_job("ops-1", "c1", "r1", "r2")]) == {"ops-1"}
        job = worker.hear()
        assert (job["id"], job["name"]) == ("ops-1", "sendBulkSMS")
        assert job["data"] == {"campaignId": "c1", "shopId": "shop", "recipientIds": ["r1", "r2"], "source": "ops"}
        assert job["opts"]["attempts"] == 5
        assert job["opts"]["backoff"] == {"type": "exponential", "delay": 3000}
        assert worker.hear() == {"completed": "ops-1"}
    assert states(queue) == {}
    assert queue.state().counts["completed"] == 1
    assert queue.add([a_job("ops-1")]) == frozenset(), "its id is taken"


def test_a_job_of_ours_that_fails_is_retried_as_the_profile_says(node: Node, queue: Queue) -> None:
    with node.stay("work", fail=True) as worker:
        queue.add([a_job("ops-1", "c1", "r1")])
        worker.hear()
        assert worker.hear() == {"failed": "ops-1"}
        until(lambda: states(queue) == {"r1": "delayed"})
        assert queue.remove_waiting(["ops-1"]) == frozenset(), "a worker has had it"


def test_failed_jobs_are_found_and_completed_ones_leave_no_trace(node: Node, queue: Queue) -> None:
    node.run("add", jobs=[batch("c1", "lost", attempts=1)])
    with node.stay("work", fail=True) as worker:
        worker.hear()
        assert "failed" in worker.hear()
    node.run("add", jobs=[batch("c1", "sent", removeOnComplete=True)])
    with node.stay("work") as worker:
        worker.hear()
        assert "completed" in worker.hear()
    snapshot = queue.snapshot()
    assert [job.recipient_ids for job in queue.failed_jobs(snapshot, ["c1"])] == [("lost",)]
    assert snapshot.live == {}
    assert (snapshot.state.counts["failed"], snapshot.state.counts["completed"]) == (1, 0)


def test_jobs_that_a_worker_finishes_and_removes_at_once_count_as_added(node: Node, queue: Queue) -> None:
    fast = Queue(queue.address, queue.profile.model_copy(update={"options": {"removeOnComplete": True}}))
    ids = [f"ops-{number}" for number in range(250)]
    with node.stay("work", options={"concurrency": 20}) as worker, fast:
        assert fast.add([a_job(one) for one in ids]) == set(ids)
        heard = [worker.hear() for _ in range(500)]
    assert sorted(one["id"] for one in heard if "id" in one) == sorted(ids)
    assert queue.present(ids) == frozenset()


def test_what_a_worker_holds_is_not_removed_and_what_waits_is(node: Node, queue: Queue) -> None:
    with node.stay("hold") as worker:
        queue.add([a_job("ops-1", "c1", "r1")])
        assert worker.hear() == {"id": "ops-1"}
        queue.add([a_job("ops-2", "c1", "r2")])
        assert states(queue) == {"r1": "active", "r2": "wait"}
        assert queue.remove_waiting(["ops-1", "ops-2"]) == {"ops-2"}
        assert states(queue) == {"r1": "active"}


def test_a_job_that_stalled_too_often_covers_until_it_is_over(node: Node, queue: Queue) -> None:
    """BullMQ 5.53 and later put it back with the field `defa`; BullMQ 4 fails it at once."""
    queue.add([a_job("ops-1", "c1", "r1")])
    short = {"lockDuration": 300, "stalledInterval": 300, "maxStalledCount": 0}
    with node.stay("hold", options=short) as worker:
        assert worker.hear() == {"id": "ops-1"}
        worker.crash()
    assert states(queue) == {"r1": "active"}
    node.run("pause")  # so that no worker picks it up and fails it
    with node.stay("work", options=short):
        until(lambda: states(queue) != {"r1": "active"})
    snapshot = queue.snapshot()
    if node.major == 4:
        assert [job.recipient_ids for job in queue.failed_jobs(snapshot, ["c1"])] == [("r1",)]
    else:
        reading = queue.live_jobs(snapshot, ["c1"])
        assert [job.recipient_ids for job in reading] == [("r1",)]
        assert reading.result.state.doomed_jobs == 1


def test_what_a_worker_does_with_a_job_that_stalled_too_often(node: Node, queue: Queue, raw: Any) -> None:
    """The reason why it covers: an older worker beside a new one sends it, and no worker reports its version."""
    queue.add([a_job("ops-1", "c1", "r1")])
    raw.hset(key("ops-1"), "defa", "job stalled more than allowable limit")
    with node.stay("work"):
        until(lambda: raw.zscore(key("completed"), "ops-1") or raw.zscore(key("failed"), "ops-1"))
    assert (raw.zscore(key("completed"), "ops-1") is not None) is (node.major == 4)


@pytest.mark.parametrize("node", [5, 6], indirect=True, ids=lambda major: f"bullmq{major}")
def test_a_job_that_is_kept_aside_while_another_is_active_covers_its_recipients(
    node: Node, queue: Queue, raw: Any
) -> None:
    """BullMQ keeps the last job under a deduplication id in a hash beside the states: no look read it."""
    once = {"id": "c1", "keepLastIfActive": True}
    node.run("add", jobs=[batch("c1", "first", deduplication=once)])
    raw.rpoplpush(key("wait"), key("active"))
    before, look = read(queue, ["c1", "c2"]), queue.last_look()
    node.run("add", jobs=[batch("c1", "next", deduplication=once)])
    assert raw.exists(key("dn:c1"))
    assert queue.newcomers(before, ["c1", "c2"]) == {"c1"}
    assert queue.add([a_job("ops-1"), a_job("ops-2", "c2")], Guard(look, dated=before.dated)) == {"ops-2"}
    assert states(queue) == {"first": "active", "next": "wait"}
    after = read(queue, ["c1", "c2"])
    assert queue.newcomers(after, ["c1", "c2"]) == frozenset()
    assert queue.add([a_job("ops-1")], Guard(queue.last_look(), dated=after.dated)) == {"ops-1"}
