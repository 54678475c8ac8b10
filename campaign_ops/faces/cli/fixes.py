"""The manual fixes, one command each: refused unless the premise holds, journaled with person and reason."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import RenderableType

from campaign_ops.core.confirmation import Offer
from campaign_ops.core.ids import LARGEST_NUMBER
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.command import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.runner import Answer, Call, operator
from campaign_ops.faces.cli.screen import line
from campaign_ops.fixes.confirm import FixCall, make_confirmed, try_out
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.table import FIXES

CampaignId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")]


@dataclass(frozen=True, kw_only=True)
class FixOptions:
    """The options of every fix."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show whether and how it would be done.")] = False
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for the journal; required without --dry-run.")
    ] = ""
    by: Annotated[
        str,
        typer.Option(
            "--by", metavar="NAME", help="Your name, for the journal; default: the operating system's user name."
        ),
    ] = ""
    confirm: Annotated[
        str,
        typer.Option(
            "--confirm", metavar="CODE", help="Do it: the code that the same command shows without this option."
        ),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class TenantFixOptions(FixOptions):
    """The options of a fix of something that belongs to a tenant."""

    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="ID", help="Refuse unless it belongs to this tenant.")
    ] = None


@command(
    shape=shapes.FixResult,
    examples=["mark-complete cmp_1 --dry-run", 'mark-complete cmp_1 --reason "TICKET-12" --confirm k7qf-9mxt-2whd'],
)
def mark_complete(call: Call, campaign: CampaignId, *, options: TenantFixOptions) -> Answer:
    """Complete a campaign in which nothing is pending.

    Also releases the credits held for it. Refused, with the numbers, while recipients are pending or when the campaign
    is not sending.
    """
    return _fix(call, "mark-complete", campaign, options)


@command(
    shape=shapes.FixResult,
    examples=["reenqueue cmp_1 --dry-run", 'reenqueue cmp_1 --reason "jobs were lost"'],
)
def reenqueue(call: Call, campaign: CampaignId, *, options: TenantFixOptions) -> Answer:
    """Put a campaign's missing recipients back into the queue.

    Refused when none is missing, and wherever a sweep would not send either: no recipient gets a message twice.
    """
    return _fix(call, "reenqueue", campaign, options)


@command(
    shape=shapes.FixResult,
    examples=["release res_1 --dry-run", 'release res_1 --reason "TICKET-12"'],
)
def release(
    call: Call,
    reservation: Annotated[str, typer.Argument(metavar="RESERVATION", help="The reservation's id.")],
    *,
    options: TenantFixOptions,
) -> Answer:
    """Release a reservation that is held for nothing.

    Refused while its campaign may need the credits.
    """
    return _fix(call, "release", reservation, options)


@command(
    shape=shapes.FixResult,
    examples=["history --campaign cmp_1", 'undo 12 --reason "the jobs were there"'],
)
def undo(
    call: Call,
    repair: Annotated[
        int, typer.Argument(metavar="REPAIR", min=1, max=LARGEST_NUMBER, help="The repair's number, from `history`.")
    ],
    *,
    options: TenantFixOptions,
) -> Answer:
    """Undo one repair.

    Restores the row as it was, or removes the jobs that no worker has taken yet. Refused when the row has changed
    since. Sweeps leave the campaign or reservation alone from then on, until `retry-quarantined`.
    """
    return _fix(call, "undo", repair, options)


@command(
    shape=shapes.FixResult,
    examples=["send-again cmp_1 --dry-run", 'send-again cmp_1 --reason "they never got it"'],
)
def send_again(call: Call, campaign: CampaignId, *, options: TenantFixOptions) -> Answer:
    """Put a campaign's ambiguous recipients back into the queue, although they may get the message twice.

    A recipient is ambiguous when its marker says that the provider may already have it; sweeps never decide about
    those. Deletes their markers.
    """
    return _fix(call, "send-again", campaign, options)


