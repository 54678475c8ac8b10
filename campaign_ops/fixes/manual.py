"""The runbook's manual fixes: one campaign or one reservation, on a person's word. (`sweep.undo` takes one back.)

Each repeats the premise that a sweep would, and when it does not hold refuses with the numbers; nothing is half done.
The person's name and reason go into the journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil

import sqlalchemy as sa

from campaign_ops.bullmq.payload import named
from campaign_ops.core.errors import NotFound, Refused
from campaign_ops.core.model import (
    Action,
    Attempts,
    Campaign,
    Decision,
    Evidence,
    Outcome,
    RepairKind,
    Reservation,
    Verdict,
)
from campaign_ops.core.plan import PlanItem, campaign_item
from campaign_ops.core.sighting import all_alarms, all_sighted
from campaign_ops.core.verdicts import decide, strange_holds, total_recipients, unclear, unsent
from campaign_ops.core.wording import plural
from campaign_ops.journal.journal import Entry
from campaign_ops.journal.migrations import check_current, is_current
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns, reservations
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep.act import StepResult, complete_page, release_page
from campaign_ops.sweep.credits import judge_one, reservation_of
from campaign_ops.sweep.evidence import campaign_of
from campaign_ops.sweep.live_work import LiveWork
from campaign_ops.sweep.look import Look, Observation, looking, observe
from campaign_ops.sweep.reenqueue import reenqueue_seen

LOCK_WAIT_SECONDS = 30
JOBS_NAMED = 5


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks and why; ``trigger`` and ``run_id`` say through which face.

    ``at_most``: the recipients that were confirmed to be put back; None where no number was.
    """

    name: str
    reason: str
    run_id: str
    trigger: str = "cli"
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class Fix:
    """What a manual fix did, or with ``dry_run`` would do. ``message`` is one line for the person.

    ``covers``: the sizes of what a dry run would do, which a code is given for; without any, the message is.
    """

    target: str
    changed: bool
    message: str
    repair_ids: tuple[int, ...] = ()
    covers: Mapping[str, int | str] = field(default_factory=dict)


