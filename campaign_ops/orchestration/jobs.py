"""The two jobs of a sweep: the whole sweep, and the dry run up to the plan."""

from __future__ import annotations

from typing import TypeAlias

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from campaign_ops.orchestration.assets import planning, steps
from campaign_ops.orchestration.names import PLAN, RECONCILE
from campaign_ops.orchestration.resources import PlatformSource

AssetJob: TypeAlias = UnresolvedAssetJobDefinition

IN_ONE_PROCESS = dg.in_process_executor
"""Of every job of ours, whatever the project's executor: one process for each step takes five times as long."""


def reconcile_job(source: PlatformSource) -> AssetJob:
    """Observe, decide, act, report."""
    return _job(
        source,
        RECONCILE,
        {step.name for step in steps(source.settings.profile)},
        "One sweep: find stuck campaigns, explain them, repair what is safe to repair, report.",
    )


def plan_job(source: PlatformSource) -> AssetJob:
    """The dry run."""
    return _job(
        source,
        PLAN,
        planning(source.settings.profile),
        "The dry run: what a sweep would do now, to which campaigns, and why. Writes nothing to the platform.",
    )


def _job(source: PlatformSource, work: str, assets: set[str], description: str) -> AssetJob:
    return dg.define_asset_job(
        source.names.job(work),
        selection=dg.AssetSelection.assets(*(source.names.asset(name) for name in sorted(assets))),
        description=description,
        tags=source.tags(work),
        executor_def=IN_ONE_PROCESS,
    )
