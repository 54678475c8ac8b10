"""``status``: every campaign in sending, with its verdict."""

from __future__ import annotations

from collections import Counter

from rich.console import RenderableType

from campaign_ops.core.model import Verdict
from campaign_ops.core.wording import duration, stuck_and_slow
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, bar, line
from campaign_ops.faces.documents import campaign_document, percent
from campaign_ops.queries.status import StatusLine, campaign_status


@command(several=True, shape=shapes.StatusResult, examples=["status", "status --platform sms --json"])
def status(call: Call) -> Answer:
    """Show every campaign in sending: progress, verdict and reason.

    Includes campaigns that were touched recently; the stuck ones are marked. Changes nothing. Exits with 0 whatever it
    shows; `plan` exits with 5 where a person is needed.
    """
    campaigns = campaign_status(call.platform)
    stuck = [campaign for campaign in campaigns if campaign.stuck]
    verdicts = dict(Counter(campaign.verdict for campaign in stuck))
    result: shapes.StatusResult = {
        "sending": len(campaigns),
        "stuck": len(stuck),
        "verdicts": verdicts,
        "campaigns": [campaign_document(campaign) for campaign in campaigns],
    }
    text: list[RenderableType] = []
    for campaign in campaigns:
        text += [*_block(campaign, plain=call.plain), line("")]
    kinds = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    slow = verdicts.get(Verdict.PROGRESSING, 0)
    counts = stuck_and_slow(len(stuck) - slow, slow) + (f" ({kinds})" if kinds else "")
    summary = f"{call.name}: {len(campaigns)} in sending, {counts}"
    return Answer(result, [*text, line(summary, style="bold")])


def _is_stuck(campaign: StatusLine) -> bool:
    """Return whether to call it stuck: age is suspicion only, and a campaign whose recipients move is just slow."""
    return campaign.stuck and campaign.verdict != Verdict.PROGRESSING


def _since(seconds: int | None) -> str:
    return "unknown time" if seconds is None else duration(seconds)


def _block(campaign: StatusLine, *, plain: bool) -> list[RenderableType]:
    """One campaign, as the script in the runbook showed it."""
    processed, share = campaign.total - campaign.unsent, percent(campaign.total, campaign.unsent)
    progress = f"{bar(processed, campaign.total, plain=plain)} {processed:,}/{campaign.total:,} ({share}%)"
    rows = [
        ["Tenant", campaign.tenant],
        [
            "Recipients",
            f"{campaign.total:,}: {campaign.succeeded:,} sent, {campaign.failed:,} failed, {campaign.unsent:,} to go",
        ],
        ["Processed", progress if campaign.total else "no recipients"],
        ["In sending", f"{_since(campaign.sending_seconds)}, untouched for {_since(campaign.untouched_seconds)}"],
        ["Status", f"{'STUCK, ' if _is_stuck(campaign) else ''}{campaign.verdict}: {campaign.reason}"],
    ]
    title = f"{campaign.name} ({campaign.id})" if campaign.name and campaign.name != campaign.id else campaign.id
    return [line(title, style="bold red" if _is_stuck(campaign) else "bold"), Rows(["", ""], rows, indent=3)]
