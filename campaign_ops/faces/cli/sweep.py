"""``reconcile`` and ``plan``: a whole sweep, or what it would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from campaign_ops.core.confirmation import Confirmation, Offer
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.model import RepairKind
from campaign_ops.core.report import HealthReport, RepairLine, headline, render
from campaign_ops.core.wording import duration, plural
from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.app import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.outcomes import Became, HeldBack, Told, held_back, tell
from campaign_ops.faces.cli.runner import Answer, Call, operator
from campaign_ops.faces.cli.screen import Rows, clean_lines, line
from campaign_ops.sweep import Sweep, dry_run

_DONE = {
    RepairKind.COMPLETE: "completed",
    RepairKind.REENQUEUE: "re-enqueued",
    RepairKind.RELEASE: "released",
    RepairKind.RECOUNT: "recounted",
}
_TO_DO = {
    RepairKind.COMPLETE: "complete",
    RepairKind.REENQUEUE: "re-enqueue",
    RepairKind.RELEASE: "release",
    RepairKind.RECOUNT: "recount",
}


@command(
    several=True,
    shape=shapes.SweepResult,
    examples=[
        "reconcile --dry-run",
        "reconcile --platform sms",
        'reconcile --platform sms --confirm k7qf-9mxt-2whd --reason "the queue was emptied for good"',
        "reconcile --wait 0 || [ $? -ge 4 ]   # cron: red when a server is away; busy, and work for a person, are not",
    ],
)
def reconcile(
    call: Call,
    *,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    confirm: Annotated[
        str,
        typer.Option("--confirm", metavar="CODE", help="Make what a breaker held back: the code that the plan shows."),
    ] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="With --confirm: why, for the journal.")] = "",
    by: Annotated[
        str,
        typer.Option("--by", metavar="NAME", help="With --confirm: who; else the user of the operating system."),
    ] = "",
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for another sweep to end.")
    ] = 30,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="PATH", help="Also write the health report to this file.")
    ] = None,
) -> Answer:
    """Find stuck campaigns and repair what is safe to repair.

    Completes what is finished, puts lost batches back into the queue, releases credits that are held for nothing and
    raises counters that are behind; says what it did, what it left alone and why, and what needs a person. All it does
    stands in the journal (`history`) and can be undone (`undo`).
    """
    if confirm and dry:
        raise typer.BadParameter("does nothing together with --dry-run", param_hint="--confirm")
    if confirm and not reason.strip():
        raise typer.BadParameter("say why you confirm it, for the journal", param_hint="--reason")
    if not call.alone and (confirm or markdown):
        hint = "--confirm" if confirm else "--markdown"
        raise typer.BadParameter("is for one platform: name it with --platform", param_hint=hint)
    if markdown is not None:
        _check_writable(markdown)
    if dry:
        report = dry_run(call.platform, run_id=call.run_id)
    else:
        report = Sweep(
            call.platform,
            run_id=call.run_id,
            trigger="cli",
            actor=operator(),
            confirm=Confirmation(confirm, by.strip() or operator(), reason.strip()) if confirm else None,
            lock_wait_seconds=wait,
        ).run()
    if markdown is not None:
        markdown.write_text(clean_lines(render(report)), encoding="utf-8")
    told = tell(report)
    return Answer(_result(call, report, told), _account(call, report, told), _code(report, told))


@command(several=True, shape=shapes.SweepResult, examples=["plan", "plan --platform sms --json"])
def plan(call: Call) -> Answer:
    """Show what a sweep would do now, line by line, and why.

    Changes nothing, and works before `migrate`. Where a breaker would hold something back, shows the code to confirm
    it with (`reconcile --confirm`). Exits as a sweep would.
    """
    report = dry_run(call.platform, run_id=call.run_id)
    told = tell(report)
    rows = [
        [_planned(one), _target(one), _why(one), "needs a person" if one.needs_person else "", one.item.reason]
        for one in told
    ]
    text = _head(call, report)
    if rows:
        text.append(Rows(["repair", "target", "verdict", "", "reason"], rows))
    if more := report.plan.more_releases:
        text.append(line(f"and {plural(more, 'reservation')} more to release, left to later sweeps"))
    return Answer(_result(call, report, told), text, _code(report, told))


def _planned(one: Told) -> str:
    if one.became is Became.HELD_BACK:
        return "held back"
    return _TO_DO[one.item.kind] if one.item.kind is not None else "-"


def _target(one: Told) -> str:
    """The id, and what people call it."""
    item = one.item
    named = item.verdict is not None and item.name not in ("", item.target)
    return f"{item.target} ({item.name})" if named else item.target


def _why(one: Told) -> str:
    return one.item.verdict.value if one.item.verdict is not None else "credits"


def _check_writable(path: Path) -> None:
    """Refuse before the sweep what could not be written after it."""
    try:
        path.open("a").close()
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written: {error.strerror}", where=str(path), mend="name another file; nothing was done"
        ) from None


def _code(report: HealthReport, told: list[Told]) -> ExitCode:
    if report.source_away:
        return ExitCode.FAILED
    return ExitCode.PERSON if report.trouble or any(one.needs_person for one in told) else ExitCode.DONE


def _head(call: Call, report: HealthReport) -> list[RenderableType]:
    """The headline, and loudly what was held back."""
    looked = f"as of {report.at:%Y-%m-%d %H:%M:%S} UTC" + (", dry run: nothing was changed" if report.dry_run else "")
    text: list[RenderableType] = [line(f"{report.platform}: {headline(report)}", style="bold"), line(looked)]
    for one in held_back(report):
        items = len(report.plan.of(one.kind))
        named = "reservation" if one.kind is RepairKind.RELEASE else "campaign"
        what = f"!! HELD BACK: {_TO_DO[one.kind]}, {plural(items, named)}: {one.reason}"
        text.append(line(what, style="bold red"))
    for offer in report.offers:
        kinds = " and ".join(_TO_DO[RepairKind(kind)] for kind in offer.kinds)
        until = f"until {offer.expires_at:%H:%M} UTC"
        told = f"!! Look at the queue first. If to {kinds} is right all the same, confirm exactly this, once, {until}:"
        text.append(line(told, style="red"))
        text.append(f"!!   {_confirm(call, offer)}")
    if report.no_offer:
        text.append(line(f"!! {report.no_offer}", style="red"))
    if report.queue is not None and report.queue.problem:
        text.append(line(f"!! queue {report.queue.name}: {report.queue.problem}", style="bold red"))
    return text


def _confirm(call: Call, offer: Offer) -> str:
    return call.command_line("reconcile", "--confirm", offer.code, "--reason", "WHY")


def _offer_of(report: HealthReport, held: HeldBack) -> Offer | None:
    """The code that lets pass what was held back."""
    if not held.by_breaker:
        return None
    return next((offer for offer in report.offers if held.kind.value in offer.kinds), None)


def _account(call: Call, report: HealthReport, told: list[Told]) -> list[RenderableType]:
    """What was done, what was left alone, what needs a person: a section each, the person's last."""
    text = _head(call, report)
    done = [one for one in told if one.became is Became.DONE]
    planned = [one for one in told if one.became is Became.PLANNED]
    left = [one for one in told if one.became is Became.LEFT and not one.needs_person]
    failed = [one for one in told if one.became is Became.FAILED]
    waiting = [one for one in told if one.became is Became.HELD_BACK]
    person = [one for one in told if one.needs_person]
    for title, some in (
        ("Done", done),
        ("Would be done", planned),
        ("Left alone", left),
        ("Held back", waiting),
        ("Failed", failed),
        ("Needs a person", person),
    ):
        if some:
            text += [
                line(""),
                line(f"{title} ({len(some)})", style="bold"),
                Rows([""] * 4, [_row(one) for one in some]),
            ]
    return [*text, line(""), line(_summary(report))]


