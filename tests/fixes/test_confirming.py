"""A code confirms exactly the plan or the fix that was shown: once, for a limited time, with name and reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest

from campaign_ops.core.confirmation import Confirmation
from campaign_ops.core.errors import Refused
from campaign_ops.core.report import render
from campaign_ops.fixes.confirm import FixCall, make_confirmed, try_out
from campaign_ops.fixes.fix import Person
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.sweep import dry_run
from campaign_ops.sweep.confirm import confirmation
from tests.conftest import World, Worlds
from tests.sweep.actors import covered


def lose(world: World, first: int = 0, last: int = 12) -> None:
    for number in range(first, last):
        world.app.add_campaign(f"lost_{number}", pending=2)


def code_of(world: World) -> Confirmation:
    """The confirmation of a person who reads the plan now."""
    given = confirmation(dry_run(world.platform, run_id=uuid4().hex), "ann", "I looked")
    assert given is not None
    return given


def trouble(world: World, given: Confirmation) -> str:
    """The trouble in the report of a sweep with this code."""
    return "\n".join(world.sweep(confirm=given).trouble)


def test_a_code_lets_its_plan_pass_once_and_stands_in_the_journal_with_who_and_why(worlds: Worlds) -> None:
    sms = worlds.make("sms", policy={"cooldown_seconds": 0})
    lose(sms)
    given = code_of(sms)
    assert sms.sweep(confirm=given).trouble == []
    assert len(covered(sms)) == 24
    (entry,) = sms.rows("SELECT * FROM campaign_ops.repair WHERE kind = 'confirm'")
    assert (entry["target"], entry["actor"], entry["after"]) == (given.code, "ann", {"repairs": {"reenqueue": 12}})
    assert (entry["reason"], entry["person_reason"]) == ("confirmed: reenqueue 12", "I looked")
    evidence = sms.rows("SELECT DISTINCT person_reason FROM campaign_ops.repair WHERE kind = 'reenqueue'")
    assert evidence == [{"person_reason": None}], "no person asked for the sweep's own repairs"
    sms.queue.remove(sms.queue.live_job_ids())
    again = trouble(sms, given)
    assert "was used already, by ann" in again
    assert "12 of 12" in again
    assert covered(sms) == {}


def test_what_is_held_back_shows_a_code_in_the_report_of_a_sweep_too(sms: World) -> None:
    lose(sms)
    report = sms.sweep()
    (offer,) = report.offers
    assert f"--confirm {offer.code}" in render(report)
    assert sms.sweep(confirm=Confirmation(offer.code, "ann", "I looked")).trouble == []
    assert len(covered(sms)) == 24


def test_more_than_was_confirmed_is_refused_with_the_numbers_and_a_new_code(sms: World) -> None:
    lose(sms)
    given = code_of(sms)
    lose(sms, 12, 14)
    report = sms.sweep(confirm=given)
    assert any("2 of 14 are not in the plan that the code was given for" in line for line in report.trouble)
    assert covered(sms) == {}
    (offer,) = report.offers
    assert sms.sweep(confirm=Confirmation(offer.code, "ann", "looked again")).trouble == []
    assert len(covered(sms)) == 28


def test_more_recipients_of_a_campaign_than_were_confirmed_are_refused(sms: World) -> None:
    lose(sms)
    given = code_of(sms)
    sms.app.add_recipients("lost_3", pending=1)
    sms.app.set_campaign("lost_3", updated_ago=minutes(20))
    assert "lost_3: 3 now, 2 then" in trouble(sms, given)
    assert covered(sms) == {}


def test_less_than_was_confirmed_passes(sms: World) -> None:
    lose(sms, 0, 14)
    given = code_of(sms)
    sms.queue.add("lost_0", "shop_north", sms.app.pending_ids("lost_0"))
    assert sms.sweep(confirm=given).trouble == []
    assert set(covered(sms).values()) == {1}


ELSEWHERE: dict[str, Callable[[World], object]] = {
    "emptied": lambda world: world.queue.clear(),
    "another process": lambda world: world.rows(
        "UPDATE campaign_ops.confirmation"
        " SET covers = jsonb_set(covers, '{queue}', '\"queue sms-send in Redis process 0123\"') RETURNING 1"
    ),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_a_code_is_bound_to_the_queue_that_was_looked_at(sms: World, what: str) -> None:
    lose(sms)
    given = code_of(sms)
    ELSEWHERE[what](sms)
    assert "that code was given for queue sms-send in Redis process" in trouble(sms, given)
    assert covered(sms) == {}


@pytest.mark.parametrize("code", ["yes", "aaaa-bbbb-cccc", ""])
def test_a_code_that_was_never_shown_confirms_nothing(sms: World, code: str) -> None:
    lose(sms)
    sms.sweep()
    assert "was never shown" in trouble(sms, Confirmation(code, "eve", "a link"))
    assert covered(sms) == {}


def test_a_code_expires(sms: World) -> None:
    lose(sms)
    given = code_of(sms)
    sms.rows("UPDATE campaign_ops.confirmation SET expires_at = now() - interval '1 second' RETURNING 1")
    assert "expired" in trouble(sms, given)
    assert covered(sms) == {}


def test_a_code_for_one_kind_of_repair_does_not_pass_another(sms: World) -> None:
    lose(sms)
    given = code_of(sms)
    for number in range(12, 40):
        sms.app.add_campaign(f"done_{number}", succeeded=1)
    sms.queue.add("lost_0", "shop_north", sms.app.pending_ids("lost_0"))
    assert "not given for this kind of repair" in trouble(sms, given)
    assert sms.app.campaign("done_12")["status"] == "sending"


def test_the_steps_of_one_run_share_a_code_and_a_run_made_again_may_not(sms: World) -> None:
    lose(sms)
    for number in range(40):
        sms.app.add_campaign(f"done_{number}", succeeded=1)
    given = code_of(sms)
    first = sms.begin(run_id="first", confirm=given)
    first.make_plan()
    sms.begin(run_id="first", confirm=given).complete()
    assert len(sms.rows("SELECT 1 FROM campaign_ops.repair WHERE kind = 'complete'")) == 40
    again = sms.begin(run_id="again", confirm=given)
    again.make_plan()
    assert again.reenqueue().tripped
    assert sms.queue.live_job_ids() == []


def test_one_use_voids_the_codes_that_other_reports_showed_for_the_same(sms: World) -> None:
    lose(sms)
    older, newer = code_of(sms), code_of(sms)
    assert sms.sweep(confirm=newer).trouble == []
    sms.queue.remove(sms.queue.live_job_ids())
    sms.rows("UPDATE campaign_ops.attempt SET last_at = last_at - interval '1 hour' RETURNING 1")
    assert "never shown" in trouble(sms, older)
    assert covered(sms) == {}


def test_confirming_trusts_an_emptied_queue_from_then_on(sms: World) -> None:
    lose(sms, 0, 2)
    sms.queue.clear()
    sms.sweep()
    sms.queue.open()
    assert sms.sweep(confirm=code_of(sms)).trouble == []
    lose(sms, 2, 4)
    assert sms.sweep().trouble == []
    assert len(covered(sms)) == 8


def test_a_plan_before_migrate_says_that_confirming_needs_it(worlds: Worlds) -> None:
    sms = worlds.make("sms", migrated=False)
    lose(sms)
    report = dry_run(sms.platform, run_id="plan")
    assert report.offers == []
    assert "campaign-ops migrate" in report.no_offer
    assert any("12 of 12" in line for line in report.trouble)


# -- manual fixes ----------------------------------------------------------------------------------------------------


def a_fix(campaign: str, name: str = "reenqueue") -> FixCall:
    return FixCall(name, campaign, Person("ann", "the customer called", uuid4().hex))


def shown(world: World, call: FixCall) -> str:
    _, offer = try_out(world.platform, call)
    assert offer is not None
    return offer.code


def test_a_fix_is_made_with_the_code_of_its_dry_run_and_no_second_time(sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    code = shown(sms, a_fix("lost"))
    assert sms.queue.live_job_ids() == []
    assert make_confirmed(sms.platform, a_fix("lost"), code).changed
    assert len(covered(sms)) == 3
    sms.queue.remove(sms.queue.live_job_ids())
    sms.rows("UPDATE campaign_ops.attempt SET last_at = last_at - interval '1 hour' RETURNING 1")
    with pytest.raises(Refused, match="was used already, by ann"):
        make_confirmed(sms.platform, a_fix("lost"), code)
    assert covered(sms) == {}


def test_a_fix_that_would_do_more_than_was_shown_is_refused_with_a_new_code(sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    code = shown(sms, a_fix("lost"))
    sms.app.add_recipients("lost", pending=4)
    with pytest.raises(Refused, match="missing: 7 now, 3 then") as refusal:
        make_confirmed(sms.platform, a_fix("lost"), code)
    assert sms.queue.live_job_ids() == []
    fresh = refusal.value.mend.split("confirm it with ")[1].split()[0]
    assert make_confirmed(sms.platform, a_fix("lost"), fresh).changed
    assert len(covered(sms)) == 7


@pytest.mark.parametrize("name", ["take-as-sent", "send-again"])
def test_a_decision_holds_for_the_recipients_that_were_shown(sms: World, name: str) -> None:
    """Without their ids, a code for two recipients let any two of the campaign pass: two others became sent."""
    sms.app.add_campaign("c", pending=4)
    first, others = sms.app.pending_ids("c")[:2], sms.app.pending_ids("c")[2:]
    sms.queue.mark(first)
    sms.queue.add("c", "shop_north", others)
    code = shown(sms, a_fix("c", name))
    # The application settles those two, and a worker dies with the two others.
    assert sms.app.move_recipients("c", "succeeded", 2, moved_ago=hours(1)) == 2
    sms.queue.remove(sms.queue.live_job_ids())
    sms.queue.mark(others)
    with pytest.raises(Refused, match="recipients: 2 now, 2 then, not the same ones"):
        make_confirmed(sms.platform, a_fix("c", name), code)
    assert sms.app.pending_ids("c") == others
    assert sms.platform.queue is not None
    assert sms.platform.queue.marked(others) == set(others)
    assert sms.queue.live_job_ids() == []


@pytest.mark.parametrize("name", ["take-as-sent", "send-again"])
def test_a_decision_for_fewer_recipients_than_were_shown_passes(sms: World, name: str) -> None:
    sms.app.add_campaign("c", pending=3)
    sms.queue.mark(sms.app.pending_ids("c"))
    code = shown(sms, a_fix("c", name))
    sms.app.move_recipients("c", "succeeded", 1, moved_ago=hours(1))
    assert make_confirmed(sms.platform, a_fix("c", name), code).changed
    assert len(covered(sms)) == (2 if name == "send-again" else 0)


@pytest.mark.parametrize("name", ["take-as-sent", "send-again"])
def test_a_decision_is_bounded_where_it_is_written(sms: World, name: str) -> None:
    """What was confirmed is compared again under the sweep lock: a worker may die after the last dry run."""
    sms.app.add_campaign("c", pending=4)
    first, others = sms.app.pending_ids("c")[:2], sms.app.pending_ids("c")[2:]
    sms.queue.mark(first)
    sms.queue.add("c", "shop_north", others)
    call = a_fix("c", name)
    covers = call.of(sms.platform, dry_run=True).covers
    sms.queue.remove(sms.queue.live_job_ids())
    sms.queue.mark(others)
    with pytest.raises(Refused, match="recipients: 4 now, 2 then"):
        replace(call, person=replace(call.person, confirmed=covers)).of(sms.platform, dry_run=False)
    assert len(sms.app.pending_ids("c")) == 4
    assert sms.queue.live_job_ids() == []


def test_the_code_of_one_fix_is_good_for_no_other(sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    sms.app.add_campaign("other", pending=3)
    sms.app.add_campaign("done", succeeded=3)
    code = shown(sms, a_fix("lost"))
    for call in (a_fix("other"), a_fix("done", "mark-complete")):
        with pytest.raises(Refused, match="was given for reenqueue of lost"):
            make_confirmed(sms.platform, call, code)
    with pytest.raises(Refused, match="another --tenant"):
        make_confirmed(sms.platform, replace(a_fix("lost"), tenant="shop_north"), code)
    assert sms.queue.live_job_ids() == []
    assert sms.app.campaign("done")["status"] == "sending"
