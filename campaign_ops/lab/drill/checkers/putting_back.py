"""Figures about the jobs that campaign_ops adds: whom they list, and what was known of them when they were added.

A job's intent is committed before the last look at queue, rows and markers. What was so before the intent must have
been seen, so a job that lists the recipient all the same is our mistake. What came later may be missed: an application
that sends outside of any job has milliseconds for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.checkers.figure import Figure, none_of
from campaign_ops.lab.drill.checkers.records import Intent, Records, Repair
from campaign_ops.lab.drill.checkers.rows import clock
from campaign_ops.lab.drill.checkers.safety import LOOKING, doubled
from campaign_ops.lab.drill.checkers.sending import let_again

ADDED_WITHIN = timedelta(seconds=12)
"""A page of jobs is added, or given up, within 10 s of its last look."""
Forbids = Callable[[Records, str, Intent], str | None]
COOLING = timedelta(seconds=0.5)
"""The time from the begin of a transaction to the ledger's note of what it wrote, on a busy machine."""


def put_back_sent(records: Records) -> Figure:
    """Recipients that we put into a job although their row said that it is not, or no longer, theirs to be sent."""
    what = "recipients put into a job although their row said otherwise"
    return none_of("put_back_sent", what, _listed(records, row_forbids))


def put_back_marked(records: Records) -> Figure:
    """Recipients that we put into a job although a marker, or our own note of one, said that they may have it."""
    what = "recipients put into a job although a marker forbade it"
    return none_of("put_back_marked", what, _listed(records, marker_forbids))


def caused_again(records: Records) -> Figure:
    """Recipients sent to again from a job of ours that should not list them: loose workers send whatever it lists."""
    what = "recipients sent again because a job of campaign_ops listed them"
    return none_of("caused_again", what, _caused(records))


def _listed(records: Records, forbids: Forbids) -> Iterator[str]:
    for intent in records.intents:
        for recipient in sorted(records.carried.get(intent.job_id, ())):
            if why := forbids(records, recipient, intent):
                yield f"{recipient} in job {intent.job_id}, intended at {clock(intent.intended_at)}: {why}"


def _caused(records: Records) -> Iterator[str]:
    intents = {intent.job_id: intent for intent in records.intents}
    twice = {recipient for _, recipient, _ in doubled(records)}
    for sends in records.sent_again.values():
        for first, second in pairwise(sends):
            intent = intents.get(second.job_id or "")
            if intent is None or first.job_id == second.job_id:
                continue
            recipient = second.recipient_id
            why = row_forbids(records, recipient, intent) or marker_forbids(records, recipient, intent)
            if why is None and recipient in twice and first.at < intent.intended_at:
                why = "it was in another live job"
            if why:
                yield f"{recipient}: from job {first.job_id} at {clock(first.at)}, again from {second.job_id}: {why}"


def row_forbids(records: Records, recipient: str, intent: Intent) -> str | None:
    """Why a job may not list a recipient, by its row as it was when the job was intended; None if it may."""
    moves = [move for move in records.moves.get(recipient, ()) if move.at < intent.intended_at]
    if not moves or moves[-1].at > intent.intended_at - LOOKING:
        return None
    last = moves[-1]
    if not last.waits:
        return f"its row was settled at {clock(last.at)}"
    return (
        None if last.campaign_id == intent.campaign_id else f"it belongs to {last.campaign_id} since {clock(last.at)}"
    )


def marker_forbids(records: Records, recipient: str, intent: Intent) -> str | None:
    """Why a job may not list a recipient, by the markers and our notes of them when it was intended; None if it may."""
    known = [one for one in records.suspicions.get(recipient, ()) if one.at < intent.intended_at]
    if known and known[-1].undecided:
        return f"noted as perhaps sent at {clock(known[-1].at)}"
    until = _added_at(records, intent)
    for claim in records.claims.get(recipient, ()):
        # It is recorded a moment after it was set, and so expires a moment earlier.
        alive = claim.at < intent.intended_at and until < claim.until - 2 * LOOKING
        if alive and claim.job_id != intent.job_id and not _deleted(records, recipient, claim.at, until):
            return f"marked by job {claim.job_id or '?'} at {clock(claim.at)}"
    # A job of another campaign is not read: recipients are moved, and old data of Redis has jobs from before.
    for completed_at, job_id in records.completed_with.get((intent.campaign_id, recipient), ()):
        decided = any(completed_at < one.at < intent.intended_at and not one.undecided for one in known)
        if completed_at < intent.intended_at and not decided and not _deleted(records, recipient, completed_at, until):
            return f"listed by job {job_id}, which was completed at {clock(completed_at)} and kept"
    return None


def _added_at(records: Records, intent: Intent) -> datetime:
    """The moment until which the last look may have been made."""
    seen = records.watched.jobs.get(intent.job_id)
    latest = intent.intended_at + ADDED_WITHIN
    return latest if seen is None else min(latest, datetime.fromtimestamp(seen.at, UTC))


def _deleted(records: Records, recipient: str, since: datetime, until: datetime) -> bool:
    """Return whether Redis lost its markers in this time, or a person let a recipient be sent to again."""
    if any(since - LOOKING < mark.at < until + LOOKING for mark in records.marked(ledger.REDIS_LOSS)):
        return True
    return let_again(records, recipient, since, until)


def not_cooled(records: Records) -> Figure:
    """Campaigns that sweeps re-enqueued again within the cooldown of an attempt that left no recipient out."""
    return none_of("not_cooled", "campaigns re-enqueued again within their cooldown", _not_cooled(records))


def _not_cooled(records: Records) -> Iterator[str]:
    by_campaign: dict[str, list[Repair]] = defaultdict(list)
    for repair in records.by_sweeps("reenqueue"):
        if repair.id in records.journaled:
            by_campaign[repair.target].append(repair)
    for repairs in by_campaign.values():
        for first, second in pairwise(repairs):
            begun, again = records.journaled[first.id].at, records.journaled[second.id].at
            if again - begun < records.policy.cooldown - COOLING and _all_put_back(records, first):
                yield f"{second}: {(again - begun).total_seconds():.1f} s after {first}"


def _all_put_back(records: Records, repair: Repair) -> bool:
    """Return whether an attempt's jobs were added with all the recipients that were missing, so that none goes on."""
    jobs = records.intents_of.get(repair.id, ())
    added = sum(job.recipients for job in jobs if job.added_at is not None)
    return bool(jobs) and added >= (repair.after.get("missing") or 0)
