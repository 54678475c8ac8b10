"""Verdicts: why a campaign is stuck, and what a sweep does about it. Pure: reads and writes nothing.

The checks are in the order of judgement. The first that fits wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from campaign_ops.core.accounting import drift, proven, raised_counters, recount_of_open, total_recipients, unsent
from campaign_ops.core.model import Action, Coverage, Decision, Evidence, Outcome, Tally, Verdict, age
from campaign_ops.core.policy import EmptyPolicy, Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.wording import HELD_BY, duration, plural


def decide(evidence: Evidence, queue: QueueState | None, policy: Policy, now: datetime) -> Decision:
    """Judge one stuck campaign.

    Args:
        evidence: From its recipients, its counters, the queue and our own records.
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
        why = f"{decision.reason}{HELD_BY}{evidence.attempts.held_by}: {evidence.attempts.held_reason}"
        return Decision(decision.verdict, why, Action.REPORT, needs_person=True)
    return decision


def strange_holds(evidence: Evidence) -> str:
    """In words, why a campaign is not completed: its credits would stay locked forever."""
    shown = ", ".join(map(repr, evidence.strange_holds))
    return f"its reservations say {shown}, which the profile gives no meaning to: their credits would stay locked"


def _judge_recipients(evidence: Evidence, policy: Policy, now: datetime) -> Decision | None:
    tally = evidence.tally
    if evidence.uncounted:
        return Decision(Verdict.UNCOUNTED, evidence.uncounted, Action.REPORT, needs_person=True)
    if tally.unknown:
        words = ", ".join(f"{word!r} ({count})" for word, count in sorted(tally.unknown.items()))
        reason = f"recipients have a status that the profile does not know: {words}"
        return Decision(Verdict.UNKNOWN_STATUS, reason, Action.REPORT, needs_person=True)
    if evidence.campaign.impossible or evidence.campaign.updated_at is None or tally.impossible:
        return Decision(Verdict.IMPOSSIBLE_DATE, _undatable(evidence), Action.REPORT, needs_person=True)
    if total_recipients(evidence) == 0 and not tally.earlier:
        return _empty(policy)
    if unsent(evidence) == 0 and proven(evidence):
        return _finished(evidence)
    moved = _moved_at(evidence)
    if moved is not None and age(moved, now) <= policy.stuck_after:
        # No recount either: if we raise a counter while a sender works, its own share is counted twice.
        reason = f"a recipient moved {_ago(moved, now)}, {_share(evidence)}: slow, not stuck"
        return Decision(Verdict.PROGRESSING, reason, Action.NONE)
    return _disputed(evidence) if unsent(evidence) == 0 else None


def _disputed(evidence: Evidence) -> Decision:
    tally, counters = evidence.tally, evidence.campaign.counters
    assert counters is not None
    rows = tally.accepted + tally.succeeded + tally.failed
    settled = f"rows account for {rows} of {counters.total}, counters for {counters.succeeded + counters.failed}"
    if not evidence.rows_when_sent:
        settled = (
            f"total counter {counters.total}, rows {rows}, and counters account for"
            f" {counters.succeeded + counters.failed}: recipients are still to come, or were deleted unsent"
        )
    reason = f"nothing pending, but {settled}{_not_counted(tally)}: look, then mark it complete if all were sent to"
    return Decision(Verdict.DISPUTED, reason, Action.REPORT, needs_person=True)


def _not_counted(tally: Tally) -> str:
    """In words, the settled rows that account for no recipient, or perhaps for none."""
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
        return f"{campaign.impossible}: how long it has been untouched is not known; correct the value"
    if campaign.updated_at is None:
        return "no timestamp tells its age; set the one that the application updates"
    rows = plural(evidence.tally.impossible, "recipient")
    return f"{rows} moved at an impossible moment (infinity, or in the future); correct their timestamps"


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
    """Return whether live jobs of a campaign are in this queue; of a platform with one queue, all are."""
    return not queue.parts or part.name in coverage.live_in


