"""Why a campaign is stuck and what follows: a sentence for each rule, each boundary and the order of precedence."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from campaign_ops.core.model import PATIENT, Action, Counters, Coverage, Outcome, Tally, Verdict
from campaign_ops.core.policy import EmptyPolicy
from campaign_ops.core.queue_state import together
from campaign_ops.core.verdicts import decide
from tests.evidence import NOW, POLICY, QUEUE, SECOND, Look, ago, covered_by, messenger, sms

A_MINUTE_AGO = ago(minutes=1)
COOLING = {"total": 1, "without_progress": 1, "last_at": A_MINUTE_AGO}
STUCK_AFTER = POLICY.stuck_after


def campaign_with(**changes: Any) -> Look:
    """A campaign with five pending recipients, and other values in its row."""
    look = sms(5)
    return look.with_(campaign=replace(look.evidence.campaign, **changes))


# -- unknown_status -------------------------------------------------------------------------------------------------


def test_a_status_that_the_profile_does_not_know_blocks_its_campaign_and_names_the_word() -> None:
    decision = sms(3, succeeded=5, unknown={"bounced": 2}).decide()
    assert (decision.verdict, decision.action) == (Verdict.UNKNOWN_STATUS, Action.REPORT)
    assert decision.needs_person
    assert "'bounced' (2)" in decision.reason


def test_one_unknown_recipient_keeps_an_otherwise_finished_campaign_open() -> None:
    assert sms(succeeded=999, unknown={"bounced": 1}).decide().action is Action.REPORT


def test_an_unknown_word_keeps_a_campaign_open_whose_counters_account_for_everyone() -> None:
    look = messenger(10, sent=10, rows=Tally(succeeded=9, unknown={"ARCHIVED": 1}))
    assert look.decide().verdict is Verdict.UNKNOWN_STATUS


# -- empty ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "action", "outcome", "person"),
    [
        (EmptyPolicy.REPORT, Action.REPORT, None, True),
        (EmptyPolicy.COMPLETE, Action.COMPLETE, Outcome.DONE, False),
        (EmptyPolicy.FAIL, Action.COMPLETE, Outcome.FAILED, False),
    ],
)
@pytest.mark.parametrize("look", [sms(), messenger(0)], ids=["sms", "messenger"])
def test_an_empty_campaign_ends_as_the_policy_says(
    look: Look, policy: EmptyPolicy, action: Action, outcome: Outcome | None, person: bool
) -> None:
    decision = look.with_policy(empty_campaigns=policy).decide()
    assert decision.verdict is Verdict.EMPTY
    assert (decision.action, decision.outcome, decision.needs_person) == (action, outcome, person)


def test_an_empty_campaign_is_reported_unless_a_person_chose_otherwise() -> None:
    """The application's own job made zero recipients ``failed``: none succeeded, so all failed."""
    decision = sms().decide()
    assert (decision.action, decision.outcome) == (Action.REPORT, None)


def test_a_campaign_that_has_not_sent_its_first_message_is_not_empty() -> None:
    """Rows appear when sent: no row yet says nothing about how many recipients there are."""
    assert messenger(50).decide().verdict is Verdict.STALLED


def test_a_campaign_whose_rows_vanished_with_their_contacts_is_not_empty() -> None:
    decision = sms(counters=Counters(5, 5, 0)).with_policy(empty_campaigns=EmptyPolicy.FAIL).decide()
    assert (decision.verdict, decision.outcome) == (Verdict.FINISHED, Outcome.DONE)


@pytest.mark.parametrize("succeeded", [0, 2])
def test_recipients_without_a_row_wait_for_a_person_unless_a_live_job_lists_the_campaign(succeeded: int) -> None:
    """Measured before: "waiting its turn, 0 jobs queued", in every sweep, and nobody was told."""
    look = sms(counters=Counters(5, succeeded, 0))
    decision = look.decide()
    assert (decision.verdict, decision.action, decision.needs_person) == (Verdict.STALLED, Action.REPORT, True)
    assert f"{5 - succeeded} of 5 recipients have no row" in decision.reason
    assert look.with_(coverage=Coverage(live_jobs=1)).decide().verdict is Verdict.BACKLOG


