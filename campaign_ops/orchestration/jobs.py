"""The two jobs of a sweep: the whole sweep, and the dry run up to the plan."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from campaign_ops.orchestration.assets import planning, steps
from campaign_ops.orchestration.names import PLAN, RECONCILE, asset_key, job_name, run_tags
from campaign_ops.settings import PlatformSettings

AssetJob: TypeAlias = UnresolvedAssetJobDefinition


def reconcile_job(platform: PlatformSettings, max_runtime: timedelta) -> AssetJob:
    """Observe, decide, act, report."""
    return _job(
        platform,
        RECONCILE,
        {step.name for step in steps(platform.profile)},
        "One sweep: find stuck campaigns, explain them, repair what is safe to repair, report.",
        max_runtime,
    )


def plan_job(platform: PlatformSettings, max_runtime: timedelta) -> AssetJob:
    """The dry run."""
    return _job(
        platform,
        PLAN,
        planning(platform.profile),
        "The dry run: what a sweep would do now, to which campaigns, and why. Writes nothing to the platform.",
        max_runtime,
    )


def _job(platform: PlatformSettings, work: str, names: set[str], description: str, max_runtime: timedelta) -> AssetJob:
    return dg.define_asset_job(
        job_name(platform.name, work),
        selection=dg.AssetSelection.assets(*(asset_key(platform.name, name) for name in sorted(names))),
        description=description,
        tags=run_tags(platform.name, work, max_runtime),
    )
