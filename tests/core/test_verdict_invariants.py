"""What holds for every verdict, whatever the evidence: the promises that keep a repair safe."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_ops.core.accounting import drift, raised_counters, total_recipients, unsent
from campaign_ops.core.model import Action, Attempts, Campaign, Counters, Coverage, Evidence, Tally, Verdict
from campaign_ops.core.policy import EmptyPolicy, Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.verdicts import attempts_without_progress, decide
from tests.evidence import NOW, Look


def a_look(noise: bytes) -> Look:
    """Any evidence at all, also such as two readings at different moments make.

    One draw of bytes decides everything: thirty draws of small numbers take thirty times as long.
    """
    left = iter(noise)

    def pick(*options: Any) -> Any:
        return options[next(left) % len(options)]

    def few() -> int:
        return next(left) % 5

    def moment() -> datetime | None:
        return cast(
            "datetime | None",
            pick(None, *(NOW - timedelta(seconds=past) for past in (-5, 60, 899, 900, 901, 1800, 5000, 90_000))),
        )

    counters = pick(None, Counters(pick(0, 3, 8), few(), few()))
    campaign = Campaign(
        "cmp_1", "shop_1", "Spring sale", "sending", NOW - timedelta(hours=1), pick(None, NOW), counters=counters
    )
    rows_when_sent = counters is not None and pick(True, False)
    attempts = Attempts(few(), few(), moment(), pick(None, few()), pick(None, None, None, "dana"), "looking into it")
    coverage = Coverage(few(), pick(0, few()), pick(0, few()), live_jobs=few(), failed_jobs=pick(0, few()))
    paused, problem = pick(False, False, False, True), pick(None, None, None, "Redis is away")
    queue = QueueState("sms-send", paused=paused, workers=pick(None, 0, 2), problem=problem)
    evidence = Evidence(
        campaign,
        Tally(
            few(),
            few(),
            few(),
            few(),
            pick({}, {}, {}, {}, {"odd": 1}),
            pick(None, None, moment()),
            *([pick(0, few()), pick(0, few()), pick(0, few())] if rows_when_sent else []),
        ),
        rows_when_sent=rows_when_sent,
        people_known=pick(True, False),
        attempts=attempts,
        coverage=pick(coverage, coverage, coverage, None),
        pending_before=pick(None, few()),
        observed_before_at=moment(),
    )
    policy = Policy(max_attempts=1 + few(), empty_campaigns=pick(*EmptyPolicy))
    return Look(evidence, pick(queue, queue, queue, None), policy)


looks = st.binary(min_size=64, max_size=64).map(a_look)
every = settings(max_examples=400, deadline=None)


@every
@given(looks)
def test_a_campaign_with_somebody_unsent_is_never_completed(look: Look) -> None:
    if look.decide().action is Action.COMPLETE:
        assert unsent(look.evidence) == 0
        assert look.evidence.tally.pending == 0
        assert not look.evidence.tally.unknown


@every
@given(looks)
def test_a_campaign_with_a_live_job_or_an_unread_queue_is_never_completed(look: Look) -> None:
    if look.decide().action is Action.COMPLETE and look.queue is not None:
        assert look.evidence.coverage is not None
        assert look.evidence.coverage.live_jobs == 0
        assert not look.queue.problem


@every
@given(looks)
def test_nothing_is_re_enqueued_on_a_queue_that_must_not_be_trusted(look: Look) -> None:
    if look.decide().action is Action.REENQUEUE:
        assert look.queue is not None
        assert not look.queue.problem
        assert not look.queue.paused
        assert look.evidence.coverage is not None
        assert look.evidence.coverage.missing > 0


@every
@given(looks)
def test_nothing_is_re_enqueued_in_cooldown_in_quarantine_or_held(look: Look) -> None:
    if look.decide().action is Action.REENQUEUE:
        history = look.evidence.attempts
        assert history.last_at is None or NOW - history.last_at >= look.policy.cooldown
        assert attempts_without_progress(look.evidence) < look.policy.max_attempts
        assert not history.held_by


@every
@given(looks)
def test_nothing_is_repaired_while_a_recipient_moved_within_stuck_after_unless_all_are_done(look: Look) -> None:
    moved = look.evidence.tally.last_activity
    if moved is not None and NOW - moved <= look.policy.stuck_after and unsent(look.evidence):
        assert look.decide().action in (Action.NONE, Action.REPORT)


@every
@given(looks)
def test_nothing_is_repaired_that_a_person_holds_or_that_holds_an_unknown_word(look: Look) -> None:
    decision = look.decide()
    if look.evidence.attempts.held_by or look.evidence.tally.unknown:
        assert (decision.action, decision.recount, decision.needs_person) == (Action.REPORT, None, True)


@every
@given(looks)
def test_a_campaign_ends_failed_only_if_no_recipient_was_reached_or_the_policy_says_so(look: Look) -> None:
    decision = look.decide()
    assert (decision.outcome is not None) == (decision.action is Action.COMPLETE)
    if decision.outcome == "failed" and decision.verdict is not Verdict.EMPTY:
        assert look.evidence.tally.succeeded + look.evidence.tally.accepted == 0
        assert look.evidence.tally.failed > 0 or look.evidence.campaign.counters is not None


@every
@given(looks)
def test_counters_are_raised_or_left_alone_never_lowered(look: Look) -> None:
    before = look.evidence.campaign.counters
    for raised in (raised_counters(look.evidence), look.decide().recount):
        if raised is not None:
            assert before is not None
            assert raised != before
            assert raised.total == before.total
            assert raised.succeeded >= before.succeeded
            assert raised.failed >= before.failed
            assert drift(look.evidence)


@every
@given(looks)
def test_a_recount_never_turns_an_unfinished_campaign_into_a_finished_one(look: Look) -> None:
    decision = look.decide()
    if decision.recount is not None and decision.action is not Action.COMPLETE:
        campaign = replace(look.evidence.campaign, counters=decision.recount)
        assert unsent(replace(look.evidence, campaign=campaign)) == unsent(look.evidence) > 0


@every
@given(looks)
def test_a_verdict_says_why_and_speaks_only_of_what_is_there(look: Look) -> None:
    decision, coverage = look.decide(), look.evidence.coverage
    assert decision.reason.strip()
    assert "\n" not in decision.reason
    if decision.verdict is Verdict.EMPTY:
        assert total_recipients(look.evidence) == 0
    if decision.verdict is Verdict.AMBIGUOUS:
        assert coverage is not None
        assert coverage.marked > 0
    if decision.verdict is Verdict.STALLED:
        assert look.queue is None or not look.evidence.tally.rows
    if decision.verdict is Verdict.BACKLOG:
        assert coverage is not None
        assert coverage.missing == 0 or not unsent(look.evidence)


@every
@given(looks)
def test_unsent_is_never_below_zero_and_never_more_than_all(look: Look) -> None:
    assert 0 <= unsent(look.evidence) <= total_recipients(look.evidence)


@every
@given(looks, st.integers(1, 10_000))
def test_time_alone_never_finishes_a_campaign(look: Look, seconds: int) -> None:
    later = decide(look.evidence, look.queue, look.policy, NOW + timedelta(seconds=seconds))
    assert (later.action is Action.COMPLETE) == (look.decide().action is Action.COMPLETE)