# -- finished -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("look", "outcome"),
    [
        (sms(succeeded=10), Outcome.DONE),
        (sms(succeeded=1, failed=9), Outcome.DONE),
        (sms(failed=10), Outcome.FAILED),
        (sms(accepted=1, failed=9), Outcome.DONE),
        (sms(accepted=10), Outcome.DONE),
        (messenger(10, sent=10), Outcome.DONE),
        (messenger(10, sent=1, failed=9, rows=Tally(failed=9)), Outcome.DONE),
        (messenger(10, failed=10, rows=Tally(failed=10)), Outcome.FAILED),
        (messenger(10, rows=Tally(succeeded=10)), Outcome.DONE),
        (messenger(1, rows=Tally(succeeded=1)), Outcome.DONE),
        (messenger(10, rows=Tally(failed=10)), Outcome.FAILED),
        (messenger(10, sent=2, failed=8, rows=Tally(failed=8)), Outcome.DONE),
    ],
)
def test_a_campaign_is_finished_when_nothing_is_pending_and_failed_only_when_all_failed(
    look: Look, outcome: Outcome
) -> None:
    decision = look.decide()
    assert (decision.verdict, decision.action) == (Verdict.FINISHED, Action.COMPLETE)
    assert decision.outcome is outcome


@pytest.mark.parametrize(
    ("queue", "verdict", "action", "person"),
    [
        ({}, Verdict.BACKLOG, Action.NONE, False),
        ({"workers": None}, Verdict.BACKLOG, Action.NONE, False),
        ({"workers": 0}, Verdict.NO_WORKERS, Action.REPORT, True),
        ({"paused": True}, Verdict.QUEUE_PAUSED, Action.REPORT, True),
        ({"problem": "Redis is loading"}, Verdict.QUEUE_UNREADABLE, Action.REPORT, True),
    ],
)
@pytest.mark.parametrize(
    "look",
    [sms(failed=10), sms(succeeded=10), sms().with_policy(empty_campaigns=EmptyPolicy.COMPLETE)],
    ids=["all failed", "all sent", "empty"],
)
def test_a_live_job_keeps_a_campaign_open_whatever_its_rows_say(
    look: Look, queue: dict[str, object], verdict: Verdict, action: Action, person: bool
) -> None:
    """The application's own retry: every row says failed, and a delayed job lists them all."""
    decision = look.with_(coverage=covered_by(0, live_jobs=2)).with_queue(**queue).decide()
    assert (decision.verdict, decision.action, decision.needs_person) == (verdict, action, person)
    assert "loading" in decision.reason or "2 live jobs" in decision.reason


def test_a_finished_campaign_whose_queue_was_not_asked_is_not_completed() -> None:
    assert sms(failed=10).with_(coverage=None).decide().verdict is Verdict.QUEUE_UNREADABLE


def test_a_paused_queue_without_a_job_of_it_keeps_no_campaign_open() -> None:
    assert sms(failed=10).with_queue(paused=True, workers=0).decide().verdict is Verdict.FINISHED


def test_what_the_provider_has_accepted_does_not_block_completion_and_is_said() -> None:
    decision = sms(accepted=3, succeeded=7).decide()
    assert decision.action is Action.COMPLETE
    assert "3 accepted" in decision.reason


@pytest.mark.parametrize(
    "look",
    [
        sms(1, succeeded=999_999),
        messenger(10, sent=9),
        messenger(10, sent=5, failed=4),
        messenger(10, rows=Tally(succeeded=9)),
        messenger(10, sent=9, rows=Tally(succeeded=9)),
        messenger(10, sent=10, rows=Tally(pending=1, succeeded=9)),
        messenger(10, rows=Tally(pending=1, succeeded=9)),
    ],
)
def test_a_campaign_with_one_recipient_open_is_not_finished(look: Look) -> None:
    assert look.decide().action is not Action.COMPLETE


def test_counters_behind_the_rows_are_raised_on_completion_and_the_drift_is_said() -> None:
    decision = messenger(10, sent=6, failed=1, rows=Tally(succeeded=7, accepted=1, failed=2)).decide()
    assert decision.verdict is Verdict.FINISHED
    assert decision.recount == Counters(10, succeeded=8, failed=2)
    assert "sent counter 6, rows 8" in decision.reason
    assert "failed counter 1, rows 2" in decision.reason


def test_counters_ahead_of_the_rows_are_never_lowered_and_the_drift_is_said() -> None:
    decision = messenger(10, sent=9, failed=1, rows=Tally(succeeded=4, failed=1)).decide()
    assert decision.verdict is Verdict.FINISHED
    assert decision.recount is None
    assert "sent counter 9, rows 4" in decision.reason


def test_one_counter_ahead_and_one_behind_are_judged_apart() -> None:
    decision = messenger(10, sent=9, failed=1, rows=Tally(succeeded=4, failed=2)).decide()
    assert decision.recount == Counters(10, succeeded=9, failed=2)


AGREEING = messenger(10, sent=8, failed=2, rows=Tally(succeeded=8, failed=2))
BY_ROWS = messenger(10, sent=6, failed=2, rows=Tally(succeeded=8, failed=2))
BY_COUNTERS = messenger(10, sent=8, failed=2, rows=Tally(succeeded=5, failed=2))


