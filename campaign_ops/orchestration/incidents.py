"""A sensor that keeps the incidents of all platforms up to date and sends notifications, where no watcher runs.

It makes the same looks as ``campaign-ops watch``, through the same code; with both, looks that follow each other
quickly count as one. It cannot notice the death of Dagster's own daemon, in which it lives.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import dagster as dg

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.wording import plural
from campaign_ops.orchestration.names import PLATFORM_TAG, prefixed
from campaign_ops.orchestration.resources import PlatformSource
from campaign_ops.orchestration.rounds import AT_MOST, ask_in_turn, in_words
from campaign_ops.watch.dagster import EndedRun, ended_run
from campaign_ops.watch.freshness import stale_after
from campaign_ops.watch.incidents import update
from campaign_ops.watch.notify import Limits, send_due
from campaign_ops.watch.symptoms import look_at

INTERVAL_SECONDS = 60
_EXAMINED = 20
AT_A_TIME = Limits(at_most=5, at_most_seconds=5)
"""Dagster ends an evaluation after a minute, and a channel may take half of that."""


def incident_sensor(sources: Sequence[PlatformSource], prefix: str) -> dg.SensorDefinition:
    """A sensor that opens and resolves the incidents of all platforms, and starts no run."""

    @dg.sensor(
        name=prefixed(prefix, "incidents"),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Opens and resolves incidents: campaigns stuck over the alert age, workers gone, runs that fail, and the"
            " rest of docs/incidents.md. Notifies the configured channels. Starts no run. Looks at up to"
            f" {AT_MOST} platforms each time, in turn."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        looked = ask_in_turn(sources, context.cursor, partial(_look, context.instance))
        return dg.SensorResult(skip_reason=in_words(looked.answers | looked.failed), cursor=looked.after or "")

    return look


def _look(instance: dg.DagsterInstance, source: PlatformSource) -> str:
    """Look at one platform; what is said of it."""
    platform = source.settings
    with closing(source.make(short_timeouts=True)) as watched:
        seen = look_at(watched, stale_after_seconds=stale_after(platform.schedule, datetime.now(UTC)))
        if (run := _latest_run(instance, platform.name)) is not None:
            seen |= run.look()
        try:
            changes = update(watched, seen, platform.notify)
            sent = send_due(watched, platform.notify.channels, limits=AT_A_TIME).sent
        except CampaignOpsError as error:
            return f"incidents could not be written: {error}"
    said = [f"wrong: {', '.join(symptom.cause for symptom in seen.symptoms) or 'nothing'}"]
    said += [f"{change.incident.cause} {change.what}" for change in changes if change.what is not None]
    said += [f"{plural(sent, 'message')} sent"] if sent else []
    return "; ".join(said)


def _latest_run(instance: dg.DagsterInstance, platform: str) -> EndedRun | None:
    """The platform's run that ended last and proves something; None without any."""
    success, failure = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
    filters = dg.RunsFilter(tags={PLATFORM_TAG: platform}, statuses=[success, failure])
    runs = instance.get_runs(filters, limit=_EXAMINED)
    ended = (ended_run(run.run_id, run.job_name, run.tags, failed=run.status is failure) for run in runs)
    return next(filter(None, ended), None)
