"""What the queue says, what follows from it, and when a person is waited for."""

from __future__ import annotations

from collections import Counter

import pytest
import redis
import sqlalchemy as sa

from campaign_ops.core.model import RepairKind, Verdict
from campaign_ops.core.report import render
from campaign_ops.doctor import Level, examine
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.sweep import coverage, dry_run
from campaign_ops.sweep.confirm import confirmation
from tests.conftest import World, Worlds
from tests.doctor.bench import run
from tests.sweep.actors import covered


def test_one_live_batch_does_not_hide_the_lost_ones(sms: World) -> None:
    sms.app.add_campaign("half", pending=1500)
    sms.queue.add("half", "shop_north", sms.app.pending_ids("half")[:500])
    sms.sweep()
    assert covered(sms) == Counter(sms.app.pending_ids("half"))


@pytest.mark.parametrize(("at_once", "other_jobs"), [(500_000, True), (500_000, False), (1, False)])
def test_recipients_without_an_id_are_their_own_campaigns_problem(
    sms: World, at_once: int, *, other_jobs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An AttributeError ended the whole sweep, of a table without primary key; or they counted as covered."""
    monkeypatch.setattr(coverage, "PENDING_AT_ONCE", at_once)
    run(
        sms,
        'ALTER TABLE "CampaignRecipient" DROP CONSTRAINT "CampaignRecipient_pkey"',
        'ALTER TABLE "CampaignRecipient" ALTER id DROP NOT NULL',
    )
    for label in ("lost", "nameless", "queued", "over"):
        sms.app.add_campaign(label, pending=3)
    sms.app.move_recipients("over", "succeeded", 3, moved_ago=minutes(30))
    if other_jobs:
        sms.queue.add("queued", "shop_north", sms.app.pending_ids("queued"))
    first = sms.app.pending_ids("nameless")[0]
    run(sms, f"""UPDATE "CampaignRecipient" SET id = NULL WHERE id IN ('{first}', 'over_r000001')""")
    report = sms.sweep()
    items = {item.target: item for item in report.stuck}
    assert items["nameless"].verdict is Verdict.UNCOUNTED
    assert "1 of its pending recipients has no id (NULL)" in items["nameless"].reason
    assert items["queued"].verdict is (Verdict.NO_WORKERS if other_jobs else Verdict.JOBS_LOST)
    assert covered(sms) == Counter(sms.app.pending_ids("lost") + sms.app.pending_ids("queued"))
    assert sms.app.campaign("over")["status"] == "sent"
    (refused,) = [item for item in examine(sms.platform) if item.check == "recipient_ids"]
    assert (refused.level, refused.what.startswith('"CampaignRecipient"."id" may be NULL')) == (Level.NOTE, True)


def test_a_prioritized_job_covers_its_recipients(sms: World) -> None:
    sms.app.add_campaign("urgent", pending=10)
    sms.queue.add("urgent", "shop_north", sms.app.pending_ids("urgent"), priority=3)
    sms.sweep()
    assert set(covered(sms).values()) == {1}


def test_a_paused_queue_is_left_alone(sms: World) -> None:
    sms.app.add_campaign("lost", pending=10)
    sms.queue.pause()
    report = sms.sweep()
    assert report.stuck[0].verdict is Verdict.QUEUE_PAUSED
    assert sms.queue.live_job_ids() == []
    sms.queue.resume()
    sms.sweep()
    assert set(covered(sms).values()) == {1}


def test_marked_recipients_are_never_sent_again_by_themselves(sms: World) -> None:
    sms.app.add_campaign("ambiguous", pending=5)
    sms.app.add_campaign("mixed", pending=5)
    sms.queue.mark(sms.app.pending_ids("ambiguous"))
    marked = sms.app.pending_ids("mixed")[:2]
    sms.queue.mark(marked)
    report = sms.sweep()
    verdicts = {item.target: item.verdict for item in report.stuck}
    assert verdicts == {"ambiguous": Verdict.AMBIGUOUS, "mixed": Verdict.JOBS_LOST}
    assert covered(sms) == Counter(set(sms.app.pending_ids("mixed")) - set(marked))


def test_failed_jobs_are_put_back_under_fresh_ids(sms: World) -> None:
    sms.app.add_campaign("failing", pending=5)
    (job,) = sms.queue.add("failing", "shop_north", sms.app.pending_ids("failing"), attempts=1)
    sms.queue.fail_waiting("provider down")
    report = sms.sweep()
    assert report.stuck[0].verdict is Verdict.JOBS_FAILED
    assert set(covered(sms).values()) == {1}
    assert job not in sms.queue.live_job_ids()


def test_after_max_attempts_without_progress_a_campaign_waits_for_a_person(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"cooldown_seconds": 0, "max_attempts": 2})
    world.app.add_campaign("hopeless", pending=5)
    for _ in range(2):
        world.sweep()
        world.queue.remove(world.queue.live_job_ids())
    report = world.sweep()
    assert report.stuck[0].verdict is Verdict.QUARANTINED
    assert world.queue.live_job_ids() == []


def test_a_campaign_just_re_enqueued_gets_time(sms: World) -> None:
    sms.app.add_campaign("lost", pending=5)
    sms.sweep()
    sms.queue.remove(sms.queue.live_job_ids())
    report = sms.sweep()
    assert report.stuck[0].verdict is Verdict.COOLDOWN
    assert sms.queue.live_job_ids() == []


def test_an_emptied_redis_trips_the_breaker_until_a_person_confirms(sms: World) -> None:
    for number in range(3):
        sms.app.add_campaign(f"waiting_{number}", pending=10)
        sms.queue.add(f"waiting_{number}", "shop_north", sms.app.pending_ids(f"waiting_{number}"))
    sms.sweep()
    sms.queue.clear()
    report = sms.sweep()
    assert sms.queue.live_job_ids() == []
    assert any("does not exist" in line for line in report.trouble)
    sms.confirmed_sweep()
    assert set(covered(sms).values()) == {1}
    assert len(covered(sms)) == 30


def test_a_lot_to_re_enqueue_trips_the_breaker(sms: World) -> None:
    for number in range(12):
        sms.app.add_campaign(f"lost_{number}", pending=2)
    report = sms.sweep()
    assert sms.queue.live_job_ids() == []
    assert any("12 of 12" in line for line in report.trouble)
    sms.confirmed_sweep()
    assert len(covered(sms)) == 24


def test_sweeps_that_follow_each_other_do_not_pass_the_breaker_together(sms: World) -> None:
    """A schedule, a sensor and a person within minutes: none does much, and together they would do all of it."""

    def lose(first: int, last: int) -> None:
        for number in range(first, last):
            sms.app.add_campaign(f"lost_{number}", pending=2)

    for number in range(4):
        sms.app.add_campaign(f"fine_{number}", pending=1, updated_ago=minutes(0))
    lose(0, 6)
    assert sum(line.done for line in sms.sweep().repairs) == 6
    lose(6, 12)
    report = sms.sweep()
    assert sum(line.done for line in report.repairs) == 0
    assert any("would re-enqueue 6 of 16" in line and "after 6 that were done" in line for line in report.trouble)
    assert sum(line.done for line in sms.confirmed_sweep().repairs) == 6
    lose(12, 14)
    assert sum(line.done for line in sms.sweep().repairs) == 2, "what a person has confirmed does not count"


def test_the_jobs_of_one_sweep_are_shared_between_tenants(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"max_jobs_per_sweep": 4})
    world.app.add_campaign("big", tenant="big", pending=5000, updated_ago=minutes(90))
    world.app.add_campaign("small", tenant="small", pending=600, updated_ago=minutes(20))
    world.sweep()
    tenants = Counter(world.queue.job_data(job)["shopId"] for job in world.queue.live_job_ids())
    assert tenants == {"big": 2, "small": 2}


def test_a_restarted_redis_stays_suspect_until_a_confirmed_sweep_has_acted(worlds: Worlds) -> None:
    """Three lost campaigns are below the floor; after a restart the floor does not count. Plans do not end that."""
    world = worlds.make("sms", policy={"cooldown_seconds": 0})
    world.sweep()
    with world.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.queue_sighting SET server_id = 'another'"))
    quiet = world.sweep()  # nothing looks stuck yet: this must not make the new process a trusted one
    assert "restarted or failed over" in render(quiet)
    for number in range(3):
        world.app.add_campaign(f"lost_{number}", pending=2)
    world.begin(confirm=confirmation(dry_run(world.platform, run_id="plan"), "ann", "a test")).make_plan()
    for _ in range(2):
        report = world.sweep()
        assert world.queue.live_job_ids() == []
        assert any("restarted or failed over" in line for line in report.trouble)
    world.confirmed_sweep()
    assert len(covered(world)) == 6
    world.queue.remove(world.queue.live_job_ids())
    world.sweep()
    assert len(covered(world)) == 6


def test_a_redis_that_takes_no_writes_does_not_make_campaigns_be_given_up(worlds: Worlds) -> None:
    """Only an attempt that put a job into the queue can have been in vain."""
    world = worlds.make("sms", policy={"cooldown_seconds": 0, "max_attempts": 2})
    world.app.add_campaign("lost", pending=5)
    with redis.Redis.from_url(world.queue.url) as server:
        server.config_set("min-replicas-to-write", 1)
        try:
            reports = [world.sweep() for _ in range(4)]
        finally:
            server.config_set("min-replicas-to-write", 0)
    assert all(report.figures()["reenqueued"] == 0 and report.trouble for report in reports)
    assert world.sweep().figures()["reenqueued"] == 1
    assert covered(world) == Counter(world.app.pending_ids("lost"))


def test_recipients_that_stay_pending_in_a_completed_campaign_are_named_once(sms: World) -> None:
    """No later sweep looks at a campaign that is over: what its report does not say, nothing will."""
    sms.app.add_campaign("c", succeeded=2, accepted=3)
    said = "3 recipients accepted by the provider stay pending"
    (line,) = [one for one in dry_run(sms.platform).repairs if one.kind is RepairKind.COMPLETE]
    assert said in line.detail
    assert said in render(sms.sweep())
    (row,) = sms.rows("SELECT reason FROM campaign_ops.repair WHERE kind = 'complete'")
    assert "3 accepted by the provider stay marked pending" in row["reason"]
