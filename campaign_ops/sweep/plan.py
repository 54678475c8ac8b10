"""Decide: the plan that a look gives, and what of it a repairing step's own look still gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan, make_plan
from campaign_ops.core.policy import Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.sighting import (
    DATABASE_REPLACED,
    Sighting,
    all_alarms,
    all_emptied,
    all_sighted,
    all_suspicions,
)
from campaign_ops.core.verdicts import decide
from campaign_ops.journal.migrations import has_records
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.sweep.credits import held_if_many, judge_credits, releases_of
from campaign_ops.sweep.look import Observation, observe


def plan_of(
    platform: Platform,
    connection: sa.Connection,
    observation: Observation,
    *,
    before: int | None,
    of_credits: bool = True,
) -> tuple[Plan, Mapping[str, Sighting]]:
    """Judge every campaign of a look at all of them, and every questionable reservation.

    Args:
        platform: The platform that was looked at.
        connection: An open connection.
        observation: The findings of the look.
        before: The sweeps before this one count; None for all.
        of_credits: Judge reservations, too.

    Returns:
        The plan with its breakers; and what is to be remembered of the queue.
    """
    last: Mapping[str, Sighting] = {}
    lately: Collection[str] = ()
    tried: Collection[str] = ()
    remembers = has_records(connection, platform.database.where)
    if remembers:
        last = platform.sightings.last(connection) if platform.sightings is not None else {}
        # Whatever was lost at one moment has become stuck when this time has passed.
        seconds = platform.policy.stuck_after_seconds
        lately = platform.journal.reenqueued_lately(connection, seconds=seconds, before=before)
        tried = platform.sweeps.releases_tried(connection, before=before)
    queue, now = observation.queue, observation.at
    beside = platform.database_id(connection) if queue is not None else None
    judged = [(case, decide(case, queue, platform.policy, now)) for case in observation.evidence]
    credits_judged, more_releases = judge_credits(platform, connection, tried=tried) if of_credits else ([], 0)
    given_up: Mapping[tuple[RepairKind, str], str] = {}
    if remembers and (judged or credits_judged):
        given_up = platform.refusals.given_up(connection, after=platform.policy.max_attempts)
    releases = sum(decision.release for _, decision in credits_judged) + more_releases
    return plan_from(
        observation,
        platform.policy,
        last,
        beside,
        judged=judged,
        credits_judged=credits_judged,
        more_releases=more_releases,
        held=held_if_many(platform, connection, releases),
        lately=lately,
        given_up=given_up,
    )


def plan_from(
    observation: Observation, policy: Policy, last: Mapping[str, Sighting], beside: str | None, **judged: Any
) -> tuple[Plan, Mapping[str, Sighting]]:
    """The plan that a look gives, and what is to be remembered of the queue.

    Args:
        observation: The findings of the look.
        policy: Thresholds.
        last: The sightings so far.
        beside: The database that the look read, as `database_id` names it.
        judged: The other arguments of `make_plan`; none where nothing was to be judged.
    """
    queue, now, wanted = observation.queue, observation.at, observation.put_back_into
    sightings = all_sighted(last, queue, now, wanted=wanted, database_id=beside)
    alarms = all_alarms(queue, sightings, wanted=wanted)
    readable = queue is not None and not queue.problem
    plan = make_plan(
        sending=observation.sending,
        policy=policy,
        suspicions=all_suspicions(sightings, policy, now) if readable else [],
        alarms=alarms,
        now=now,
        **{"judged": (), "credits_judged": (), **judged},
    )
    emptied = any(alarm != DATABASE_REPLACED for alarm in alarms)
    identity = _identity(queue, alarms, emptied=emptied)
    alarm = all_emptied(sightings) if readable else ""
    return replace(plan, queue=identity, emptied=emptied, alarm=alarm), sightings


def _identity(queue: QueueState | None, alarms: Collection[str], *, emptied: bool) -> str:
    """The queue, the Redis process that holds it and the alarms that a plan rests on."""
    if queue is None:
        return ""
    process = f"Redis process {queue.server_id[:8]}" if queue.server_id else "Redis"
    restored = ", beside a restored database" if DATABASE_REPLACED in alarms else ""
    return f"queue {queue.name} in {process}{', in doubt' if emptied else ''}{restored}"


def judge_again(platform: Platform, author: Author, observation: Observation) -> Plan:
    """The plan that the look of a repairing step gives, credits aside; how the queue was seen is remembered."""

    def _judge(connection: sa.Connection) -> Plan:
        plan, sightings = plan_of(platform, connection, observation, before=author.sweep_id, of_credits=False)
        if platform.sightings is not None and observation.queue is not None:
            platform.sightings.note(connection, sightings, observation.at)
        return plan

    return platform.database.run(_judge)


def completions_now(platform: Platform, author: Author, plan: Plan) -> Plan:
    """What would be completed and recounted now; the queue is read whole only where something holds that back."""
    planned = {item.target for kind in (RepairKind.COMPLETE, RepairKind.RECOUNT) for item in plan.of(kind)}
    if not planned:
        return plan
    before = author.sweep_id
    now = judge_again(platform, author, observe(platform, before=before, compare="none", completing=planned))
    held_back = plan.held_back(RepairKind.COMPLETE) or now.held_back(RepairKind.COMPLETE)
    if platform.queue is not None and (held_back or alarms_now(platform)):
        now = judge_again(platform, author, observe(platform, before=before))
    return now


def releases_now(platform: Platform, plan: Plan) -> Plan:
    """Which of the planned reservations would be released now, and whether those are too many at once."""
    items = plan.of(RepairKind.RELEASE)
    if not items:
        return plan
    targets = {item.target for item in items}
    return platform.database.run(lambda connection: releases_of(platform, connection, targets))


def alarms_now(platform: Platform) -> list[str]:
    """What forbids believing the queue, by its counts and by what is remembered of it."""
    queue = read_queue_state(platform)

    def _alarms(connection: sa.Connection) -> list[str]:
        last = platform.sightings.last(connection) if platform.sightings is not None else {}
        now = database_now(connection)
        beside = platform.database_id(connection)
        return all_alarms(queue, all_sighted(last, queue, now, wanted=(), database_id=beside))

    return platform.database.run(_alarms, read_only=True)


def read_queue_state(platform: Platform) -> QueueState | None:
    """The queue's counts; a failed read is a state with a problem, never an empty queue."""
    if platform.queue is None:
        return None
    try:
        return platform.queue.state()
    except QueueUnavailable as error:
        return QueueState(platform.queue.name, problem=str(error), away=True)
