"""The last moment before an add, and the first after it: what others do then must neither double nor be overruled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from campaign_ops.bullmq import guard
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.sweep.look import Look
from tests.conftest import World, Worlds
from tests.doctor.bench import run
from tests.sweep.actors import covered, interfering


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds.make("sms", policy={"breaker_floor": 100})


def at_the_add(world: World, what: Callable[[], object]) -> None:
    """Do something once everything was looked at and is about to be added."""
    queue = world.platform.queue
    assert queue is not None
    add = queue._writer.add
    left = [what]

    def interfered(*arguments: object) -> object:
        if left:
            left.pop()()
        return add(*arguments)  # type: ignore[arg-type]

    queue._writer.add = interfered  # type: ignore[method-assign, assignment]


def test_an_error_of_redis_after_part_of_a_page_was_added_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs before it counted as added, and nothing said why the others were not."""
    fail = "function() error('OOM no memory for it') end"
    failing = guard._GUARDED.replace("pcall(add_job,", f"pcall(#answer == 2 and {fail} or add_job,")
    monkeypatch.setattr(guard, "_GUARDED", failing)
    world.app.add_campaign("a", pending=2)
    world.app.add_campaign("b", pending=2)
    line = world.sweep().repairs[1]
    assert "OOM no memory" in str(line.held_back)
    assert (line.done, line.targets, line.away) == (1, ("a",), True)
    assert covered(world) == dict.fromkeys(world.app.pending_ids("a"), 1)
    rows = world.rows("SELECT campaign_id, added_at FROM campaign_ops.intent")
    assert {row["campaign_id"]: row["added_at"] is not None for row in rows} == {"a": True, "b": False}


# -- others enqueue ----------------------------------------------------------------------------------------------------


def test_what_is_enqueued_while_the_intent_waits_for_a_lock_is_not_enqueued_again(world: World) -> None:
    """Measured once: a commit that was blocked for 2.25 s, and all of 10 recipients in two jobs."""
    world.app.add_campaign("c", pending=10)
    ids = world.app.pending_ids("c")
    blocker = world.app.engine.connect()
    blocker.execute(sa.text("LOCK TABLE campaign_ops.intent IN SHARE MODE"))

    def enqueue_and_let_go() -> None:
        world.queue.add("c", "shop", ids)
        blocker.commit()

    timer = threading.Timer(0.6, enqueue_and_let_go)
    timer.start()
    world.sweep()
    timer.join()
    blocker.close()
    assert covered(world) == dict.fromkeys(ids, 1)


def test_what_is_enqueued_at_the_very_moment_of_the_add_is_not_enqueued_again(world: World) -> None:
    for label in ("c", "other"):
        world.app.add_campaign(label, pending=4)
    ids = world.app.pending_ids("c")
    at_the_add(world, lambda: world.queue.add("c", "shop", ids))
    world.sweep()
    assert covered(world) == dict.fromkeys([*ids, *world.app.pending_ids("other")], 1)


def test_a_job_by_another_client_without_events_is_seen_too(world: World) -> None:
    world.app.add_campaign("c", pending=4)
    ids = world.app.pending_ids("c")

    def enqueue_and_forget_events() -> None:
        world.queue.add("c", "shop", ids)
        with redis.Redis.from_url(world.queue.url) as client:
            client.delete(world.queue.key("events"))

    at_the_add(world, enqueue_and_forget_events)
    world.sweep()
    assert covered(world) == dict.fromkeys(ids, 1)


def test_a_job_that_comes_and_goes_at_the_moment_of_the_add_is_looked_at_again(world: World) -> None:
    """It was added, sent and removed after the last look: only the queue's events and the rows tell."""
    world.app.add_campaign("c", pending=4)
    sent, *others = world.app.pending_ids("c")

    def come_and_go() -> None:
        jobs = world.queue.add("c", "shop", [sent])
        world.app.move_recipients("c", "succeeded", 1)
        world.queue.remove(jobs)

    at_the_add(world, come_and_go)
    world.sweep()
    assert covered(world) == dict.fromkeys(others, 1)