def _without_workers(queue: QueueState, coverage: Coverage) -> list[str]:
    """Queues in which live jobs of a campaign wait for workers that are not connected."""
    return [part.name for part in queue.each if part.workers == 0 and _holds_jobs(part, queue, coverage)]


def _still_queued(evidence: Evidence, queue: QueueState, decision: Decision) -> Decision | None:
    """The verdict that keeps a campaign open although its rows say that it may be completed; None if nothing does.

    A live job may still send, or change its rows. The application's own retry is such a job: its recipients are all
    failed until it runs.
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
        reason = f"{decision.reason}; but still in {plural(coverage.live_jobs, 'live job')}: completed when those end"
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
        recount = recount_of_open(evidence)
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
        reason = f"{pending} pending; queue {', '.join(paused)} is paused"
        return Decision(Verdict.QUEUE_PAUSED, reason, Action.REPORT, needs_person=True)
    if coverage.unclear_jobs:
        reason = f"{pending} pending; {unclear(coverage.unclear_jobs)}"
        return Decision(Verdict.UNCLEAR_JOBS, reason, Action.REPORT, needs_person=True)
    return _judge_coverage(evidence, queue, coverage, policy, now)


def unclear(jobs: Mapping[str, int]) -> str:
    """In words, the live jobs that cannot be understood, by name."""
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
    if not pending and not coverage.live_jobs:
        reason = (
            f"{unsent(evidence)} of {total_recipients(evidence)} recipients have no row, so nothing can be put back"
        )
        return Decision(Verdict.STALLED, reason, Action.REPORT, needs_person=True)
    if not coverage.missing and not coverage.marked:  # not by covered: one may have been sent between the two readings
        return Decision(
            Verdict.BACKLOG, f"{shares}; waiting its turn, {plural(queue.depth, 'job')} queued", Action.NONE
        )
    if coverage.unwritable_id:
        # Before the cooldown: no job was ever added, and none will be.
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
    reason = f"{shares}; never sent again without a person's decision"
    return Decision(Verdict.AMBIGUOUS, reason, Action.REPORT, needs_person=True)


def _unwritable(unwritable_id: str) -> str:
    return (
        f"id {unwritable_id!r} cannot be written as a number into a job, so nothing is put back:"
        " set id_type in the profile to what the application's own jobs carry"
    )


def _nowhere(coverage: Coverage) -> str:
    if not coverage.unread_completed_jobs:
        return "their jobs are in no state of the queue"
    return f"no job of theirs was found, {plural(coverage.unread_completed_jobs, 'completed job')} not looked at"


def _held_back(evidence: Evidence, policy: Policy, now: datetime) -> Verdict | None:
    attempts = evidence.attempts
    in_vain = attempts_without_progress(evidence) >= policy.max_attempts
    fresh = attempts.last_at is not None and age(attempts.last_at, now) < policy.cooldown
    if fresh and (in_vain or not goes_on(evidence)):
        return Verdict.COOLDOWN
    return Verdict.QUARANTINED if in_vain else None


def goes_on(evidence: Evidence) -> bool:
    """Return whether all missing recipients were left out of the last attempt, so that none of it is waited for.

    Not where more are missing than were left out: then jobs of that attempt are already gone.
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
    """The moment a recipient last moved: by its own timestamps, or because fewer are unsent than at our last look."""
    fell = evidence.pending_before is not None and unsent(evidence) < evidence.pending_before
    moments = [evidence.tally.last_activity, evidence.observed_before_at if fell else None]
    return max((moment for moment in moments if moment is not None), default=None)


def _share(evidence: Evidence) -> str:
    total = total_recipients(evidence)
    return f"{total - unsent(evidence)} of {total} done"


def _ago(moment: datetime, now: datetime) -> str:
    return f"{duration(round(age(moment, now).total_seconds()))} ago"
