"""The figures about re-enqueued jobs, finished campaigns and holds fail when their damage is planted, and name it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from campaign_ops.fixes.ambiguous import send_again
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.retry import retry_quarantined
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.drill.checkers import journal, people, putting_back, safety, sending
from campaign_ops.lab.drill.ledger import CONFIRMED, EMPTIED, LOCK_LOSS, REDIS_LOSS
from campaign_ops.lab.shop.claims import Claims
from tests.conftest import Worlds
from tests.lab.drill.checked_world import POLICY, CheckedWorld, checked_world

pytestmark = pytest.mark.slow

PERSON = Person("ann", "looked into it", "by-hand")
RECIPIENT = "c_r000001"
LATER = "UPDATE campaign_ops.intent SET intended_at = intended_at + interval '5 seconds'"
"""An intent some seconds after all that happened: what was so before must have been seen."""


@pytest.fixture
def stage(worlds: Worlds, work_dir: Path) -> CheckedWorld:
    """A campaign with two pending recipients in no job."""
    stage = checked_world(worlds.make("sms", policy=POLICY), work_dir)
    stage.world.app.add_campaign("c", pending=2)
    return stage


@pytest.fixture
def claims(stage: CheckedWorld) -> Iterator[Claims]:
    profile = stage.world.queue.profile
    with redis.Redis.from_url(stage.world.queue.url) as client:
        yield Claims(client, profile, seconds=60, record=stage.world.app.engine)


def put_back(stage: CheckedWorld) -> str:
    """Let a sweep re-enqueue the campaign, and the queue watcher see it. Returns the job."""
    stage.world.sweep()
    stage.look()
    (job_id,) = stage.records().carried
    return job_id


# -- whom a job lists --------------------------------------------------------------------------------------------------


def test_a_recipient_whose_row_was_settled_before_the_intent_is_named(stage: CheckedWorld) -> None:
    put_back(stage)
    stage.holds(putting_back.put_back_sent)
    stage.world.app.move_recipients("c", "succeeded", 1)
    stage.holds(putting_back.put_back_sent)  # after the intent: a worker has done its work
    stage.owner(LATER)
    stage.fails(putting_back.put_back_sent, RECIPIENT, "its row was settled")


def test_a_recipient_set_back_to_pending_may_be_put_back(stage: CheckedWorld) -> None:
    stage.owner("""UPDATE "CampaignRecipient" SET status = 'sent'""")
    stage.owner("""UPDATE "CampaignRecipient" SET status = 'pending'""")
    put_back(stage)
    stage.owner(LATER)
    stage.holds(putting_back.put_back_sent)


def test_a_recipient_that_was_moved_to_another_campaign_is_named(stage: CheckedWorld) -> None:
    put_back(stage)
    stage.world.app.add_campaign("other")
    stage.owner(f"""UPDATE "CampaignRecipient" SET "campaignId" = 'other' WHERE id = '{RECIPIENT}'""")
    stage.owner(LATER)
    stage.fails(putting_back.put_back_sent, RECIPIENT, "it belongs to other since")


def test_a_recipient_that_another_job_had_claimed_is_named_while_the_claim_lasts(
    stage: CheckedWorld, claims: Claims
) -> None:
    put_back(stage)
    claims.take(RECIPIENT, "7")
    stage.holds(putting_back.put_back_marked)
    stage.owner(LATER)
    stage.fails(putting_back.put_back_marked, RECIPIENT, "marked by job 7")
    stage.ledger.note(REDIS_LOSS, EMPTIED)
    stage.holds(putting_back.put_back_marked)


def test_a_claim_that_the_application_deleted_forbids_nothing(stage: CheckedWorld, claims: Claims) -> None:
    put_back(stage)
    claims.take(RECIPIENT, "7")
    claims.forget([RECIPIENT])
    stage.owner(LATER)
    stage.holds(putting_back.put_back_marked)


def test_a_job_may_list_whom_it_has_claimed_itself(stage: CheckedWorld, claims: Claims) -> None:
    claims.take(RECIPIENT, put_back(stage))
    stage.owner(LATER)
    stage.holds(putting_back.put_back_marked)


def test_a_recipient_that_our_own_note_calls_perhaps_sent_is_named_until_a_person_decides(
    stage: CheckedWorld, claims: Claims
) -> None:
    claims.take(RECIPIENT, "7")
    put_back(stage)
    stage.holds(putting_back.put_back_marked)  # the marked one was left out
    platform = stage.connect(cooldown_seconds=0)
    send_again(platform, "c", PERSON)
    platform.close()
    stage.look()
    stage.holds(putting_back.put_back_marked)  # a person has decided
    stage.owner("UPDATE campaign_ops.ambiguous SET decided_at = NULL")
    stage.owner(LATER)
    stage.fails(putting_back.put_back_marked, RECIPIENT, "noted as perhaps sent")


def test_a_recipient_that_a_completed_job_lists_is_named_where_the_queue_keeps_it(stage: CheckedWorld) -> None:
    put_back(stage)
    stage.holds(putting_back.put_back_marked)
    with stage.watcher() as watcher:
        watcher._write("completed", time.time(), id="6", campaign="another", recipients=[RECIPIENT, "c_r000002"])
        watcher._write("completed", time.time(), id="7", campaign="c", recipients=[RECIPIENT])
    stage.holds(putting_back.put_back_marked)  # after the intent
    stage.owner(LATER)
    assert stage.check(putting_back.put_back_marked).found == "1", "a job of another campaign is not read"
    stage.fails(putting_back.put_back_marked, RECIPIENT, "listed by job 7, which was completed")


def test_a_second_send_is_ours_only_if_our_job_should_not_have_listed_the_recipient(stage: CheckedWorld) -> None:
    job = put_back(stage)
    stage.provider.send(RECIPIENT, "c", "worker-1", "7")
    stage.provider.send(RECIPIENT, "c", "loose-1", job)
    stage.holds(putting_back.caused_again)  # nobody could know of the first
    stage.holds(sending.sent_twice)
    assert stage.check(sending.sent_loosely).found == "1"
    stage.world.app.move_recipients("c", "succeeded", 1)
    stage.owner(LATER)
    stage.fails(putting_back.caused_again, RECIPIENT, "from job 7", f"again from {job}", "its row was settled")


def test_a_claim_that_has_expired_excuses_the_worker_and_not_the_sweep(stage: CheckedWorld, claims: Claims) -> None:
    claims.take(RECIPIENT, "7")
    for worker in ("worker-1", "worker-2"):
        stage.provider.send(RECIPIENT, "c", worker, "7")
    stage.fails(sending.sent_twice, RECIPIENT)
    stage.owner("UPDATE demo.claim SET until = at + interval '1 ms'")
    stage.holds(sending.sent_twice)
    assert stage.check(sending.sent_loosely).found == "1"


# -- when, and into what -----------------------------------------------------------------------------------------------


def test_a_campaign_that_was_re_enqueued_within_its_cooldown_is_named(stage: CheckedWorld) -> None:
    stage.world.queue.remove([put_back(stage)])
    stage.sweep_as(cooldown_seconds=0)
    stage.owner("UPDATE drill.journaled SET at = timestamptz '2020-01-01' + repair_id * interval '2 seconds'")
    stage.holds(putting_back.not_cooled)
    stage.owner("UPDATE drill.journaled SET at = timestamptz '2020-01-01' + repair_id * interval '100 ms'")
    stage.fails(putting_back.not_cooled, "0.1 s after repair", "reenqueue of c")
    stage.owner("UPDATE campaign_ops.intent SET recipients = 1")  # one was left out, and goes on at once
    stage.holds(putting_back.not_cooled)


def test_a_re_enqueue_after_the_queue_was_emptied_is_named_until_a_person_confirms(stage: CheckedWorld) -> None:
    stage.ledger.note(REDIS_LOSS, "Redis went back to old data")
    stage.ledger.note(REDIS_LOSS, EMPTIED)
    put_back(stage)
    stage.holds(safety.alarm_ignored)  # no sweep had seen the queue before
    stage.owner("UPDATE campaign_ops.sweep SET finished_at = finished_at - interval '1 minute'")
    stage.fails(safety.alarm_ignored, "reenqueue of c")
    stage.owner("DELETE FROM drill.mark")
    stage.ledger.note(REDIS_LOSS, EMPTIED)
    stage.ledger.note(CONFIRMED, "run")
    stage.owner(LATER)
    stage.holds(safety.alarm_ignored)


def test_a_campaign_that_was_completed_while_a_live_job_listed_it_is_named(stage: CheckedWorld) -> None:
    app = stage.world.app
    app.add_campaign("done", succeeded=1)
    with stage.watcher() as watcher:
        stage.world.queue.add("done", "shop_north", ["done_r000001"])
        watcher.look()
        stage.ops("""UPDATE "Campaign" SET status = 'sent' WHERE id = 'done'""")
        watcher.sample(0.0, 1)
        watcher.look()
        stage.world.queue.clear()
        watcher.look()
    stage.holds(safety.finished_in_queue)  # the job came only a moment before
    stage.owner("UPDATE drill.change SET at = at + interval '2 seconds' WHERE key = 'done' AND old IS NOT NULL")
    stage.holds(safety.finished_in_queue)  # and now it is gone
    with stage.watcher() as watcher:
        watcher._write("busy", 4e9, campaign="done", since=1.0)
    stage.fails(safety.finished_in_queue, "done: completed at", "in a live job since")


def test_a_repair_while_a_job_of_another_kind_names_the_campaign_is_named(stage: CheckedWorld) -> None:
    unclear = stage.world.queue.add_other("exportRecipients", {"campaign": "c", "recipients": ["c_r000001"]})
    stage.world.sweep()
    stage.look()
    assert stage.records().carried == {}
    stage.world.queue.remove([unclear])
    put_back(stage)
    stage.holds(safety.repaired_in_doubt)
    with stage.watcher() as watcher:
        watcher._write("unclear", 4e9, campaign="c", since=1.0)
    stage.fails(safety.repaired_in_doubt, "reenqueue of c", "named by such a job since")


def test_jobs_that_were_added_when_the_lock_was_lost_are_named(stage: CheckedWorld) -> None:
    put_back(stage)
    stage.owner(
        f"INSERT INTO drill.mark (at, kind, text) SELECT at + interval '1 minute', '{LOCK_LOSS}', application"
        " FROM drill.journaled"
    )
    stage.holds(safety.added_unlocked)
    stage.owner("UPDATE drill.mark SET at = at - interval '62 seconds'")
    stage.owner("UPDATE campaign_ops.sweep SET started_at = started_at - interval '3 seconds'")
    stage.fails(safety.added_unlocked, "reenqueue of c", "1 of its jobs")


def test_a_fix_that_goes_on_when_its_lock_was_lost_is_no_overlap(stage: CheckedWorld) -> None:
    """Seen in a drill: a person lifted a hold, the lock's session was ended, and another sweep began."""
    stage.world.sweep()
    stage.holds(safety.overlapping)
    stage.owner("UPDATE drill.journaled SET lock_holder = 'another'")
    stage.fails(safety.overlapping, "another held the sweep lock")
    stage.owner(
        f"INSERT INTO drill.mark (at, kind, text) SELECT at - interval '9 seconds', '{LOCK_LOSS}', application"
        " FROM drill.journaled"
    )
    stage.holds(safety.overlapping)