@pytest.mark.parametrize("look", [AGREEING, BY_ROWS, BY_COUNTERS], ids=["agreeing", "rows", "counters"])
@pytest.mark.parametrize("unknown", ["people", "start", "row"])
def test_where_tries_or_runs_cannot_be_told_apart_counters_and_rows_prove_it_together_or_not_at_all(
    look: Look, unknown: str
) -> None:
    evidence = look.evidence
    changes: dict[str, object] = {
        "people": {"people_known": False},
        "start": {"campaign": replace(evidence.campaign, started_at=None)},
        "row": {"tally": replace(evidence.tally, unsure=1)},
    }[unknown]  # type: ignore[assignment]
    assert look.decide().verdict is Verdict.FINISHED
    decision = look.with_(**changes).decide()
    assert decision.recount is None
    if look is AGREEING:
        assert decision.verdict is Verdict.FINISHED
    else:
        assert (decision.verdict, decision.action, decision.needs_person) == (Verdict.DISPUTED, Action.REPORT, True)
        assert "mark it complete" in decision.reason


@pytest.mark.parametrize(
    "look",
    [
        messenger(10, failed=10),
        messenger(10, sent=2, failed=8, rows=Tally(failed=6)),
        messenger(10, sent=6, failed=4, rows=Tally(succeeded=6)),
        messenger(0, rows=Tally(succeeded=3)),
    ],
)
def test_failed_tries_that_only_a_counter_knows_may_have_been_retried(look: Look) -> None:
    """Six were sent to, four of them at the second try: sent 6 and failed 4 are not ten recipients."""
    assert look.decide().verdict is Verdict.DISPUTED


def test_a_disputed_campaign_in_which_something_moves_is_progressing() -> None:
    look = messenger(10, sent=9, rows=Tally(succeeded=10, last_activity=A_MINUTE_AGO), people_known=False)
    assert look.decide().verdict is Verdict.PROGRESSING


@pytest.mark.parametrize("not_counted", [{"earlier": 40}, {"repeated": 40}])
@pytest.mark.parametrize("counters", [(0, 0), (40, 0), (20, 20)])
def test_rows_of_an_earlier_run_or_of_several_tries_count_for_no_recipient_and_against_the_counters(
    not_counted: dict[str, int], counters: tuple[int, int]
) -> None:
    """A resend: the rows of three days ago finished a campaign of which no recipient had got the second message."""
    decision = messenger(40, *counters, rows=Tally(succeeded=20, **not_counted)).decide()  # type: ignore[arg-type]
    assert (decision.verdict, decision.action, decision.recount) == (Verdict.STALLED, Action.REPORT, None)
    assert "20 pending" in decision.reason
    assert "40 rows of a" in decision.reason


def test_a_second_run_is_finished_by_its_own_rows() -> None:
    decision = messenger(40, 30, rows=Tally(succeeded=40, earlier=40, repeated=2)).decide()
    assert (decision.verdict, decision.recount) == (Verdict.FINISHED, Counters(40, 40, 0))


def test_a_campaign_with_rows_of_an_earlier_run_only_is_not_empty() -> None:
    look = messenger(0, rows=Tally(earlier=3)).with_policy(empty_campaigns=EmptyPolicy.COMPLETE)
    assert look.decide().verdict is Verdict.DISPUTED


def test_rows_and_counters_are_not_added_up_to_call_a_campaign_finished() -> None:
    """Four failed at first and were counted; six were sent since, some of them on another try. Three are open."""
    look = messenger(10, sent=3, failed=4, rows=Tally(succeeded=6, failed=1))
    decision = look.decide()
    assert decision.verdict is Verdict.STALLED
    assert "3 pending" in decision.reason
    assert decision.recount is None, "raised to 6 sent and 4 failed, the next sweep would call it finished"


def test_more_rows_than_the_total_promised_still_end() -> None:
    assert messenger(5, sent=5, rows=Tally(succeeded=8)).decide().verdict is Verdict.FINISHED


# -- progressing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moved", "verdict"),
    [
        (NOW, Verdict.PROGRESSING),
        (NOW - STUCK_AFTER + SECOND, Verdict.PROGRESSING),
        (NOW - STUCK_AFTER, Verdict.PROGRESSING),
        (NOW - STUCK_AFTER - SECOND, Verdict.JOBS_LOST),
        (None, Verdict.JOBS_LOST),
        (NOW + SECOND, Verdict.PROGRESSING),
    ],
)
def test_a_campaign_progresses_when_a_recipient_moved_within_stuck_after(
    moved: datetime | None, verdict: Verdict
) -> None:
    """Stuck is untouched for *longer* than ``stuck_after``, so exactly that long ago is still within."""
    assert sms(5, succeeded=5, moved=moved).decide().verdict is verdict