@command(
    shape=shapes.FixResult,
    examples=["take-as-sent cmp_1 --dry-run", 'take-as-sent cmp_1 --reason "provider has all"'],
)
def take_as_sent(call: Call, campaign: CampaignId, *, options: TenantFixOptions) -> Answer:
    """Record a campaign's ambiguous recipients as sent, although they may have got nothing.

    The database role needs the right to update the recipient's status for this; sweeps do not need it.
    """
    return _fix(call, "take-as-sent", campaign, options)


@command(shape=shapes.FixResult, examples=['retry-quarantined cmp_1 --reason "the provider is back"'])
def retry_quarantined(call: Call, campaign: CampaignId, *, options: TenantFixOptions) -> Answer:
    """Let sweeps repair a quarantined or held campaign again.

    A campaign is quarantined after too many attempts without progress, and held after an undo.
    """
    return _fix(call, "retry-quarantined", campaign, options)


@command(
    shape=shapes.FixResult,
    examples=["bind public.Campaign --dry-run", 'bind public.Campaign --reason "the queue is sms-send-2 now"'],
)
def bind(
    call: Call,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The campaign table with its schema.")],
    *,
    options: FixOptions,
) -> Answer:
    """Accept the configured queues as the place of a campaign table's jobs.

    A sweep that would read fewer queues than the last one, or another Redis, is refused: it would re-enqueue what waits
    in the others. When the queue has really moved and no job is left in the old one, this command lets sweeps run
    again. Refused while a queue on the same Redis that would no longer be read holds jobs.
    """
    return _fix(call, "bind", table, options)


def _fix(call: Call, name: str, target: Any, options: FixOptions) -> Answer:
    """Make one fix and report it; without a code, report what it would do and show the code."""
    dry_run, reason, by, confirm = options.dry_run, options.reason.strip(), options.by.strip(), options.confirm
    if not dry_run and not reason:
        raise typer.BadParameter("say why, for the journal (or try it with --dry-run)", param_hint="--reason")
    if dry_run and confirm:
        raise typer.BadParameter("cannot be combined with --dry-run", param_hint="--confirm")
    tenant = options.tenant if isinstance(options, TenantFixOptions) else None
    fix_call = FixCall(name, target, Person(by or operator(), reason, call.run_id), tenant)
    offer = None
    if confirm:
        fix = make_confirmed(call.platform, fix_call, confirm)
    else:
        fix, offer = try_out(call.platform, fix_call)
    undo_line = None
    undoing = FIXES[name].undoing
    if fix.changed and fix.repair_ids and undoing.possible:
        undo_line = call.command_line("undo", fix.repair_ids[0], "--reason", "WHY")
    confirm_line = None if offer is None else _confirm_line(call, fix_call, offer, by=by, reason=reason)
    result: shapes.FixResult = {
        "target": fix.target,
        "changed": fix.changed,
        "dry_run": not confirm,
        "message": fix.message,
        "repair_ids": list(fix.repair_ids),
        "undo": undo_line,
        "confirm": confirm_line,
        "confirm_until": offer.expires_at.isoformat() if offer is not None else None,
    }
    text: list[RenderableType] = [
        line(f"{call.name}: {fix.message}" + ("" if confirm else " (dry run: nothing was changed)"))
    ]
    if undo_line is not None:
        text.append(f"undo it with: {undo_line}")
    if offer is not None:
        text += [
            line(f"it {undoing}"),
            line(f"to do exactly this, once, run before {offer.expires_at:%H:%M} UTC:"),
            f"  {confirm_line}",
        ]
    elif not confirm:
        text.append(line("to do it, run `campaign-ops migrate` first"))
    return Answer(result, text, ExitCode.DONE if confirm or dry_run else ExitCode.PERSON)


def _confirm_line(call: Call, fix: FixCall, offer: Offer, *, by: str, reason: str) -> str:
    """The command that makes the fix that was tried out."""
    options = ["--confirm", offer.code]
    options += ["--tenant", fix.tenant] if fix.tenant is not None else []
    options += ["--by", by] if by else []
    options += ["--reason", reason or "WHY"]
    target = str(fix.target)
    if target.startswith("-"):
        return f"{call.command_line(fix.name, *options)} -- {shlex.quote(target)}"
    return call.command_line(fix.name, target, *options)
