"""Breaker, alarms and suspicions are judged on the look that is acted on; a step does no more than its plan said."""

from __future__ import annotations

import uuid

import pytest
import redis
import sqlalchemy as sa

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.sweep import dry_run
from campaign_ops.sweep.guarded import lock_stuck
from tests.conftest import World, Worlds
from tests.sweep.actors import covered


def half_lost(world: World, campaigns: int = 10) -> None:
    """Campaigns with 100 recipients in a live job and 100 in none: a loss that a sweep may repair by itself."""
    for number in range(campaigns):
        label = f"half_{number}"
        world.app.add_campaign(label, pending=200)
        world.queue.add(label, "shop_north", world.app.pending_ids(label)[:100], batch_size=100)


def replaced(world: World) -> None:
    """Another Redis answers at the same address, with nothing in it."""
    world.queue.clear()
    world.queue.open()
    rewrite(world, "server_id = 'the process before'")


def rewrite(world: World, change: str) -> None:
    """Change what we remember of the queue."""
    with world.platform.database.transaction() as connection:
        changed = connection.execute(sa.text(f"UPDATE campaign_ops.queue_sighting SET {change}"))
        assert changed.rowcount == 1


def emptied_and_used_again(world: World) -> None:
    """FLUSHALL, and the application goes on adding: the queue exists again."""
    world.queue.clear()
    world.app.add_campaign("fresh", pending=1, updated_ago=minutes(0))
    world.queue.add("fresh", "shop_north", world.app.pending_ids("fresh"))


ACCIDENTS = {
    "emptied": lambda world: world.queue.clear(),
    "replaced": replaced,
    "emptied and used again": emptied_and_used_again,
}


@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize("run", ["the same run", "a new run"])
def test_a_queue_lost_after_the_plan_holds_the_step_back(sms: World, accident: str, run: str) -> None:
    """10 campaigns with 100 missing each were re-enqueued from such a plan: 1,000 recipients in 10 jobs."""
    half_lost(sms)
    sweep = sms.begin()
    plan = sweep.make_plan()
    assert [item.missing for item in plan.of(RepairKind.REENQUEUE)] == [100] * 10
    ACCIDENTS[accident](sms)
    live = sms.queue.live_job_ids()
    if run == "a new run":
        sms.rows("UPDATE campaign_ops.sweep SET started_at = started_at - interval '14 minutes' RETURNING id")
        sweep = sms.begin()
    done = sweep.reenqueue()
    assert (done.jobs, done.tripped) == (0, True)
    assert sms.queue.live_job_ids() == live
    assert sms.rows("SELECT * FROM campaign_ops.repair") == []


def test_that_the_queue_was_emptied_is_remembered_when_it_exists_again(sms: World) -> None:
    sms.app.add_campaign("lost", pending=10)
    sms.queue.clear()
    assert any("does not exist" in line for line in sms.sweep().trouble)
    sms.queue.open()
    for report in (dry_run(sms.platform), sms.sweep()):
        assert any("emptied" in line for line in report.trouble)
    assert sms.queue.live_job_ids() == []


def test_a_queue_seen_emptied_while_nothing_was_stuck_is_remembered(sms: World) -> None:
    """What is lost looks stuck only a quarter of an hour later, when the application has jobs in the queue again."""
    sms.app.add_campaign("early", pending=10, updated_ago=minutes(0))
    sms.queue.add("early", "shop_north", sms.app.pending_ids("early"))
    sms.sweep()
    sms.queue.clear()
    sms.sweep()
    sms.queue.open()
    sms.sweep()
    sms.app.set_campaign("early", updated_ago=minutes(20))
    assert any("emptied" in line for line in sms.sweep().trouble)
    assert sms.queue.live_job_ids() == []


def test_a_job_counter_that_went_back_says_that_the_queue_was_emptied(sms: World) -> None:
    sms.app.add_campaign("lost", pending=10)
    sms.queue.clear()
    sms.queue.open()
    with redis.Redis.from_url(sms.queue.url) as client:
        client.set(sms.queue.key("id"), 500)
        sms.app.set_campaign("lost", updated_ago=minutes(0))
        sms.sweep()
        client.set(sms.queue.key("id"), 3)
    sms.app.set_campaign("lost", updated_ago=minutes(20))
    assert any("500" in line and "3" in line for line in sms.sweep().trouble)
    assert sms.queue.live_job_ids() == []


def test_a_fix_by_hand_is_judged_on_its_own_look_too(sms: World) -> None:
    sms.app.add_campaign("lost", pending=10)
    sms.queue.clear()
    sms.sweep()
    sms.queue.open()
    for dry in (True, False):
        with pytest.raises(Refused, match="emptied"):
            reenqueue_one(sms.platform, "lost", Person("ann", "trial", uuid.uuid4().hex), dry_run=dry)
    assert sms.queue.live_job_ids() == []


def test_more_lost_than_the_breaker_allows_since_the_plan_holds_the_planned_back_too(sms: World) -> None:
    for number in range(12):
        label = f"c_{number}"
        sms.app.add_campaign(label, pending=2)
        if number > 1:
            sms.queue.add(label, "shop_north", sms.app.pending_ids(label))
    sweep = sms.begin()
    assert len(sweep.make_plan().of(RepairKind.REENQUEUE)) == 2
    sms.queue.remove(sms.queue.live_job_ids())
    done = sweep.reenqueue()
    assert done.jobs == 0
    assert "12 of 12" in (done.held_back or "")
    report = sweep.report()
    assert any("12 of 12" in line for line in report.trouble)