def test_nothing_at_all_is_done_about_a_campaign_that_progresses() -> None:
    """A counter raised under a sender's hands is counted twice when the sender adds its own share."""
    look = messenger(10, sent=2, rows=Tally(succeeded=5, last_activity=A_MINUTE_AGO))
    decision = look.decide()
    assert (decision.verdict, decision.action) == (Verdict.PROGRESSING, Action.NONE)
    assert decision.recount is None
    assert not decision.needs_person


def test_fewer_pending_than_at_the_sweep_before_is_progress_without_any_timestamp() -> None:
    look = sms(5, succeeded=5).with_(pending_before=6, observed_before_at=ago(minutes=10))
    assert look.decide().verdict is Verdict.PROGRESSING


@pytest.mark.parametrize("pending_before", [5, 4])
def test_as_many_or_more_pending_than_before_is_no_progress(pending_before: int) -> None:
    look = sms(5, succeeded=5).with_(pending_before=pending_before, observed_before_at=ago(minutes=10))
    assert look.decide().verdict is Verdict.JOBS_LOST


def test_fewer_unsent_than_at_the_sweep_before_is_progress_where_rows_appear_when_sent() -> None:
    look = messenger(10, sent=6).with_(pending_before=7, observed_before_at=ago(minutes=10))
    assert look.decide().verdict is Verdict.PROGRESSING


@pytest.mark.parametrize(("moved", "looked"), [(5, 0.1), (0.1, 5)])
def test_the_last_sign_of_progress_counts(moved: float, looked: float) -> None:
    look = sms(5, moved=ago(hours=moved)).with_(pending_before=6, observed_before_at=ago(hours=looked))
    assert look.decide().verdict is Verdict.PROGRESSING


# -- the queue ------------------------------------------------------------------------------------------------------


def test_a_queue_that_could_not_be_read_whole_is_never_an_empty_one() -> None:
    decision = sms(5).with_queue(problem="Redis is loading").decide()
    assert (decision.verdict, decision.action) == (Verdict.QUEUE_UNREADABLE, Action.REPORT)
    assert "Redis is loading" in decision.reason


def test_a_queue_that_was_not_asked_about_this_campaign_is_not_an_empty_one() -> None:
    decision = sms(5).with_(coverage=None).decide()
    assert (decision.verdict, decision.action) == (Verdict.QUEUE_UNREADABLE, Action.REPORT)


def test_a_paused_queue_holds_everything_back() -> None:
    decision = sms(5).with_queue(paused=True).decide()
    assert (decision.verdict, decision.action) == (Verdict.QUEUE_PAUSED, Action.REPORT)


# -- unclear_jobs ---------------------------------------------------------------------------------------------------


def test_live_jobs_that_cannot_be_understood_block_their_campaign_and_are_named_with_their_number() -> None:
    coverage = covered_by(5, in_jobs=2, unclear_jobs={"makeBatches": 2, "sendBulkSMS": 1})
    decision = sms(5, coverage=coverage).with_queue(workers=0).decide()
    assert (decision.verdict, decision.action) == (Verdict.UNCLEAR_JOBS, Action.REPORT)
    assert decision.needs_person
    assert "makeBatches (2), sendBulkSMS (1)" in decision.reason


def test_live_jobs_without_a_worker_to_take_them_are_reported() -> None:
    decision = sms(5, coverage=covered_by(5, in_jobs=5)).with_queue(workers=0).decide()
    assert (decision.verdict, decision.action) == (Verdict.NO_WORKERS, Action.REPORT)
    assert decision.needs_person


def test_missing_batches_are_re_enqueued_even_without_workers() -> None:
    decision = sms(5, coverage=covered_by(5, in_jobs=2)).with_queue(workers=0).decide()
    assert (decision.verdict, decision.action) == (Verdict.NO_WORKERS, Action.REENQUEUE)
    assert decision.needs_person


@pytest.mark.parametrize(
    "attempts",
    [{"total": 1, "without_progress": 1, "last_at": A_MINUTE_AGO}, {"total": 3, "without_progress": 3}],
    ids=["cooldown", "quarantined"],
)
def test_without_workers_cooldown_and_quarantine_still_hold_missing_batches_back(attempts: dict[str, object]) -> None:
    look = sms(5, coverage=covered_by(5, in_jobs=2)).with_queue(workers=0).with_attempts(**attempts)
    decision = look.decide()
    assert (decision.verdict, decision.action) == (Verdict.NO_WORKERS, Action.REPORT)


def test_a_server_that_does_not_tell_its_workers_is_not_one_without_workers() -> None:
    look = sms(5, coverage=covered_by(5, in_jobs=5)).with_queue(workers=None)
    assert look.decide().verdict is Verdict.BACKLOG


