"""The manual fixes of the runbook, one op job each: what would be done first, the real thing only when confirmed.

The webserver knows no passwords and a link can launch a run, so the real thing takes a value that only a person who
looked can give: the id again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import RepairKind
from campaign_ops.orchestration.names import FIX, asset_key, job_name, pool, resource_key, run_tags
from campaign_ops.orchestration.resources import resource_of
from campaign_ops.platform.platform import Platform
from campaign_ops.settings import PlatformSettings
from campaign_ops.sweep import ambiguous, manual
from campaign_ops.sweep.manual import Fix, Person
from campaign_ops.sweep.undo import undo


class FixConfig(dg.Config):
    """What every fix asks for."""

    by: str = Field(min_length=1, description="Who asks; stands in the journal.")
    reason: str = Field(min_length=1, description="Why; stands in the journal.")
    tenant: str | None = Field(default=None, description="Refuse unless it belongs to this tenant.")
    dry_run: bool = Field(default=True, description="Only say what would be done.")
    confirm: str = Field(default="", description="For the real thing, the same id once more.")

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
    """One fix: what it asks for, what it calls, and the asset whose page shows that it was done."""

    name: str
    config: type[FixConfig]
    work: Callable[..., Fix]
    asset: str
    description: str
    part: str | None = None


def _undo(platform: Platform, repair_id: str, person: Person, **options: Any) -> Fix:
    return undo(platform, int(repair_id), person, **options)


_FIXES = (
    ManualFix(
        "mark_campaign_complete",
        CampaignFix,
        manual.mark_complete,
        "completed_campaigns",
        "Complete one campaign in which nothing is pending, whatever its age, and release what is held for it.",
    ),
    ManualFix(
        "reenqueue_campaign",
        CampaignFix,
        manual.reenqueue_one,
        "reenqueued_batches",
        "Put one campaign's missing recipients back into the queue.",
        part="queue",
    ),
    ManualFix(
        "release_reservation",
        ReservationFix,
        manual.release_one,
        "released_credits",
        "Release one reservation that is held for nothing.",
        part="reservation",
    ),
    ManualFix(
        "undo_repair",
        RepairFix,
        _undo,
        "repair_plan",
        "Take one repair back: the row exactly as it was, or nothing. Sweeps leave it alone from then on.",
    ),
    ManualFix(
        "retry_quarantined",
        CampaignFix,
        manual.retry_quarantined,
        "repair_plan",
        "Let sweeps repair a campaign again that was given up or that a person holds.",
    ),
    ManualFix(
        "send_again",
        CampaignFix,
        ambiguous.send_again,
        "reenqueued_batches",
        "Put recipients back whom a marker says that the provider may have: somebody may get the message twice.",
        part="queue",
    ),
    ManualFix(
        "take_as_sent",
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
    return [_job(platform, fix, max_runtime) for fix in _FIXES if not missing.get(fix.part or "", False)]


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
        description=f"{fix.description} A dry run unless `dry_run: false` and `confirm` repeats the id.",
        tags=run_tags(platform.name, FIX, max_runtime),
    )
    def fix_job() -> None:
        apply()

    return fix_job


def _apply(context: dg.OpExecutionContext, platform: PlatformSettings, fix: ManualFix, config: FixConfig) -> None:
    target = config.target()
    person = Person(config.by, config.reason, context.run.run_id, trigger="dagster")
    with resource_of(context, platform.name).platform() as watched:
        if not config.dry_run and config.confirm != target:
            raise Refused(
                f"confirm is {config.confirm!r}, not {target!r}; nothing was done",
                where=fix.name,
                mend=f"look at the dry run, then give confirm: {target!r}",
            )
        done = fix.work(watched, target, person, tenant=config.tenant, dry_run=config.dry_run)
        asset = _asset_of(watched, fix, target)
    said: Mapping[str, Any] = {
        "message": done.message,
        "target": done.target,
        "changed": done.changed,
        "by": config.by,
        "reason": config.reason,
        "repairs": ", ".join(map(str, done.repair_ids)),
    }
    context.log.info(done.message)
    context.add_output_metadata(said)
    if done.changed:
        context.log_event(dg.AssetObservation(asset_key(platform.name, asset), done.message, metadata=said))


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