def test_jobs_that_come_and_go_at_every_look_keep_a_page_out_and_the_report_names_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report said that the campaign had changed meanwhile, sweep after sweep."""
    world.app.add_campaign("c", pending=2)
    queue = world.platform.queue
    assert queue is not None
    add = queue._writer.add
    tries: list[list[str]] = []

    def come_and_go_first(*arguments: Any) -> Any:
        tries.append(world.queue.add("other", "shop", ["r"], job_ids=[f"short\u200b{len(tries)}"]))
        world.queue.remove(tries[-1])
        return add(*arguments)

    monkeypatch.setattr(queue._writer, "add", come_and_go_first)
    line = world.sweep().repairs[1]
    assert len(tries) == 3
    assert line.done == 0
    assert "not added: job 'short\\u200b2' came meanwhile and cannot be read" in line.detail
    assert covered(world) == {}


def test_a_recipient_that_is_marked_before_the_last_look_is_left_out(world: World) -> None:
    world.app.add_campaign("c", pending=4)
    sent, *others = world.app.pending_ids("c")
    with interfering(world, before="newcomers", what=lambda: world.queue.mark([sent])):
        world.sweep()
    assert covered(world) == dict.fromkeys(others, 1)


def test_a_queue_paused_at_the_moment_of_the_add_gets_nothing_and_the_next_sweep_goes_on(world: World) -> None:
    world.app.add_campaign("c", pending=4)
    at_the_add(world, lambda: _pause(world, "1"))
    report = world.sweep()
    assert "paused" in str(report.repairs[1].held_back)
    assert not report.repairs[1].away, "a person paused it, and Redis is there"
    assert covered(world) == {}
    _pause(world, None)
    world.sweep()
    assert set(covered(world).values()) == {1}


def _pause(world: World, word: str | None) -> None:
    with redis.Redis.from_url(world.queue.url) as client:
        client.hset(world.queue.key("meta"), "paused", word) if word else client.hdel(world.queue.key("meta"), "paused")


def use_again(world: World) -> Callable[[], None]:
    """The application's job of campaign `a` has ended, and the next one under the same id is about `c`."""
    left = ["shard-1"]

    def once() -> None:
        if left:
            world.queue.remove(left)
            world.app.move_recipients("a", "succeeded")
            world.queue.add("c", "shop", world.app.pending_ids("c"), job_ids=[left.pop()])

    return once


@pytest.mark.parametrize("at", ["the last look", "the add"])
@pytest.mark.parametrize("a_is_stuck", [False, True])
def test_a_job_under_the_id_of_one_that_was_live_is_a_new_job(world: World, at: str, a_is_stuck: bool) -> None:
    """The id was known from the snapshot, so nobody read the job: every recipient of `c` stood in two live jobs."""
    world.app.add_campaign("a", pending=2, updated_ago=hours(1) if a_is_stuck else minutes(1))
    world.app.add_campaign("c", pending=4)
    world.queue.add("a", "shop", world.app.pending_ids("a"), job_ids=["shard-1"])
    if at == "the add":
        at_the_add(world, use_again(world))
        world.sweep()
    else:
        with interfering(world, before="last_look", what=use_again(world)):
            world.sweep()
    assert covered(world) == dict.fromkeys(world.app.pending_ids("c"), 1)


# -- people change their mind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"status": "cancelled"}, {"status": "paused"}, {"tenant": "another"}])
def test_jobs_of_a_campaign_changed_at_the_moment_of_the_add_are_taken_out_again(
    world: World, change: dict[str, Any]
) -> None:
    world.app.add_campaign("c", pending=4)
    world.app.add_campaign("other", pending=4)
    at_the_add(world, lambda: world.app.set_campaign("c", **change))
    report = world.sweep()
    assert covered(world) == dict.fromkeys(world.app.pending_ids("other"), 1)
    line = report.repairs[1]
    assert (line.done, line.targets) == (1, ("other",))
    assert "1 job taken out again" in line.detail
    assert {row["closed_as"]: bool(row["added_at"]) for row in world.rows("SELECT * FROM campaign_ops.intent")} == {
        None: True,
        "taken_back": False,
    }


def test_a_job_that_lists_somebody_who_was_sent_to_at_the_moment_of_the_add_is_taken_out_again(world: World) -> None:
    world.app.add_campaign("c", pending=4)
    at_the_add(world, lambda: world.app.move_recipients("c", "succeeded", 1))
    world.sweep()
    assert covered(world) == {}


def test_it_is_taken_out_again_whatever_the_collation_of_ids(world: World) -> None:
    """Measured before: 42P22, "could not determine which collation to use", and the job stayed."""
    run(world, 'ALTER TABLE "CampaignRecipient" ALTER "campaignId" TYPE text COLLATE "POSIX"')
    world.app.add_campaign("c", pending=4)
    at_the_add(world, lambda: world.app.move_recipients("c", "succeeded", 1))
    assert world.sweep().trouble == []
    assert covered(world) == {}


def test_a_job_that_a_worker_has_taken_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.app.add_campaign("c", pending=4)
    at_the_add(world, lambda: world.app.set_campaign("c", status="cancelled"))
    now = Look.campaigns_now

    def taken_meanwhile(look: Look, campaign_ids: set[str]) -> object:
        with redis.Redis.from_url(world.queue.url, decode_responses=True) as client:
            while job := client.rpoplpush(world.queue.key("wait"), world.queue.key("active")):
                client.hset(world.queue.key(str(job)), "processedOn", "1")
        return now(look, campaign_ids)

    monkeypatch.setattr(Look, "campaigns_now", taken_meanwhile)
    report = world.sweep()
    assert len(world.queue.live_job_ids()) == 1
    assert report.repairs[1].done == 1