def test_a_campaign_that_misses_more_than_planned_waits_for_the_next_plan(sms: World) -> None:
    for label in ("more", "less", "same"):
        sms.app.add_campaign(label, pending=20)
        sms.queue.add(label, "shop_north", sms.app.pending_ids(label)[:10])
    sweep = sms.begin()
    sweep.make_plan()
    sms.queue.remove([job for job in sms.queue.live_job_ids() if sms.queue.job_data(job)["campaignId"] == "more"])
    sms.queue.add("less", "shop_north", sms.app.pending_ids("less")[10:15])
    sweep.reenqueue()
    added = {one["campaign_id"]: one["recipients"] for one in sms.rows("SELECT * FROM campaign_ops.intent")}
    assert added == {"same": 10, "less": 5}
    sms.sweep()
    assert set(covered(sms).values()) == {1}


def test_recipients_all_marked_as_sent_since_the_plan_hold_completion_back(sms: World) -> None:
    """A bad UPDATE between plan and step: the plan spoke of two campaigns, a plan made now would speak of 14."""
    for number in range(14):
        sms.app.add_campaign(f"c_{number}", succeeded=2, pending=0 if number < 2 else 5)
    sweep = sms.begin()
    assert len(sweep.make_plan().of(RepairKind.COMPLETE)) == 2
    sms.rows("UPDATE \"CampaignRecipient\" SET status = 'sent' RETURNING 1")
    completed, _ = sweep.complete()
    assert (completed.count, completed.tripped) == (0, True)
    assert "14 of 14" in (completed.held_back or "")
    assert {sms.app.campaign(f"c_{number}")["status"] for number in range(14)} == {"sending"}


def test_a_step_completes_only_what_its_plan_named(sms: World) -> None:
    sms.app.add_campaign("planned", succeeded=2)
    sms.app.add_campaign("open", pending=2)
    sweep = sms.begin()
    sweep.make_plan()
    sms.rows("UPDATE \"CampaignRecipient\" SET status = 'sent' RETURNING 1")
    sweep.complete()
    assert sms.app.campaign("planned")["status"] == "sent"
    assert sms.app.campaign("open")["status"] == "sending"


def test_what_a_person_took_back_is_locked_for_a_person_alone(sms: World) -> None:
    """An undo puts back the very moment that an older plan has seen."""
    sms.app.add_campaign("done", succeeded=2)
    (repair,) = mark_complete(sms.platform, "done", Person("ann", "it is over", "first")).repair_ids
    undo(sms.platform, repair, Person("bob", "it is not", "second"))
    item = PlanItem(RepairKind.COMPLETE, "done", "done", "shop_north", "done", "finished")
    with sms.platform.database.transaction() as connection:
        assert lock_stuck(sms.platform, connection, [item]) == {}
        assert lock_stuck(sms.platform, connection, [item], by_person=True).keys() == {"done"}


def test_a_mass_release_of_credits_waits_for_a_person(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"breaker_floor": 1})
    for number in range(12):
        world.app.add_campaign(f"c_{number}", pending=1, updated_ago=minutes(0))
        world.app.add_reservation(f"hold_{number}", campaign=f"c_{number}", amount=10)
    world.app.set_campaign("c_0", status="cancelled", updated_ago=minutes(40))
    sweep = world.begin()
    assert len(sweep.make_plan().of(RepairKind.RELEASE)) == 1
    change = "status = 'cancelled', \"updatedAt\" = \"updatedAt\" - interval '40 minutes'"
    world.rows(f'UPDATE "Campaign" SET {change} RETURNING 1')
    done = sweep.release()
    assert (done.count, done.tripped) == (0, True)
    assert "12 of 12 held reservations" in (done.held_back or "")
    assert any("12 of 12" in line for line in world.sweep().trouble)
    assert {one["status"] for number in range(12) for one in world.app.reservations(f"c_{number}")} == {"active"}


@pytest.mark.parametrize("accident", ["emptied", "emptied and used again"])
def test_an_emptied_queue_is_no_proof_that_the_failed_are_not_tried_again(sms: World, accident: str) -> None:
    """The application's own retry waited in it, and nothing else says that the campaign is not over."""
    sms.app.add_campaign("failed", failed=3)
    other = sms.app.add_campaign("other", pending=1, updated_ago=minutes(0))
    sms.queue.add(other, "shop_north", sms.app.pending_ids(other))
    sms.queue.add(other, "shop_north", sms.app.pending_ids(other))
    sweep = sms.begin()
    assert len(sweep.make_plan().of(RepairKind.COMPLETE)) == 1
    ACCIDENTS[accident](sms)
    completed, _ = sweep.complete()
    assert (completed.count, completed.tripped) == (0, True)
    assert sms.app.campaign("failed")["status"] == "sending"


def test_who_confirms_all_that_rests_on_an_emptied_queue_is_not_asked_again(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.queue.clear()
    assert sms.confirmed_sweep().trouble == []
    assert sms.app.campaign("done")["status"] == "sent"
    sms.queue.open()
    sms.app.add_campaign("next", succeeded=3)
    assert sms.sweep().trouble == []
