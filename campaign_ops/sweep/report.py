"""Bring a sweep's findings and repairs together: the plan, the dry run, and the health report."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.core.model import QueueState, RepairKind
from campaign_ops.core.plan import Plan, make_plan
from campaign_ops.core.queues import together
from campaign_ops.core.report import CreditLine, HealthReport, RepairLine
from campaign_ops.core.sighting import Sighting, all_alarms, all_sighted, all_suspicions
from campaign_ops.core.verdicts import decide
from campaign_ops.core.wording import plural, settled_in_words
from campaign_ops.journal import schema
from campaign_ops.journal.migrations import is_current
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.sweep.confirm import offer_for
from campaign_ops.sweep.credits import credit_lines, held_if_many, judge_credits
from campaign_ops.sweep.look import Observation, observe
from campaign_ops.sweep.records import STEP_OF
from campaign_ops.sweep.rows import RECIPIENT_STATES, queue_of, recipients, status_row


def plan_of(
    platform: Platform,
    connection: sa.Connection,
    seen: Observation,
    *,
    before: int | None,
    of_credits: bool = True,
) -> tuple[Plan, Mapping[str, Sighting]]:
    """Judge every campaign of a look at all of them, and every questionable reservation.

    Args:
        platform: What was looked at.
        connection: An open connection.
        seen: What was found.
        before: What sweeps before this one did counts; None for all.
        of_credits: Whether to judge reservations.

    Returns:
        What would be done, with the breakers; and what is to be remembered of the queue.
    """
    last: Mapping[str, Sighting] = {}
    lately: Collection[str] = ()
    tried: Collection[str] = ()
    known_to_us = is_current(connection)
    if known_to_us:
        last = platform.sightings.last(connection) if platform.sightings is not None else {}
        # Whatever was lost at one moment has become stuck when this time has passed.
        seconds = platform.policy.stuck_after_seconds
        lately = platform.journal.reenqueued_lately(connection, seconds=seconds, before=before)
        tried = platform.sweeps.releases_tried(connection, before=before)
    wanted = seen.put_back_into
    sightings = all_sighted(last, seen.queue, seen.at, wanted=wanted)
    alarms = all_alarms(seen.queue, sightings, wanted=wanted)
    judged = [(one, decide(one, seen.queue, platform.policy, seen.at)) for one in seen.evidence]
    credits_judged, more_releases = judge_credits(platform, connection, tried=tried) if of_credits else ([], 0)
    given_up: Mapping[tuple[RepairKind, str], str] = {}
    if known_to_us and (judged or credits_judged):
        given_up = platform.refusals.given_up(connection, after=platform.policy.max_attempts)
    releases = sum(decision.release for _, decision in credits_judged) + more_releases
    plan = make_plan(
        judged,
        credits_judged,
        more_releases=more_releases,
        sending=seen.sending,
        held=held_if_many(platform, connection, releases),
        policy=platform.policy,
        lately=lately,
        suspicions=all_suspicions(sightings, platform.policy, seen.at) if _readable(seen.queue) else [],
        alarms=alarms,
        given_up=given_up,
        now=seen.at,
    )
    return replace(plan, queue=_identity(seen.queue, emptied=bool(alarms))), sightings


def _identity(queue: QueueState | None, *, emptied: bool) -> str:
    """Which queue in which Redis process a plan rests on."""
    if queue is None:
        return ""
    process = f"Redis process {queue.server_id[:8]}" if queue.server_id else "Redis"
    return f"queue {queue.name} in {process}" + (", seen emptied" if emptied else "")


def _readable(queue: QueueState | None) -> bool:
    return queue is not None and not queue.problem


def read_queue_state(platform: Platform) -> QueueState | None:
    """The queue's counts; a failed read is a state with a problem, never an empty queue."""
    if platform.queue is None:
        return None
    try:
        return platform.queue.state()
    except QueueUnavailable as error:
        return QueueState(platform.queue.name, problem=str(error), away=True)


def alarms_now(platform: Platform) -> list[str]:
    """What forbids believing the queue, by its counts and by what is remembered of it."""
    queue = read_queue_state(platform)

    def _alarms(connection: sa.Connection) -> list[str]:
        last = platform.sightings.last(connection) if platform.sightings is not None else {}
        now = database_now(connection)
        return all_alarms(queue, all_sighted(last, queue, now, wanted=()))

    return platform.database.run(_alarms, read_only=True)


def dry_run(platform: Platform, *, run_id: str | None = None) -> HealthReport:
    """What a sweep would do now. Works before ``campaign-ops migrate``.

    Writes nothing; but for the code of what a breaker holds back, if there is a ``run_id`` to show it.
    """
    seen = observe(platform)

    def _judge(connection: sa.Connection) -> tuple[Plan, tuple[list[CreditLine], Decimal | None]]:
        plan, _ = plan_of(platform, connection, seen, before=None)
        return plan, credit_lines(platform, connection, plan, [])

    plan, (lines_of_credits, held) = platform.database.run(_judge, read_only=True)
    offer, no_offer = offer_for(platform, plan, run_id) if run_id is not None else (None, "")
    lines = []
    for kind in STEP_OF:
        items = plan.of(kind)
        breaker = plan.held_back(kind)
        targets = tuple(item.target for item in items)
        chosen = set(targets)
        accepted = sum(one.tally.accepted for one in seen.evidence if one.campaign.id in chosen)
        lines.append(
            RepairLine(
                kind,
                planned=len(items),
                done=0,
                targets=targets,
                detail=_releases_next_time(kind, plan) or _left_pending(kind, accepted),
                held_back=str(breaker) if breaker else None,
                tripped=breaker is not None,
            )
        )
    return HealthReport(
        platform=platform.name,
        at=seen.at,
        plan=plan,
        recipients=recipients(status_row(evidence) for evidence in seen.evidence),
        queue=seen.queue,
        credits=lines_of_credits,
        credits_held=held,
        repairs=lines,
        dry_run=True,
        offers=[offer] if offer is not None else [],
        no_offer=no_offer,
        alert_after_seconds=platform.policy.alert_after_seconds,
    )


