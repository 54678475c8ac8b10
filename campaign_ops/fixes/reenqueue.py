"""Put one campaign's missing recipients back into the queue."""

from __future__ import annotations

from math import ceil

import sqlalchemy as sa

from campaign_ops.core.errors import Refused, Unavailable
from campaign_ops.core.model import Action, Campaign, RepairKind
from campaign_ops.core.next_steps import step_about
from campaign_ops.core.sighting import all_alarms, all_sighted
from campaign_ops.core.verdicts import decide
from campaign_ops.core.wording import plural
from campaign_ops.fixes.fix import Fix, Person, author_of, check_confirmed, locked
from campaign_ops.fixes.target import check_queue_answers, find_campaign, still_sending
from campaign_ops.journal.migrations import check_current, has_records
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep.look import Observation, looking
from campaign_ops.sweep.reenqueue import put_back
from campaign_ops.sweep.result import StepResult


def reenqueue_one(
    platform: Platform, campaign_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Put one campaign's missing recipients back into the queue, whatever its age.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: It is not sending, nothing is missing, or a sweep would not re-enqueue it either; the error says which.
        Unavailable: A server went away; the error says what had been done by then.
    """
    campaign = find_campaign(platform, campaign_id, tenant)
    where = f"campaign {campaign_id}"
    if platform.queue is None:
        raise Refused("this platform has no queue", where=where)
    with locked(platform) as lock:
        return reenqueue_locked(platform, lock, campaign, person, dry_run=dry_run)


def reenqueue_locked(
    platform: Platform, lock: SweepLock, campaign: Campaign, person: Person, *, dry_run: bool = False
) -> Fix:
    """Do the same for a caller that holds the lock."""
    where = f"campaign {campaign.id}"
    assert platform.profile.queue is not None
    done = StepResult(RepairKind.REENQUEUE, planned=1)
    with looking(platform, only=[campaign.id], any_age=True) as look:
        if not dry_run:
            look.remember()
        seen = look.observation
        evidence = still_sending(platform, campaign.id, seen)
        check_queue_answers(seen, where)
        decision = decide(evidence, seen.queue, platform.policy, seen.at)
        if decision.action is not Action.REENQUEUE:
            raise Refused(
                f"{decision.verdict}: {decision.reason}",
                where=where,
                mend=step_about(decision.verdict, decision.reason, platform.name, campaign.id),
            )
        missing = evidence.coverage.missing if evidence.coverage else 0
        _check_alarms(platform, seen, where, dry_run=dry_run)
        if dry_run:
            jobs = ceil(missing / platform.profile.queue.batch_size)
            message = f"would re-enqueue {_batches(missing, jobs)}: {decision.reason}"
            return Fix(campaign.id, False, message, covers={"missing": missing})
        check_confirmed(person, {"missing": missing}, where)
        author = platform.database.run(lambda connection: author_of(platform, connection, person))
        put_back(look, author, lock, done)
    why = done.held_back or next((failure.error for failure in done.failures), "")
    if not done.jobs and done.away:
        raise Unavailable(why, where=where)  # not a refusal: jobs may have been added, and ``why`` says how many
    if not done.jobs:
        full = f"the queue holds as many jobs as it may ({platform.policy.max_queue_depth})" if done.deferred else ""
        raise Refused(why or full or "it changed while we looked", where=where, mend="look again")
    message = f"re-enqueued {_batches(done.recipients, done.jobs)} of campaign {campaign.id}"
    return Fix(campaign.id, True, message + (f"; then {why}" if why else ""), tuple(done.repair_ids))


def _check_alarms(platform: Platform, seen: Observation, where: str, *, dry_run: bool) -> None:
    """Refuse when an alarm about the queue would stop a sweep; unless in a dry run, remember this look at the queue."""
    sightings = platform.sightings
    assert sightings is not None

    def _alarms(connection: sa.Connection) -> list[str]:
        last = sightings.last(connection) if has_records(connection, platform.database.where) else {}
        wanted = seen.put_back_into
        beside = platform.database_id(connection)
        after = all_sighted(last, seen.queue, seen.at, wanted=wanted, database_id=beside)
        if not dry_run and (noting := sightings.noting(after, seen.at)) is not None:
            check_current(connection, platform.database.where)
            connection.execute(noting)
        return all_alarms(seen.queue, after, wanted=wanted)

    if alarms := platform.database.run(_alarms, read_only=dry_run):
        mend = "look at the queue; if it is really so, `campaign-ops plan` shows how to confirm it"
        raise Refused(alarms[0], where=where, mend=mend)


def _batches(recipients: int, jobs: int) -> str:
    return f"{plural(recipients, 'recipient')} in {plural(jobs, 'job')}"
