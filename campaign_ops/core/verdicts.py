"""Why a campaign is stuck and what follows. Pure: takes evidence, thresholds and ``now``; reads and writes nothing.

The checks stand in the order of judgement. The first that fits wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from campaign_ops.core.model import Action, Counters, Coverage, Decision, Evidence, Outcome, Tally, Verdict, age
from campaign_ops.core.policy import EmptyPolicy, Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.wording import duration, plural


def decide(evidence: Evidence, queue: QueueState | None, policy: Policy, now: datetime) -> Decision:
    """Judge one stuck campaign.

    Args:
        evidence: What the recipients, the counters, the queue and our own records say of it.
        queue: The queue as read together with the evidence; None on a platform that has none.
        policy: Thresholds.
        now: The database's clock, aware.
    """
    decision = _judge_recipients(evidence, policy, now)
    if decision is None:
        decision = _judge_queue(evidence, queue, policy, now)
    elif decision.action is Action.COMPLETE and queue is not None:
        decision = _still_queued(evidence, queue, decision) or decision
    if decision.action is Action.COMPLETE and evidence.strange_holds:
        reason = f"{decision.reason}; but {strange_holds(evidence)}"
        decision = Decision(Verdict.UNKNOWN_STATUS, reason, Action.REPORT, needs_person=True)
    if evidence.attempts.held_by:
        why = f"{decision.reason}; held by {evidence.attempts.held_by}: {evidence.attempts.held_reason}"
        return Decision(decision.verdict, why, Action.REPORT, needs_person=True)
    return decision


def strange_holds(evidence: Evidence) -> str:
    """Why a campaign is not completed whose credits would stay locked for ever."""
    shown = ", ".join(map(repr, evidence.strange_holds))
    return f"its reservations say {shown}, which the profile gives no meaning to: their credits would stay locked"


def total_recipients(evidence: Evidence) -> int:
    """Recipients in all: the rows, or the platform's own total if that is more and its counters have a say."""
    counters = _counters_with_a_say(evidence)
    return evidence.tally.rows if counters is None else max(evidence.tally.rows, counters.total)


def unsent(evidence: Evidence) -> int:
    """Recipients not accounted for: pending or unknown rows, and those without a row that no counter counts."""
    tally, counters = evidence.tally, _counters_with_a_say(evidence)
    open_rows = tally.pending + sum(tally.unknown.values())
    if counters is None:
        return open_rows
    return max(open_rows, counters.total - _accounted_for(tally, counters), 0)


def _counters_with_a_say(evidence: Evidence) -> Counters | None:
    """The counters where rows do not tell all: they appear only when sent, or all have vanished with their contacts."""
    return evidence.campaign.counters if evidence.rows_when_sent or evidence.tally.rows == 0 else None


def _accounted_for(tally: Tally, counters: Counters) -> int:
    """Recipients that rows or counters speak for. Rows of an earlier run or of several tries contradict the counters:
    these may be that run's, or count the tries."""
    rows = tally.accepted + tally.succeeded + tally.failed
    return rows if tally.earlier or tally.repeated else max(rows, counters.succeeded + counters.failed)


def _rows_prove(evidence: Evidence) -> bool:
    """Each row is known to be of this run, and of a recipient of its own."""
    return evidence.people_known and evidence.campaign.started_at is not None and not evidence.tally.unsure


def _proven(evidence: Evidence) -> bool:
    """Whether nobody is unsent for certain, where rows appear only when sent and ``unsent`` says so.

    Rows and counters agree; or rows that prove account for all; or, as rows vanish with their contacts, the counter of
    those sent to does, with the failed rows. (A failed try may have been counted before each retry, a success once.)
    """
    tally, counters = evidence.tally, evidence.campaign.counters
    if not evidence.rows_when_sent or counters is None:
        return True
    sent = tally.accepted + tally.succeeded
    by_rows, by_counters = sent + tally.failed, counters.succeeded + counters.failed
    if counters.total <= min(by_rows, by_counters):
        return counters.total > 0
    return _rows_prove(evidence) and 0 < counters.total <= max(by_rows, counters.succeeded + tally.failed)


def raised_counters(evidence: Evidence) -> Counters | None:
    """The counters raised to what the rows say, never lowered (rows vanish with their contacts); None if they agree.

    Nor by rows that may be of an earlier run, or several of one recipient.
    """
    counters, tally = evidence.campaign.counters, evidence.tally
    if counters is None or (evidence.rows_when_sent and not _rows_prove(evidence)):
        return None
    raised = Counters(
        total=counters.total,
        succeeded=max(counters.succeeded, tally.succeeded + tally.accepted),
        failed=max(counters.failed, tally.failed),
    )
    return None if raised == counters else raised


