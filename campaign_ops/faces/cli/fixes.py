"""The runbook's manual fixes, one command each: refused unless the premise holds, journaled with name and reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import RenderableType

from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.app import command
from campaign_ops.faces.cli.runner import Answer, Call, operator
from campaign_ops.faces.cli.screen import line
from campaign_ops.sweep import ambiguous, manual
from campaign_ops.sweep.manual import Fix, Person
from campaign_ops.sweep.undo import undo as undo_repair

CampaignId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id.")]
Tenant: TypeAlias = Annotated[
    str | None, typer.Option("--tenant", metavar="ID", help="Refuse unless it belongs to this owner.")
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Only say whether and how it would be done.")]
Reason: TypeAlias = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, for the journal; needed unless --dry-run.")
]
By: TypeAlias = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who asks, for the journal; else the user of the operating system.")
]

Maker: TypeAlias = Callable[..., Fix]

_UNDOABLE = (manual.mark_complete, manual.reenqueue_one, manual.release_one)


@command(shape=shapes.FixResult, examples=["mark-complete cmp_1 --dry-run", 'mark-complete cmp_1 --reason "TICKET-12"'])
def mark_complete(
    call: Call,
    campaign: CampaignId,
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
) -> Answer:
    """Complete a campaign in which nothing is pending.

    Releases the credits held for it too. Refused, with the numbers, while recipients are open or when the campaign is
    not sending.
    """
    return _fix(call, manual.mark_complete, campaign, tenant, reason, by, dry_run=dry_run)


@command(shape=shapes.FixResult, examples=["reenqueue cmp_1 --dry-run", 'reenqueue cmp_1 --reason "jobs were lost"'])
def reenqueue(
    call: Call,
    campaign: CampaignId,
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
) -> Answer:
    """Put a campaign's missing recipients back in the queue.

    Refused when nothing is missing, and wherever a sweep would not send either: nobody gets a message twice.
    """
    return _fix(call, manual.reenqueue_one, campaign, tenant, reason, by, dry_run=dry_run)


@command(shape=shapes.FixResult, examples=["release res_1 --dry-run", 'release res_1 --reason "TICKET-12"'])
def release(
    call: Call,
    reservation: Annotated[str, typer.Argument(metavar="RESERVATION", help="The reservation's id.")],
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
) -> Answer:
    """Release a reservation that is held for nothing.

    Refused while its campaign may need the credits.
    """
    return _fix(call, manual.release_one, reservation, tenant, reason, by, dry_run=dry_run)


@command(shape=shapes.FixResult, examples=["history --campaign cmp_1", 'undo 12 --reason "the jobs were there"'])
def undo(
    call: Call,
    repair: Annotated[int, typer.Argument(metavar="REPAIR", min=1, help="The repair's number, from `history`.")],
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
) -> Answer:
    """Take one repair back.

    Puts the row back as it was, or removes the jobs that no worker has taken yet. Refused when the row was changed
    since. Sweeps leave alone what was undone, until `retry-quarantined`.
    """
    return _fix(call, undo_repair, repair, tenant, reason, by, dry_run=dry_run)


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
) -> Answer:
    """Put a campaign's ambiguous recipients back, although they may get the message twice.

    They are those whose marker says that the provider may have them; sweeps never decide about them. Their markers are
    deleted.
    """
    return _fix(call, ambiguous.send_again, campaign, tenant, reason, by, dry_run=dry_run)


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
) -> Answer:
    """Write a campaign's ambiguous recipients down as sent, although they may have got nothing.

    The role needs the right to update the recipient's status for this; sweeps do not.
    """
    return _fix(call, ambiguous.take_as_sent, campaign, tenant, reason, by, dry_run=dry_run)


@command(shape=shapes.FixResult, examples=['retry-quarantined cmp_1 --reason "the provider is back"'])
def retry_quarantined(
    call: Call,
    campaign: CampaignId,
    *,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    reason: Reason = "",
    by: By = "",
) -> Answer:
    """Let sweeps repair a given-up or held campaign again.

    A campaign is given up after too many attempts without progress, and held after an undo.
    """
    return _fix(call, manual.retry_quarantined, campaign, tenant, reason, by, dry_run=dry_run)


def _fix(call: Call, make: Maker, target: Any, tenant: str | None, reason: str, by: str, *, dry_run: bool) -> Answer:
    """Make one fix and say what it did."""
    if not dry_run and not reason.strip():
        raise typer.BadParameter("say why, for the journal (or try it with --dry-run)", param_hint="--reason")
    person = Person(by.strip() or operator(), reason.strip(), call.run_id)
    fix = make(call.platform, target, person, tenant=tenant, dry_run=dry_run)
    undo_line = None
    if fix.changed and fix.repair_ids and make in _UNDOABLE:
        undo_line = call.command_line("undo", fix.repair_ids[0], "--reason", "WHY")
    result: shapes.FixResult = {
        "target": fix.target,
        "changed": fix.changed,
        "dry_run": dry_run,
        "message": fix.message,
        "repair_ids": list(fix.repair_ids),
        "undo": undo_line,
    }
    text: list[RenderableType] = [
        line(f"{call.name}: {fix.message}" + (" (dry run: nothing was changed)" if dry_run else ""))
    ]
    if undo_line is not None:
        text.append(f"undo it with: {undo_line}")
    return Answer(result, text)