def test_a_job_that_was_in_the_queue_and_is_journaled_as_not_added_is_named(stage: CheckedWorld) -> None:
    job = put_back(stage)
    stage.owner("UPDATE campaign_ops.intent SET added_at = NULL, closed_as = 'not_added'")
    stage.fails(journal.journal, job, "journaled as not added")


# -- what people have undone -------------------------------------------------------------------------------------------


def test_a_repair_of_what_a_person_has_undone_is_named_unless_it_was_lifted(stage: CheckedWorld) -> None:
    app, platform = stage.world.app, stage.world.platform
    app.add_campaign("done", succeeded=1)
    app.add_campaign("cancelled", status="cancelled")
    app.add_reservation("h", campaign="cancelled")
    stage.world.sweep()
    undo(platform, repair_id(stage, "complete"), PERSON)
    undo(platform, repair_id(stage, "release"), PERSON)
    stage.world.sweep()
    stage.holds(people.held_repaired)
    stage.owner("UPDATE campaign_ops.attempt SET held_by = NULL")
    stage.world.sweep()
    stage.fails(people.held_repaired, "complete of done", "undone by a person")
    stage.owner("DELETE FROM campaign_ops.repair WHERE kind = 'complete' AND undone_by IS NULL")
    stage.owner("UPDATE campaign_ops.repair SET undone_by = NULL WHERE kind = 'release'")
    stage.world.sweep()
    stage.fails(people.held_repaired, "release of h", "undone by a person")


def test_a_hold_that_a_person_lifted_forbids_nothing(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("done", succeeded=1)
    stage.world.sweep()
    undo(stage.world.platform, repair_id(stage, "complete"), PERSON)
    retry_quarantined(stage.world.platform, "done", PERSON)
    stage.world.sweep()
    assert stage.world.app.campaign("done")["status"] == "sent"
    stage.holds(people.held_repaired)


def repair_id(stage: CheckedWorld, kind: str) -> int:
    (row,) = stage.world.rows("SELECT id FROM campaign_ops.repair WHERE kind = :kind", kind=kind)
    return int(row["id"])
