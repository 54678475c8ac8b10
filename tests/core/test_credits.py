"""Whether held credits are let go: one sentence for each way out, each boundary, and what keeps them held."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_ops.core.credits import judge_reservation
from campaign_ops.core.model import CreditDecision, Reservation
from campaign_ops.core.policy import Policy
from tests.evidence import NOW, POLICY, SECOND, ago

SENDING, OVER, IDLE = "sending", ("sent", "failed", "cancelled"), ("draft", "paused")
KNOWN = (SENDING, *OVER, *IDLE)
MAX_AGE = POLICY.reservation_max_age
AN_HOUR_AGO = ago(hours=1)


def judge(
    campaign: str | None,
    *,
    created: datetime | None = AN_HOUR_AGO,
    expires: datetime | None = None,
    undone: bool = False,
    impossible: str = "",
    policy: Policy = POLICY,
    touched: datetime | None = AN_HOUR_AGO,
    by_person: bool = False,
) -> CreditDecision:
    held = Reservation("res_1", "shop_1", "cmp_1", "100", created, expires, campaign, undone, impossible, touched)
    words = {"over": OVER, "known": KNOWN}
    return judge_reservation(held, sending=SENDING, **words, policy=policy, now=NOW, by_person=by_person)


LONG_EXPIRED = ago(days=30)
VERY_OLD = ago(days=365)


@pytest.mark.parametrize("status", OVER)
def test_a_reservation_is_released_when_its_campaign_is_over_whatever_the_word(status: str) -> None:
    decision = judge(status)
    assert decision.release
    assert decision.leaked
    assert status in decision.reason


STUCK_AFTER = POLICY.stuck_after


@pytest.mark.parametrize(
    ("touched", "created", "release"),
    [
        (NOW - STUCK_AFTER - SECOND, AN_HOUR_AGO, True),
        (NOW - STUCK_AFTER, AN_HOUR_AGO, False),
        (NOW, AN_HOUR_AGO, False),
        (NOW + timedelta(hours=1), AN_HOUR_AGO, False),
        (None, AN_HOUR_AGO, True),
        (AN_HOUR_AGO, NOW - STUCK_AFTER, False),
        (None, NOW, False),
        (None, None, True),
    ],
)
@pytest.mark.parametrize("expires", [None, LONG_EXPIRED])
def test_a_campaign_that_ended_just_now_is_given_time_to_settle_its_credits(
    touched: datetime | None, created: datetime | None, release: bool, expires: datetime | None
) -> None:
    """A sweep between the transaction that ended it and the one that settled its hold made what was sent free."""
    decision = judge("sent", touched=touched, created=created, expires=expires)
    assert (decision.release, decision.leaked, decision.needs_person) == (release, release, False)
    assert ("sweeps leave it alone for" in decision.reason) is not release
    released = judge("sent", touched=touched, created=created, expires=expires, by_person=True)
    assert (released.release, released.leaked) == (True, release)


def test_the_reason_says_when_it_ended_and_how_long_sweeps_wait() -> None:
    policy = Policy(stuck_after_seconds=300)
    assert judge("sent", touched=ago(seconds=40), policy=policy).reason == (
        "its campaign is over (sent), touched 40 s ago: sweeps leave it alone for 5 min"
    )
    assert "credits reserved 3 min ago" in judge("sent", created=ago(minutes=3), policy=policy).reason


def test_a_campaign_that_is_over_and_never_left_untouched_is_for_a_person_once_its_credits_are_old() -> None:
    """Something that writes to every campaign all the time would otherwise keep them held unnoticed."""
    decision = judge("sent", touched=NOW, created=VERY_OLD)
    assert (decision.release, decision.leaked, decision.needs_person) == (False, False, True)
    assert decision.reason.startswith("older than 48 h; its campaign is over (sent), touched 0 s ago")


def test_a_person_releases_no_credits_of_a_campaign_that_may_still_send() -> None:
    assert not judge(SENDING, by_person=True).release
    assert not judge("paused", by_person=True).release


@pytest.mark.parametrize("status", [*IDLE, None])
@pytest.mark.parametrize(
    ("expires", "release"),
    [(NOW - SECOND, True), (NOW, True), (NOW + SECOND, False), (None, False)],
)
def test_an_expired_reservation_is_released_when_its_campaign_is_not_sending(
    status: str | None, expires: datetime | None, release: bool
) -> None:
    decision = judge(status, expires=expires)
    assert (decision.release, decision.leaked) == (release, release)


@pytest.mark.parametrize("status", [*IDLE, None])
@pytest.mark.parametrize(
    ("created", "release"), [(NOW - MAX_AGE - SECOND, True), (NOW - MAX_AGE, False), (NOW - MAX_AGE + SECOND, False)]
)
def test_a_reservation_older_than_the_maximum_is_released_when_its_campaign_is_not_sending(
    status: str | None, created: datetime, release: bool
) -> None:
    assert judge(status, created=created).release is release


def test_the_maximum_age_is_the_policy_s_and_48_hours_by_default() -> None:
    assert timedelta(hours=48) == MAX_AGE
    assert judge("paused", created=ago(hours=2), policy=Policy(reservation_max_age_seconds=3600)).release
    assert "older than 48 h" in judge("paused", created=ago(hours=49)).reason


def test_credits_of_a_sending_campaign_are_held_and_nothing_is_said_while_they_are_in_time() -> None:
    decision = judge(SENDING, expires=NOW + SECOND)
    assert not decision.release
    assert not decision.needs_person


@pytest.mark.parametrize(
    ("created", "expires", "why"),
    [
        (ago(hours=1), LONG_EXPIRED, "expired"),
        (VERY_OLD, None, "older than 48 h"),
        (VERY_OLD, LONG_EXPIRED, "expired"),
    ],
)
def test_late_credits_of_a_sending_campaign_stay_held_and_are_reported_as_held(
    created: datetime, expires: datetime | None, why: str
) -> None:
    """The campaign may still send with them; releasing them would sell the same credits twice."""
    decision = judge(SENDING, created=created, expires=expires)
    assert not decision.release
    assert not decision.leaked
    assert decision.needs_person
    assert why in decision.reason
    assert "held" in decision.reason


def test_a_campaign_status_that_the_profile_does_not_know_is_never_guessed_to_be_over() -> None:
    decision = judge("archived", created=VERY_OLD, expires=LONG_EXPIRED)
    assert not decision.release
    assert decision.needs_person
    assert "'archived'" in decision.reason


@pytest.mark.parametrize("status", ["sent", "paused", None])
def test_a_release_that_a_person_undid_is_not_done_again(status: str | None) -> None:
    decision = judge(status, created=VERY_OLD, expires=LONG_EXPIRED, undone=True)
    assert not decision.release
    assert decision.needs_person
    assert "undid" in decision.reason


def test_an_idle_campaign_keeps_its_credits_while_they_are_young_and_not_expired() -> None:
    decision = judge("paused", expires=NOW + timedelta(hours=1))
    assert (decision.release, decision.needs_person) == (False, False)
    assert "paused" in decision.reason


def test_a_reservation_from_the_future_is_not_an_old_one() -> None:
    """Clocks of two machines disagree; an age below zero is none."""
    assert not judge("paused", created=NOW + timedelta(hours=1)).release


@pytest.mark.parametrize("status", [SENDING, "sent", "paused", None])
def test_a_value_that_cannot_be_is_reported_and_nothing_released(status: str | None) -> None:
    decision = judge(status, expires=LONG_EXPIRED, impossible="created_at is infinity")
    assert (decision.release, decision.leaked, decision.needs_person) == (False, False, True)
    assert "created_at is infinity" in decision.reason


def test_a_reservation_whose_age_is_not_known_is_not_an_old_one() -> None:
    assert not judge("paused", created=None).release
    assert judge("paused", created=None, expires=LONG_EXPIRED).release


moments = st.integers(-100_000, 400_000).map(lambda seconds: NOW - timedelta(seconds=seconds))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*KNOWN, "archived", None]), moments, st.none() | moments, st.booleans(), moments)
def test_credits_are_let_go_only_for_a_reason_that_the_rules_name(
    status: str | None, created: datetime, expires: datetime | None, undone: bool, touched: datetime
) -> None:
    decision = judge(status, created=created, expires=expires, undone=undone, touched=touched)
    late = (expires is not None and expires <= NOW) or NOW - created > MAX_AGE
    is_settled = NOW - max(created, touched) > STUCK_AFTER
    may_go = (status in OVER and is_settled) or (late and (status is None or status in IDLE))
    assert decision.release is (may_go and not undone)
    assert decision.leaked is decision.release
    assert decision.reason
    if status == SENDING:
        assert not decision.release
        assert decision.needs_person is late