def test_without_live_jobs_a_campaign_does_not_wait_for_workers() -> None:
    assert sms(5).with_queue(workers=0).decide().verdict is Verdict.JOBS_LOST


def test_a_campaign_whose_every_pending_recipient_is_covered_waits_its_turn() -> None:
    decision = sms(5, succeeded=5, coverage=covered_by(5, in_jobs=5)).decide()
    assert (decision.verdict, decision.action, decision.needs_person) == (Verdict.BACKLOG, Action.NONE, False)


def test_one_live_batch_does_not_hide_nine_lost_ones() -> None:
    decision = sms(100, coverage=covered_by(100, in_jobs=10)).decide()
    assert (decision.verdict, decision.action) == (Verdict.JOBS_LOST, Action.REENQUEUE)
    assert "90 in none" in decision.reason


def test_a_recipient_sent_between_two_readings_does_not_make_a_backlog_ambiguous() -> None:
    """Recipients are counted first and compared with the queue a moment later: then one is pending no more."""
    look = sms(10, coverage=covered_by(9, in_jobs=9))
    assert look.decide().verdict is Verdict.BACKLOG


# -- attempts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_at", "verdict"),
    [
        (NOW, Verdict.COOLDOWN),
        (NOW - POLICY.cooldown + SECOND, Verdict.COOLDOWN),
        (NOW - POLICY.cooldown, Verdict.JOBS_LOST),
    ],
)
def test_a_campaign_cools_down_for_less_than_the_cooldown(last_at: datetime, verdict: Verdict) -> None:
    decision = sms(5).with_attempts(total=1, without_progress=1, last_at=last_at).decide()
    assert decision.verdict is verdict
    assert decision.action is (Action.NONE if verdict is Verdict.COOLDOWN else Action.REENQUEUE)


@pytest.mark.parametrize(("without_progress", "verdict"), [(2, Verdict.JOBS_LOST), (3, Verdict.QUARANTINED)])
def test_a_campaign_is_given_up_after_max_attempts_without_progress(without_progress: int, verdict: Verdict) -> None:
    look = sms(5).with_attempts(total=7, without_progress=without_progress, last_at=ago(hours=1), pending_at_last=5)
    decision = look.decide()
    assert decision.verdict is verdict
    assert decision.needs_person is (verdict is Verdict.QUARANTINED)


@pytest.mark.parametrize(
    ("pending_at_last", "verdict"), [(6, Verdict.JOBS_LOST), (5, Verdict.QUARANTINED), (4, Verdict.QUARANTINED)]
)
def test_progress_since_the_last_attempt_lifts_the_quarantine(pending_at_last: int, verdict: Verdict) -> None:
    look = sms(5).with_attempts(total=3, without_progress=3, last_at=ago(hours=1), pending_at_last=pending_at_last)
    assert look.decide().verdict is verdict


def test_progress_counts_as_no_attempt_in_vain() -> None:
    look = sms(5).with_attempts(total=1, without_progress=1, last_at=ago(hours=1), pending_at_last=6)
    assert look.with_policy(max_attempts=1).decide().verdict is Verdict.JOBS_LOST


@pytest.mark.parametrize(
    ("missing", "left_out", "without_progress", "verdict"),
    [
        (5, 5, 1, Verdict.JOBS_LOST),
        (5, 6, 1, Verdict.JOBS_LOST),
        (1, 1, 1, Verdict.JOBS_LOST),
        (5, 4, 1, Verdict.COOLDOWN),  # jobs of the attempt are gone already
        (5, 5, 3, Verdict.COOLDOWN),
        (0, 0, 1, Verdict.COOLDOWN),
    ],
)
def test_what_the_limits_left_out_of_the_last_attempt_waits_for_no_cooldown(
    missing: int, left_out: int, without_progress: int, verdict: Verdict
) -> None:
    coverage = covered_by(5, marked=5 - missing)
    history = {"total": 1, "without_progress": without_progress, "last_at": A_MINUTE_AGO, "left_out": left_out}
    assert sms(5, coverage=coverage).with_attempts(**history).decide().verdict is verdict


# -- jobs_failed, jobs_lost, ambiguous, stalled ---------------------------------------------------------------------


def test_missing_recipients_whose_jobs_ran_out_of_attempts_are_re_enqueued() -> None:
    decision = sms(5, coverage=covered_by(5, failed_jobs=2)).decide()
    assert (decision.verdict, decision.action) == (Verdict.JOBS_FAILED, Action.REENQUEUE)


def test_missing_recipients_without_a_job_anywhere_are_re_enqueued() -> None:
    decision = sms(5).decide()
    assert (decision.verdict, decision.action) == (Verdict.JOBS_LOST, Action.REENQUEUE)
    assert not decision.needs_person


