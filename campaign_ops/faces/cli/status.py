"""``status``: every campaign in sending, with its verdict."""

from __future__ import annotations

from collections import Counter

from rich.console import RenderableType

from campaign_ops.core.model import Verdict
from campaign_ops.core.wording import duration
from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.app import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, bar, line
from campaign_ops.queries.status import StatusLine, campaign_status


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
