"""The runbook's manual fixes, one command each: refused unless the premise holds, journaled with name and reason."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import RenderableType

from campaign_ops.core.confirmation import Offer
from campaign_ops.core.undoing import KIND_OF_FIX, UNDOING
from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.app import command
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.runner import Answer, Call, operator
from campaign_ops.faces.cli.screen import line
from campaign_ops.fixes import ambiguous, manual
from campaign_ops.fixes.confirm import FixCall, make_confirmed, try_out
from campaign_ops.fixes.manual import Fix, Person
from campaign_ops.fixes.rebind import rebind
from campaign_ops.fixes.undo import undo as undo_repair

CampaignId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")]
Tenant: TypeAlias = Annotated[
    str | None, typer.Option("--tenant", metavar="ID", help="Refuse unless it belongs to this owner.")
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Only say whether and how it would be done.")]
Reason: TypeAlias = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, for the journal; needed unless --dry-run.")
]
Confirm: TypeAlias = Annotated[
    str, typer.Option("--confirm", metavar="CODE", help="Do it: the code that the same command shows without it.")
]
By: TypeAlias = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who asks, for the journal; else the user of the operating system.")
]

Maker: TypeAlias = Callable[..., Fix]


@command(
    shape=shapes.FixResult,
    examples=["mark-complete cmp_1 --dry-run", 'mark-complete cmp_1 --reason "TICKET-12" --confirm k7qf-9mxt-2whd'],
)
def mark_complete(
    call: Call,
    campaign: CampaignId,
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
    confirm: Confirm = "",
) -> Answer:
    """Complete a campaign in which nothing is pending.

    Releases the credits held for it too. Refused, with the numbers, while recipients are open or when the campaign is
    not sending.
    """
    return _fix(call, "mark-complete", manual.mark_complete, campaign, _Asked(tenant, reason, by, confirm, dry_run))


@command(shape=shapes.FixResult, examples=["reenqueue cmp_1 --dry-run", 'reenqueue cmp_1 --reason "jobs were lost"'])
def reenqueue(
    call: Call,
    campaign: CampaignId,
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
    confirm: Confirm = "",
) -> Answer:
    """Put a campaign's missing recipients back in the queue.

    Refused when nothing is missing, and wherever a sweep would not send either: nobody gets a message twice.
    """
    return _fix(call, "reenqueue", manual.reenqueue_one, campaign, _Asked(tenant, reason, by, confirm, dry_run))


@command(shape=shapes.FixResult, examples=["release res_1 --dry-run", 'release res_1 --reason "TICKET-12"'])
def release(
    call: Call,
    reservation: Annotated[str, typer.Argument(metavar="RESERVATION", help="The reservation's id.")],
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
    confirm: Confirm = "",
) -> Answer:
    """Release a reservation that is held for nothing.

    Refused while its campaign may need the credits.
    """
    return _fix(call, "release", manual.release_one, reservation, _Asked(tenant, reason, by, confirm, dry_run))


@command(shape=shapes.FixResult, examples=["history --campaign cmp_1", 'undo 12 --reason "the jobs were there"'])
def undo(
    call: Call,
    repair: Annotated[int, typer.Argument(metavar="REPAIR", min=1, help="The repair's number, from `history`.")],
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
    confirm: Confirm = "",
) -> Answer:
    """Take one repair back.

    Puts the row back as it was, or removes the jobs that no worker has taken yet. Refused when the row was changed
    since. Sweeps leave alone what was undone, until `retry-quarantined`.
    """
    return _fix(call, "undo", undo_repair, repair, _Asked(tenant, reason, by, confirm, dry_run))


@command(
    shape=shapes.FixResult, examples=["send-again cmp_1 --dry-run", 'send-again cmp_1 --reason "they never got it"']
)
def send_again(
    call: Call,
    campaign: CampaignId,
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
    confirm: Confirm = "",
) -> Answer:
    """Put a campaign's ambiguous recipients back, although they may get the message twice.

    They are those whose marker says that the provider may have them; sweeps never decide about them. Their markers are
    deleted.
    """
    return _fix(call, "send-again", ambiguous.send_again, campaign, _Asked(tenant, reason, by, confirm, dry_run))


@command(
    shape=shapes.FixResult, examples=["take-as-sent cmp_1 --dry-run", 'take-as-sent cmp_1 --reason "provider has all"']
)
def take_as_sent(
    call: Call,
    campaign: CampaignId,
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
    confirm: Confirm = "",
) -> Answer:
    """Write a campaign's ambiguous recipients down as sent, although they may have got nothing.

    The role needs the right to update the recipient's status for this; sweeps do not.
    """
    return _fix(call, "take-as-sent", ambiguous.take_as_sent, campaign, _Asked(tenant, reason, by, confirm, dry_run))


@command(shape=shapes.FixResult, examples=['retry-quarantined cmp_1 --reason "the provider is back"'])
def retry_quarantined(
    call: Call,
    campaign: CampaignId,
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
    confirm: Confirm = "",
) -> Answer:
    """Let sweeps repair a given-up or held campaign again.

    A campaign is given up after too many attempts without progress, and held after an undo.
    """
    return _fix(
        call, "retry-quarantined", manual.retry_quarantined, campaign, _Asked(tenant, reason, by, confirm, dry_run)
    )


@command(
    shape=shapes.FixResult,
    examples=["bind public.Campaign --dry-run", 'bind public.Campaign --reason "the queue is sms-send-2 now"'],
)
def bind(
    call: Call,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The campaign table with its schema.")],
    *,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
    confirm: Confirm = "",
) -> Answer:
    """Say that a campaign table's jobs are now where this configuration says.

    A sweep that would look at fewer queues than the last one, or at another Redis, is refused: it would put back what
    waits in the others. When the queue has really moved, and no job is left where it was, this lets sweeps go on.
    Refused while a queue on the same Redis that would no longer be looked at holds jobs.
    """
    return _fix(call, "bind", rebind, table, _Asked(None, reason, by, confirm, dry_run))


@dataclass(frozen=True)
class _Asked:
    """The options of every fix."""

    tenant: str | None
    reason: str
    by: str
    confirm: str
    dry_run: bool


def _fix(call: Call, name: str, make: Maker, target: Any, asked: _Asked) -> Answer:
    """Make one fix and say what it did; without a code say what it would do, and show the code."""
    if not asked.dry_run and not asked.reason.strip():
        raise typer.BadParameter("say why, for the journal (or try it with --dry-run)", param_hint="--reason")
    if asked.dry_run and asked.confirm:
        raise typer.BadParameter("does nothing together with --dry-run", param_hint="--confirm")
    person = Person(asked.by.strip() or operator(), asked.reason.strip(), call.run_id)
    fix_call = FixCall(name, make, target, person, asked.tenant)
    offer = None
    if asked.confirm:
        fix = make_confirmed(call.platform, fix_call, asked.confirm)
    else:
        fix, offer = try_out(call.platform, fix_call)
    undo_line = None
    undoing = UNDOING[KIND_OF_FIX[name]]
    if fix.changed and fix.repair_ids and undoing.possible:
        undo_line = call.command_line("undo", fix.repair_ids[0], "--reason", "WHY")
    do_line = None if offer is None else _do_line(call, fix_call, asked, offer)
    result: shapes.FixResult = {
        "target": fix.target,
        "changed": fix.changed,
        "dry_run": not asked.confirm,
        "message": fix.message,
        "repair_ids": list(fix.repair_ids),
        "undo": undo_line,
        "confirm": do_line,
        "confirm_until": offer.expires_at.isoformat() if offer is not None else None,
    }
    text: list[RenderableType] = [
        line(f"{call.name}: {fix.message}" + ("" if asked.confirm else " (dry run: nothing was changed)"))
    ]
    if undo_line is not None:
        text.append(f"undo it with: {undo_line}")
    if offer is not None:
        text += [
            line(f"it {undoing}"),
            line(f"do exactly this, once, until {offer.expires_at:%H:%M} UTC:"),
            f"  {do_line}",
        ]
    elif not asked.confirm:
        text.append(line("to do it, run `campaign-ops migrate` first"))
    unconfirmed = not asked.confirm and not asked.dry_run
    return Answer(result, text, ExitCode.PERSON if unconfirmed else ExitCode.DONE)


def _do_line(call: Call, fix: FixCall, asked: _Asked, offer: Offer) -> str:
    """The command that does for real what was tried out."""
    tenant = ["--tenant", asked.tenant] if asked.tenant is not None else []
    by = ["--by", asked.by.strip()] if asked.by.strip() else []
    reason = ["--reason", asked.reason.strip() or "WHY"]
    words = [fix.name, "--confirm", offer.code, *tenant, *by, *reason]
    target = str(fix.target)
    if target.startswith("-"):
        return f"{call.command_line(*words)} -- {shlex.quote(target)}"
    return call.command_line(fix.name, target, *words[1:])
