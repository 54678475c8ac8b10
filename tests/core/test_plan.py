"""The plan: its lines, its breakers, and what makes "everything is lost" suspect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_ops.core.model import (
    Action,
    Attempts,
    Counters,
    CreditDecision,
    Decision,
    Outcome,
    RepairKind,
    Reservation,
    Tally,
    Verdict,
)
from campaign_ops.core.plan import Plan, PlanItem, make_plan
from campaign_ops.core.policy import Policy, check_breaker
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.sighting import Sighting, alarms_about, suspicions_about
from tests.evidence import NOW, POLICY, Look, ago, covered_by, messenger, sms

LOST = sms(5, succeeded=5)
FINISHED = sms(succeeded=5)
LEAKED = Reservation("res_1", "shop_1", "cmp_9", "250", ago(hours=1), None, "sent")


def plan_of(*looks: Look, sending: int | None = None, policy: Policy = POLICY, **more: object) -> Plan:
    judged = [(look.evidence, look.decide()) for look in looks]
    count = len(looks) if sending is None else sending
    return make_plan(judged, [], sending=count, policy=policy, now=NOW, **more)  # type: ignore[arg-type]


# -- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("look", "kind"),
    [
        (FINISHED, RepairKind.COMPLETE),
        (LOST, RepairKind.REENQUEUE),
        (sms(5, coverage=covered_by(5, in_jobs=5)), None),
        (sms(5, unknown={"odd": 1}), None),
        (sms(), None),
        (LOST.with_queue(paused=True), None),
    ],
)
def test_every_stuck_campaign_has_one_line_that_says_what_would_be_done(look: Look, kind: RepairKind | None) -> None:
    (item,) = plan_of(look).items
    decision = look.decide()
    assert item.kind is kind
    assert (item.target, item.campaign_id, item.tenant, item.name) == ("cmp_1", "cmp_1", "shop_1", "Spring sale")
    assert (item.verdict, item.reason, item.outcome) == (decision.verdict, decision.reason, decision.outcome)
    assert item.needs_person is decision.needs_person


def test_a_line_carries_the_numbers_behind_its_verdict() -> None:
    coverage = covered_by(10, in_jobs=4, marked=1, doubled=2)
    (item,) = plan_of(sms(10, succeeded=90, coverage=coverage)).items
    assert (item.covered, item.marked, item.missing, item.doubled) == (4, 1, 5, 2)
    assert (item.total, item.unsent, item.stuck_seconds) == (100, 10, 3600)


def test_what_is_not_known_is_not_written_as_zero() -> None:
    (item,) = plan_of(messenger(10, sent=4)).items
    assert (item.covered, item.marked, item.missing, item.doubled) == (None, None, None, None)
    assert item.drained_per_hour is None, "no earlier look, so no pace"
    for half in ({"pending_before": 50}, {"observed_before_at": ago(minutes=30)}):
        assert plan_of(sms(40).with_(**half)).items[0].drained_per_hour is None
    at_once = sms(40).with_(pending_before=50, observed_before_at=NOW)
    assert plan_of(at_once).items[0].drained_per_hour is None, "no time has passed, so no pace"


def test_the_pace_is_what_went_away_since_the_look_before() -> None:
    look = sms(40, succeeded=60).with_(pending_before=50, observed_before_at=ago(minutes=30))
    assert plan_of(look).items[0].drained_per_hour == 20.0


def test_the_pace_counts_those_without_a_row_too() -> None:
    """Where rows appear when sent, no recipient is ever pending, and a draining campaign seemed to stand still."""
    look = messenger(100, sent=60).with_(pending_before=50, observed_before_at=ago(minutes=30))
    assert plan_of(look).items[0].drained_per_hour == 20.0


def test_a_campaign_that_grew_has_no_pace_below_zero() -> None:
    look = sms(60).with_(pending_before=50, observed_before_at=ago(minutes=30))
    assert plan_of(look).items[0].drained_per_hour == 0.0


@pytest.mark.parametrize("look", [sms(), sms(counters=Counters(50, 4, 0))])
def test_no_number_stands_for_recipients_that_were_not_counted(look: Look) -> None:
    """Measured before: none of 40 was left, so 40 an hour; and "sent counter 4, rows 0"."""
    uncounted = look.with_(uncounted="too many rows", pending_before=40, observed_before_at=ago(hours=1))
    (item,) = plan_of(uncounted).items
    assert (item.total, item.unsent, item.drained_per_hour, item.drift) == (None, None, None, "")


def test_a_recount_is_a_line_of_its_own_and_says_from_what_to_what() -> None:
    look = messenger(10, sent=2, rows=Tally(pending=4, succeeded=5, failed=1)).with_(rows_when_sent=False)
    report, recount = plan_of(look).items
    assert (report.kind, report.verdict) == (None, Verdict.STALLED)
    assert (recount.kind, recount.target) == (RepairKind.RECOUNT, "cmp_1")
    assert "sent 2 -> 5" in recount.reason
    assert "failed 0 -> 1" in recount.reason


def test_a_completion_raises_its_counters_itself() -> None:
    (item,) = plan_of(messenger(5, sent=2, rows=Tally(succeeded=5))).items
    assert item.kind is RepairKind.COMPLETE


def test_reservations_have_lines_whether_they_are_let_go_or_held() -> None:
    held = LEAKED
    decisions = [
        CreditDecision(release=True, reason="its campaign is over (sent)", leaked=True),
        CreditDecision(release=False, reason="expired, held: its campaign is still sending", needs_person=True),
    ]
    plan = make_plan([], [(held, one) for one in decisions], sending=3, policy=POLICY, now=NOW)
    let_go, kept = plan.items
    assert (let_go.kind, let_go.target, let_go.campaign_id, let_go.amount) == (
        RepairKind.RELEASE,
        "res_1",
        "cmp_9",
        "250",
    )
    assert (kept.kind, kept.needs_person, kept.verdict) == (None, True, None)


def test_lines_can_be_asked_for_by_kind() -> None:
    plan = plan_of(FINISHED, LOST, LOST, sms())
    assert [len(plan.of(kind)) for kind in (RepairKind.COMPLETE, RepairKind.REENQUEUE, None)] == [1, 2, 1]


# -- breaker --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "sending", "tripped"),
    [
        (10, 10, False),  # exactly the floor, though it is all of them
        (11, 11, True),
        (11, 22, False),  # exactly the share
        (11, 21, True),
        (12, 23, True),
        (500, 1000, False),
        (501, 1000, True),
        (0, 0, False),
    ],
)
def test_the_breaker_trips_when_both_the_share_and_the_floor_are_exceeded(
    count: int, sending: int, tripped: bool
) -> None:
    assert check_breaker(POLICY, "complete", count=count, of=sending).tripped is tripped


@pytest.mark.parametrize(("count", "lately", "tripped"), [(1, 9, False), (1, 10, True), (0, 11, False), (11, 0, True)])
def test_what_was_done_shortly_before_counts_with_it(count: int, lately: int, tripped: bool) -> None:
    assert check_breaker(POLICY, "re-enqueue", count=count, of=12, lately=lately).tripped is tripped


def test_a_campaign_that_is_put_back_again_counts_once() -> None:
    (target,) = (item.target for item in plan_of(LOST).items)
    assert not plan_of(*[LOST] * 10, lately=[target]).held_back(RepairKind.REENQUEUE)
    assert plan_of(*[LOST] * 10, lately=["another"]).held_back(RepairKind.REENQUEUE)


@pytest.mark.parametrize(("look", "kind"), [(FINISHED, RepairKind.COMPLETE), (LOST, RepairKind.REENQUEUE)])
def test_both_kinds_of_repair_have_a_breaker_of_their_own(look: Look, kind: RepairKind) -> None:
    plan = plan_of(*[look] * 11)
    other = ({RepairKind.COMPLETE, RepairKind.REENQUEUE} - {kind}).pop()
    breaker = plan.held_back(kind)
    assert breaker is not None
    assert "11 of 11" in str(breaker)
    assert plan.held_back(other) is None


def test_the_share_is_of_all_sending_campaigns_not_of_the_stuck_ones() -> None:
    assert plan_of(*[LOST] * 11, sending=100).held_back(RepairKind.REENQUEUE) is None


DRIFTING = messenger(10, sent=2, rows=Tally(pending=5, succeeded=5)).with_(rows_when_sent=False)


def test_recounts_wait_only_where_the_same_rows_are_not_believed_for_completing() -> None:
    plan = plan_of(*[DRIFTING] * 20)
    assert len(plan.of(RepairKind.RECOUNT)) == 20
    assert all(plan.held_back(kind) is None for kind in RepairKind)
    assert plan_of(*[DRIFTING] * 2, *[FINISHED] * 20).held_back(RepairKind.RECOUNT)


@pytest.mark.parametrize(
    ("releases", "more", "held", "tripped"), [(101, 0, 150, True), (101, 0, 202, False), (60, 41, 150, True)]
)
def test_a_mass_release_of_credits_trips_a_breaker_of_its_own(
    releases: int, more: int, held: int, tripped: bool
) -> None:
    due = [
        (replace(LEAKED, id=f"res_{number}"), CreditDecision(release=True, reason="over")) for number in range(releases)
    ]
    plan = make_plan([], due, more_releases=more, sending=0, held=held, policy=POLICY, now=NOW)
    assert (plan.held_back(RepairKind.RELEASE) is not None) is tripped


# -- an earlier plan ------------------------------------------------------------------------------------------------


def test_a_later_look_does_no_more_than_the_plan_said() -> None:
    planned = plan_of(LOST)
    assert plan_of(LOST).within(planned, RepairKind.REENQUEUE)
    assert plan_of(sms(4, succeeded=6)).within(planned, RepairKind.REENQUEUE)
    assert not plan_of(sms(6, succeeded=4)).within(planned, RepairKind.REENQUEUE), "more recipients"
    assert not plan_of(LOST).within(plan_of(), RepairKind.REENQUEUE), "not planned"
    assert not plan_of(FINISHED).within(planned, RepairKind.COMPLETE), "planned, but another kind of repair"


@pytest.mark.parametrize(
    ("now", "planned", "within"),
    [
        ({}, {}, True),
        ({"missing": 0}, {}, True),
        ({}, {"missing": 0}, True),
        ({"missing": 1}, {}, False),
        ({"amount": "250.0"}, {"amount": "250"}, True),
        ({"amount": "249"}, {"amount": "250"}, False),
        ({"amount": "0"}, {}, True),
        ({}, {"amount": "0"}, True),
        ({"amount": "1"}, {}, False),
    ],
)
def test_no_more_recipients_and_the_very_credits_that_were_planned(
    now: dict[str, Any], planned: dict[str, Any], within: bool
) -> None:
    item = PlanItem(RepairKind.RELEASE, "r1", None, "shop", "r1", "leaked")
    later, before = (Plan((replace(item, **sizes),), 1) for sizes in (now, planned))
    assert bool(later.within(before, RepairKind.RELEASE)) is within


def test_the_kinds_that_a_breaker_holds_back_are_named() -> None:
    plan = plan_of(*[LOST] * 11, *[FINISHED] * 2)
    assert plan.tripped() == [RepairKind.REENQUEUE]
    assert [str(plan.breakers[kind]) for kind in (RepairKind.COMPLETE, RepairKind.REENQUEUE)] == [
        "closed",
        "would re-enqueue 11 of 13 sending campaigns, more than 50%",
    ]
    lately = check_breaker(POLICY, "complete", count=9, of=10, lately=2, suspicions=["restarted"], alarms=["gone"])
    assert lately.reasons == (
        "gone",
        "would complete 9 of 10 sending campaigns after 2 that were done shortly before, more than 50%",
        "restarted",
    )


def test_a_suspicion_takes_the_floor_away_but_not_the_share() -> None:
    suspicions = suspicions_about(Sighting("r1", NOW, server_trusted=False), Policy(), NOW)
    assert plan_of(LOST, sending=1, suspicions=suspicions).held_back(RepairKind.REENQUEUE)
    assert plan_of(LOST, LOST, sending=3, suspicions=suspicions).held_back(RepairKind.REENQUEUE)
    assert not plan_of(LOST, sending=3, suspicions=suspicions).held_back(RepairKind.REENQUEUE)


def test_an_alarm_trips_for_one_campaign_and_says_why() -> None:
    alarms = alarms_about(QueueState("sms-send", exists=False), None)
    breaker = plan_of(LOST, sending=1000, alarms=alarms).held_back(RepairKind.REENQUEUE)
    assert "wrong prefix" in str(breaker)


def test_a_queue_that_is_gone_shows_no_live_job_so_finished_campaigns_wait_for_a_person_too() -> None:
    """With a wrong prefix every live job is unseen; that Redis was restarted only keeps re-enqueueing back."""
    suspicions, alarms = ["Redis was restarted"], ["the queue does not exist"]
    assert plan_of(FINISHED, FINISHED, LOST, suspicions=suspicions).held_back(RepairKind.COMPLETE) is None
    plan = plan_of(FINISHED, FINISHED, LOST, suspicions=suspicions, alarms=alarms)
    for kind in (RepairKind.COMPLETE, RepairKind.REENQUEUE):
        assert "does not exist" in str(plan.held_back(kind))


def test_where_nothing_would_be_done_nothing_is_held_back() -> None:
    plan = plan_of(sms(), suspicions=["Redis was restarted"], alarms=["the queue does not exist"])
    assert not any(breaker.tripped for breaker in plan.breakers.values())


def test_missing_batches_of_a_queue_without_workers_count_for_the_breaker() -> None:
    waiting = sms(5, coverage=covered_by(5, in_jobs=2)).with_queue(workers=0)
    assert plan_of(*[waiting] * 11).held_back(RepairKind.REENQUEUE)


# -- what the database always refuses -----------------------------------------------------------------------------


def test_what_the_database_always_refuses_is_reported_and_no_more_tried() -> None:
    drifting = messenger(10, sent=2, rows=Tally(pending=5, succeeded=5)).with_(rows_when_sent=False)
    for look, kind in ((FINISHED, RepairKind.COMPLETE), (LOST, RepairKind.REENQUEUE), (drifting, RepairKind.RECOUNT)):
        plan = plan_of(look, given_up={(kind, "cmp_1"): "refused 3 times", (kind, "cmp_2"): "no"})
        (item,) = plan.items
        assert (item.kind, item.needs_person) == (None, True)
        assert item.reason == f"{look.decide().reason}; {kind} refused 3 times"


def test_a_release_that_the_database_always_refuses_is_reported() -> None:
    due = [(LEAKED, CreditDecision(release=True, reason="over"))]
    given_up = {(RepairKind.RELEASE, "res_1"): "refused 3 times"}
    (item,) = make_plan([], due, sending=0, policy=POLICY, given_up=given_up, now=NOW).items
    assert (item.kind, item.needs_person, item.reason) == (None, True, "over; release refused 3 times")


# -- every verdict --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(Verdict),
    st.sampled_from(Action),
    st.sampled_from([None, *Outcome]),
    st.sampled_from([None, Counters(5, 5, 0)]),
    st.booleans(),
)
def test_whatever_the_decision_its_lines_do_what_it_says(
    verdict: Verdict, action: Action, outcome: Outcome | None, recount: Counters | None, person: bool
) -> None:
    decision = Decision(verdict, "because", action, outcome, recount, person)
    look = sms(1, counters=Counters(5, 1, 0)).with_(attempts=Attempts())
    lines = make_plan([(look.evidence, decision)], [], sending=1, policy=POLICY, now=NOW).items
    kinds = [line.kind for line in lines]
    assert kinds.count(RepairKind.COMPLETE) == (action is Action.COMPLETE)
    assert kinds.count(RepairKind.REENQUEUE) == (action is Action.REENQUEUE)
    assert kinds.count(RepairKind.RECOUNT) == (recount is not None and action is not Action.COMPLETE)
    assert lines[0].needs_person is person