def _recount_of_open(evidence: Evidence) -> Counters | None:
    """The counters raised while recipients are unsent, where they are no evidence; None where they are.

    A sender that was only slow wakes up and adds its own share to a counter that we have raised: then the counters
    account for more than was sent, and the next sweep would call the campaign finished.
    """
    return None if evidence.rows_when_sent else raised_counters(evidence)


def drift(evidence: Evidence) -> str:
    """In words, how the counters differ from the rows; empty when they agree or there are none."""
    counters, tally = evidence.campaign.counters, evidence.tally
    if counters is None:
        return ""
    pairs = (("sent", counters.succeeded, tally.succeeded + tally.accepted), ("failed", counters.failed, tally.failed))
    return ", ".join(f"{name} counter {counter}, rows {rows}" for name, counter, rows in pairs if counter != rows)


def _judge_recipients(evidence: Evidence, policy: Policy, now: datetime) -> Decision | None:
    tally = evidence.tally
    if tally.unknown:
        words = ", ".join(f"{word!r} ({count})" for word, count in sorted(tally.unknown.items()))
        reason = f"recipients stand in a status that the profile does not know: {words}"
        return Decision(Verdict.UNKNOWN_STATUS, reason, Action.REPORT, needs_person=True)
    if evidence.campaign.impossible or evidence.campaign.updated_at is None or tally.impossible:
        return Decision(Verdict.IMPOSSIBLE_DATE, _undatable(evidence), Action.REPORT, needs_person=True)
    if total_recipients(evidence) == 0 and not tally.earlier:
        return _empty(policy)
    if unsent(evidence) == 0 and _proven(evidence):
        return _finished(evidence)
    moved = _moved_at(evidence)
    if moved is not None and age(moved, now) <= policy.stuck_after:
        # No recount either: a counter raised under a sender's hands is counted twice when it adds its own share.
        reason = f"a recipient moved {_ago(moved, now)}, {_share(evidence)}: slow, not stuck"
        return Decision(Verdict.PROGRESSING, reason, Action.NONE)
    return _disputed(evidence) if unsent(evidence) == 0 else None


def _disputed(evidence: Evidence) -> Decision:
    tally, counters = evidence.tally, evidence.campaign.counters
    assert counters is not None
    rows = tally.accepted + tally.succeeded + tally.failed
    said = f"rows speak for {rows} of {counters.total}, counters for {counters.succeeded + counters.failed}"
    reason = f"nothing pending, but {said}{_not_counted(tally)}: look, then mark it complete if all were sent to"
    return Decision(Verdict.DISPUTED, reason, Action.REPORT, needs_person=True)


def _not_counted(tally: Tally) -> str:
    """In words, the settled rows that speak for nobody, or perhaps for nobody."""
    kinds = (
        (tally.earlier, "of an earlier run"),
        (tally.repeated, "of a recipient that has another"),
        (tally.unsure, "that may be either"),
    )
    listed = ", ".join(f"{plural(number, 'row')} {what}" for number, what in kinds if number)
    return f" ({listed})" if listed else ""


def _undatable(evidence: Evidence) -> str:
    campaign = evidence.campaign
    if campaign.impossible:
        return f"{campaign.impossible}: how long it has been untouched cannot be told; correct the value"
    if campaign.updated_at is None:
        return "no timestamp tells how old it is; set the one that the application touches it with"
    rows = plural(evidence.tally.impossible, "recipient")
    return f"{rows} moved at a moment that cannot be (infinity, or yet to come); correct their timestamps"


def _empty(policy: Policy) -> Decision:
    reason = "sending, but without a single recipient"
    match policy.empty_campaigns:
        case EmptyPolicy.COMPLETE:
            return Decision(Verdict.EMPTY, f"{reason}; the policy says complete", Action.COMPLETE, Outcome.DONE)
        case EmptyPolicy.FAIL:
            return Decision(Verdict.EMPTY, f"{reason}; the policy says fail", Action.COMPLETE, Outcome.FAILED)
        case EmptyPolicy.REPORT:
            return Decision(Verdict.EMPTY, reason, Action.REPORT, needs_person=True)


def _finished(evidence: Evidence) -> Decision:
    tally, counters = evidence.tally, evidence.campaign.counters
    succeeded = tally.succeeded + tally.accepted
    failed = tally.failed
    if counters is not None:
        succeeded, failed = max(succeeded, counters.succeeded), max(failed, counters.failed)
    outcome = Outcome.FAILED if succeeded == 0 else Outcome.DONE
    reason = f"nothing pending: {succeeded} succeeded, {failed} failed of {total_recipients(evidence)}"
    if tally.accepted:
        reason += f" ({tally.accepted} accepted by the provider stay marked pending)"
    if drift(evidence):
        reason += f"; counters drift: {drift(evidence)}"
    return Decision(Verdict.FINISHED, reason, Action.COMPLETE, outcome, recount=raised_counters(evidence))


