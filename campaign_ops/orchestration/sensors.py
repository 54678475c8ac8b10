"""When a platform is swept besides the clock: its queue has backed up or run dry, or the deployment has started.

A sensor that could not read what it watches says so and remembers nothing: a failed read is never an empty queue.
"""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import dagster as dg

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.orchestration.active_run import active_run
from campaign_ops.orchestration.backlog import Watched, notice
from campaign_ops.orchestration.jobs import AssetJob
from campaign_ops.orchestration.names import job_name, resource_key
from campaign_ops.orchestration.resources import resource_of
from campaign_ops.queries.backlog import queue_now
from campaign_ops.settings import PlatformSettings

INTERVAL_SECONDS = 30

_THIS_PROCESS = uuid4().hex


def queue_backlog(platform: PlatformSettings, job: AssetJob, max_runtime: timedelta) -> dg.SensorDefinition:
    """Sweeps once when the queue backs up, and once when it has run dry before its campaigns were done."""

    @dg.sensor(
        name=job_name(platform.name, "queue_backlog"),
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={resource_key(platform.name)},
        description=(
            f"Sweeps when more than {platform.policy.backlog_limit} jobs wait, and when the queue has run dry while"
            " campaigns are still sending."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before = Watched.load(context.cursor)
        try:
            with closing(resource_of(context, platform.name).source.make(in_a_hurry=True)) as watched:
                queue, sending = queue_now(watched)
        except CampaignOpsError as error:
            return dg.SensorResult(skip_reason=f"it could not be read: {error}")
        if queue.problem:
            return dg.SensorResult(skip_reason=f"it cannot be relied on: {queue.problem}")
        noticed = notice(before, queue, sending, platform.policy.backlog_limit)
        if noticed.why is None:
            return dg.SensorResult(skip_reason=f"{queue.depth} jobs wait", cursor=noticed.watched.dump())
        moment = datetime.now(UTC)
        if busy := active_run(context.instance, platform.name, max_runtime, moment):
            return dg.SensorResult(skip_reason=f"{noticed.why}, but {busy}")
        request = dg.RunRequest(run_key=f"{noticed.why} at {moment:%Y-%m-%dT%H:%M:%S.%fZ}")
        return dg.SensorResult([request], cursor=noticed.watched.dump())

    return look


def startup_sweep(platform: PlatformSettings, job: AssetJob, max_runtime: timedelta) -> dg.SensorDefinition:
    """Sweeps once whenever the deployment has been started, without waiting for the clock."""

    @dg.sensor(
        name=job_name(platform.name, "startup_sweep"),
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sweeps once after Dagster's daemon has been started; reloading the code is no start.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        started = started_as(context.instance)
        if context.cursor == started:
            return dg.SensorResult(skip_reason="swept since the start")
        if busy := active_run(context.instance, platform.name, max_runtime, datetime.now(UTC)):
            return dg.SensorResult(skip_reason=f"not swept since the start yet, but {busy}")
        return dg.SensorResult([dg.RunRequest(run_key=f"start {started}")], cursor=started)

    return look


def started_as(instance: dg.DagsterInstance) -> str:
    """A word that is new after every start of the deployment, and only then.

    The sensor daemon's id: it lives as long as the daemon's process. The code server, where this runs, is started
    anew by every reload of the code; it stands in only where no daemon has ever been seen.
    """
    beat = instance.get_daemon_heartbeats().get("SENSOR")
    return beat.daemon_id if beat is not None and beat.daemon_id else _THIS_PROCESS
