"""All definitions of one platform, built the same way for each. Connects to nothing."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from campaign_ops.orchestration.assets import sweep_assets
from campaign_ops.orchestration.checks import MISSED_TICKS, sweep_checks
from campaign_ops.orchestration.cron import longest_pause
from campaign_ops.orchestration.fixes import fix_jobs
from campaign_ops.orchestration.incidents import incident_sensor
from campaign_ops.orchestration.jobs import plan_job, reconcile_job
from campaign_ops.orchestration.names import MAX_RUNTIME, resource_key
from campaign_ops.orchestration.resources import Connect, PlatformResource, PlatformSource, no_hand_over
from campaign_ops.orchestration.schedule import reconcile_schedule
from campaign_ops.orchestration.sensors import queue_backlog, startup_sweep
from campaign_ops.orchestration.sources import source_specs
from campaign_ops.settings import PlatformSettings


def platform_definitions(
    platform: PlatformSettings, connect: Connect, *, max_runtime: timedelta = MAX_RUNTIME
) -> dg.Definitions:
    """The assets, checks, jobs, schedule and sensors of one platform.

    Args:
        platform: Its settings.
        connect: Makes the platform when a step needs it.
        max_runtime: The age at which a run is considered dead.
    """
    source = PlatformSource(platform, connect)
    # Bound here: a resource of all definitions is offered to the jobs of every platform.
    resource = PlatformResource(source=source).get_resource_definition()
    own = {resource_key(platform.name): resource, "io_manager": no_hand_over}
    reconcile = reconcile_job(platform, max_runtime)
    sensors = [startup_sweep(platform, reconcile, max_runtime), incident_sensor(source)]
    if platform.profile.queue is not None:
        sensors.append(queue_backlog(source, reconcile, max_runtime))
    stale_after = MISSED_TICKS * longest_pause(platform.schedule)
    return dg.Definitions(
        assets=[*source_specs(platform), *dg.with_resources(sweep_assets(platform, stale_after), own)],
        asset_checks=dg.with_resources([sweep_checks(platform)], own),
        jobs=[reconcile, plan_job(platform, max_runtime), *fix_jobs(source, max_runtime)],
        schedules=[reconcile_schedule(platform, reconcile, max_runtime)],
        sensors=sensors,
    )
