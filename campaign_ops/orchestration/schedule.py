"""The schedule of a platform: sweeps by the clock, and skips while a run of the platform is active."""

from datetime import timedelta

import dagster as dg

from campaign_ops.orchestration.active_run import active_run
from campaign_ops.orchestration.jobs import AssetJob
from campaign_ops.orchestration.names import RECONCILE, job_name
from campaign_ops.settings import PlatformSettings


def schedule_name(platform: str) -> str:
    """The name of a platform's schedule, also when its configuration is wrong."""
    return job_name(platform, f"{RECONCILE}_schedule")


def reconcile_schedule(platform: PlatformSettings, job: AssetJob, max_runtime: timedelta) -> dg.ScheduleDefinition:
    """The schedule of one platform, on by default."""

    @dg.schedule(
        name=schedule_name(platform.name),
        job=job,
        cron_schedule=platform.schedule,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sweeps by the clock; skips while a run of this platform is active.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time
        if busy := active_run(context.instance, platform.name, max_runtime, now):
            return dg.SkipReason(f"{busy}; the next tick decides from the same state")
        return dg.RunRequest()

    return tick