def _row(one: Told) -> list[str]:
    item = one.item
    what = "-" if item.kind is None else _TO_DO[item.kind]
    if one.became is Became.DONE:
        what = _DONE[item.kind or RepairKind.RELEASE]
    since = duration(item.stuck_seconds) if item.stuck_seconds is not None else ""
    note = one.note if one.became is not Became.HELD_BACK else ""
    return [what, _target(one), since, f"{_why(one)}: {'; '.join(filter(None, [item.reason, note]))}"]


def _summary(report: HealthReport) -> str:
    """How much of each kind, in one line."""

    def told(one: RepairLine) -> str:
        number = one.done
        if report.dry_run:
            number = 0 if one.held_back else one.planned
        return f"{words[one.kind]} {number}" + (f" ({one.detail})" if one.detail else "")

    when, words = ("Would", _TO_DO) if report.dry_run else ("Did", _DONE)
    return f"{when}: " + ", ".join(map(told, report.repairs))


def _result(call: Call, report: HealthReport, told: list[Told]) -> shapes.SweepResult:
    return {
        "at": report.at.isoformat(),
        "dry_run": report.dry_run,
        "headline": headline(report),
        "figures": report.figures(),
        "trouble": report.trouble,
        "held_back": [
            {
                "kind": one.kind.value,
                "reason": one.reason,
                "confirm": _confirm(call, offer) if offer else None,
                "confirm_until": offer.expires_at.isoformat() if offer else None,
            }
            for one in held_back(report)
            for offer in [_offer_of(report, one)]
        ],
        "lines": [_line(one) for one in told],
    }


def _line(one: Told) -> shapes.Line:
    item = one.item
    return {
        "target": item.target,
        "kind": item.kind.value if item.kind else None,
        "became": one.became.value,
        "note": one.note,
        "needs_person": one.needs_person,
        "campaign_id": item.campaign_id,
        "tenant": item.tenant,
        "name": item.name,
        "verdict": item.verdict.value if item.verdict else None,
        "reason": item.reason,
        "unsent": item.unsent,
        "missing": item.missing,
        "stuck_seconds": item.stuck_seconds,
        "amount": item.amount,
    }
