"""Report: the dry run, and the health report of a sweep from what it has recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.core.queue_state import QueueState, together
from campaign_ops.core.report import CreditLine, HealthReport, RepairLine
from campaign_ops.core.wording import plural, settled_in_words
from campaign_ops.journal import schema
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.sweep.confirm import offer_for
from campaign_ops.sweep.credits import credit_lines
from campaign_ops.sweep.look import observe
from campaign_ops.sweep.plan import plan_of
from campaign_ops.sweep.records import STEP_OF
from campaign_ops.sweep.rows import RECIPIENT_STATES, queue_of, recipients, status_row


def dry_run(platform: Platform, *, run_id: str | None = None) -> HealthReport:
    """Report what a sweep would do now. Works before ``campaign-ops migrate``.

    Writes nothing, except the code for what a breaker holds back, if there is a ``run_id`` to show it.
    """
    observation = observe(platform)

    def _judge(connection: sa.Connection) -> tuple[Plan, tuple[list[CreditLine], Decimal | None]]:
        plan, _ = plan_of(platform, connection, observation, before=None)
        return plan, credit_lines(platform, connection, plan, [])

    plan, (lines_of_credits, held) = platform.database.run(_judge, read_only=True)
    offer, no_offer = offer_for(platform, plan, run_id) if run_id is not None else (None, "")
    lines = []
    for kind in STEP_OF:
        items = plan.of(kind)
        breaker = plan.held_back(kind)
        targets = tuple(item.target for item in items)
        chosen = set(targets)
        accepted = sum(case.tally.accepted for case in observation.evidence if case.campaign.id in chosen)
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
        at=observation.at,
        plan=plan,
        recipients=recipients(status_row(evidence) for evidence in observation.evidence),
        queue=observation.queue,
        credits=lines_of_credits,
        credits_held=held,
        repairs=lines,
        dry_run=True,
        offers=[offer] if offer is not None else [],
        no_offer=no_offer,
        alert_after_seconds=platform.policy.alert_after_seconds,
    )


def report_of(platform: Platform, connection: sa.Connection, author: Author, plan: Plan) -> HealthReport:
    """The report of one sweep, from its figures and from the repairs in the journal."""
    sweeps = platform.sweeps
    figures = sweeps.figures(connection, author.sweep_id)
    at = database_now(connection)
    repairs = platform.journal.targets(connection, author.sweep_id)
    repairs_by_kind = {kind: [repair for repair in repairs if repair.kind == kind] for kind in STEP_OF}
    released = [(repair.tenant or "", repair.amount) for repair in repairs_by_kind[RepairKind.RELEASE]]
    before = sweeps.latest_step(connection, "campaign_health", before=author.sweep_id)
    queue_rows = sweeps.history(connection, schema.queue_state, author.sweep_id)
    tripped = any(figures.get(step, {}).get("tripped") for step in STEP_OF.values())
    offers = platform.confirmations.open_offers(connection, author.run_id) if tripped else []
    completed = [repair.target for repair in repairs_by_kind[RepairKind.COMPLETE]]
    accepted = sweeps.accepted(connection, author.sweep_id, completed) if completed else 0
    lines_of_credits, held = credit_lines(platform, connection, plan, released)
    return report_from(
        platform,
        plan,
        figures,
        repairs_by_kind,
        accepted,
        at=at,
        queue_rows=queue_rows,
        credits=lines_of_credits,
        credits_held=held,
        repairs_of_the_day=platform.journal.repair_counts(connection, hours=24),
        before=before[1] if before else {},
        offers=[offer for offer, _ in offers],
    )


def report_from(
    platform: Platform,
    plan: Plan,
    figures: Mapping[str, Any],
    repairs: Mapping[RepairKind, Sequence[sa.Row[Any]]],
    accepted: int,
    *,
    queue_rows: Sequence[Mapping[str, Any]],
    **others: Any,
) -> HealthReport:
    """The report of a sweep from what it has recorded.

    Args:
        platform: The platform.
        plan: The plan.
        figures: The figures by step.
        repairs: The repairs in the journal by kind.
        accepted: Recipients of completed campaigns that are pending by status and sent.
        queue_rows: The rows of ``queue_state``.
        others: The other fields of the report.
    """
    status = figures.get("recipient_status", {})
    return HealthReport(
        platform=platform.name,
        plan=plan,
        recipients={name: status[name] for name in RECIPIENT_STATES if name in status},
        queue=_with_findings(_queue_of(platform, queue_rows), figures),
        repairs=[
            _repair_line(kind, figures.get(step, {}), repairs.get(kind, ()), plan, accepted)
            for kind, step in STEP_OF.items()
        ],
        alert_after_seconds=platform.policy.alert_after_seconds,
        **others,
    )


def _queue_of(platform: Platform, rows: Sequence[Mapping[str, Any]]) -> QueueState | None:
    """The queue, or the queues together, from the rows of ``queue_state``."""
    parts = [queue_of(row) for row in rows]
    if platform.queue is None or not platform.queue.profile.several or not parts:
        return parts[0] if parts else None
    return together(platform.queue.name, platform.queue.profile.name, parts)


def _with_findings(queue: QueueState | None, figures: Mapping[str, Any]) -> QueueState | None:
    """The queue as its own step read it, with the problems that the plan's look found in it."""
    if queue is None:
        return None
    plan = figures.get("repair_plan", {})
    queue = replace(queue, unclear_jobs=plan.get("unclear_jobs") or {}, doomed_jobs=plan.get("doomed_jobs", 0))
    problem, away = plan.get("queue_problem"), plan.get("queue_away", False)
    return replace(queue, problem=problem, away=away) if problem and not queue.problem else queue


def _left_pending(kind: RepairKind, accepted: int) -> str:
    """Reported once, with the completion: no later sweep looks at a campaign that is over."""
    if kind is not RepairKind.COMPLETE or not accepted:
        return ""
    return f"{plural(accepted, 'recipient')} accepted by the provider stay pending: correct them in the application"


def _releases_next_time(kind: RepairKind, plan: Plan) -> str:
    return f"{plan.more_releases} next time" if kind is RepairKind.RELEASE and plan.more_releases else ""


def _repair_line(
    kind: RepairKind, figures: Mapping[str, Any], repairs: Sequence[sa.Row[Any]], plan: Plan, accepted: int
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
    if unsure := figures.get("unsure"):
        details.append(f"not added: {unsure}")
    if figures.get("left_jobs"):
        jobs, recipients = plural(figures["left_jobs"], "job"), plural(figures["left_recipients"], "recipient")
        parts = f" and {figures['cut']} in part" if figures["cut"] else ""
        details.append(f"{figures['deferred']} campaigns{parts} next time: {jobs}, {recipients}")
    if later := _releases_next_time(kind, plan):
        details.append(later)
    if pending := _left_pending(kind, accepted):
        details.append(pending)
    with_campaign = sum(repair.parent_id is not None for repair in repairs)
    if kind is RepairKind.RELEASE and with_campaign:
        details.append(f"{with_campaign} with their campaign")
    return RepairLine(
        kind,
        planned=planned,
        done=len(repairs),
        targets=tuple(repair.target for repair in repairs),
        detail=", ".join(details),
        held_back=figures.get("held_back"),
        tripped=figures.get("tripped", False),
        away=figures.get("away", False),
        failures=tuple((target, why) for target, why in figures.get("failures", ())),
    )
