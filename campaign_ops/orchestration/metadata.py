"""The metadata of each step of a sweep in Dagster: numbers to plot, tables to read, and the rest in words.

Every number is always present, also as 0: a plot with gaps is useless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from campaign_ops.core.confirmation import Offer
from campaign_ops.core.console import Console
from campaign_ops.core.markdown import plain
from campaign_ops.core.markdown import table as markdown_table
from campaign_ops.core.model import RepairKind
from campaign_ops.core.needs_person import needs_person_now
from campaign_ops.core.plan import Plan, PlanItem
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.report import HealthReport, odd_jobs, render
from campaign_ops.core.wording import duration, ids, settled_in_words
from campaign_ops.orchestration.resources import PlatformSource
from campaign_ops.orchestration.tables import SHOWN, Rows, counted, table
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.rows import RECIPIENT_STATES, plan_row, queue_row

Metadata = dict[str, Any]


def of_stuck(rows: Rows, alert_after_seconds: int) -> Metadata:
    """Metadata of ``stuck_campaigns``; the longest untouched come first."""
    return {
        "stuck": len(rows),
        "stuck_over_alert": sum((row["stuck_seconds"] or 0) > alert_after_seconds for row in rows),
        "oldest_stuck_seconds": max((int(row["stuck_seconds"] or 0) for row in rows), default=0),
        "campaigns": table(
            [{**row, "untouched": duration(int(row["stuck_seconds"] or 0))} for row in rows],
            ("campaign_id", "untouched", "name"),
        ),
    }


def of_recipients(rows: Rows) -> Metadata:
    """Metadata of ``recipient_status``."""
    sums = {name: sum(int(row[name]) for row in rows) for name in ("total", "unsent", *RECIPIENT_STATES)}
    drifting = [f"{row['campaign_id']}: {row['drift']}" for row in rows if row["drift"]]
    return {
        **sums,
        "drifting": len(drifting),
        "in_words": _bullets(drifting, "Counters and rows agree."),
        "campaigns": table([{**row, "recipients": _recipients(row)} for row in rows], ("campaign_id", "recipients")),
    }


def _recipients(row: Mapping[str, Any]) -> str:
    """The recipients of one campaign by state, and how its counters differ."""
    states = [f"{row[state]:,} {state}" for state in RECIPIENT_STATES if row[state]]
    return ", ".join(states or ["none"]) + (f"; {row['drift']}" if row["drift"] else "")


def of_queue(queue: QueueState | None) -> Metadata:
    """Metadata of ``queue_state``. A number that could not be read is absent: unknown is not zero."""
    if queue is None:
        return {"in_words": "This platform has no queue."}
    row = queue_row(queue)
    numbers = {key: value for key, value in row.items() if isinstance(value, int) and not isinstance(value, bool)}
    lines = [
        *([f"The queue could not be relied on: {queue.problem}"] if queue.problem else []),
        *(["The queue is paused: nothing is sent and nothing is added."] if queue.paused else []),
        *(["No worker is connected."] if queue.workers == 0 else []),
        *(["The server does not report its clients."] if queue.workers is None and not queue.problem else []),
        *odd_jobs(queue),
    ]
    return {
        **numbers,
        "paused": queue.paused,
        "queue": queue.name,
        "version": queue.version or "unknown",
        "in_words": _bullets(lines, "The queue was read completely; workers are connected."),
    }


def of_plan(plan: Plan, offers: Sequence[Offer], source: PlatformSource) -> Metadata:
    """Metadata of ``repair_plan``: the dry run, with the codes for what a breaker holds back."""
    resource, for_person = source.names.resource, [item for item in plan.items if item.needs_person]
    rows = [plan_row(item) for item in plan.items]
    held_back = {kind: str(plan.breakers[kind]) for kind in plan.tripped()}
    instructions = [_how_to_confirm(offer, resource) for offer in offers]
    return {
        **{f"would_{kind.value}": len(plan.of(kind)) for kind in _PLANNED},
        "more_releases": plan.more_releases,
        "would_leave_alone": len(plan.of(None)),
        "needs_person": sum(item.verdict is not None for item in for_person),
        "reservations_need_person": sum(item.verdict is None for item in for_person),
        "sending": plan.sending,
        "held_back": len(held_back),
        "report": dg.MetadataValue.md(plan_report(plan, rows, held_back, instructions) + _link(source)),
        "lines": table([_line(item) for item in plan.items], ("target", "reason")),
    }


def _line(item: PlanItem) -> dict[str, str]:
    """One line of the plan in two columns: on the page of an asset a third one pushes the reason out of sight."""
    plan = item.kind or ("needs a person" if item.needs_person else "leave alone")
    return {"target": item.target, "reason": f"{plan}: {_because(item.verdict, item.reason)}"}


def _because(verdict: str | None, reason: str) -> str:
    return f"{verdict}: {reason}" if verdict else reason


def _link(source: PlatformSource) -> str:
    platform = source.settings
    where = platform.console.platform(platform.name) if platform.console else None
    return f"\n[The campaigns in the console]({where})\n" if where else ""


_PLANNED = {
    RepairKind.COMPLETE: "Would complete",
    RepairKind.REENQUEUE: "Would re-enqueue",
    RepairKind.RELEASE: "Would release",
    RepairKind.RECOUNT: "Would recount",
}


def _how_to_confirm(offer: Offer, resource: str) -> str:
    config = f"{{resources: {{{resource}: {{config: {{confirm: {offer.code}, by: WHO, reason: WHY}}}}}}}}"
    until = f"until {offer.expires_at:%H:%M} UTC"
    return f"If it is still right, confirm exactly this, once, {until}: launch `reconcile` with `{config}`."


def plan_report(plan: Plan, rows: Rows, held_back: Mapping[RepairKind, str], instructions: Sequence[str] = ()) -> str:
    """The plan as Markdown: each planned repair, its target and the reason; then what is left alone."""
    sections = [f"# {len(plan.items) - len(plan.of(None))} repairs planned, {plan.sending} campaigns sending"]
    if held_back:
        lines = [f"- {kind}: {reason}" for kind, reason in held_back.items()]
        sections.append("\n".join(["## Held back", "", *lines, "", *instructions]))
    elif plan.alarm:
        sections.append("\n".join(["## The queue was emptied", "", f"- {plain(plan.alarm)}", "", *instructions]))
    sections += [_items(heading, plan.of(kind)) for kind, heading in _PLANNED.items()]
    if plan.more_releases:
        sections.append(f"{plan.more_releases} more reservations could be released; they are left to later sweeps.")
    sections.append(_items("Needs a person", [item for item in plan.items if item.needs_person]))
    sections.append(_items("Left alone", [item for item in plan.of(None) if not item.needs_person]))
    judged = [row for row in rows if row["verdict"] is not None and row["kind"] != RepairKind.RECOUNT]
    sections += [_summary(judged, by) for by in ("verdict", "tenant")]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary(judged: Rows, by: str) -> str:
    groups = counted(judged, by, unsent="unsent", missing="missing")
    if not groups:
        return ""
    body = [[str(row[by]), str(row["count"]), f"{row['unsent']:,}", f"{row['missing']:,}"] for row in groups]
    head = [by, "campaigns", "unsent recipients", "of these in no job"]
    return f"## Stuck campaigns by {by}\n\n" + markdown_table(head, body[:SHOWN])


def _items(heading: str, items: Sequence[PlanItem]) -> str:
    if not items:
        return ""
    head = ["target", "tenant", "name", "verdict", "reason"]
    body = [[item.target, item.tenant, item.name, item.verdict or "", item.reason] for item in items[:SHOWN]]
    more = f"\n\nand {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"## {heading}: {len(items)}\n\n{markdown_table(head, body)}{more}"


def of_done(done: StepResult, plan: Plan) -> Metadata:
    """Metadata of a repair: what was planned, what changed, and what was not done and why."""
    rows = [
        {"repair": number, "reason": f"{entry.target}: {_because(entry.verdict, entry.reason)}"}
        for number, entry in zip(done.repair_ids, done.entries, strict=True)
        if entry.kind is done.kind
    ]
    return {
        "planned": done.planned,
        "done": done.count,
        "failed": len(done.failures),
        "left_alone": done.left,
        "deferred": done.deferred,
        "held_back": int(done.held_back is not None),
        "in_words": _bullets(
            _not_done(done, plan), "Everything planned was done." if done.planned else "Nothing was planned."
        ),
        "repairs": table(rows, ("repair", "reason")),
    }


def of_completed(completed: StepResult, recounted: StepResult, plan: Plan) -> Metadata:
    """Metadata of ``completed_campaigns``, with the counters that the same step raised."""
    released = [entry for entry in completed.entries if entry.kind is RepairKind.RELEASE]
    numbered = zip(recounted.repair_ids, recounted.entries, strict=True)
    raised = [f"Repair {number}: counters of {entry.target}: {entry.reason}" for number, entry in numbered]
    return {
        **of_done(completed, plan),
        "released_with_them": len(released),
        "recounted": recounted.count,
        "recounted_in_words": _bullets([*raised, *_not_done(recounted, plan)], "No counter was behind."),
    }


def of_reenqueued(done: StepResult, plan: Plan) -> Metadata:
    """Metadata of ``reenqueued_batches``."""
    return {
        **of_done(done, plan),
        "jobs": done.jobs,
        "recipients": done.recipients,
        "taken_back": done.taken_back,
        "left_jobs": done.left_jobs,
        "left_recipients": done.left_recipients,
    }


def of_released(done: StepResult, plan: Plan) -> Metadata:
    """Metadata of ``released_credits``, without those that were released with their campaign."""
    return {**of_done(done, plan), "credits": float(done.amount()), "more_releases": plan.more_releases}


def of_health(report: HealthReport, console: Console | None) -> Metadata:
    """Metadata of ``campaign_health``: first what needs a person, which is short enough to be shown in its place.

    The whole report hides behind a button, and Dagster opens it at its end.
    """
    return {
        "needs_person_now": dg.MetadataValue.md(needs_person_now(report, console)),
        "report": dg.MetadataValue.md(render(report, console)),
        **{name: int(value) for name, value in report.figures().items()},
    }


def _not_done(done: StepResult, plan: Plan) -> list[str]:
    """The planned repairs that were not made, and why, one line each."""
    lines = [f"Could not {done.kind} {failure.target}: {failure.error}" for failure in done.failures]
    if done.held_back:
        lines.insert(0, f"Held back: {done.held_back}")
    if done.left:
        lines.append(f"{done.left} no longer needed it when observed again")
    if settled := settled_in_words(done.settled):
        lines.append(settled)
    if done.left_jobs:
        lines.append(
            f"{done.deferred} campaigns, and parts of {done.cut}, wait for the next sweep ({done.left_jobs} jobs,"
            f" {done.left_recipients} recipients): the limit of the queue or of this sweep is reached"
        )
    tried = {entry.target for entry in done.entries} | {failure.target for failure in done.failures}
    untouched = [item.target for item in plan.of(done.kind) if item.target not in tried]
    if lines and untouched:
        lines.append(f"Not touched: {ids(untouched)}")
    return lines


def _bullets(lines: Sequence[str], otherwise: str) -> dg.MarkdownMetadataValue:
    shown = [f"- {line}" for line in lines[:SHOWN]]
    if len(lines) > SHOWN:
        shown.append(f"- and {len(lines) - SHOWN} more")
    return dg.MetadataValue.md("\n".join(shown) or otherwise)
