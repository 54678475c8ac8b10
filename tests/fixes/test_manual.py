"""Manual fixes: they do what they say, refuse with the numbers, and are journaled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.errors import NotFound, QueueUnavailable, Refused, Unavailable
from campaign_ops.core.model import Counters, Verdict
from campaign_ops.fixes.ambiguous import send_again, take_as_sent
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.fixes.release import release_one
from campaign_ops.fixes.retry import retry_quarantined
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.shop.row_writer import hours, minutes, redis_fingerprint
from campaign_ops.lab.shop.schema import PlatformShape
from campaign_ops.queries.campaigns import campaign_detail
from tests.conftest import World, Worlds
from tests.proxy import Fault, proxied
from tests.sweep.actors import counting_profile, covered, state_fingerprint

OPERATOR = Person("the operator", "ticket 42", "manual-run")


def journal(world: World) -> list[tuple[str, str, str]]:
    rows = world.rows("SELECT kind, target, actor FROM campaign_ops.repair ORDER BY id")
    return [(row["kind"], row["target"], row["actor"]) for row in rows]


def test_mark_complete_ends_a_campaign_of_any_age_and_frees_its_credits(sms: World) -> None:
    sms.app.add_campaign("young", succeeded=3, updated_ago=minutes(1))
    sms.app.add_reservation("hold", campaign="young")
    fix = mark_complete(sms.platform, "young", OPERATOR)
    assert sms.app.campaign("young")["status"] == "sent"
    assert sms.app.reservation("hold")["status"] == "released"
    assert fix.changed
    assert journal(sms) == [("complete", "young", "the operator"), ("release", "hold", "the operator")]
    evidence = {
        "complete": "nothing pending: 3 succeeded, 0 failed of 3",
        "release": "its campaign is over: completed with it",
    }
    for row in sms.rows("SELECT kind, reason, person_reason FROM campaign_ops.repair"):
        assert (row["reason"], row["person_reason"]) == (evidence[row["kind"]], "ticket 42")


def test_mark_complete_refuses_with_the_numbers(sms: World) -> None:
    sms.app.add_campaign("half", succeeded=38, pending=12)
    before = sms.app.fingerprint()
    with pytest.raises(Refused, match="12 of 50 recipients still pending"):
        mark_complete(sms.platform, "half", OPERATOR)
    assert sms.app.fingerprint() == before
    assert journal(sms) == []


def test_mark_complete_counts_messages_that_have_no_row_yet(messenger: World) -> None:
    messenger.app.add_campaign("half", succeeded=30, counters=Counters(50, 30, 0))
    with pytest.raises(Refused, match="20 of 50 recipients still pending"):
        mark_complete(messenger.platform, "half", OPERATOR)


def test_mark_complete_refuses_what_is_not_sending(sms: World) -> None:
    sms.app.add_campaign("over", succeeded=1, status="cancelled")
    with pytest.raises(Refused, match="its status is 'cancelled', not 'sending'"):
        mark_complete(sms.platform, "over", OPERATOR)


@pytest.mark.parametrize("fix", [mark_complete, reenqueue_one, retry_quarantined])
def test_another_tenants_campaign_is_not_there(sms: World, fix: Callable[..., object]) -> None:
    sms.app.add_campaign("theirs", tenant="shop_south", succeeded=1)
    with pytest.raises(NotFound, match="no such campaign of tenant shop_north"):
        fix(sms.platform, "theirs", OPERATOR, tenant="shop_north")
    with pytest.raises(NotFound):
        fix(sms.platform, "nowhere", OPERATOR)


@pytest.mark.parametrize("ids", ["integer", "uuid"])
def test_an_id_that_cannot_be_one_is_not_there(worlds: Worlds, ids: str) -> None:
    world = worlds.make("sms", shape=PlatformShape(ids=ids))  # type: ignore[arg-type]
    for wrong in ("abc", "1; DROP TABLE", "9" * 30, ""):
        with pytest.raises(NotFound):
            mark_complete(world.platform, wrong, OPERATOR)
        with pytest.raises(NotFound):
            release_one(world.platform, wrong, OPERATOR)


def test_an_id_may_be_written_in_another_spelling(worlds: Worlds) -> None:
    """Measured before: a KeyError, and of a campaign that was held "it is neither quarantined nor held"."""
    world = worlds.make("sms", shape=PlatformShape(ids="uuid"))
    over, lost = world.app.add_campaign("over", succeeded=3), world.app.add_campaign("lost", pending=2)
    old = world.app.add_reservation("old", campaign=None, created_ago=hours(99))
    release_one(world.platform, old.upper(), OPERATOR)
    completion = mark_complete(world.platform, over.upper(), OPERATOR).repair_ids[0]
    undo(world.platform, completion, OPERATOR)
    retry_quarantined(world.platform, over.upper(), OPERATOR)
    world.queue.mark(world.app.pending_ids("lost"))
    take_as_sent(world.platform, lost.upper(), OPERATOR)
    kinds = {"release": old, "complete": over, "undo": over, "lift": over, "take_as_sent": lost}
    assert {kind: target for kind, target, _ in journal(world)} == kinds
    assert [repair["kind"] for repair in campaign_detail(world.platform, lost.upper()).repairs] == ["take_as_sent"]


def test_re_enqueue_puts_back_what_is_missing_whatever_the_age(sms: World) -> None:
    sms.app.add_campaign("lost", pending=700, updated_ago=minutes(2))
    sms.queue.add("lost", "shop_north", sms.app.pending_ids("lost")[:500])
    fix = reenqueue_one(sms.platform, "lost", OPERATOR)
    assert covered(sms) == Counter(sms.app.pending_ids("lost"))
    assert "200 recipients" in fix.message
    with pytest.raises(Refused, match="700 pending: 700 in 2 live jobs"):
        reenqueue_one(sms.platform, "lost", OPERATOR)


def test_re_enqueue_refuses_while_the_queue_is_paused(sms: World) -> None:
    sms.app.add_campaign("lost", pending=7)
    sms.queue.pause()
    with pytest.raises(Refused, match="paused"):
        reenqueue_one(sms.platform, "lost", OPERATOR)
    assert sms.queue.live_job_ids() == []


def test_release_frees_one_reservation_and_refuses_while_its_campaign_sends(sms: World) -> None:
    sms.app.add_campaign("over", status="cancelled")
    sms.app.add_campaign("sending", pending=1)
    sms.app.add_reservation("leak", campaign="over", amount=7)
    sms.app.add_reservation("needed", campaign="sending", created_ago=hours(100))
    assert "7 credits" in release_one(sms.platform, "leak", OPERATOR).message
    with pytest.raises(Refused, match="still sending"):
        release_one(sms.platform, "needed", OPERATOR)
    with pytest.raises(Refused, match="'released', not 'active'"):
        release_one(sms.platform, "leak", OPERATOR)
    assert sms.app.reservation("needed")["status"] == "active"


def test_undoing_a_completion_restores_campaign_and_reservations_exactly(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_reservation("first", campaign="done")
    sms.app.add_reservation("second", campaign="done")
    before = sms.app.fingerprint()
    sms.sweep()
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'complete'")
    fix = undo(sms.platform, repair["id"], OPERATOR)
    assert sms.app.fingerprint() == before
    assert "2 more" in fix.message


def test_a_sweep_does_not_repeat_what_a_person_has_undone(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("leak", campaign="over")
    sms.sweep()
    for row in sms.rows("SELECT id FROM campaign_ops.repair WHERE parent_id IS NULL ORDER BY id"):
        undo(sms.platform, row["id"], OPERATOR)
    report = sms.sweep()
    assert sms.app.campaign("done")["status"] == "sending"
    assert sms.app.reservation("leak")["status"] == "active"
    assert {"done", "leak"} <= {item.target for item in report.for_person}
    retry_quarantined(sms.platform, "done", OPERATOR)
    sms.sweep()
    assert sms.app.campaign("done")["status"] == "sent"


def test_undoing_a_recount_restores_the_counters(worlds: Worlds) -> None:
    world = worlds.make(counting_profile())
    world.app.add_campaign("stalled", succeeded=10, pending=40, counters=Counters(50, 4, 0))
    before = world.app.fingerprint()
    world.sweep()
    (repair,) = world.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'recount'")
    undo(world.platform, repair["id"], OPERATOR)
    assert world.app.fingerprint() == before


def test_an_older_plan_does_not_repeat_what_a_person_has_undone(sms: World) -> None:
    """An undo restores exactly the `updated_at` that the plan has read."""
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_reservation("hold", campaign="done")
    sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("leak", campaign="over")
    sms.begin().make_plan()
    sms.begin().complete()
    sms.begin().release()
    for row in sms.rows("SELECT id FROM campaign_ops.repair WHERE parent_id IS NULL ORDER BY id"):
        undo(sms.platform, row["id"], OPERATOR)
    before = sms.app.fingerprint()
    sms.begin().complete()
    sms.begin().release()
    assert sms.app.fingerprint() == before


def test_a_re_enqueue_whose_answer_was_lost_is_an_outage_and_says_what_is_not_known(worlds: Worlds) -> None:
    """It was a refusal, which says that nothing was changed: a job had been added."""
    with proxied(worlds.servers.redis.port) as proxy:
        world = worlds.make("sms", queue_url=proxy.url)
        world.app.add_campaign("lost", pending=5)
        proxy.inject(Fault(b"EVALSHA"))
        with pytest.raises(Unavailable, match="how many of 1 jobs were added is not known yet"):
            reenqueue_one(world.platform, "lost", OPERATOR)
        assert len(world.queue.live_job_ids()) == 1
        with pytest.raises(QueueUnavailable, match="Redis"):
            reenqueue_one(world.platform, "lost", OPERATOR)
        with pytest.raises(QueueUnavailable, match="Redis"):
            take_as_sent(world.platform, "lost", OPERATOR)


def test_an_undo_that_died_before_it_removed_the_jobs_can_be_done_again(sms: World) -> None:
    sms.app.add_campaign("lost", pending=5)
    sms.sweep()
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair")
    queue = sms.platform.queue
    assert queue is not None
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.binding SET redis = redis || ARRAY['127.0.0.1:1/0']"))
    sms.platform.queue = Queue(QueueAddress("redis://127.0.0.1:1", queue.address.prefix), queue.profile)
    with pytest.raises(QueueUnavailable):
        undo(sms.platform, repair["id"], OPERATOR)
    sms.platform.queue = queue
    assert "removed 1 of 1 jobs" in undo(sms.platform, repair["id"], OPERATOR).message
    assert sms.queue.live_job_ids() == []
    with pytest.raises(Refused, match="undone already"):
        undo(sms.platform, repair["id"], OPERATOR)


def test_undo_refuses_when_the_row_was_changed_since_and_restores_nothing(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_reservation("hold", campaign="done")
    sms.sweep()
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'complete'")
    sms.app.set_reservation("hold", amount=1, status="active")
    before = sms.app.fingerprint()
    for dry_run in (True, False):
        with pytest.raises(Refused, match="no longer as the repair left it"):
            undo(sms.platform, repair["id"], OPERATOR, dry_run=dry_run)
    assert sms.app.fingerprint() == before


def test_undo_twice_is_refused(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.sweep()
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair")
    undo(sms.platform, repair["id"], OPERATOR)
    with pytest.raises(Refused, match="undone already"):
        undo(sms.platform, repair["id"], OPERATOR)
    with pytest.raises(NotFound):
        undo(sms.platform, 999, OPERATOR)


def test_undoing_a_re_enqueue_takes_its_jobs_out_of_the_queue(sms: World) -> None:
    sms.app.add_campaign("lost", pending=1200)
    sms.app.add_campaign("other", pending=5)
    (kept,) = sms.queue.add("other", "shop_north", sms.app.pending_ids("other"))
    sms.sweep()
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'reenqueue'")
    fix = undo(sms.platform, repair["id"], OPERATOR)
    assert "removed 3 of 3 jobs" in fix.message
    assert sms.queue.live_job_ids() == [kept]
    eager = sms.again(cooldown_seconds=0)
    sms.platform = eager
    report = sms.sweep()
    assert sms.queue.live_job_ids() == [kept]
    assert "lost" in {item.target for item in report.for_person}


def test_a_quarantined_campaign_is_repaired_again_when_a_person_lifts_it(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"cooldown_seconds": 0, "max_attempts": 1})
    world.app.add_campaign("hopeless", pending=5)
    world.sweep()
    world.queue.remove(world.queue.live_job_ids())
    assert world.sweep().stuck[0].verdict is Verdict.QUARANTINED
    retry_quarantined(world.platform, "hopeless", OPERATOR)
    world.sweep()
    assert covered(world) == Counter(world.app.pending_ids("hopeless"))
    assert ("lift", "hopeless", "the operator") in journal(world)


def test_a_dry_run_of_every_fix_changes_not_one_byte(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_campaign("repaired", succeeded=3)
    sms.app.add_campaign("lost", pending=3)
    sms.app.add_campaign("over", status="cancelled")
    mark_complete(sms.platform, "repaired", OPERATOR)
    sms.app.add_reservation("leak", campaign="over")
    before = (sms.app.fingerprint(), state_fingerprint(sms), redis_fingerprint(sms.queue.url))
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair")
    fixes = [
        mark_complete(sms.platform, "done", OPERATOR, dry_run=True),
        reenqueue_one(sms.platform, "lost", OPERATOR, dry_run=True),
        release_one(sms.platform, "leak", OPERATOR, dry_run=True),
        undo(sms.platform, repair["id"], OPERATOR, dry_run=True),
    ]
    assert all(not fix.changed and fix.message.startswith("would ") for fix in fixes)
    assert (sms.app.fingerprint(), state_fingerprint(sms), redis_fingerprint(sms.queue.url)) == before


# -- recipients whom the provider may have -----------------------------------------------------------------------------


def test_sending_again_forgets_the_markers_and_puts_the_recipients_back(sms: World) -> None:
    sms.app.add_campaign("ambiguous", pending=3, succeeded=2)
    sms.queue.mark(sms.app.pending_ids("ambiguous"))
    with pytest.raises(Refused, match="send-again"):
        reenqueue_one(sms.platform, "ambiguous", OPERATOR)
    assert "3 recipients" in send_again(sms.platform, "ambiguous", OPERATOR, dry_run=True).message
    fix = send_again(sms.platform, "ambiguous", OPERATOR)
    assert covered(sms) == Counter(sms.app.pending_ids("ambiguous"))
    assert "3 recipients in 1 job" in fix.message
    assert [kind for kind, _, _ in journal(sms)] == ["send_again", "reenqueue"]
    assert sms.sweep().stuck[0].verdict is not Verdict.AMBIGUOUS


def test_taking_as_sent_writes_the_marked_recipients_and_only_them(sms: World) -> None:
    sms.app.add_campaign("ambiguous", pending=5, succeeded=2)
    marked = sms.app.pending_ids("ambiguous")[:3]
    sms.queue.mark(marked)
    fix = take_as_sent(sms.platform, "ambiguous", OPERATOR)
    assert "3 recipients" in fix.message
    assert sms.app.tally("ambiguous") == {"pending": 2, "sent": 5}
    assert set(sms.app.pending_ids("ambiguous")).isdisjoint(marked)
    (row,) = sms.rows("SELECT after FROM campaign_ops.repair WHERE kind = 'take_as_sent'")
    assert sorted(row["after"]["ids"]) == sorted(marked)
    with pytest.raises(Refused, match="no recipient of it is marked"):
        take_as_sent(sms.platform, "ambiguous", OPERATOR)


@pytest.mark.parametrize("fix", [send_again, take_as_sent])
def test_a_dry_run_of_either_choice_changes_nothing(sms: World, fix: Callable[..., object]) -> None:
    sms.app.add_campaign("ambiguous", pending=5)
    sms.queue.mark(sms.app.pending_ids("ambiguous"))
    before = (sms.app.fingerprint(), state_fingerprint(sms), redis_fingerprint(sms.queue.url))
    fix(sms.platform, "ambiguous", OPERATOR, dry_run=True)
    assert (sms.app.fingerprint(), state_fingerprint(sms), redis_fingerprint(sms.queue.url)) == before
