"""``history``: the journal of repairs, and the command that undoes each of them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

import typer
from rich.console import RenderableType

from campaign_ops.core.model import RepairKind, check_aware
from campaign_ops.core.wording import plural
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.runner import Answer, Call
from campaign_ops.faces.cli.screen import Rows, line
from campaign_ops.faces.documents import repair_document
from campaign_ops.queries import history as journal

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@command(
    shape=shapes.HistoryResult,
    examples=["history --since 24h", "history --campaign cmp_1 --json", "history --kind release --tenant shop_1"],
)
def history(
    call: Call,
    *,
    campaign: Annotated[str | None, typer.Option("--campaign", metavar="ID", help="Only this campaign.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="ID", help="Only this tenant.")] = None,
    kind: Annotated[
        RepairKind | None, typer.Option("--kind", metavar="KIND", help=f"Only this kind: {', '.join(RepairKind)}.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Only since then: 90s, 30m, 24h, 7d, 2w, or 2026-01-31T08:00Z."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="Show at most N repairs.")] = 50,
) -> Answer:
    """Show the journal: every repair, its reason, who made it, and how to undo it.

    Covers sweeps and manual fixes, the newest first.
    """
    page = journal.repairs(
        call.platform,
        campaign_id=campaign,
        tenant=tenant,
        kind=kind,
        since=None if since is None else parse_time(since, "--since"),
        limit=limit,
    )
    repairs = [repair_document(row, undo=lambda repair: _undo_line(call, repair)) for row in page.repairs]
    result: shapes.HistoryResult = {"repairs": repairs, "more": page.more}
    head = ["repair", "at (UTC)", "what", "target", "by", "undo", "why"]
    text: list[RenderableType] = [Rows(head, [_history_row(repair) for repair in repairs], indent=0)] if repairs else []
    text.append(
        line(f"{call.name}: {plural(len(repairs), 'repair')}" + (", and more: raise --limit" if page.more else ""))
    )
    if any(repair["undo"] for repair in repairs):
        text.append(f"Undo a repair with: {_undo_line(call, 'REPAIR')}")
    return Answer(result, text)


def parse_time(text: str, option: str) -> timedelta | datetime:
    """A duration such as ``24h``, or an aware moment."""
    span = re.fullmatch(r"(\d{1,5}) ?([smhdw])", text.strip())
    if span is not None:
        return timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        moment = check_aware(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise typer.BadParameter(
            "takes 90s, 30m, 24h, 7d, 2w, or a moment with its zone: 2026-01-31T08:00Z", param_hint=option
        )
    return moment


def _undo_line(call: Call, repair_id: int | str) -> str:
    return call.command_line("undo", repair_id, "--reason", "WHY")


def _history_row(repair: shapes.Repair) -> list[object]:
    what = repair["kind"]
    if repair["jobs_added"] is not None:
        what += f" ({plural(repair['jobs_added'], 'job')}, {plural(repair['recipients_added'], 'recipient')})"
    if repair["amount"] is not None:
        what += f" ({plural(Decimal(repair['amount']), 'credit')})"
    if repair["undone_by"] is not None:
        undo = f"undone by {repair['undone_by']}"
    else:
        undo = f"undo {repair['id']}" if repair["undo"] else ""
    why = f"{repair['person_reason']} ({repair['reason']})" if repair["person_reason"] else repair["reason"]
    return [repair["id"], repair["at"][:19].replace("T", " "), what, repair["target"], repair["actor"], undo, why]