@pytest.mark.parametrize("in_jobs", [0, 3])
def test_what_the_provider_may_already_have_is_never_sent_again_by_itself(in_jobs: int) -> None:
    decision = sms(5, coverage=covered_by(5, in_jobs=in_jobs, marked=5 - in_jobs)).decide()
    assert (decision.verdict, decision.action) == (Verdict.AMBIGUOUS, Action.REPORT)
    assert decision.needs_person


def test_marked_recipients_do_not_keep_the_missing_from_being_re_enqueued() -> None:
    decision = sms(5, coverage=covered_by(5, marked=2)).decide()
    assert (decision.verdict, decision.action) == (Verdict.JOBS_LOST, Action.REENQUEUE)
    assert decision.needs_person, "a person still chooses about the marked ones"


def test_a_platform_without_a_queue_has_nothing_to_put_its_pending_into() -> None:
    decision = messenger(50, sent=20, rows=Tally(succeeded=20)).decide()
    assert (decision.verdict, decision.action) == (Verdict.STALLED, Action.REPORT)
    assert decision.needs_person


# -- what a reason says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        (sms(5), "5 pending: 0 in 0 live jobs, 5 in none; their jobs are in no state of the queue; attempt 1"),
        (
            sms(9, coverage=covered_by(9, in_jobs=3, marked=4, in_completed_jobs=1, unread_completed_jobs=7)),
            "3 in 1 live job, 2 in none, 3 marked as perhaps sent, 1 in completed jobs, so perhaps sent; no job .*, 7",
        ),
        (sms(5, coverage=covered_by(5, marked=2, in_completed_jobs=2)), "3 in none, 2 in completed jobs, so perhaps"),
        (sms(5, coverage=covered_by(5, failed_jobs=2)).with_attempts(total=3), "5 in none; 2 failed jobs; attempt 4"),
        (
            sms(5).with_attempts(total=1, without_progress=1, last_at=A_MINUTE_AGO),
            "5 in none; re-enqueued 60 s ago, its jobs get time",
        ),
        (
            sms(5).with_attempts(total=4, without_progress=3, last_at=ago(hours=1)),
            "5 in none; re-enqueued 3 times without progress; given up, a person must look",
        ),
        (
            sms(5, coverage=covered_by(5, in_jobs=2)).with_queue(workers=0).with_attempts(total=3, without_progress=3),
            "no worker is connected to queue sms-send; re-enqueued 3 times without progress",
        ),
        (
            sms(5, coverage=covered_by(5, in_jobs=5)).with_queue(workers=0).with_attempts(total=3, without_progress=3),
            "no worker is connected to queue sms-send$",
        ),
        (sms(succeeded=4, failed=1), "nothing pending: 4 succeeded, 1 failed of 5$"),
        (sms(accepted=2, failed=1), "2 succeeded, 1 failed of 3 (2 accepted by the provider stay marked pending)$"),
        (messenger(10, 9, 1, rows=Tally(succeeded=4, failed=1)), "9 succeeded, 1 failed of 10; counters drift: sent"),
        (messenger(10, sent=2, rows=Tally(accepted=1, succeeded=5)), "4 pending and nothing moves; .*; counters drift"),
        (messenger(50, sent=20, rows=Tally(succeeded=20)), "no queue to put them back into$"),
        (
            messenger(9, failed=9, rows=Tally(accepted=1, succeeded=2, failed=3)),
            "rows account for 6 of 9, counters for 9",
        ),
        (
            messenger(9, failed=9, rows=Tally(succeeded=1, earlier=1, repeated=2, unsure=1)),
            "(1 row of an earlier run, 2 rows of a recipient that has another, 1 row that may be either)",
        ),
        (
            messenger(9, sent=3, rows=Tally(succeeded=4)).with_(rows_when_sent=False),
            "total counter 9, rows 4, and counters account for 3: recipients are still to come, or were deleted",
        ),
    ],
)
def test_a_reason_has_the_numbers_that_it_rests_on_and_nothing_that_is_not_so(look: Look, reason: str) -> None:
    pattern = reason.replace("(", r"\(").replace(")", r"\)")
    assert re.search(pattern, look.decide().reason), look.decide().reason