def _holds_jobs(part: QueueState, queue: QueueState, coverage: Coverage) -> bool:
    """Whether live jobs of a campaign are in this queue; of a platform with one queue, all are."""
    return not queue.parts or part.name in coverage.live_in


def _without_workers(queue: QueueState, coverage: Coverage) -> list[str]:
    """Queues in which live jobs of a campaign wait for workers that are not connected."""
    return [part.name for part in queue.each if part.workers == 0 and _holds_jobs(part, queue, coverage)]


def _still_queued(evidence: Evidence, queue: QueueState, decision: Decision) -> Decision | None:
    """What keeps a campaign open whose rows say that it may be completed: a live job may send, or change its rows.

    The application's own retry is such a job: its recipients are all failed until it runs.
    """
    coverage = evidence.coverage
    if queue.problem or coverage is None:
        reason = f"{decision.reason}; but {queue.problem or 'the queue was not read'}: a job may still be waiting"
        return Decision(Verdict.QUEUE_UNREADABLE, reason, Action.REPORT, needs_person=True)
    if not coverage.live_jobs and not coverage.unclear_jobs:
        return None
    if coverage.unclear_jobs:
        reason = f"{decision.reason}; but {unclear(coverage.unclear_jobs)}"
    else:
        reason = f"{decision.reason}; but still in {plural(coverage.live_jobs, 'live job')}: over when those are"
    if paused := [part.name for part in queue.each if part.paused and _holds_jobs(part, queue, coverage)]:
        reason = f"{reason}; queue {', '.join(paused)} is paused"
        return Decision(Verdict.QUEUE_PAUSED, reason, Action.REPORT, needs_person=True)
    if coverage.unclear_jobs:
        return Decision(Verdict.UNCLEAR_JOBS, reason, Action.REPORT, needs_person=True)
    if idle := _without_workers(queue, coverage):
        reason = f"{reason}; no worker is connected to queue {', '.join(idle)}"
        return Decision(Verdict.NO_WORKERS, reason, Action.REPORT, needs_person=True)
    return Decision(Verdict.BACKLOG, reason, Action.NONE)


def _judge_queue(evidence: Evidence, queue: QueueState | None, policy: Policy, now: datetime) -> Decision:
    pending = unsent(evidence)
    if queue is None:
        recount = _recount_of_open(evidence)
        reason = f"{pending} pending and nothing moves; this platform has no queue to put them back into"
        reason += _not_counted(evidence.tally)
        if drift(evidence):
            reason += f"; counters drift: {drift(evidence)}"
        return Decision(Verdict.STALLED, reason, Action.REPORT, recount=recount, needs_person=True)
    coverage = evidence.coverage
    if queue.problem or coverage is None:
        reason = f"{pending} pending; {queue.problem or 'the queue was not read'}"
        return Decision(Verdict.QUEUE_UNREADABLE, reason, Action.REPORT, needs_person=True)
    target = queue.of(evidence.campaign.tenant)
    if target is None:
        reason = f"{pending} pending; its tenant {evidence.campaign.tenant!r} names no queue ({queue.put_back})"
        return Decision(Verdict.QUEUE_UNREADABLE, reason, Action.REPORT, needs_person=True)
    holding = [part for part in queue.each if part is target or _holds_jobs(part, queue, coverage)]
    if paused := [part.name for part in holding if part.paused]:
        reason = f"{pending} pending; somebody paused queue {', '.join(paused)}"
        return Decision(Verdict.QUEUE_PAUSED, reason, Action.REPORT, needs_person=True)
    if coverage.unclear_jobs:
        reason = f"{pending} pending; {unclear(coverage.unclear_jobs)}"
        return Decision(Verdict.UNCLEAR_JOBS, reason, Action.REPORT, needs_person=True)
    return _judge_coverage(evidence, queue, coverage, policy, now)


def unclear(jobs: Mapping[str, int]) -> str:
    """Live jobs that cannot be understood, by name, in words."""
    names = ", ".join(f"{name} ({count})" for name, count in sorted(jobs.items()))
    return f"{plural(sum(jobs.values()), 'live job')} may carry its recipients and cannot be understood: {names}"


