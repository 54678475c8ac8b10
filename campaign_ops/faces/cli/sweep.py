"""``reconcile`` and ``plan``: a whole sweep, and what it would do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from campaign_ops.core.confirmation import Confirmation, Offer
from campaign_ops.core.errors import CampaignOpsError, ConfigurationError
from campaign_ops.core.model import RepairKind
from campaign_ops.core.report import HealthReport, RepairLine, headline, render
from campaign_ops.core.wording import duration, plural
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.runner import Answer, Call, operator
from campaign_ops.faces.cli.screen import Rows, clean_lines, line
from campaign_ops.faces.documents import sweep_document
from campaign_ops.faces.outcomes import NOT_USED, Ending, Outcome, held_back, outcomes_of
from campaign_ops.queries.history import code_was_used
from campaign_ops.sweep import Sweep, dry_run

log = logging.getLogger(__name__)

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
        'reconcile --platform sms --confirm k7qf-9mxt-2whd --reason "the queue was emptied on purpose"',
        "reconcile --wait 0 --lenient   # cron: fails when a server is away, not when busy or a person is needed",
    ],
)
def reconcile(
    call: Call,
    *,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    confirm: Annotated[
        str,
        typer.Option("--confirm", metavar="CODE", help="Make what a breaker holds back: the code that `plan` shows."),
    ] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="With --confirm: why, for the journal.")] = "",
    by: Annotated[
        str,
        typer.Option(
            "--by", metavar="NAME", help="With --confirm: your name; default: the operating system's user name."
        ),
    ] = "",
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            max=86_400,
            help="How long to wait for another sweep of the platform to end.",
        ),
    ] = 30,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="PATH", help="Also write the health report to this file.")
    ] = None,
    lenient: Annotated[  # noqa: ARG001 - the runner reads it, once all platforms are done
        bool,
        typer.Option(
            "--lenient",
            help="Exit with 0 instead of 4 and 5: for schedulers, to which a person's work is no failure.",
        ),
    ] = False,
) -> Answer:
    """Find stuck campaigns and repair what is safe to repair.

    Completes finished campaigns, puts lost batches back into the queue, releases credits that are held for nothing and
    raises counters that are behind. Reports what it did, what it left alone and why, and what needs a person. Every
    repair is in the journal (`history`) and can be undone (`undo`).
    """
    if confirm and dry:
        raise typer.BadParameter("cannot be combined with --dry-run", param_hint="--confirm")
    if confirm and not reason.strip():
        raise typer.BadParameter("say why you confirm it, for the journal", param_hint="--reason")
    if not confirm and (reason or by):
        hint = "--reason" if reason else "--by"
        raise typer.BadParameter("goes with --confirm CODE, and would be recorded nowhere without", param_hint=hint)
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
        _write(markdown, clean_lines(render(report)))
    if confirm and not held_back(report) and not code_was_used(call.platform, call.run_id):
        log.warning("code %s %s", confirm, NOT_USED)
    outcomes = outcomes_of(report)
    return Answer(
        _result(call, report, outcomes),
        _sections(call, report, outcomes),
        _code(report, outcomes),
    )


@command(several=True, shape=shapes.SweepResult, examples=["plan", "plan --platform sms --json"])
def plan(call: Call) -> Answer:
    """Show what a sweep would do now, line by line, and why.

    Changes nothing, and works before `migrate`. Where a breaker would hold something back, or the queue was emptied,
    shows the code that confirms it (`reconcile --confirm`). Exits with the code that a sweep would.
    """
    report = dry_run(call.platform, run_id=call.run_id)
    outcomes = outcomes_of(report)
    rows = [
        [
            _planned(outcome),
            _target(outcome),
            _why(outcome),
            "needs a person" if outcome.needs_person else "",
            outcome.item.reason,
        ]
        for outcome in outcomes
    ]
    text = _head(call, report)
    if rows:
        text.append(Rows(["repair", "target", "verdict", "", "reason"], rows))
    if more := report.plan.more_releases:
        text.append(line(f"and {plural(more, 'reservation')} more to release, left to later sweeps"))
    return Answer(_result(call, report, outcomes), text, _code(report, outcomes))


def _planned(outcome: Outcome) -> str:
    if outcome.ending is Ending.HELD_BACK:
        return "held back"
    return _TO_DO[outcome.item.kind] if outcome.item.kind is not None else "-"


def _target(outcome: Outcome) -> str:
    """The id, and the name that people know."""
    item = outcome.item
    named = item.verdict is not None and item.name not in ("", item.target)
    return f"{item.target} ({item.name})" if named else item.target


def _why(outcome: Outcome) -> str:
    return outcome.item.verdict.value if outcome.item.verdict is not None else "credits"


def _check_writable(path: Path) -> None:
    """Refuse before the sweep a file that could not be written after it."""
    try:
        path.open("a").close()
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written: {error.strerror}", where=str(path), mend="name another file; nothing was done"
        ) from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        mend = "the sweep stands; `campaign-ops report` prints it"
        raise CampaignOpsError(f"cannot be written: {error.strerror}", where=str(path), mend=mend) from None


def _code(report: HealthReport, outcomes: list[Outcome]) -> ExitCode:
    if report.source_away:
        return ExitCode.FAILED
    return ExitCode.PERSON if report.trouble or any(outcome.needs_person for outcome in outcomes) else ExitCode.DONE


def _head(call: Call, report: HealthReport) -> list[RenderableType]:
    """The headline, and what was held back, marked with ``!!``."""
    as_of = f"as of {report.at:%Y-%m-%d %H:%M:%S} UTC" + (", dry run: nothing was changed" if report.dry_run else "")
    text: list[RenderableType] = [line(f"{report.platform}: {headline(report)}", style="bold"), line(as_of)]
    for held in held_back(report):
        noun = "reservation" if held.kind is RepairKind.RELEASE else "campaign"
        targets = plural(len(report.plan.of(held.kind)), noun)
        text.append(line(f"!! HELD BACK: {_TO_DO[held.kind]}, {targets}: {held.reason}", style="bold red"))
    for offer in report.offers:
        text.append(line(_advice(report, offer), style="red"))
        text.append(f"!!   {_confirm(call, offer)}")
    if report.no_offer:
        text.append(line(f"!! {report.no_offer}", style="red"))
    if report.queue is not None and report.queue.problem:
        text.append(line(f"!! queue {report.queue.name}: {report.queue.problem}", style="bold red"))
    return text


def _advice(report: HealthReport, offer: Offer) -> str:
    until = f"once, until {offer.expires_at:%H:%M} UTC:"
    if not offer.kinds:
        return f"!! {report.plan.alarm}. If this is the queue all the same, confirm it, {until}"
    kinds = " and ".join(_TO_DO[RepairKind(kind)] for kind in offer.kinds)
    return f"!! Look at the queue first. If it is still right to {kinds}, confirm exactly this, {until}"


def _confirm(call: Call, offer: Offer) -> str:
    return call.command_line("reconcile", "--confirm", offer.code, "--reason", "WHY")


def _sections(call: Call, report: HealthReport, outcomes: list[Outcome]) -> list[RenderableType]:
    """What was done, what was left alone, what needs a person: a section each, the person's last."""
    text = _head(call, report)
    ended = {ending: [outcome for outcome in outcomes if outcome.ending is ending] for ending in Ending}
    for title, section in (
        ("Done", ended[Ending.DONE]),
        ("Would be done", ended[Ending.PLANNED]),
        ("Left alone", [outcome for outcome in ended[Ending.LEFT] if not outcome.needs_person]),
        ("Held back", ended[Ending.HELD_BACK]),
        ("Failed", ended[Ending.FAILED]),
        ("Needs a person", [outcome for outcome in outcomes if outcome.needs_person]),
    ):
        if section:
            text += [
                line(""),
                line(f"{title} ({len(section)})", style="bold"),
                Rows([""] * 4, [_row(outcome) for outcome in section]),
            ]
    return [*text, line(""), line(_summary(report))]


def _row(outcome: Outcome) -> list[str]:
    item = outcome.item
    what = "-" if item.kind is None else _TO_DO[item.kind]
    if outcome.ending is Ending.DONE:
        what = _DONE[item.kind or RepairKind.RELEASE]
    since = duration(item.stuck_seconds) if item.stuck_seconds is not None else ""
    note = outcome.note if outcome.ending is not Ending.HELD_BACK else ""
    return [what, _target(outcome), since, f"{_why(outcome)}: {'; '.join(filter(None, [item.reason, note]))}"]


def _summary(report: HealthReport) -> str:
    """The number of repairs of each kind, in one line."""

    def of_kind(repair: RepairLine) -> str:
        number = repair.done
        if report.dry_run:
            number = 0 if repair.held_back else repair.planned
        return f"{words[repair.kind]} {number}" + (f" ({repair.detail})" if repair.detail else "")

    when, words = ("Would", _TO_DO) if report.dry_run else ("Did", _DONE)
    return f"{when}: " + ", ".join(map(of_kind, report.repairs))


def _result(call: Call, report: HealthReport, outcomes: list[Outcome]) -> shapes.SweepResult:
    return sweep_document(report, outcomes, confirm=lambda offer: _confirm(call, offer))