def report_of(platform: Platform, connection: sa.Connection, author: Author, plan: Plan) -> HealthReport:
    """The report of one sweep, from its figures and from what the journal says was really done."""
    sweeps = platform.sweeps
    figures = sweeps.figures(connection, author.sweep_id)
    at = database_now(connection)
    targets = platform.journal.targets(connection, author.sweep_id)
    released = [(one.tenant or "", one.amount) for one in targets if one.kind == RepairKind.RELEASE]
    before = sweeps.latest_step(connection, "campaign_health", before=author.sweep_id)
    queue_rows = sweeps.history(connection, schema.queue_state, author.sweep_id)
    status = figures.get("recipient_status", {})
    tripped = any(figures.get(step, {}).get("tripped") for step in STEP_OF.values())
    offers = platform.confirmations.open_offers(connection, author.run_id) if tripped else []
    completed = [one.target for one in targets if one.kind == RepairKind.COMPLETE]
    accepted = sweeps.accepted(connection, author.sweep_id, completed) if completed else 0
    lines_of_credits, held = credit_lines(platform, connection, plan, released)
    return HealthReport(
        platform=platform.name,
        at=at,
        plan=plan,
        recipients={name: status[name] for name in RECIPIENT_STATES if name in status},
        queue=_queue_seen(_queue_of(platform, queue_rows), figures),
        credits=lines_of_credits,
        credits_held=held,
        repairs=[
            _repair_line(kind, figures.get(step, {}), [one for one in targets if one.kind == kind], plan, accepted)
            for kind, step in STEP_OF.items()
        ],
        repairs_of_the_day=platform.journal.repair_counts(connection, hours=24),
        before=before[1] if before else {},
        offers=[offer for offer, _ in offers],
        alert_after_seconds=platform.policy.alert_after_seconds,
    )


def _queue_of(platform: Platform, rows: Sequence[Mapping[str, Any]]) -> QueueState | None:
    """The queue, or the queues together, as the rows of ``queue_state`` have them."""
    parts = [queue_of(row) for row in rows]
    if platform.queue is None or not platform.queue.profile.several or not parts:
        return parts[0] if parts else None
    return together(platform.queue.name, platform.queue.profile.name, parts)


def _queue_seen(queue: QueueState | None, figures: Mapping[str, Any]) -> QueueState | None:
    """The queue as its own step saw it, with what the look that the plan was made from found wrong with it."""
    if queue is None:
        return None
    plan = figures.get("repair_plan", {})
    queue = replace(queue, unclear_jobs=plan.get("unclear_jobs") or {}, doomed_jobs=plan.get("doomed_jobs", 0))
    problem, away = plan.get("queue_problem"), plan.get("queue_away", False)
    return replace(queue, problem=problem, away=away) if problem and not queue.problem else queue


def _left_pending(kind: RepairKind, accepted: int) -> str:
    """Said once, with the completion: no later sweep looks at a campaign that is over."""
    if kind is not RepairKind.COMPLETE or not accepted:
        return ""
    return f"{plural(accepted, 'recipient')} accepted by the provider stay pending: correct them in the application"


def _releases_next_time(kind: RepairKind, plan: Plan) -> str:
    return f"{plan.more_releases} next time" if kind is RepairKind.RELEASE and plan.more_releases else ""


def _repair_line(
    kind: RepairKind, figures: Mapping[str, Any], made: Sequence[sa.Row[Any]], plan: Plan, accepted: int
) -> RepairLine:
    planned, left = figures.get("planned", 0), figures.get("left", 0)
    details = []
    if figures.get("jobs"):
        details.append(f"{plural(figures['jobs'], 'job')}, {plural(figures['recipients'], 'recipient')}")
    if settled := settled_in_words(figures.get("settled", {})):
        details.append(settled)
    if figures.get("taken_back"):
        details.append(f"{plural(figures['taken_back'], 'job')} taken out again")
    if left:
        details.append(f"{left} changed meanwhile")
    if figures.get("left_jobs"):
        jobs, recipients = plural(figures["left_jobs"], "job"), plural(figures["left_recipients"], "recipient")
        parts = f" and {figures['cut']} in part" if figures["cut"] else ""
        details.append(f"{figures['deferred']} campaigns{parts} next time: {jobs}, {recipients}")
    if later := _releases_next_time(kind, plan):
        details.append(later)
    if pending := _left_pending(kind, accepted):
        details.append(pending)
    with_campaign = sum(one.parent_id is not None for one in made)
    if kind is RepairKind.RELEASE and with_campaign:
        details.append(f"{with_campaign} with their campaign")
    return RepairLine(
        kind,
        planned=planned,
        done=len(made),
        targets=tuple(one.target for one in made),
        detail=", ".join(details),
        held_back=figures.get("held_back"),
        tripped=figures.get("tripped", False),
        away=figures.get("away", False),
        failures=tuple((target, why) for target, why in figures.get("failures", ())),
    )