def _judge_coverage(
    evidence: Evidence, queue: QueueState, coverage: Coverage, policy: Policy, now: datetime
) -> Decision:
    attempts, pending = evidence.attempts, evidence.tally.pending
    shares = (
        f"{pending} pending: {coverage.covered} in {plural(coverage.live_jobs, 'live job')}, {coverage.missing} in none"
    )
    if by_marker := coverage.marked - coverage.in_completed_jobs:
        shares += f", {by_marker} marked as perhaps sent"
    if coverage.in_completed_jobs:
        shares += f", {coverage.in_completed_jobs} in completed jobs, so perhaps sent"
    held_back = _held_back(evidence, policy, now)
    idle = _without_workers(queue, coverage)
    if coverage.live_jobs and idle:
        reason = f"{shares}; no worker is connected to queue {', '.join(idle)}"
        if held_back and coverage.missing:
            reason += f"; {_held_back_reason(held_back, evidence, now)}"
        if coverage.unwritable_id:
            reason += f"; {_unwritable(coverage.unwritable_id)}"
        can = coverage.missing and not held_back and not coverage.unwritable_id
        act = Action.REENQUEUE if can else Action.REPORT
        return Decision(Verdict.NO_WORKERS, reason, act, needs_person=True)
    if not coverage.missing and not coverage.marked:  # not by number: one may have been sent between the two readings
        return Decision(Verdict.BACKLOG, f"{shares}; waiting its turn, {plural(queue.depth, 'job')} deep", Action.NONE)
    if coverage.unwritable_id:
        # Before the cooldown: no job was ever added, nor will one be.
        verdict = Verdict.JOBS_FAILED if coverage.failed_jobs else Verdict.JOBS_LOST
        return Decision(verdict, f"{shares}; {_unwritable(coverage.unwritable_id)}", Action.REPORT, needs_person=True)
    if held_back is not None:
        reason = f"{shares}; {_held_back_reason(held_back, evidence, now)}"
        if held_back is Verdict.COOLDOWN:
            return Decision(held_back, reason, Action.NONE)
        return Decision(held_back, reason, Action.REPORT, needs_person=True)
    if coverage.missing:
        verdict = Verdict.JOBS_FAILED if coverage.failed_jobs else Verdict.JOBS_LOST
        why = plural(coverage.failed_jobs, "failed job") if coverage.failed_jobs else _nowhere(coverage)
        reason = f"{shares}; {why}; attempt {attempts.total + 1}"
        return Decision(verdict, reason, Action.REENQUEUE, needs_person=coverage.marked > 0)
    reason = f"{shares}; never sent again by itself, a person chooses"
    return Decision(Verdict.AMBIGUOUS, reason, Action.REPORT, needs_person=True)


def _unwritable(unwritable_id: str) -> str:
    return (
        f"id {unwritable_id!r} cannot be written as a number into a job, so nothing is put back:"
        " set id_type in the profile to what the application's own jobs carry"
    )


def _nowhere(coverage: Coverage) -> str:
    if not coverage.unread_completed_jobs:
        return "their jobs are nowhere"
    return f"no job of theirs was found, {plural(coverage.unread_completed_jobs, 'completed job')} not looked at"


def _held_back(evidence: Evidence, policy: Policy, now: datetime) -> Verdict | None:
    attempts = evidence.attempts
    in_vain = attempts_without_progress(evidence) >= policy.max_attempts
    fresh = attempts.last_at is not None and age(attempts.last_at, now) < policy.cooldown
    if fresh and (in_vain or not goes_on(evidence)):
        return Verdict.COOLDOWN
    return Verdict.QUARANTINED if in_vain else None


def goes_on(evidence: Evidence) -> bool:
    """Whether whoever is missing was left out of the last attempt: nobody of it has to be waited for.

    Not where more are missing than were left out: then jobs of that attempt are gone already.
    """
    return evidence.coverage is not None and 0 < evidence.coverage.missing <= evidence.attempts.left_out


def attempts_without_progress(evidence: Evidence) -> int:
    """Re-enqueues since the pending count last fell."""
    attempts = evidence.attempts
    if attempts.pending_at_last is not None and evidence.tally.pending < attempts.pending_at_last:
        return 0
    return attempts.without_progress


def _held_back_reason(verdict: Verdict, evidence: Evidence, now: datetime) -> str:
    attempts = evidence.attempts
    if verdict is Verdict.COOLDOWN and attempts.last_at is not None:
        return f"re-enqueued {_ago(attempts.last_at, now)}, its jobs get time"
    return f"re-enqueued {plural(attempts.without_progress, 'time')} without progress; given up, a person must look"


def _moved_at(evidence: Evidence) -> datetime | None:
    """When a recipient last moved: by its own timestamps, or by fewer being unsent than when we looked before."""
    fell = evidence.pending_before is not None and unsent(evidence) < evidence.pending_before
    moments = [evidence.tally.last_activity, evidence.observed_before_at if fell else None]
    return max((moment for moment in moments if moment is not None), default=None)


def _share(evidence: Evidence) -> str:
    total = total_recipients(evidence)
    return f"{total - unsent(evidence)} of {total} done"


def _ago(moment: datetime, now: datetime) -> str:
    return f"{duration(round(age(moment, now).total_seconds()))} ago"
