"""Every figure fails when its damage is in the stores, names the violation, and holds when all is well.

A checker that cannot fail is worthless: the damage is planted in real servers, either bypassing the product or by a
product with a rule removed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from campaign_ops.core.errors import PermissionMissing
from campaign_ops.core.model import RepairKind
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.release import release_one
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.drill.checkers import (
    AT_ANY_TIME,
    WATCHED,
    Figure,
    Records,
    check_all,
    check_so_far,
    journal,
    liveness,
    read,
    reservations,
    safety,
    sending,
    waiting_for_a_person,
)
from campaign_ops.lab.drill.ledger import CONFIRMED, FAULT, REDIS_LOSS
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.provider import Provider
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.lab.shop.schema import PlatformShape
from campaign_ops.profile.model import Profile
from campaign_ops.sweep import act, complete
from tests.conftest import Worlds
from tests.lab.drill.checked_world import POLICY, CheckedWorld, checked_world

pytestmark = pytest.mark.slow

Checker = Callable[[Records], Figure]
PERSON = Person("ann", "looked into it", "by-hand")


@pytest.fixture
def stage(worlds: Worlds, work_dir: Path) -> CheckedWorld:
    return checked_world(worlds.make("sms", policy=POLICY), work_dir)


def fails(stage: CheckedWorld, figure: Checker, *words: str) -> None:
    """Assert that the figure fails, and that one of its examples contains all of these words."""
    result = stage.check(figure)
    assert not result.holds
    assert any(all(word in example for word in words) for example in result.examples), result.examples


def holds(stage: CheckedWorld, figure: Checker) -> None:
    result = stage.check(figure)
    assert result.holds, result.examples


def lawful_history(stage: CheckedWorld) -> None:
    """Let everything lawful happen to campaigns, by an application and sweeps that keep the rules."""
    app, queue = stage.world.app, stage.world.queue
    app.add_campaign("done", succeeded=3, failed=1)
    app.add_reservation("res_done", campaign="done", amount=40)
    app.add_campaign("all_failed", failed=2)
    app.add_campaign("lost", pending=4)
    app.add_reservation("res_lost", campaign="lost")
    app.add_campaign("cancelled", status="cancelled", pending=2)
    app.add_reservation("res_cancelled", campaign="cancelled", tenant="shop_south")
    app.add_campaign("own", succeeded=2, updated_ago=minutes(0))
    app.add_reservation("res_own", campaign="own", amount=7)
    app.add_campaign("young", succeeded=2, updated_ago=minutes(0))
    app.add_reservation("res_young", campaign="young", amount=9)
    Application(app.engine, app.profile).complete("own")
    stage.world.sweep()
    stage.look()
    for recipient in app.pending_ids("lost"):
        stage.provider.send(recipient, "lost", "worker-1")
    app.move_recipients("lost", "succeeded")
    queue.remove(queue.live_job_ids())
    stage.settle()


def test_every_figure_holds_after_a_lawful_history(stage: CheckedWorld) -> None:
    lawful_history(stage)
    figures = {figure.key: figure for figure in check_all(stage)}
    assert [figure for figure in figures.values() if not figure.holds] == []
    counted = "0 faults, 4 sends; repairs: 3 complete, 1 reenqueue, 3 release; 1 jobs re-enqueued"
    assert figures["counted"].found == counted
    assert figures["credits_exact"].found == "exact: 240 released by us, 2 tenants"
    assert len(figures) == len(check_all(stage)) == len(AT_ANY_TIME) + 16
    assert all(figure.holds for figure in check_so_far(stage))


# -- recipients ------------------------------------------------------------------------------------------------


def test_a_recipient_sent_to_twice_is_named_with_both_jobs(stage: CheckedWorld) -> None:
    stage.provider.send("r1", "c", "worker-1", "1")
    stage.provider.send("r2", "c", "worker-1", "1")
    holds(stage, sending.sent_twice)
    stage.provider.send("r1", "c", "worker-2", "ops-c-a1-b0-x")
    fails(stage, sending.sent_twice, "r1 of c", "by worker-1 from job 1", "by worker-2 from job ops-c-a1-b0-x")
    assert stage.check(sending.sent_twice).found == "1"


def test_what_the_provider_rejected_was_not_sent(stage: CheckedWorld) -> None:
    """Seen where the application tried failed recipients again that a fault had sent to without a claim."""
    rejecting = Provider(stage.world.app.engine, reject_share=1)
    rejecting.send("r1", "c", "worker-1", "1")
    stage.provider.send("r1", "c", "worker-2", "2")
    holds(stage, sending.sent_twice)
    stage.provider.send("r1", "c", "worker-2", "3")
    fails(stage, sending.sent_twice, "from job 2", "from job 3")


def test_an_unknowable_recipient_is_excused_only_between_its_two_sends(stage: CheckedWorld) -> None:
    stage.ledger.note_unknowable(["r2"])
    for recipient in ("r1", "r2"):
        stage.provider.send(recipient, "c", "worker-1")
    stage.ledger.note_unknowable(["r1"])
    for recipient in ("r1", "r2"):
        stage.provider.send(recipient, "c", "worker-2")
    assert stage.check(sending.unknowable).found == "1"
    assert "r2" in stage.check(sending.sent_twice).examples[0]
    assert stage.check(sending.sent_twice).found == "1"


def test_a_third_send_is_not_excused_by_what_excuses_the_second(stage: CheckedWorld) -> None:
    stage.provider.send("r1", "c", "worker-1")
    stage.ledger.note_unknowable(["r1"])
    stage.provider.send("r1", "c", "worker-2")
    holds(stage, sending.sent_twice)
    stage.provider.send("r1", "c", "worker-3")
    fails(stage, sending.sent_twice, "worker-2", "again", "worker-3")


def test_a_pending_recipient_of_a_campaign_that_we_completed_is_named(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=1, accepted=1)
    stage.ops("""UPDATE "Campaign" SET status = 'sent' WHERE id = 'c'""")
    fails(stage, sending.never_sent, "c_r000001 of c")
    assert stage.check(sending.never_sent).found == "1"


def test_a_recipient_that_the_application_forgot_is_not_our_violation(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=1)
    stage.world.app.set_campaign("c", status="sent")
    holds(stage, sending.never_sent)
    holds(stage, sending.finished_or_revived)


def test_a_campaign_finished_with_pending_recipients_is_named_even_if_sent_to_since(
    stage: CheckedWorld,
) -> None:
    stage.world.app.add_campaign("c", pending=2, succeeded=1)
    stage.ops("""UPDATE "Campaign" SET status = 'sent' WHERE id = 'c'""")
    stage.world.app.move_recipients("c", "succeeded")
    fails(stage, sending.finished_or_revived, "c: set to sent", "2 recipients pending")


def test_a_completion_over_an_open_transaction_that_gave_the_campaign_work_is_named(stage: CheckedWorld) -> None:
    app = stage.world.app
    recipient, words = app.tables.recipient, app.profile.recipient.words
    app.add_campaign("c", succeeded=1, failed=1)
    app.add_campaign("before", failed=1)
    pending = recipient.update().values(status=words.pending[0]).where(recipient.c.status.in_(words.failed))
    with app.engine.begin() as connection:
        connection.execute(pending.where(recipient.c.campaign_id == "before"))
    app.move_recipients("before", "failed")
    with app.engine.begin() as connection:
        connection.execute(pending.where(recipient.c.campaign_id == "c"))
        stage.ops("""UPDATE "Campaign" SET status = 'sent'""")
    holds(stage, sending.finished_or_revived)
    fails(stage, sending.overtaken, "c: completed at", "1 pending since")
    assert stage.check(sending.overtaken).found == "1"


@pytest.mark.parametrize("word", ["cancelled", "sent", "paused"])
def test_a_campaign_that_we_changed_although_it_was_not_sending_is_named(stage: CheckedWorld, word: str) -> None:
    stage.world.app.add_campaign("c", status=word, succeeded=1)
    stage.ops("""UPDATE "Campaign" SET status = 'sending' WHERE id = 'c'""")
    fails(stage, sending.finished_or_revived, f"c: was {word}, set to sending by us")


def test_a_completion_that_a_person_has_undone_is_not_a_revival(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.app.add_reservation("h", campaign="c")
    stage.world.sweep()
    undo(stage.world.platform, repair_id(stage, "complete"), PERSON)
    holds(stage, sending.finished_or_revived)
    holds(stage, journal.journal)
    holds(stage, reservations.credits_exact)


def test_a_campaign_set_to_failed_although_recipients_were_reached_is_named(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", succeeded=1, failed=3)
    stage.world.app.add_campaign("empty")
    stage.ops("""UPDATE "Campaign" SET status = 'failed'""")
    fails(stage, sending.wrong_word, "c: set to failed with 1 sent")
    fails(stage, sending.wrong_word, "empty: set to failed", "no recipients")


# -- credits ---------------------------------------------------------------------------------------------------


def test_credits_released_without_a_journal_row_are_named_with_their_tenant(stage: CheckedWorld) -> None:
    lawful_history(stage)
    stage.ops("""UPDATE "CreditReservation" SET status = 'released' WHERE id = 'res_young'""")
    fails(stage, reservations.credits_exact, "shop_north: campaign_ops released 149, the journal says 140")


def test_an_amount_that_is_wrong_in_the_journal_by_a_millionth_is_named(worlds: Worlds, work_dir: Path) -> None:
    stage = checked_world(worlds.make("sms", policy=POLICY, shape=PlatformShape(amounts="numeric")), work_dir)
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.app.add_reservation("h", campaign="c")
    stage.owner("""UPDATE "CreditReservation" SET amount = 0.1""")
    stage.world.sweep()
    holds(stage, reservations.credits_exact)
    holds(stage, journal.journal)
    stage.owner("UPDATE campaign_ops.repair SET amount = amount + 0.000001 WHERE kind = 'release'")
    fails(stage, reservations.credits_exact, "shop_north: campaign_ops released 0.100000, the journal says 0.100001")
    fails(stage, journal.journal, "release of h", "0.100001")


def test_credits_that_bypass_the_ledger_do_not_add_up(stage: CheckedWorld) -> None:
    lawful_history(stage)
    stage.owner('ALTER TABLE "CreditReservation" DISABLE TRIGGER USER')
    stage.world.app.set_reservation("res_done", status="active")
    fails(stage, reservations.credits_exact, "= 9, but 49 are held")
    fails(stage, journal.ledger_whole, "reservation res_done")


def test_credits_held_by_a_finished_campaign_leak_unless_a_person_undid_the_release(stage: CheckedWorld) -> None:
    app = stage.world.app
    app.add_campaign("c", status="cancelled", pending=1)
    app.add_reservation("h", campaign="c", amount=12)
    fails(stage, reservations.leaked, "h: 12 credits, its campaign is cancelled")
    stage.world.sweep()
    holds(stage, reservations.leaked)
    undo(stage.world.platform, repair_id(stage, "release"), PERSON)
    holds(stage, reservations.leaked)
    holds(stage, reservations.credits_exact)
    holds(stage, journal.journal)


@pytest.mark.parametrize(("word", "created_ago", "lawful"), [("paused", 1, False), ("paused", 60 * 49, True)])
def test_credits_of_an_idle_campaign_may_be_released_only_when_they_are_late(
    stage: CheckedWorld, word: str, created_ago: float, lawful: bool
) -> None:
    stage.world.app.add_campaign("c", status=word, pending=1)
    stage.world.app.add_reservation("h", campaign="c", created_ago=minutes(created_ago))
    stage.ops("""UPDATE "CreditReservation" SET status = 'released'""")
    if lawful:
        holds(stage, reservations.released_too_soon)
    else:
        fails(stage, reservations.released_too_soon, "h: 100 credits", "its campaign was paused")


def test_credits_released_while_their_campaign_sends_are_named(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=1)
    stage.world.app.add_reservation("h", campaign="c", created_ago=minutes(60 * 49))
    stage.ops("""UPDATE "CreditReservation" SET status = 'released'""")
    fails(stage, reservations.released_too_soon, "h: 100 credits", "its campaign was sending")


def test_credits_that_a_sweep_releases_before_the_application_can_settle_them_are_named(stage: CheckedWorld) -> None:
    app = stage.world.app
    app.add_campaign("c", status="cancelled", pending=1, updated_ago=timedelta(seconds=20))
    app.add_reservation("h", campaign="c", amount=12)
    app.add_campaign("old", status="cancelled", pending=1)
    app.add_reservation("renewed", campaign="old", created_ago=timedelta(seconds=20))
    app.add_campaign("done", succeeded=1)
    app.add_reservation("with it", campaign="done")
    stage.world.sweep()
    holds(stage, reservations.released_too_soon)
    fails(stage, reservations.leaked, "h: 12 credits")
    release_one(stage.world.platform, "h", PERSON)
    holds(stage, reservations.released_too_soon)
    stage.world.app.set_reservation("h", status="active")
    stage.sweep_as(stuck_after_seconds=10)
    fails(stage, reservations.released_too_soon, "h: 12 credits", " s after a change")
    fails(stage, reservations.released_too_soon, "renewed: 100 credits", " s after a change")


# -- the journal -----------------------------------------------------------------------------------------------


def test_a_change_of_ours_without_a_journal_row_is_named(stage: CheckedWorld) -> None:
    lawful_history(stage)
    holds(stage, journal.journal)
    stage.owner("DELETE FROM campaign_ops.repair WHERE kind = 'release' AND target = 'res_done'")
    fails(stage, journal.journal, "reservation res_done: changed by us")
    fails(stage, journal.journal, "its row is gone from the journal")


def test_a_journal_row_that_changed_nothing_is_named(stage: CheckedWorld) -> None:
    lawful_history(stage)
    plant_repair(stage, "complete", "young")
    fails(stage, journal.journal, "complete of young", "no change of campaign young in its transaction")


def test_a_journal_row_in_another_transaction_than_its_change_is_named(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.sweep()
    stage.owner("CREATE TABLE kept AS SELECT * FROM campaign_ops.repair")
    stage.owner("DELETE FROM campaign_ops.repair")
    stage.owner("DELETE FROM drill.journaled")
    stage.owner("INSERT INTO campaign_ops.repair OVERRIDING SYSTEM VALUE SELECT * FROM kept")
    fails(stage, journal.journal, "complete of c", "no change")
    fails(stage, journal.journal, "campaign c: changed by us", "in no journal row")


@pytest.mark.parametrize(
    ("image", "column", "value", "line"),
    [
        ("before", "status", "paused", "before, status is sending, not paused"),
        ("after", "status", "failed", "after, status is sent, not failed"),
        ("after", "updated_at", "2020-01-01T00:00:00+00:00", "after, updated_at is"),
    ],
)
def test_a_journal_image_that_differs_from_the_row_is_named(
    stage: CheckedWorld, image: str, column: str, value: str, line: str
) -> None:
    lawful_history(stage)
    change = json.dumps({column: value})
    stage.owner(f"""UPDATE campaign_ops.repair SET {image} = {image} || '{change}' WHERE target = 'done'""")
    fails(stage, journal.journal, "complete of done", line)


def test_a_changed_column_that_is_missing_in_the_journal_is_named(stage: CheckedWorld) -> None:
    stage.owner(
        "CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'other'; RETURN NEW; END $$"
    )
    stage.owner('CREATE TRIGGER more BEFORE UPDATE ON "Campaign" FOR EACH ROW EXECUTE FUNCTION more()')
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.sweep()
    fails(stage, journal.journal, "complete of c", 'column "name" changed too')


def test_an_undo_that_restores_another_value_is_named(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.sweep()
    stage.owner("""UPDATE campaign_ops.repair SET before = before || '{"status": "paused"}'""")
    undo(stage.world.platform, repair_id(stage, "complete"), PERSON)
    holds(stage, sending.wrong_word)
    stage.owner("""UPDATE campaign_ops.repair SET before = before || '{"status": "sending"}' WHERE kind = 'complete'""")
    fails(stage, journal.journal, "undo of c", "after, status is paused, not sending")


def test_a_job_of_ours_without_an_intent_is_named(stage: CheckedWorld) -> None:
    lawful_history(stage)
    stage.world.queue.add("lost", "shop_north", ["r1"], job_ids=["ops-lost-a9-b0-stray"])
    stage.look()
    fails(stage, journal.journal, "ops-lost-a9-b0-stray", "no intent has it")


def test_a_job_with_other_recipients_than_intended_is_named(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=3)
    stage.world.sweep()
    stage.look()
    holds(stage, journal.journal)
    stage.owner("UPDATE campaign_ops.intent SET recipients = 2")
    fails(stage, journal.journal, "3 recipients of c, intended were 2 of c")


def test_a_job_journaled_as_added_but_never_seen_is_named_unless_redis_lost_its_data(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=3)
    stage.world.sweep()
    holds(stage, journal.journal)  # it has only just been added
    stage.owner("UPDATE campaign_ops.intent SET added_at = added_at - interval '1 minute'")
    stage.ledger.note(REDIS_LOSS, "emptied, but a minute later")
    fails(stage, journal.journal, "ops-c-a1-b0", "never seen in the queue")
    stage.owner("UPDATE drill.mark SET at = at - interval '1 minute'")
    holds(stage, journal.journal)


def test_a_reenqueue_without_any_intent_is_named(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=3)
    stage.world.sweep()
    stage.owner("DELETE FROM campaign_ops.intent")
    fails(stage, journal.journal, "reenqueue of c", "it has no intended job")


# -- rules -----------------------------------------------------------------------------------------------------


def test_a_recipient_that_we_put_into_a_second_live_job_is_named_unless_the_first_was_restored(
    stage: CheckedWorld,
) -> None:
    stage.world.queue.add("c", "shop", ["r1"])
    stage.world.queue.add("c", "shop", ["r1"], job_ids=["ops-c-a1-b0-x"])
    stage.look()
    fails(stage, safety.in_two_jobs, "r1: in ", "ops-c-a1-b0-x")
    stage.ledger.note_restored(["r1"])
    holds(stage, safety.in_two_jobs)


@pytest.mark.parametrize("kind", [RepairKind.COMPLETE, RepairKind.REENQUEUE])
def test_a_sweep_that_goes_beyond_the_breaker_is_named_unless_a_person_confirmed_it(
    stage: CheckedWorld, kind: RepairKind
) -> None:
    for number in range(5):
        if kind is RepairKind.COMPLETE:
            stage.world.app.add_campaign(f"c{number}", succeeded=1)
        else:
            stage.world.app.add_campaign(f"c{number}", pending=1)
    stage.world.sweep()
    holds(stage, safety.beyond_breaker)
    run_id = stage.sweep_as(breaker_floor=100)
    fails(stage, safety.beyond_breaker, f"{kind} of c0", "one of 5 in a sweep, 5 sending")
    stage.ledger.note(CONFIRMED, run_id)
    holds(stage, safety.beyond_breaker)


def test_a_floor_protects_no_sweep_right_after_redis_lost_its_data(stage: CheckedWorld) -> None:
    for number in range(2):
        stage.world.app.add_campaign(f"c{number}", pending=1)
    stage.ledger.note(REDIS_LOSS, "emptied")
    stage.world.sweep()
    fails(stage, safety.beyond_breaker, "reenqueue of c0", "one of 2 in a sweep, 2 sending, Redis just restarted")
    stage.owner("UPDATE drill.mark SET at = at - interval '5 minutes'")
    holds(stage, safety.beyond_breaker)


@pytest.mark.parametrize("recipients", [{"pending": 2}, {"succeeded": 2}])
def test_a_campaign_repaired_before_it_was_stuck_is_named(stage: CheckedWorld, recipients: dict[str, Any]) -> None:
    stage.world.app.add_campaign("c", updated_ago=timedelta(seconds=20), moved_ago=minutes(60), **recipients)
    stage.world.sweep()
    holds(stage, safety.too_young)
    stage.sweep_as(stuck_after_seconds=10)
    fails(stage, safety.too_young, "of c)", " s before")
    example = stage.check(safety.too_young).examples[0]
    touched = re.search(r"touched (\d+)", example)
    assert touched is not None
    assert 20 <= int(touched[1]) < 60


def test_a_campaign_touched_during_its_repair_was_old_enough(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=2)
    stage.world.sweep()
    stage.world.app.set_campaign("c")
    moment = "(SELECT at FROM campaign_ops.repair)"
    stage.owner(
        f"UPDATE drill.change SET at = {moment} - interval '10 ms' WHERE id = (SELECT max(id) FROM drill.change)"
    )
    stage.owner("""UPDATE drill.journaled SET campaign = (SELECT to_jsonb(c) FROM "Campaign" c)""")
    holds(stage, safety.too_young)


def test_a_person_may_complete_a_campaign_that_is_not_stuck(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", succeeded=2, updated_ago=minutes(0))
    mark_complete(stage.world.platform, "c", PERSON)
    holds(stage, safety.too_young)
    holds(stage, journal.journal)


@pytest.mark.parametrize("recipients", [{"pending": 2}, {"succeeded": 2}])
def test_a_campaign_with_an_unknown_word_that_we_repaired_is_named(
    stage: CheckedWorld, recipients: dict[str, Any]
) -> None:
    stage.world.app.add_campaign("c", words={"bounced": 1}, **recipients)
    stage.sweep_as(profile=guessing(stage))
    fails(stage, safety.unknown_repaired, "of c)", "1 recipients with a status")


def test_an_unknown_word_written_after_the_observation_is_excused(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", words={"bounced": 1}, pending=2)
    stage.sweep_as(profile=guessing(stage))
    stage.owner("UPDATE drill.change SET at = clock_timestamp() WHERE relation = 'recipient'")
    holds(stage, safety.unknown_repaired)


def test_a_campaign_with_an_unknown_word_is_left_alone_by_honest_sweeps(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", words={"bounced": 1}, succeeded=2)
    stage.world.sweep()
    holds(stage, safety.unknown_repaired)


def guessing(stage: CheckedWorld) -> Profile:
    """A profile that treats an unknown status as a failure."""
    known = stage.world.platform.profile.model_dump(by_alias=True)
    known["recipient"]["words"]["failed"] = ["failed", "bounced"]
    return Profile.model_validate(known)


def reenqueue_and_lose(stage: CheckedWorld, times: int) -> None:
    for _ in range(times):
        stage.sweep_as(max_attempts=100, cooldown_seconds=0)
        stage.world.queue.remove(stage.world.queue.live_job_ids())


def test_a_campaign_reenqueued_without_progress_too_often_is_named(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=4)
    reenqueue_and_lose(stage, 3)
    holds(stage, safety.in_vain)
    reenqueue_and_lose(stage, 1)
    fails(stage, safety.in_vain, "reenqueue of c", "attempt 4 without progress")


def test_progress_gives_a_campaign_new_attempts(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=4)
    reenqueue_and_lose(stage, 3)
    stage.world.app.move_recipients("c", "succeeded", 1, moved_ago=minutes(30))
    reenqueue_and_lose(stage, 3)
    holds(stage, safety.in_vain)


def test_a_repair_written_without_the_sweep_lock_is_named_unless_a_fault_took_it(stage: CheckedWorld) -> None:
    lawful_history(stage)
    plant_repair(stage, "lift", "young")
    fails(stage, safety.overlapping, "lift of young", "no process held the sweep lock")
    stage.owner("UPDATE campaign_ops.sweep SET started_at = clock_timestamp()")
    stage.ledger.note(FAULT, "drop_connections: all of ours")
    holds(stage, safety.overlapping)


def test_a_repair_written_while_another_process_holds_the_lock_is_named_with_it(stage: CheckedWorld) -> None:
    stage.world.sweep()
    other = stage.connect()
    other.database.application_name = "campaign_ops elsewhere:1"
    with other.lock(wait_seconds=0).hold():
        plant_repair(stage, "lift", "c")
    other.close()
    fails(stage, safety.overlapping, "lift of c", "campaign_ops elsewhere:1 held the sweep lock")


# -- effects between campaigns----------------------------------------------------------------------------------


def test_credits_that_a_completion_leaves_held_are_named_even_if_the_next_sweep_releases_them(
    stage: CheckedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two sweeps would have leaked them."""
    monkeypatch.setattr(complete, "release_with_campaigns", lambda *_, **__: iter(()))
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.app.add_reservation("r", campaign="c", amount=5)
    holds(stage, reservations.left_held)
    stage.world.sweep()
    stage.world.app.set_campaign("c", updated_ago=minutes(2))
    stage.world.sweep()
    holds(stage, reservations.leaked)
    fails(stage, reservations.left_held, "r: 5 credits stayed held when we completed c")


