"""``status``, ``report`` and ``history``: looks at what is, and at what was done. Changes nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from campaign_ops.core.model import RepairKind, Verdict, check_aware
from campaign_ops.core.wording import duration, plural
from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.app import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, bar, clean_lines, line
from campaign_ops.queries import history as journal
from campaign_ops.queries.report import stored_report
from campaign_ops.queries.status import StatusLine, campaign_status

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_UNDOABLE = {RepairKind.COMPLETE, RepairKind.REENQUEUE, RepairKind.RELEASE, RepairKind.RECOUNT}


@command(several=True, shape=shapes.StatusResult, examples=["status", "status --platform sms --json"])
def status(call: Call) -> Answer:
    """Show every campaign in sending: progress, verdict, why.

    Campaigns that were touched lately are among them; those that are stuck say so. Changes nothing.
    """
    lines = campaign_status(call.platform)
    stuck = [one for one in lines if one.stuck]
    verdicts = dict(Counter(one.verdict for one in stuck))
    result: shapes.StatusResult = {
        "sending": len(lines),
        "stuck": len(stuck),
        "verdicts": verdicts,
        "campaigns": [_campaign(one) for one in lines],
    }
    text: list[RenderableType] = []
    for one in lines:
        text += [*_block(one, plain=call.plain), line("")]
    kinds = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    summary = f"{call.name}: {len(lines)} in sending, {len(stuck)} stuck" + (f" ({kinds})" if kinds else "")
    return Answer(result, [*text, line(summary, style="bold")])


def _campaign(one: StatusLine) -> shapes.StatusCampaign:
    return {
        "id": one.id,
        "tenant": one.tenant,
        "name": one.name,
        "total": one.total,
        "succeeded": one.succeeded,
        "failed": one.failed,
        "pending": one.pending,
        "unsent": one.unsent,
        "percent": _percent(one),
        "sending_seconds": one.sending_seconds,
        "untouched_seconds": one.untouched_seconds,
        "stuck": one.stuck,
        "verdict": one.verdict,
        "reason": one.reason,
    }


def _percent(one: StatusLine) -> int | None:
    """Rounded down: 100 means that nothing is left."""
    return (one.total - one.unsent) * 100 // one.total if one.total else None


def _is_stuck(one: StatusLine) -> bool:
    """Whether to call it stuck: age is suspicion only, and of one that moves there is no proof."""
    return one.stuck and one.verdict != Verdict.PROGRESSING


def _since(seconds: int | None) -> str:
    return "unknown time" if seconds is None else duration(seconds)


def _block(one: StatusLine, *, plain: bool) -> list[RenderableType]:
    """One campaign, as the runbook's own script showed it."""
    processed = one.total - one.unsent
    progress = f"{bar(processed, one.total, plain=plain)} {processed:,}/{one.total:,} ({_percent(one)}%)"
    rows = [
        ["Tenant", one.tenant],
        ["Recipients", f"{one.total:,}: {one.succeeded:,} sent, {one.failed:,} failed, {one.unsent:,} to go"],
        ["Processed", progress if one.total else "no recipients"],
        ["In sending", f"{_since(one.sending_seconds)}, untouched for {_since(one.untouched_seconds)}"],
        ["Status", f"{'STUCK, ' if _is_stuck(one) else ''}{one.verdict}: {one.reason}"],
    ]
    title = f"{one.name} ({one.id})" if one.name and one.name != one.id else one.id
    return [line(title, style="bold red" if _is_stuck(one) else "bold"), Rows(["", ""], rows, indent=3)]


@command(shape=shapes.ReportResult, examples=["report --platform sms", "report --platform sms > health.md"])
def report(call: Call) -> Answer:
    """Print the latest sweep's health report as Markdown.

    It is the one that the sweep stored, whoever made it; the platform is not looked at anew.
    """

    stored = stored_report(call.platform)
    result: shapes.ReportResult = {
        "at": stored.at.isoformat(),
        "figures": dict(stored.figures),
        "trouble": stored.trouble,
        "markdown": stored.markdown,
    }
    return Answer(result, [clean_lines(stored.markdown).rstrip("\n")])


