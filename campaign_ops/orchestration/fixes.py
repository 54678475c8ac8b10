"""The manual fixes of the runbook, one op job each: what would be done first, the real thing only when confirmed.

The webserver knows no passwords and a link can launch a run, so the real thing takes the code that only the dry run's
report shows: it lets exactly that fix pass, once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from campaign_ops.core.confirmation import Offer
from campaign_ops.core.model import RepairKind
from campaign_ops.core.undoing import KIND_OF_FIX, UNDOING
from campaign_ops.fixes import ambiguous, manual
from campaign_ops.fixes.confirm import FixCall, make_confirmed, try_out
from campaign_ops.fixes.manual import Fix, Person
from campaign_ops.fixes.undo import undo
from campaign_ops.orchestration.names import FIX, asset_key, job_name, pool, resource_key, run_tags
from campaign_ops.orchestration.resources import resource_of
from campaign_ops.platform import Platform
from campaign_ops.settings import PlatformSettings


class FixConfig(dg.Config):
    """What every fix asks for."""

    by: str = Field(min_length=1, description="Who asks; stands in the journal.")
    reason: str = Field(min_length=1, description="Why; stands in the journal.")
    tenant: str | None = Field(default=None, description="Refuse unless it belongs to this tenant.")
    dry_run: bool = Field(default=True, description="Only say what would be done.")
    confirm: str = Field(default="", description="For the real thing, the code that the dry run shows.")

    def target(self) -> str:
        """The id of what is to be fixed."""
        raise NotImplementedError


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
    """A fix of one repair of ours."""

    repair_id: int = Field(description="The repair's number in the journal.")

    def target(self) -> str:
        """The repair's number."""
        return str(self.repair_id)


@dataclass(frozen=True)
class ManualFix:
    """One fix: its name here and as a command, what it asks for and calls, and the asset whose page shows it."""

    name: str
    command: str
    config: type[FixConfig]
    work: Callable[..., Fix]
    asset: str
    description: str
    part: str | None = None


def _undo(platform: Platform, repair_id: str, person: Person, **options: Any) -> Fix:
    return undo(platform, int(repair_id), person, **options)


MANUAL_FIXES = (
    ManualFix(
        "mark_campaign_complete",
        "mark-complete",
        CampaignFix,
        manual.mark_complete,
        "completed_campaigns",
        "Complete one campaign in which nothing is pending, whatever its age, and release what is held for it.",
    ),
    ManualFix(
        "reenqueue_campaign",
        "reenqueue",
        CampaignFix,
        manual.reenqueue_one,
        "reenqueued_batches",
        "Put one campaign's missing recipients back into the queue.",
        part="queue",
    ),
    ManualFix(
        "release_reservation",
        "release",
        ReservationFix,
        manual.release_one,
        "released_credits",
        "Release one reservation that is held for nothing.",
        part="reservation",
    ),
    ManualFix(
        "undo_repair",
        "undo",
        RepairFix,
        _undo,
        "repair_plan",
        "Take one repair back: the row exactly as it was, or nothing. Sweeps leave it alone from then on.",
    ),
    ManualFix(
        "retry_quarantined",
        "retry-quarantined",
        CampaignFix,
        manual.retry_quarantined,
        "repair_plan",
        "Let sweeps repair a campaign again that was given up or that a person holds.",
    ),
    ManualFix(
        "send_again",
        "send-again",
        CampaignFix,
        ambiguous.send_again,
        "reenqueued_batches",
        "Put recipients back whom a marker says that the provider may have: somebody may get the message twice.",
        part="queue",
    ),
    ManualFix(
        "take_as_sent",
        "take-as-sent",
        CampaignFix,
        ambiguous.take_as_sent,
        "recipient_status",
        "Write recipients down as sent whom a marker says that the provider may have: somebody may have got nothing.",
        part="queue",
    ),
)


def fix_jobs(platform: PlatformSettings, max_runtime: timedelta) -> list[dg.JobDefinition]:
    """The fixes that make sense for this platform."""
    missing = {"queue": platform.profile.queue is None, "reservation": platform.profile.reservation is None}
    return [_job(platform, fix, max_runtime) for fix in MANUAL_FIXES if not missing.get(fix.part or "", False)]


def _job(platform: PlatformSettings, fix: ManualFix, max_runtime: timedelta) -> dg.JobDefinition:
    name = job_name(platform.name, fix.name)

    @dg.op(
        name=f"{name}_now",
        description=fix.description,
        config_schema=fix.config.to_config_schema().as_field(),
        out=dg.Out(dg.Nothing),
        required_resource_keys={resource_key(platform.name)},
        pool=pool(platform.name),
    )
    def apply(context: dg.OpExecutionContext) -> None:
        _apply(context, platform, fix, fix.config(**context.op_config))

    @dg.job(
        name=name,
        description=(
            f"{fix.description} It {UNDOING[KIND_OF_FIX[fix.command]]}."
            " A dry run, which shows a code; for real with `dry_run: false` and that code."
        ),
        tags=run_tags(platform.name, FIX, max_runtime),
    )
    def fix_job() -> None:
        apply()

    return fix_job


def _apply(context: dg.OpExecutionContext, platform: PlatformSettings, fix: ManualFix, config: FixConfig) -> None:
    target = config.target()
    person = Person(config.by, config.reason, context.run.run_id, trigger="dagster")
    with resource_of(context, platform.name).platform() as watched:
        call = FixCall(fix.command, fix.work, target, person, config.tenant)
        if config.dry_run:
            done, offer = try_out(watched, call)
        else:
            done, offer = make_confirmed(watched, call, config.confirm), None
        asset = _asset_of(watched, fix, target)
    said: Mapping[str, Any] = {
        "message": done.message,
        "target": done.target,
        "changed": done.changed,
        "by": config.by,
        "reason": config.reason,
        "undo": str(UNDOING[KIND_OF_FIX[fix.command]]),
        "repairs": ", ".join(map(str, done.repair_ids)),
        **_how_to_confirm(offer),
    }
    context.log.info(done.message)
    context.add_output_metadata(said)
    if done.changed:
        context.log_event(dg.AssetObservation(asset_key(platform.name, asset), done.message, metadata=said))


def _how_to_confirm(offer: Offer | None) -> dict[str, str]:
    if offer is None:
        return {}
    until = f"{offer.expires_at:%Y-%m-%d %H:%M} UTC"
    return {
        "confirm": offer.code,
        "in_words": f"Do exactly this, once, with dry_run: false, confirm: {offer.code}, until {until}.",
    }


def _asset_of(platform: Platform, fix: ManualFix, target: str) -> str:
    """The asset whose table a fix has changed: of an undone repair, the one that the repair stands in."""
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