def mark_complete(
    platform: Platform, campaign_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Complete one campaign in which nothing is pending, whatever its age, and release what is held for it.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: It is not sending, recipients are still open, or live jobs list it.
        QueueUnavailable: Nobody can know whether live jobs list it.
        StillWriting: A transaction has written recipients and is still open.
    """
    find_campaign(platform, campaign_id, tenant)
    seen = observe(platform, only=[campaign_id], coverage=False, any_age=True)
    evidence = _only(platform, campaign_id, seen.evidence)
    decision = decide(evidence, None, platform.policy, seen.at)
    open_ = unsent(evidence)
    if open_:
        raise Refused(
            f"{open_} of {total_recipients(evidence)} recipients still pending", where=f"campaign {campaign_id}"
        )
    if evidence.strange_holds:
        raise Refused(
            strange_holds(evidence), where=f"campaign {campaign_id}", mend="correct reservation.words of the profile"
        )
    empty = Outcome.DONE if decision.verdict is Verdict.EMPTY else None
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
            return complete_page(platform, connection, author, [item], work, empty_outcome=empty, by_person=True)

        entries, repair_ids = platform.database.run(_write)
        repair_ids = repair_ids or _made(platform, person, RepairKind.COMPLETE, campaign_id)
    if not repair_ids:
        raise Refused(
            "it changed while we looked; nothing was done", where=f"campaign {campaign_id}", mend="look again"
        )
    released = sum(entry.kind is RepairKind.RELEASE for entry in entries)
    also = f", {plural(released, 'reservation')} released" if released else ""
    word = (entries[0].after or {}).get("status") if entries else "completed"
    return Fix(campaign_id, True, f"campaign {campaign_id} is {word} now{also}", tuple(repair_ids))


def _no_live_work(platform: Platform, campaign_id: str) -> LiveWork:
    """A look at the queue in which no live job lists the campaign; Refused, naming the jobs, if one does or may."""
    work = LiveWork(platform, [campaign_id])
    if campaign_id in work.unclear:
        raise Refused(
            f"nothing is pending, but {unclear(work.unclear[campaign_id])}",
            where=f"campaign {campaign_id}",
            mend=MENDS[Verdict.UNCLEAR_JOBS],
        )
    if jobs := work.jobs.get(campaign_id, ()):
        listed = ", ".join(map(named, jobs[:JOBS_NAMED])) + (", …" if len(jobs) > JOBS_NAMED else "")
        raise Refused(
            f"nothing is pending, but {plural(len(jobs), 'live job')} may still send: {listed}",
            where=f"campaign {campaign_id}",
            mend="let a worker finish them, or remove them from the queue first",
        )
    return work


def _made(platform: Platform, person: Person, kind: RepairKind, target: str) -> list[int]:
    """What this run has done to the target already: a commit whose answer was lost is found by its journal row."""
    return platform.database.run(
        lambda connection: platform.journal.made(connection, person.run_id, kind, target), read_only=True
    )


def reenqueue_one(
    platform: Platform, campaign_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Put one campaign's missing recipients back into the queue, whatever its age.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: It is not sending, nothing is missing, or a sweep would not re-enqueue it either; says which.
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
    """The same, for a caller that holds the lock."""
    where = f"campaign {campaign.id}"
    assert platform.profile.queue is not None
    done = StepResult(RepairKind.REENQUEUE, planned=1)
    with looking(platform, only=[campaign.id], any_age=True) as look:
        if not dry_run:
            look.remember()
        evidence, decision = _judged(platform, look, campaign)
        if decision.action is not Action.REENQUEUE:
            raise Refused(f"{decision.verdict}: {decision.reason}", where=where, mend=MENDS.get(decision.verdict, ""))
        missing = evidence.coverage.missing if evidence.coverage else 0
        _check_alarms(platform, look.observation, where, dry_run=dry_run)
        if dry_run:
            jobs = ceil(missing / platform.profile.queue.batch_size)
            message = f"would re-enqueue {_batches(missing, jobs)}: {decision.reason}"
            return Fix(campaign.id, False, message, covers={"missing": missing})
        if person.at_most is not None and missing > person.at_most:
            more = f"{missing} recipients are missing now, {person.at_most} were confirmed"
            raise Refused(f"{more}; nothing was done", where=where, mend="look again")
        author = platform.database.run(lambda connection: author_of(platform, connection, person))
        reenqueue_seen(platform, author, lock, look, done)
    why = done.held_back or next((one.error for one in done.failures), "")
    if not done.jobs:
        full = f"the queue holds as many jobs as it may ({platform.policy.max_queue_depth})" if done.deferred else ""
        raise Refused(why or full or "it changed while we looked", where=where, mend="look again")
    message = f"re-enqueued {_batches(done.recipients, done.jobs)} of campaign {campaign.id}"
    return Fix(campaign.id, True, message + (f"; then {why}" if why else ""), tuple(done.repair_ids))


def _check_alarms(platform: Platform, seen: Observation, where: str, *, dry_run: bool) -> None:
    """Refuse what a sweep would be held back from; unless for a dry run, remember the queue as it was seen."""
    sightings = platform.sightings
    assert sightings is not None

    def _alarms(connection: sa.Connection) -> list[str]:
        last = sightings.last(connection) if is_current(connection) else {}
        wanted = seen.put_back_into
        after = all_sighted(last, seen.queue, seen.at, wanted=wanted)
        if not dry_run and (noting := sightings.noting(after)) is not None:
            check_current(connection, platform.database.where)
            connection.execute(noting)
        return all_alarms(seen.queue, after, wanted=wanted)

    if alarms := platform.database.run(_alarms, read_only=dry_run):
        mend = "look at the queue; if it is really so, `campaign-ops plan` shows how to confirm it"
        raise Refused(alarms[0], where=where, mend=mend)


def _batches(recipients: int, jobs: int) -> str:
    return f"{plural(recipients, 'recipient')} in {plural(jobs, 'job')}"


MENDS = {
    Verdict.QUARANTINED: "lift it with `campaign-ops retry-quarantined`",
    Verdict.QUEUE_PAUSED: "resume the queue first",
    Verdict.UNCLEAR_JOBS: "look at these jobs; name them in queue.further_jobs or queue.harmless_jobs of the profile",
    Verdict.COOLDOWN: "wait until the cooldown is over",
    Verdict.FINISHED: "use `campaign-ops mark-complete`",
    Verdict.DISPUTED: "look whom it was sent to, then use `campaign-ops mark-complete`",
    Verdict.AMBIGUOUS: "choose `campaign-ops send-again` or `campaign-ops take-as-sent`",
}


def release_one(
    platform: Platform, reservation_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Release one reservation that is held for nothing.

    Raises:
        NotFound: No such reservation, or another tenant's.
        Refused: It is not held, or its campaign may still need it.
    """
    held = find_reservation(platform, reservation_id, tenant)
    where = f"reservation {reservation_id}"
    decision = judge_one(platform, held)
    if not decision.release:
        raise Refused(f"{held.amount} credits stay held: {decision.reason}", where=where)
    if dry_run:
        message = f"would release {held.amount} credits: {decision.reason}"
        return Fix(reservation_id, False, message, covers={"amount": held.amount})
    item = PlanItem(
        RepairKind.RELEASE, reservation_id, held.campaign_id, held.tenant, where, decision.reason, amount=held.amount
    )
    with locked(platform):

        def _write(connection: sa.Connection) -> tuple[list[Entry], list[int]]:
            author = author_of(platform, connection, person)
            return release_page(platform, connection, author, [item], by_person=True)

        _, repair_ids = platform.database.run(_write)
        repair_ids = repair_ids or _made(platform, person, RepairKind.RELEASE, reservation_id)
    if not repair_ids:
        raise Refused("it changed while we looked; nothing was done", where=where, mend="look again")
    return Fix(reservation_id, True, f"released {held.amount} credits of {where}", tuple(repair_ids))


def retry_quarantined(
    platform: Platform, campaign_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Let sweeps repair a campaign again that was given up or that a person holds.

    Raises:
        NotFound: No such campaign, or another tenant's.
        Refused: Nothing holds it.
    """
    campaign = find_campaign(platform, campaign_id, tenant)
    where = f"campaign {campaign_id}"

    def _attempts(connection: sa.Connection) -> str | None:
        check_current(connection, platform.database.where)
        found = platform.attempts.of(connection, [campaign_id]).get(campaign_id)
        if found is None:
            return None
        if found.held_by:
            return f"held by {found.held_by}: {found.held_reason}"
        if found.without_progress >= platform.policy.max_attempts:
            return f"{plural(found.without_progress, 're-enqueue')} without progress"
        return None

    def _write(connection: sa.Connection) -> list[int]:
        author = author_of(platform, connection, person)
        held = platform.attempts.of(connection, [campaign_id]).get(campaign_id, Attempts())
        if not platform.attempts.let_go(connection, campaign_id):
            return []
        before = {name: getattr(held, name) for name in ("held_by", "held_reason", "without_progress")}
        entry = Entry(RepairKind.LIFT, campaign_id, campaign_id, campaign.tenant, why or "", before=before)
        return platform.journal.record(connection, author, [entry])

    with locked(platform):  # not while a sweep is at it
        why = platform.database.run(_attempts)
        if why is None:
            raise Refused("it is neither quarantined nor held", where=where)
        if dry_run:
            return Fix(campaign_id, False, f"would let sweeps repair campaign {campaign_id} again ({why})")
        repair_ids = platform.database.run(_write) or _made(platform, person, RepairKind.LIFT, campaign_id)
    if not repair_ids:
        raise Refused("somebody was there first", where=where)
    return Fix(campaign_id, True, f"sweeps will repair campaign {campaign_id} again ({why})", tuple(repair_ids))


def find_campaign(platform: Platform, campaign_id: str, tenant: str | None) -> Campaign:
    """The campaign, if it is there, the tenant's, and sending; NotFound or Refused otherwise."""

    def _read(connection: sa.Connection) -> Campaign | None:
        tables = platform.tables(connection)
        if not tables.may_be_id(tables.campaign, campaign_id):
            return None
        query = campaigns.by_id(tables)
        row = connection.execute(query, {"ids": [campaign_id]}).first()
        return campaign_of(row) if row is not None else None

    where = f"campaign {campaign_id}"
    campaign = platform.database.run(_read, read_only=True)
    if campaign is None or (tenant is not None and campaign.tenant != tenant):
        whose = f" of tenant {tenant}" if tenant is not None else ""
        raise NotFound(f"there is no such campaign{whose}", where=where, mend="`campaign-ops status` lists them")
    sending = platform.profile.campaign.words.sending
    if campaign.status != sending:
        raise Refused(f"its status is {campaign.status!r}, not {sending!r}", where=where)
    return campaign


def find_reservation(platform: Platform, reservation_id: str, tenant: str | None) -> Reservation:
    """The reservation, if it is there, the tenant's, and held; NotFound or Refused otherwise."""
    where = f"reservation {reservation_id}"
    if platform.profile.reservation is None:
        raise Refused("this platform has no reservations", where=where)
    words = platform.profile.reservation.words

    def _read(connection: sa.Connection) -> tuple[Reservation, str] | None:
        tables = platform.tables(connection)
        if not tables.may_be_id(tables.reservations, reservation_id):
            return None
        query = reservations.by_id(tables)
        row = connection.execute(query, {"ids": [reservation_id]}).first()
        return (reservation_of(row), row.status) if row is not None else None

    found = platform.database.run(_read, read_only=True)
    if found is None or (tenant is not None and found[0].tenant != tenant):
        whose = f" of tenant {tenant}" if tenant is not None else ""
        raise NotFound(f"there is no such reservation{whose}", where=where)
    held, status = found
    if status != words.held:
        raise Refused(f"its status is {status!r}, not {words.held!r}", where=where)
    return held


@contextmanager
def locked(platform: Platform) -> Iterator[SweepLock]:
    """The sweep lock: a person's fix and a sweep take turns."""
    with platform.lock(wait_seconds=LOCK_WAIT_SECONDS).hold() as lock:
        yield lock


def author_of(platform: Platform, connection: sa.Connection, person: Person) -> Author:
    """The journal's author for a person."""
    platform.check_writable(connection)
    author = platform.begin(connection, person.run_id, person.trigger, person.name)
    return replace(author, person_reason=person.reason)


def _judged(platform: Platform, look: Look, campaign: Campaign) -> tuple[Evidence, Decision]:
    observation = look.observation
    evidence = _only(platform, campaign.id, observation.evidence)
    return evidence, decide(evidence, observation.queue, platform.policy, observation.at)


def _only(platform: Platform, campaign_id: str, evidence: tuple[Evidence, ...]) -> Evidence:
    if not evidence:
        sending = platform.profile.campaign.words.sending
        raise Refused(f"its status is no longer {sending!r}", where=f"campaign {campaign_id}", mend="look again")
    return evidence[0]
