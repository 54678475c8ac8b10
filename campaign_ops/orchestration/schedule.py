"""The schedule of a platform: sweeps by the clock, and skips while a run of the platform is active."""

import dagster as dg

from campaign_ops.orchestration.active_run import active_run
from campaign_ops.orchestration.jobs import AssetJob
from campaign_ops.orchestration.resources import PlatformSource


def reconcile_schedule(source: PlatformSource, job: AssetJob) -> dg.ScheduleDefinition:
    """The schedule of one platform, on by default."""

    @dg.schedule(
        name=source.names.schedule,
        job=job,
        cron_schedule=source.settings.schedule,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sweeps by the clock; skips while a run of this platform is active.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time
        if busy := active_run(context.instance, source.settings.name, source.max_runtime, now):
            return dg.SkipReason(f"{busy}; the next tick decides from the same state")
        return dg.RunRequest()

    return tick