# -- what cannot be judged --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("look", "verdict", "words"),
    [
        (sms(5).with_(uncounted="too many rows"), Verdict.UNCOUNTED, "too many rows"),
        (campaign_with(impossible="updated_at is infinity"), Verdict.IMPOSSIBLE_DATE, "is infinity: how long"),
        (campaign_with(updated_at=None), Verdict.IMPOSSIBLE_DATE, "no timestamp tells its age"),
        (sms(5).with_(tally=Tally(5, impossible=2)), Verdict.IMPOSSIBLE_DATE, "2 recipients moved at an impossible"),
        (sms(succeeded=3).with_(strange_holds=("odd", "x")), Verdict.UNKNOWN_STATUS, "reservations say 'odd', 'x'"),
        (
            sms(5, coverage=covered_by(5, unwritable_id="x")),
            Verdict.JOBS_LOST,
            "id 'x' cannot be written",
        ),
        (
            sms(5, coverage=covered_by(5, unwritable_id="x", failed_jobs=1)).with_attempts(**COOLING),
            Verdict.JOBS_FAILED,
            "id 'x' cannot be written",
        ),
        (
            sms(5, coverage=covered_by(5, in_jobs=2, unwritable_id="x")).with_queue(workers=0),
            Verdict.NO_WORKERS,
            "sms-send; id 'x' cannot be written",
        ),
    ],
)
def test_what_cannot_be_judged_or_mended_is_reported_with_the_cause(look: Look, verdict: Verdict, words: str) -> None:
    decision = look.decide()
    assert (decision.verdict, decision.action, decision.needs_person) == (verdict, Action.REPORT, True)
    assert words in decision.reason


def test_reservations_with_strange_words_keep_no_campaign_from_its_jobs() -> None:
    assert sms(5).with_(strange_holds=("odd",)).decide().verdict is Verdict.JOBS_LOST


# -- several queues ---------------------------------------------------------------------------------------------------


def in_queues(look: Look, mine: dict[str, Any], other: dict[str, Any]) -> Look:
    """The same campaign on a platform with a queue for each tenant: its own, and another one."""
    parts = [replace(QUEUE, name="q-shop_1", **mine), replace(QUEUE, name="q-other", **other)]
    return replace(look, queue=together("q-{tenant}", "q-{tenant}", parts))


LOST, IN_OTHER = sms(5), sms(5, coverage=covered_by(5, in_jobs=5, live_in=frozenset({"q-other"})))
OVER = sms(failed=5, coverage=covered_by(0, live_jobs=1, live_in=frozenset({"q-other"})))
PAUSED, IDLE = {"paused": True}, {"workers": 0}


@pytest.mark.parametrize(
    ("look", "mine", "other", "verdict", "named"),
    [
        (LOST, {}, {}, Verdict.JOBS_LOST, ""),
        (LOST, {}, PAUSED, Verdict.JOBS_LOST, ""),
        (LOST, PAUSED, {}, Verdict.QUEUE_PAUSED, "queue q-shop_1 is paused"),
        (LOST, IDLE, IDLE, Verdict.JOBS_LOST, ""),
        (IN_OTHER, {}, {}, Verdict.BACKLOG, "6 jobs queued"),
        (IN_OTHER, {}, PAUSED, Verdict.QUEUE_PAUSED, "queue q-other is paused"),
        (IN_OTHER, PAUSED, PAUSED, Verdict.QUEUE_PAUSED, "queue q-shop_1, q-other is paused"),
        (IN_OTHER, IDLE, {}, Verdict.BACKLOG, ""),
        (IN_OTHER, {}, IDLE, Verdict.NO_WORKERS, "to queue q-other"),
        (OVER, {}, {}, Verdict.BACKLOG, ""),
        (OVER, PAUSED, {}, Verdict.BACKLOG, ""),
        (OVER, {}, PAUSED, Verdict.QUEUE_PAUSED, "queue q-other is paused"),
        (OVER, IDLE, {}, Verdict.BACKLOG, ""),
        (OVER, {}, IDLE, Verdict.NO_WORKERS, "to queue q-other"),
    ],
)
def test_of_several_queues_those_count_that_hold_its_jobs_or_get_them(
    look: Look, mine: dict[str, Any], other: dict[str, Any], verdict: Verdict, named: str
) -> None:
    decision = in_queues(look, mine, other).decide()
    assert decision.verdict is verdict
    assert named in decision.reason


def test_a_tenant_whose_name_gives_no_queue_gets_no_jobs() -> None:
    evidence = LOST.evidence
    nowhere = LOST.with_(campaign=replace(evidence.campaign, tenant="shop_9"))
    decision = in_queues(nowhere, {}, {}).decide()
    assert (decision.verdict, decision.action) == (Verdict.QUEUE_UNREADABLE, Action.REPORT)
    assert decision.needs_person


@pytest.mark.parametrize(
    ("queue", "verdict"), [({}, Verdict.UNCLEAR_JOBS), (PAUSED, Verdict.QUEUE_PAUSED), (IDLE, Verdict.UNCLEAR_JOBS)]
)
def test_a_job_that_cannot_be_understood_keeps_a_finished_campaign_open(
    queue: dict[str, Any], verdict: Verdict
) -> None:
    decision = sms(failed=5, coverage=covered_by(0, unclear_jobs={"x": 1})).with_queue(**queue).decide()
    assert (decision.verdict, decision.action, decision.needs_person) == (verdict, Action.REPORT, True)
    assert "cannot be understood: x (1)" in decision.reason or verdict is Verdict.QUEUE_PAUSED


