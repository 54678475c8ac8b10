"""Complete one campaign."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_ops.bullmq.payload import named
from campaign_ops.core.accounting import total_recipients, unsent
from campaign_ops.core.errors import Refused
from campaign_ops.core.model import Outcome, RepairKind, Verdict
from campaign_ops.core.next_steps import step_of
from campaign_ops.core.plan import campaign_item
from campaign_ops.core.verdicts import decide, strange_holds, unclear
from campaign_ops.core.wording import plural
from campaign_ops.fixes.fix import Fix, Person, already_made, author_of, locked
from campaign_ops.fixes.target import find_campaign, still_sending
from campaign_ops.journal.journal import Entry
from campaign_ops.platform import Platform
from campaign_ops.sweep.complete import complete_page
from campaign_ops.sweep.live_work import LiveWork
from campaign_ops.sweep.look import observe

JOBS_NAMED = 5


def mark_complete(
    platform: Platform, campaign_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Complete one campaign in which nothing is pending, whatever its age, and release the credits held for it.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: It is not sending, recipients are still pending, or live jobs list it.
        QueueUnavailable: The queue could not be asked whether live jobs list it.
        StillWriting: A transaction that has written recipients is still open.
    """
    campaign_id = find_campaign(platform, campaign_id, tenant).id
    seen = observe(platform, only=[campaign_id], compare="none", any_age=True)
    evidence = still_sending(platform, campaign_id, seen)
    decision = decide(evidence, None, platform.policy, seen.at)
    open_ = 0 if evidence.uncounted else unsent(evidence)  # the write counts them itself, and takes more time
    if open_:
        raise Refused(
            f"{open_} of {total_recipients(evidence)} recipients still pending",
            where=f"campaign {campaign_id}",
            mend=f"`campaign-ops plan --platform {platform.name}` says why",
        )
    if evidence.strange_holds:
        raise Refused(
            strange_holds(evidence), where=f"campaign {campaign_id}", mend="correct reservation.words of the profile"
        )
    is_empty = not (evidence.uncounted or total_recipients(evidence) or evidence.tally.earlier)  # whatever its dates
    empty = Outcome.DONE if is_empty else None
    if dry_run:
        _no_live_work(platform, campaign_id)
        outcome = decision.outcome or Outcome.DONE
        covers: dict[str, int | str] = {"outcome": outcome.value, "recipients": total_recipients(evidence)}
        message = f"would complete campaign {campaign_id}: {decision.reason}"
        return Fix(campaign_id, False, message, covers=covers)
    item = campaign_item(evidence, decision, seen.at)
    with locked(platform):

        def _write(connection: sa.Connection) -> tuple[list[Entry], list[int]]:
            author = author_of(platform, connection, person)
            work = _no_live_work(platform, campaign_id)
            return complete_page(platform, author, work, connection, [item], empty_outcome=empty, by_person=True)

        entries, repair_ids = platform.database.run(_write)
        repair_ids = repair_ids or already_made(platform, person, RepairKind.COMPLETE, campaign_id)
    if not repair_ids:
        why = evidence.uncounted or "it changed while we looked"
        raise Refused(f"{why}; nothing was done", where=f"campaign {campaign_id}", mend="look again")
    released = sum(entry.kind is RepairKind.RELEASE for entry in entries)
    also = f", {plural(released, 'reservation')} released" if released else ""
    word = (entries[0].after or {}).get("status") if entries else "completed"
    return Fix(campaign_id, True, f"campaign {campaign_id} is {word} now{also}", tuple(repair_ids))


def _no_live_work(platform: Platform, campaign_id: str) -> LiveWork:
    """Look at the queue; Refused, naming the jobs, if a live job lists the campaign or may be about it."""
    work = LiveWork(platform, [campaign_id])
    if campaign_id in work.unclear:
        raise Refused(
            f"nothing is pending, but {unclear(work.unclear[campaign_id])}",
            where=f"campaign {campaign_id}",
            mend=step_of(Verdict.UNCLEAR_JOBS, platform.name),
        )
    if jobs := work.jobs.get(campaign_id, ()):
        listed = ", ".join(map(named, jobs[:JOBS_NAMED])) + (", …" if len(jobs) > JOBS_NAMED else "")
        raise Refused(
            f"nothing is pending, but {plural(len(jobs), 'live job')} may still send: {listed}",
            where=f"campaign {campaign_id}",
            mend="let a worker finish them, or remove them from the queue first",
        )
    return work