def test_credits_that_the_application_releases_before_we_can_are_not_left_held(
    stage: CheckedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complete, "release_with_campaigns", lambda *_, **__: iter(()))
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.app.add_reservation("r", campaign="c")
    stage.world.sweep()
    stage.world.app.set_reservation("r", status="released")
    holds(stage, reservations.left_held)


def test_a_campaign_that_three_complete_sweeps_skip_is_named(
    stage: CheckedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(act, "_by_pages", lambda *_: None)
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.app.add_campaign("poison_campaign_1", succeeded=1)
    for _ in range(2):
        stage.world.sweep()
    holds(stage, liveness.starved)
    stage.world.sweep()
    fails(stage, liveness.starved, "c: nothing pending")
    assert stage.check(liveness.starved).found == "1"


@pytest.mark.parametrize("fault", ["deadlocks", "lose_jobs"])
def test_sweeps_that_a_fault_disturbed_do_not_count_as_starving(
    stage: CheckedWorld, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(act, "_by_pages", lambda *_: None)
    stage.world.app.add_campaign("c", succeeded=1)
    stage.ledger.note(FAULT, fault)
    for _ in range(3):
        stage.world.sweep()
    holds(stage, liveness.starved)


def test_sweeps_that_the_breaker_held_back_do_not_count_as_starving(stage: CheckedWorld) -> None:
    for number in range(5):
        stage.world.app.add_campaign(f"c{number}", succeeded=1)
    for _ in range(3):
        stage.world.sweep()
    holds(stage, liveness.starved)


def test_a_finished_campaign_that_a_person_reopened_is_not_starving(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", succeeded=1)
    stage.world.sweep()
    undo(stage.world.platform, repair_id(stage, "complete"), PERSON)
    for _ in range(4):
        stage.world.sweep()
    holds(stage, liveness.starved)


# -- how it ran ------------------------------------------------------------------------------------------------


def test_a_campaign_that_is_still_stuck_is_named_with_the_last_verdict(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", pending=1)
    stage.world.queue.add("c", "shop_north", stage.world.app.pending_ids("c"))
    stage.world.sweep()
    fails(stage, liveness.still_stuck, "c: no_workers")
    stage.world.app.set_campaign("c")
    holds(stage, liveness.still_stuck)


def test_a_stuck_campaign_that_waits_for_a_person_is_listed_with_the_reason(stage: CheckedWorld) -> None:
    stage.world.app.add_campaign("c", succeeded=1, words={"bounced": 1})
    fails(stage, liveness.still_stuck, "c: in no plan")
    stage.world.sweep()
    holds(stage, liveness.still_stuck)
    assert stage.check(liveness.still_stuck).found == "0 (+ 1 for a person)"
    ((campaign, reason),) = waiting_for_a_person(stage)
    assert (campaign, reason.split(":")[0]) == ("c", "unknown_status")


def test_fewer_than_three_whole_sweeps_after_the_faults_are_not_enough(stage: CheckedWorld) -> None:
    for _ in range(3):
        stage.world.sweep()
    assert stage.check(liveness.settled).found == "the faults never stopped"
    assert not stage.check(liveness.settled).holds
    stage.settle()
    holds(stage, liveness.settled)
    stage.owner("UPDATE campaign_ops.sweep SET finished_at = NULL WHERE id = (SELECT max(id) FROM campaign_ops.sweep)")
    assert not stage.check(liveness.settled).holds


def test_a_watcher_without_samples_or_with_old_ones_fails_the_figure(stage: CheckedWorld) -> None:
    assert not stage.check(liveness.watched).holds
    stage.look()
    holds(stage, liveness.watched)
    old = (stage.work_dir / WATCHED).read_text().replace('"at": 1', '"at": 0.1')
    (stage.work_dir / WATCHED).write_text(old)
    assert not stage.check(liveness.watched).holds


def test_a_sweep_longer_than_its_bound_is_named(stage: CheckedWorld) -> None:
    bound = liveness.sweep_bound(stage.stores.timeouts)
    stage.write_sweeps("sweeper-1", {"ended": 100 + bound - 1})
    stage.write_sweeps("dagster", {"ended": 100 + bound + 1})
    holds(stage, liveness.too_long)
    stage.write_sweeps("sweeper-2", {"run_id": "slow", "ended": 100 + bound + 1})
    fails(stage, liveness.too_long, "sweeper-2: sweep slow took")


def test_a_sweep_that_ended_in_a_raw_error_is_named(stage: CheckedWorld) -> None:
    stage.write_sweeps("sweeper-1", {"outcome": "failed", "error": "Redis away"}, {"outcome": "busy"})
    holds(stage, liveness.unexpected)
    assert stage.check(liveness.sweeps).found == "1 failed, 1 busy"
    stage.write_sweeps("sweeper-2", {"outcome": "failed", "error": "KeyError: 'x'", "unexpected": True})
    fails(stage, liveness.unexpected, "sweeper-2: KeyError: 'x'")


def test_a_statement_that_needs_more_than_the_grants_is_found_in_the_servers_log(
    stage: CheckedWorld, servers: EmbeddedServers
) -> None:
    assert stage.check(liveness.denied).informational
    log = servers.postgres.work_dir / "postgres.log"
    stores = replace(stage.stores, server_log=log, log_from=log.stat().st_size)
    assert liveness.denied(read(stores)).holds
    with pytest.raises(PermissionMissing):
        stage.ops('SELECT phone FROM "CampaignRecipient"')
    result = liveness.denied(read(stores))
    assert not result.holds
    assert "CampaignRecipient" in result.examples[0]


def test_times_run_from_the_moment_when_a_campaign_was_stuck(stage: CheckedWorld) -> None:
    assert stage.check(liveness.repair_time).found == "nothing was repaired"
    stage.world.app.add_campaign("a", succeeded=1, updated_ago=timedelta(seconds=70))
    stage.world.app.add_campaign("b", pending=1, updated_ago=timedelta(seconds=90))
    stage.world.app.add_campaign("c", succeeded=1, updated_ago=timedelta(seconds=160))
    stage.world.sweep()
    for figure in (stage.check(liveness.detection), stage.check(liveness.repair_time)):
        assert figure.informational
        median, worst = map(float, re.findall(r"\d+\.\d+", figure.found)[:2])
        # The sweep takes its own time, some seconds on a busy machine; all three wait for the same sweep.
        assert 30 <= median < 60
        assert worst - median == pytest.approx(70, abs=1)
        assert figure.examples[0].split(",")[0].endswith("c")


def repair_id(stage: CheckedWorld, kind: str) -> int:
    (repair,) = stage.world.rows("SELECT id FROM campaign_ops.repair WHERE kind = :kind", kind=kind)
    return int(repair["id"])


def plant_repair(stage: CheckedWorld, kind: str, target: str) -> None:
    stage.ops(
        "INSERT INTO campaign_ops.repair (platform, tables, sweep_id, kind, campaign_id, target, reason, actor, run_id)"
        " SELECT platform, tables, id, :kind, :target, :target, 'planted', 'test', run_id"
        " FROM campaign_ops.sweep LIMIT 1",
        kind=kind,
        target=target,
    )
