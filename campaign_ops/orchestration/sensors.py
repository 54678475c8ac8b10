"""Sweeps outside the schedule: when the queue has backed up or run dry, and when the deployment has started.

A sensor that cannot read the queue reports that and keeps its cursor: a failed read is not an empty queue.
"""

from contextlib import closing
from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.orchestration.active_run import active_run
from campaign_ops.orchestration.backlog import Watched, notice
from campaign_ops.orchestration.jobs import AssetJob
from campaign_ops.orchestration.resources import PlatformSource
from campaign_ops.queries.backlog import queue_now

INTERVAL_SECONDS = 30

_THIS_PROCESS = uuid4().hex


def queue_backlog(source: PlatformSource, job: AssetJob) -> dg.SensorDefinition:
    """A sensor that sweeps once when the queue backs up, and once when it runs dry before its campaigns are done."""
    platform = source.settings

    @dg.sensor(
        name=source.names.job("queue_backlog"),
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Sweeps when more than {platform.policy.backlog_limit} jobs wait, and when the queue has run dry while"
            " campaigns are still sending."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before = Watched.load(context.cursor)
        try:
            with closing(source.make(short_timeouts=True)) as watched:
                queue, sending = queue_now(watched)
        except CampaignOpsError as error:
            return dg.SensorResult(skip_reason=f"the queue could not be read: {error}")
        if queue.problem:
            return dg.SensorResult(skip_reason=f"the queue cannot be relied on: {queue.problem}")
        noticed = notice(before, queue, sending, platform.policy.backlog_limit)
        if noticed.why is None:
            return dg.SensorResult(skip_reason=f"{queue.depth} jobs wait", cursor=noticed.watched.dump())
        moment = datetime.now(UTC)
        if busy := active_run(context.instance, platform.name, source.max_runtime, moment):
            return dg.SensorResult(skip_reason=f"{noticed.why}, but {busy}")
        request = dg.RunRequest(run_key=f"{noticed.why} at {moment:%Y-%m-%dT%H:%M:%S.%fZ}")
        return dg.SensorResult([request], cursor=noticed.watched.dump())

    return look


def startup_sweep(source: PlatformSource, job: AssetJob) -> dg.SensorDefinition:
    """A sensor that sweeps once after every start of the deployment, without waiting for the schedule."""

    @dg.sensor(
        name=source.names.job("startup_sweep"),
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sweeps once after Dagster's daemon was started; reloading the code is not a start.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        start = start_id(context.instance)
        if context.cursor == start:
            return dg.SensorResult(skip_reason="already swept since the start")
        if busy := active_run(context.instance, source.settings.name, source.max_runtime, datetime.now(UTC)):
            return dg.SensorResult(skip_reason=f"not swept since the start yet, but {busy}")
        return dg.SensorResult([dg.RunRequest(run_key=f"start {start}")], cursor=start)

    return look


def start_id(instance: dg.DagsterInstance) -> str:
    """An id that changes with every start of the deployment, and only then.

    It is the sensor daemon's id, which lasts as long as the daemon's process. The code server, where this runs, is
    restarted by every reload of the code; its own id is used only when there has never been a daemon.
    """
    heartbeat = instance.get_daemon_heartbeats().get("SENSOR")
    return heartbeat.daemon_id if heartbeat is not None and heartbeat.daemon_id else _THIS_PROCESS
