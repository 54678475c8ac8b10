"""The steps of a sweep as assets. Each connects to the platform, calls one step of `Sweep`, and reports what it did.

A step passes its results to the next through the database. Nothing is returned, pickled or kept on a local disk, so
steps may run on different machines.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

from campaign_ops.orchestration import metadata
from campaign_ops.orchestration.endings import REFUSALS, forget_outcome, refused
from campaign_ops.orchestration.lineage import column_lineage
from campaign_ops.orchestration.metadata import Metadata
from campaign_ops.orchestration.names import owners
from campaign_ops.orchestration.resources import IO_MANAGER, PlatformSource, Resources, resource_of
from campaign_ops.orchestration.sources import console_link, database_name, sources
from campaign_ops.profile.model import Profile
from campaign_ops.queries.columns import columns_of, view_of
from campaign_ops.queries.latest import row_count
from campaign_ops.sweep import Sweep


@dataclass(frozen=True)
class Step:
    """One asset: the step of a sweep that makes it, and the assets that it reads.

    ``part`` is the part of a profile that the step needs; None if every profile has it.
    """

    name: str
    reads: tuple[str, ...]
    work: Callable[[Sweep, PlatformSource], Metadata]
    description: str
    kinds: frozenset[str] = frozenset({"python", "postgres"})
    part: str | None = None


def _stuck(sweep: Sweep, _: PlatformSource) -> Metadata:
    return metadata.of_stuck(sweep.find_stuck(), sweep.platform.policy.alert_after_seconds)


def _plan(sweep: Sweep, source: PlatformSource) -> Metadata:
    plan = sweep.make_plan()
    offers = sweep.offers() if plan.tripped() or plan.alarm else []
    return metadata.of_plan(plan, offers, source)


def _complete(sweep: Sweep, _: PlatformSource) -> Metadata:
    plan = sweep.load_plan()
    return metadata.of_completed(*sweep.complete(plan), plan)


def _reenqueue(sweep: Sweep, _: PlatformSource) -> Metadata:
    plan = sweep.load_plan()
    return metadata.of_reenqueued(sweep.reenqueue(plan), plan)


def _release(sweep: Sweep, _: PlatformSource) -> Metadata:
    plan = sweep.load_plan()
    return metadata.of_released(sweep.release(plan), plan)


_OBSERVED = (
    Step(
        "stuck_campaigns",
        ("campaign",),
        _stuck,
        "Campaigns in sending that have not been touched for `stuck_after_seconds`.",
    ),
    Step(
        "recipient_status",
        ("stuck_campaigns", "recipient"),
        lambda sweep, _: metadata.of_recipients(sweep.tally()),
        "Recipients of every stuck campaign by state, and how the campaign's own counters differ from these numbers.",
    ),
    Step(
        "queue_state",
        ("queue",),
        lambda sweep, _: metadata.of_queue(sweep.read_queue()),
        "Jobs of the queue by state, its workers, and whether all was read. A failed read is not an empty queue.",
        frozenset({"python", "redis", "postgres"}),
        part="queue",
    ),
)
_DECIDED = (
    Step(
        "repair_plan",
        ("recipient_status", "queue_state", "reservation"),
        _plan,
        "The dry run: each planned repair, its target and the reason. The repairs take their campaigns from here, and"
        " observe each of them again before they write.",
    ),
)
_ACTED = (
    Step(
        "completed_campaigns",
        ("repair_plan",),
        _complete,
        "Finished campaigns that were still in sending, completed; their reservations were released with them. Each"
        " write repeats its premise, and the rows that changed are counted.",
    ),
    Step(
        "reenqueued_batches",
        ("repair_plan",),
        _reenqueue,
        "Batches of recipients that no job covered, put back into the queue under new job ids.",
        frozenset({"python", "redis", "postgres"}),
        part="queue",
    ),
    Step(
        "released_credits",
        ("repair_plan",),
        _release,
        "Credits that were held for nothing, released, each reservation once.",
        part="reservation",
    ),
    Step(
        "campaign_health",
        ("completed_campaigns", "reenqueued_batches", "released_credits"),
        lambda sweep, source: metadata.of_health(sweep.report(), source.settings.console),
        "The health report: the stuck campaigns, the reasons, what was done about them, and what needs a person.",
    ),
)


def steps(profile: Profile) -> Iterator[Step]:
    """The steps of a sweep over a platform of this kind, in order."""
    parts = sources(profile)
    return (step for step in (*_OBSERVED, *_DECIDED, *_ACTED) if step.part is None or step.part in parts)


def planning(profile: Profile) -> set[str]:
    """The steps that only read: up to the plan."""
    return {step.name for step in steps(profile)} & {step.name for step in (*_OBSERVED, *_DECIDED)}


def sweep_assets(source: PlatformSource, resources: Resources, stale_after: timedelta) -> list[dg.AssetsDefinition]:
    """The assets of one platform.

    Args:
        source: The platform.
        resources: What its steps need.
        stale_after: The age at which Dagster shows the health report as stale.
    """
    fresh = dg.FreshnessPolicy.time_window(fail_window=stale_after)
    assets = [
        _asset(source, step, fresh if step.name == "campaign_health" else None)
        for step in steps(source.settings.profile)
    ]
    return list(dg.with_resources(assets, resources))


def _asset(source: PlatformSource, step: Step, fresh: dg.FreshnessPolicy | None) -> dg.AssetsDefinition:
    platform, names = source.settings, source.names
    key = names.asset(step.name)
    existing = {*sources(platform.profile), *(other.name for other in steps(platform.profile))}
    view = view_of(step.name)

    @dg.asset(
        key=key,
        deps=[names.asset(name) for name in step.reads if name in existing],
        group_name=names.group,
        kinds=set(step.kinds),
        owners=owners(platform.contact),
        description=f"{step.description}\n\nView `{view}` shows the latest sweep, `{view}_history` all of them.",
        metadata={
            "dagster/table_name": f"{database_name(platform)}.{view}",
            "dagster/column_schema": column_schema(step.name),
            "dagster/column_lineage": column_lineage(source, step.name, existing),
            **console_link(platform),
        },
        freshness_policy=fresh,
        required_resource_keys={names.resource},
        io_manager_key=IO_MANAGER,
        pool=names.pool,
        output_required=False,
    )
    def compute(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        resource = resource_of(context, names)
        if resource.is_new:
            forget_outcome(context)
        try:
            with resource.sweep(context.run, step.name, _coming(context, source)) as sweep:
                facts = step.work(sweep, source)
                known = sweep.row_count(step.name)
                rows = row_count(sweep.platform, step.name) if known is None else known
        except REFUSALS as refusal:
            # Without a result Dagster skips the steps that follow.
            context.log_event(dg.AssetObservation(key, str(refusal), metadata=refused(context, refusal)))
        else:
            yield dg.MaterializeResult(metadata={**facts, "dagster/row_count": rows})

    return compute


def _coming(context: dg.AssetExecutionContext, source: PlatformSource) -> list[str]:
    """The steps of this run, which share one look where one process makes all of them."""
    selected = context.job_def.asset_layer.selected_asset_keys
    return [step.name for step in steps(source.settings.profile) if source.names.asset(step.name) in selected]


def column_schema(step: str) -> dg.TableSchema:
    """The columns of an asset's table in schema ``campaign_ops``, as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                description=column.meaning,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in columns_of(step)
        ]
    )
