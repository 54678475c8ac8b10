"""A sensor that keeps the incidents of a platform up to date and sends notifications, where no watcher runs.

It makes the same looks as ``campaign-ops watch``, through the same code; with both, looks that follow each other
quickly count as one. It cannot notice the death of Dagster's own daemon, in which it lives.
"""

from contextlib import closing

import dagster as dg

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.wording import plural
from campaign_ops.orchestration.names import ENDED, PLATFORM_TAG, job_name, resource_key
from campaign_ops.orchestration.resources import resource_of
from campaign_ops.settings import PlatformSettings
from campaign_ops.watch.dagster import EndedRun
from campaign_ops.watch.incidents import update
from campaign_ops.watch.notify import Limits, send_due
from campaign_ops.watch.symptoms import look_at

INTERVAL_SECONDS = 60
AT_MOST = Limits(at_most=5)
"""Dagster ends an evaluation after a minute, and a channel may take half of that."""


def incident_sensor(platform: PlatformSettings) -> dg.SensorDefinition:
    """A sensor that opens and resolves incidents, and starts no run."""

    @dg.sensor(
        name=job_name(platform.name, "incidents"),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={resource_key(platform.name)},
        description=(
            "Opens and resolves incidents: campaigns stuck over the alert age, workers gone, runs that fail, and the"
            " rest of docs/incidents.md. Notifies the configured channels. Starts no run."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        with closing(resource_of(context, platform.name).source.make(short_timeouts=True)) as watched:
            seen = look_at(watched)
            if (run := _latest_run(context.instance, platform.name)) is not None:
                seen |= run.look()
            try:
                changes = update(watched, seen, platform.notify)
                sent = send_due(watched, platform.notify.channels, limits=AT_MOST).sent
            except CampaignOpsError as error:
                return dg.SkipReason(f"incidents could not be written: {error}")
        said = [f"wrong: {', '.join(symptom.cause for symptom in seen.symptoms) or 'nothing'}"]
        said += [f"{change.incident.cause} {change.what}" for change in changes if change.what is not None]
        said += [f"{plural(sent, 'message')} sent"] if sent else []
        return dg.SkipReason("; ".join(said))

    return look


def _latest_run(instance: dg.DagsterInstance, platform: str) -> EndedRun | None:
    """The platform's run that ended last; None without any."""
    filters = dg.RunsFilter(tags={PLATFORM_TAG: platform}, statuses=ENDED)
    runs = instance.get_runs(filters, limit=1)
    return EndedRun(runs[0].run_id, runs[0].job_name, runs[0].status is dg.DagsterRunStatus.FAILURE) if runs else None
