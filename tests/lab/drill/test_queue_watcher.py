"""The queue watcher sees every job of ours and every recipient in two jobs, and survives a restart of Redis."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bullmq import Job

from campaign_ops.lab.drill.checkers import WATCHED
from campaign_ops.lab.drill.queue_watcher import Watched, command, read_watched
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.lab.servers.redis import EmbeddedRedis
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.profile.load import load_profile
from tests.conftest import World
from tests.lab.drill.checked_world import CheckedWorld, checked_world


@pytest.fixture
def stage(sms: World, work_dir: Path) -> CheckedWorld:
    return checked_world(sms, work_dir)


def seen(stage: CheckedWorld) -> Watched:
    return read_watched(stage.work_dir / WATCHED)


def test_a_live_job_of_ours_is_seen_with_its_campaign_and_its_recipients(stage: CheckedWorld) -> None:
    stage.world.queue.add("c", "shop", ["r1", "r2"], job_ids=["ops-c-a1-b0-x"])
    stage.world.queue.add("c", "shop", ["r3"])
    stage.look(2)
    watched = seen(stage)
    (job,) = watched.jobs.items()
    assert job == ("ops-c-a1-b0-x", replace(job[1], campaign_id="c", recipient_ids=("r1", "r2")))
    assert watched.looks > 0
    assert watched.depth[0][1] == 2


def test_a_job_that_came_and_went_between_two_looks_is_seen_in_the_event_stream(stage: CheckedWorld) -> None:
    stage.world.queue.add("c", "shop", ["r1"], job_ids=["ops-c-a1-b0-x"])
    stage.world.queue.remove(["ops-c-a1-b0-x"])
    stage.look()
    assert seen(stage).jobs["ops-c-a1-b0-x"].recipient_ids is None


def test_a_job_that_a_worker_has_completed_is_known_with_its_recipients(stage: CheckedWorld) -> None:
    stage.world.queue.add("c", "shop", ["r1"], job_ids=["j"])

    async def do_nothing(_job: Job, _token: str) -> None: ...

    stage.world.queue.work_off(do_nothing)
    stage.look()
    (completed,) = seen(stage).completed
    assert (completed.job_id, completed.recipient_ids) == ("j", frozenset({"r1"}))


def test_how_long_a_campaign_has_live_jobs_is_known_from_the_first_look_to_the_last(stage: CheckedWorld) -> None:
    (job,) = stage.world.queue.add("c", "shop", ["r1"])
    with stage.watcher() as watcher:
        watcher.look()
        watcher.look()
        stage.world.queue.remove([job])
        watcher.look()
        stage.world.queue.add("c", "shop", ["r1"])
        watcher.look()
        watcher.blind()
        watcher.look()
    ((since, until),) = seen(stage).busy["c"].items()
    assert since < until


def test_how_long_a_job_of_another_kind_names_a_campaign_is_known(stage: CheckedWorld) -> None:
    job = stage.world.queue.add_other("exportRecipients", {"campaign": "c", "recipients": ["r1"]})
    stage.world.queue.add_other("campaignReport", {"campaignId": "d"})
    with stage.watcher() as watcher:
        watcher.look()
        watcher.look()
        stage.world.queue.remove([job])
        watcher.look()
    ((campaign, spans),) = seen(stage).unclear.items()
    ((since, until),) = spans.items()
    assert campaign == "c"
    assert since < until


def test_a_recipient_that_we_put_into_a_second_live_job_is_seen_in_both(stage: CheckedWorld) -> None:
    (theirs,) = stage.world.queue.add("c", "shop", ["r1", "r2"], priority=3)
    stage.world.queue.add("c", "shop", ["r2", "r3"], job_ids=["ops-c-a1-b0-x"], delay=60_000)
    stage.look(2)
    (double,) = seen(stage).doubled
    assert (double.recipient_id, double.job_ids) == ("r2", (theirs, "ops-c-a1-b0-x"))


def test_a_recipient_that_the_application_puts_into_a_second_job_is_ignored(stage: CheckedWorld) -> None:
    stage.world.queue.add("c", "shop", ["r1"], job_ids=["ops-c-a1-b0-x"])
    stage.world.queue.add("c", "shop", ["r1"])
    stage.look()
    assert seen(stage).doubled == []


def test_a_job_that_stalled_too_often_covers_too(stage: CheckedWorld) -> None:
    """Workers before BullMQ 5.53 send it."""
    (theirs,) = stage.world.queue.add("c", "shop", ["r1"])
    stage.world.queue.doom(theirs)
    stage.world.queue.add("c", "shop", ["r1"], job_ids=["ops-c-a1-b0-x"])
    stage.look()
    assert [one.recipient_id for one in seen(stage).doubled] == ["r1"]


def test_a_line_cut_short_by_a_kill_is_skipped(stage: CheckedWorld) -> None:
    stage.look()
    with (stage.work_dir / WATCHED).open("a") as out:
        out.write('{"kind": "job", "at": 1')
    assert seen(stage).looks == 1


def test_the_process_survives_an_emptied_redis_and_ends_on_sigterm(work_dir: Path) -> None:
    profile = load_profile("sms").queue
    assert profile is not None
    out = work_dir / WATCHED
    with EmbeddedRedis(work_dir / "redis") as redis:
        queue = ShopQueue(redis.url(), "bull", profile)
        child = ChildProcess("watcher", command(queue, out), log_path=work_dir / "watcher.log")
        child.start()
        try:
            queue.add("c", "shop", ["r1"], job_ids=["ops-c-a1-b0-one"])
            wait_for(lambda: "ops-c-a1-b0-one" in read_watched(out).jobs)
            redis.kill()
            redis.start()
            queue.add("c", "shop", ["r1"], job_ids=["ops-c-a1-b0-two"])
            wait_for(lambda: "ops-c-a1-b0-two" in read_watched(out).jobs)
        finally:
            child.stop()
            queue.close()
        assert child._process is not None
        assert child._process.returncode in (0, -signal.SIGTERM)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