@command(
    shape=shapes.HistoryResult,
    examples=["history --since 24h", "history --campaign cmp_1 --json", "history --kind release --tenant shop_1"],
)
def history(
    call: Call,
    *,
    campaign: Annotated[str | None, typer.Option("--campaign", metavar="ID", help="Only this campaign.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="ID", help="Only this owner's.")] = None,
    kind: Annotated[
        RepairKind | None, typer.Option("--kind", metavar="KIND", help=f"Only this kind: {', '.join(RepairKind)}.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="How far back: 90s, 30m, 24h, 7d, 2w, or 2026-01-31T08:00Z."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="At most so many.")] = 50,
) -> Answer:
    """Show what was done, why, by whom, and how to undo it.

    The journal of sweeps and manual fixes, the newest first.
    """
    page = journal.repairs(
        call.platform,
        campaign_id=campaign,
        tenant=tenant,
        kind=kind,
        since=None if since is None else parse_since(since),
        limit=limit,
    )
    repairs = [_repair(call, row) for row in page.repairs]
    result: shapes.HistoryResult = {"repairs": repairs, "more": page.more}
    head = ["repair", "at (UTC)", "what", "target", "by", "undo", "why"]
    text: list[RenderableType] = [Rows(head, [_history_row(one) for one in repairs], indent=0)] if repairs else []
    text.append(
        line(f"{call.name}: {plural(len(repairs), 'repair')}" + (", and more: raise --limit" if page.more else ""))
    )
    if any(one["undo"] for one in repairs):
        text.append(f"Undo one with: {_undo_line(call, 'REPAIR')}")
    return Answer(result, text)


def parse_since(text: str) -> timedelta | datetime:
    """A span such as ``24h``, or an aware moment."""
    span = re.fullmatch(r"(\d{1,5}) ?([smhdw])", text.strip())
    if span is not None:
        return timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        moment = check_aware(datetime.fromisoformat(text.strip()))
    except ValueError:
        moment = None
    if moment is None:
        raise typer.BadParameter(
            "takes 90s, 30m, 24h, 7d, 2w, or a moment with its zone: 2026-01-31T08:00Z", param_hint="--since"
        )
    return moment


def _repair(call: Call, row: Mapping[str, Any]) -> shapes.Repair:
    reenqueue = row["kind"] == RepairKind.REENQUEUE
    undoable = row["kind"] in _UNDOABLE and row["undone_by"] is None
    return {
        "id": row["id"],
        "at": row["at"].isoformat(),
        "kind": row["kind"],
        "target": row["target"],
        "campaign_id": row["campaign_id"],
        "tenant": row["tenant"],
        "verdict": row["verdict"],
        "reason": row["reason"],
        "actor": row["actor"],
        "run_id": row["run_id"],
        "amount": None if row["amount"] is None else str(row["amount"]),
        "before": row["before"],
        "after": row["after"],
        "jobs_added": int(row["jobs_added"] or 0) if reenqueue else None,
        "recipients_added": int(row["recipients_added"] or 0) if reenqueue else None,
        "parent_id": row["parent_id"],
        "undone_by": row["undone_by"],
        "undo": _undo_line(call, row["id"]) if undoable else None,
    }


def _undo_line(call: Call, repair_id: int | str) -> str:
    return call.command_line("undo", repair_id, "--reason", "WHY")


def _history_row(one: shapes.Repair) -> list[object]:
    what = one["kind"]
    if one["jobs_added"] is not None:
        what += f" ({plural(one['jobs_added'], 'job')}, {plural(one['recipients_added'], 'recipient')})"
    if one["amount"] is not None:
        what += f" ({plural(Decimal(one['amount']), 'credit')})"
    if one["undone_by"] is not None:
        undo = f"undone by {one['undone_by']}"
    else:
        undo = f"undo {one['id']}" if one["undo"] else ""
    return [one["id"], one["at"][:19].replace("T", " "), what, one["target"], one["actor"], undo, one["reason"]]
