"""The manual fixes, one op job each: first a dry run, then the fix itself, which needs a confirmation.

The webserver has no login and a link can launch a run. So a fix needs the code that only the report of its dry run
shows; the code lets exactly that fix pass, once.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field, ValidationError

from campaign_ops.core.confirmation import Offer
from campaign_ops.core.errors import Refused
from campaign_ops.core.model import RepairKind
from campaign_ops.fixes.confirm import FixCall, make_confirmed, try_out
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.table import FIXES
from campaign_ops.orchestration.endings import REFUSALS, failing_in_one_line, forget_outcome, refused, tag_outcome
from campaign_ops.orchestration.jobs import IN_ONE_PROCESS
from campaign_ops.orchestration.names import FIX
from campaign_ops.orchestration.resources import PlatformSource, no_hand_over
from campaign_ops.orchestration.sources import sources
from campaign_ops.platform import Platform


class FixConfig(dg.Config):
    """The configuration of every fix."""

    by: str = Field(min_length=1, description="Who asks for it, for the journal.")
    reason: str = Field(min_length=1, description="Why, for the journal.")
    tenant: str | None = Field(default=None, description="Refuse unless it belongs to this tenant.")
    dry_run: bool = Field(default=True, description="Only show what would be done.")
    confirm: str = Field(default="", description="With dry_run: false, the code that the dry run shows.")

    def target(self) -> str | int:
        """The id of the campaign, reservation or repair."""
        raise NotImplementedError

    @classmethod
    def blank(cls) -> dict[str, Any]:
        """All fields: those to be filled in, then the others with their defaults."""
        required = {name: "" for name, field in cls.model_fields.items() if field.is_required()}
        return required | {name: field.default for name, field in cls.model_fields.items() if name not in required}


class CampaignFix(FixConfig):
    """A fix of one campaign."""

    campaign_id: str = Field(min_length=1, description="The campaign.")

    def target(self) -> str:
        """The campaign."""
        return self.campaign_id


class ReservationFix(FixConfig):
    """A fix of one reservation."""

    reservation_id: str = Field(min_length=1, description="The reservation.")

    def target(self) -> str:
        """The reservation."""
        return self.reservation_id


class RepairFix(FixConfig):
    """A fix of one earlier repair."""

    repair_id: int = Field(ge=1, description="The repair's number in the journal.")

    def target(self) -> int:
        """The repair's number."""
        return self.repair_id

    @classmethod
    def blank(cls) -> dict[str, Any]:
        """All fields; no repair has the number 0."""
        return super().blank() | {"repair_id": 0}


@dataclass(frozen=True)
class FixJob:
    """One fix: its name here and on the command line, its configuration, the asset whose page shows it.

    ``part`` is the part of a profile that it needs; None if every profile has it.
    """

    name: str
    command: str
    config: type[FixConfig]
    asset: str
    description: str
    part: str | None = None


FIX_JOBS = (
    FixJob(
        "mark_campaign_complete",
        "mark-complete",
        CampaignFix,
        "completed_campaigns",
        "Complete one campaign in which nothing is pending, whatever its age, and release the credits held for it.",
    ),
    FixJob(
        "reenqueue_campaign",
        "reenqueue",
        CampaignFix,
        "reenqueued_batches",
        "Put one campaign's missing recipients back into the queue.",
        part="queue",
    ),
    FixJob(
        "release_reservation",
        "release",
        ReservationFix,
        "released_credits",
        "Release one reservation that is held for nothing.",
        part="reservation",
    ),
    FixJob(
        "undo_repair",
        "undo",
        RepairFix,
        "repair_plan",
        "Undo one repair: restore the row exactly, or change nothing. Sweeps leave it alone from then on.",
    ),
    FixJob(
        "retry_quarantined",
        "retry-quarantined",
        CampaignFix,
        "repair_plan",
        "Let sweeps repair a quarantined or held campaign again.",
    ),
    FixJob(
        "send_again",
        "send-again",
        CampaignFix,
        "reenqueued_batches",
        "Put a campaign's ambiguous recipients back into the queue, although they may get the message twice.",
        part="queue",
    ),
    FixJob(
        "take_as_sent",
        "take-as-sent",
        CampaignFix,
        "recipient_status",
        "Record a campaign's ambiguous recipients as sent, although they may have got nothing.",
        part="queue",
    ),
)