# -- precedence and holds -------------------------------------------------------------------------------------------

UNDER_SUSPICION = {"total": 3, "without_progress": 3, "last_at": A_MINUTE_AGO}
IN_ORDER: list[tuple[Verdict, Look]] = [
    (
        Verdict.UNKNOWN_STATUS,
        sms(unknown={"odd": 1}, moved=NOW).with_queue(problem="away", paused=True).with_attempts(**UNDER_SUSPICION),
    ),
    (Verdict.EMPTY, sms(moved=NOW).with_queue(problem="away", paused=True)),
    (Verdict.FINISHED, sms(succeeded=1, moved=NOW).with_queue(paused=True, workers=0).with_attempts(**UNDER_SUSPICION)),
    (
        Verdict.PROGRESSING,
        sms(5, moved=NOW).with_queue(problem="away", paused=True).with_attempts(**UNDER_SUSPICION),
    ),
    (Verdict.DISPUTED, messenger(5, failed=5)),
    (Verdict.QUEUE_UNREADABLE, sms(5).with_queue(problem="away", paused=True, workers=0)),
    (
        Verdict.QUEUE_PAUSED,
        sms(5, coverage=covered_by(5, in_jobs=5, unclear_jobs={"x": 1})).with_queue(paused=True, workers=0),
    ),
    (Verdict.UNCLEAR_JOBS, sms(5, coverage=covered_by(5, in_jobs=1, unclear_jobs={"x": 1})).with_queue(workers=0)),
    (
        Verdict.NO_WORKERS,
        sms(5, coverage=covered_by(5, in_jobs=5)).with_queue(workers=0).with_attempts(**UNDER_SUSPICION),
    ),
    (Verdict.BACKLOG, sms(5, coverage=covered_by(5, in_jobs=5, failed_jobs=1)).with_attempts(**UNDER_SUSPICION)),
    (Verdict.COOLDOWN, sms(5, coverage=covered_by(5, marked=1, failed_jobs=1)).with_attempts(**UNDER_SUSPICION)),
    (
        Verdict.QUARANTINED,
        sms(5, coverage=covered_by(5, marked=1, failed_jobs=1)).with_attempts(total=3, without_progress=3),
    ),
    (Verdict.JOBS_FAILED, sms(5, coverage=covered_by(5, marked=1, failed_jobs=1))),
    (Verdict.JOBS_LOST, sms(5, coverage=covered_by(5, marked=1))),
    (Verdict.AMBIGUOUS, sms(5, coverage=covered_by(5, marked=5, failed_jobs=1))),
]


@pytest.mark.parametrize(("verdict", "look"), IN_ORDER, ids=[verdict.value for verdict, _ in IN_ORDER])
def test_the_first_verdict_that_fits_wins_over_all_that_would_fit_later(verdict: Verdict, look: Look) -> None:
    decision = look.decide()
    assert decision.verdict is verdict
    assert decision.needs_person is (verdict not in PATIENT and verdict is not Verdict.FINISHED)


def test_the_cases_above_stand_in_the_order_of_judgement() -> None:
    order = list(Verdict)
    assert all(order.index(one) < order.index(next_) for (one, _), (next_, _) in pairwise(IN_ORDER))


HELD = {"held_by": "dana", "held_reason": "undid repair 7"}


@pytest.mark.parametrize(
    "look",
    [sms(succeeded=3), sms(5), sms(5, coverage=covered_by(5, failed_jobs=1)), messenger(10, sent=10), messenger(10)],
)
def test_a_campaign_that_a_person_holds_is_only_reported_and_says_who_holds_it(look: Look) -> None:
    decision = look.with_attempts(**HELD).decide()
    assert (decision.action, decision.recount, decision.needs_person) == (Action.REPORT, None, True)
    assert "held by dana: undid repair 7" in decision.reason
    assert decision.verdict is look.decide().verdict


def test_a_hold_wins_over_a_policy_that_completes_empty_campaigns() -> None:
    look = sms().with_attempts(**HELD).with_policy(empty_campaigns=EmptyPolicy.COMPLETE)
    assert look.decide().action is Action.REPORT


def test_the_same_evidence_gives_the_same_verdict_every_time() -> None:
    look = sms(5, coverage=covered_by(5, in_jobs=2))
    first = decide(look.evidence, look.queue, look.policy, NOW)
    assert all(decide(look.evidence, look.queue, look.policy, NOW) == first for _ in range(3))