def fix_jobs(source: PlatformSource) -> list[dg.JobDefinition]:
    """The fixes that make sense for this platform."""
    parts = sources(source.settings.profile)
    return [_job(source, fix) for fix in FIX_JOBS if fix.part is None or fix.part in parts]


def _job(source: PlatformSource, fix: FixJob) -> dg.JobDefinition:
    name = source.names.job(fix.name)

    @dg.op(
        name=f"{name}_now",
        description=fix.description,
        config_schema=fix.config.to_config_schema().as_field(),
        out=dg.Out(dg.Nothing),
        pool=source.names.pool,
    )
    def apply(context: dg.OpExecutionContext) -> None:
        forget_outcome(context)
        try:
            _apply(context, source, fix)
        except REFUSALS as refusal:
            context.add_output_metadata(refused(context, refusal))

    @dg.job(
        name=name,
        description=(
            f"{fix.description} It {FIXES[fix.command].undoing}."
            " By default a dry run, which shows a code; `dry_run: false` and that code make the fix."
        ),
        tags=source.tags(FIX),
        resource_defs={"io_manager": no_hand_over},
        executor_def=IN_ONE_PROCESS,
        # The launchpad shows these lines, to be filled in; the schema's defaults lack the fields that have none.
        config={"ops": {f"{name}_now": {"config": fix.config.blank()}}},
    )
    def fix_job() -> None:
        apply()

    return fix_job


def _apply(context: dg.OpExecutionContext, source: PlatformSource, fix: FixJob) -> None:
    config = _filled_in(fix, context.op_config)
    target = config.target()
    person = Person(config.by, config.reason, context.run.run_id, trigger="dagster")
    with failing_in_one_line(), closing(source.make()) as watched:
        call = FixCall(fix.command, target, person, config.tenant)
        if config.dry_run:
            outcome, offer = try_out(watched, call)
        else:
            outcome, offer = make_confirmed(watched, call, config.confirm), None
        asset = _asset_of(watched, fix, target)
    ended = "dry_run" if config.dry_run else "changed" if outcome.changed else "unchanged"
    metadata: Mapping[str, Any] = {
        "outcome": ended,
        "message": outcome.message,
        **_how_to_confirm(offer),
        "target": outcome.target,
        "changed": outcome.changed,
        "by": config.by,
        "reason": config.reason,
        "undo": str(FIXES[fix.command].undoing),
        "repairs": ", ".join(map(str, outcome.repair_ids)),
    }
    context.log.info(outcome.message)
    tag_outcome(context, ended)
    context.add_output_metadata(metadata)
    if outcome.changed:
        context.log_event(dg.AssetObservation(source.names.asset(asset), outcome.message, metadata=metadata))


def _filled_in(fix: FixJob, fields: Mapping[str, Any]) -> FixConfig:
    """The configuration of a run.

    Raises:
        Refused: A field is still as blank as the launchpad shows it.
    """
    try:
        return fix.config(**fields)
    except ValidationError as error:
        blank = ", ".join(str(problem["loc"][0]) for problem in error.errors())
        raise Refused(f"not filled in: {blank}", where=fix.command, mend="launch it again with these fields") from None


def _how_to_confirm(offer: Offer | None) -> dict[str, str]:
    if offer is None:
        return {}
    until = f"{offer.expires_at:%Y-%m-%d %H:%M} UTC"
    return {
        "confirm": offer.code,
        "in_words": f"To do exactly this, once, before {until}: dry_run: false, confirm: {offer.code}.",
    }


def _asset_of(platform: Platform, fix: FixJob, target: str | int) -> str:
    """The asset whose table a fix changed; for an undo, the asset that shows the undone repair."""
    if fix.config is not RepairFix:
        return fix.asset
    repair = platform.database.run(lambda connection: platform.journal.repair(connection, int(target)), read_only=True)
    return _TABLES.get(repair["kind"], fix.asset) if repair else fix.asset


_TABLES = {
    RepairKind.COMPLETE.value: "completed_campaigns",
    RepairKind.REENQUEUE.value: "reenqueued_batches",
    RepairKind.RELEASE.value: "released_credits",
    RepairKind.RECOUNT.value: "completed_campaigns",
}
