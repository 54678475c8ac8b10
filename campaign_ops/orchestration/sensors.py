"""Sweeps outside the schedule: when a queue has backed up or run dry, and when the deployment has started.

One sensor each for all platforms; a platform whose schedule a person has stopped is left alone. A queue that cannot be
read is reported, and what was remembered of it is kept: a failed read is not an empty queue.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.core.queue_state import QueueState
from campaign_ops.orchestration.active_run import active_runs
from campaign_ops.orchestration.backlog import Queues, Watched, notice
from campaign_ops.orchestration.jobs import AssetJob
from campaign_ops.orchestration.names import RECONCILE, prefixed
from campaign_ops.orchestration.resources import PlatformSource
from campaign_ops.orchestration.rounds import AT_MOST, ask_in_turn, in_words
from campaign_ops.queries.backlog import queue_now

INTERVAL_SECONDS = 30

_THIS_PROCESS = uuid4().hex


def queue_backlog(sources: Sequence[PlatformSource], jobs: Sequence[AssetJob], prefix: str) -> dg.SensorDefinition:
    """A sensor that sweeps once when a queue backs up, and once when it runs dry before its campaigns are done.

    Args:
        sources: The platforms, those without a queue too.
        jobs: Their jobs that reconcile.
        prefix: Of the sensor's name.
    """
    with_queue = [source for source in sources if source.settings.profile.queue is not None]

    @dg.sensor(
        name=prefixed(prefix, "queue_backlog"),
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Sweeps a platform when more than `backlog_limit` jobs wait in its queue, and when the queue has run dry"
            f" while campaigns are still sending. Asks up to {AT_MOST} platforms each time, in turn."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before = Queues.load(context.cursor)
        asked = ask_in_turn(_scheduled(with_queue, context), before.after, _queue)
        now, busy = datetime.now(UTC), None
        names = {source.settings.name: source for source in with_queue}
        watched = {name: facts for name, facts in before.watched.items() if name in names}
        said = dict(asked.failed)
        requests: list[dg.RunRequest] = []
        for name, answer in asked.answers.items():
            source = names[name]
            if isinstance(answer, str):
                said[name] = answer
                continue
            noticed = notice(watched.get(name, Watched()), *answer, source.settings.policy.backlog_limit)
            if noticed.why is not None:
                busy = active_runs(context.instance, source.max_runtime, now) if busy is None else busy
                if name in busy:
                    said[name] = f"{noticed.why}, but {busy[name]}"
                    continue
                requests.append(_sweep(source, f"{name}: {noticed.why} at {now:%Y-%m-%dT%H:%M:%S.%fZ}"))
            said[name] = f"{answer[0].depth} jobs wait"
            watched[name] = noticed.watched
        after = Queues(watched, asked.after)
        return _result(requests, in_words(said), after.dump() if after != before else None)

    return look


def _queue(source: PlatformSource) -> tuple[QueueState, int] | str:
    """A queue now, and the platform's campaigns in sending; or why it cannot be relied on."""
    try:
        with closing(source.make(short_timeouts=True)) as watched:
            queue, sending = queue_now(watched)
    except CampaignOpsError as error:
        return f"the queue could not be read: {error}"
    return f"the queue cannot be relied on: {queue.problem}" if queue.problem else (queue, sending)


def startup_sweep(sources: Sequence[PlatformSource], jobs: Sequence[AssetJob], prefix: str) -> dg.SensorDefinition:
    """A sensor that sweeps each platform once after every start of the deployment, without waiting for the schedule."""

    @dg.sensor(
        name=prefixed(prefix, "startup_sweep"),
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Sweeps once after Dagster's daemon was started, up to {AT_MOST} platforms each time; reloading the code"
            " is not a start."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        start = start_id(context.instance)
        swept = _swept(context.cursor, start)
        left = [source for source in sources if source.settings.name not in swept]
        if not left:
            return dg.SensorResult(skip_reason="already swept since the start")
        busy = active_runs(context.instance, left[0].max_runtime, datetime.now(UTC))
        said = {name: f"not swept since the start yet, but {run}" for name, run in busy.items() if name not in swept}
        free = [source for source in left if source.settings.name not in busy]
        chosen = _scheduled(free, context)[:AT_MOST]
        requests = [_sweep(source, f"{source.settings.name}: start {start}") for source in chosen]
        names = sorted([*swept, *(source.settings.name for source in chosen)])
        cursor = json.dumps({"start": start, "swept": names}) if chosen else None
        return _result(requests, in_words(said), cursor)

    return look


def _swept(cursor: str | None, start: str) -> Sequence[str]:
    """The platforms that were swept since this start."""
    try:
        remembered = json.loads(cursor) if cursor else {}
        return remembered["swept"] if remembered.get("start") == start else []
    except (AttributeError, KeyError, ValueError):
        return []


def _scheduled(sources: Iterable[PlatformSource], context: dg.SensorEvaluationContext) -> list[PlatformSource]:
    """The platforms whose schedule is running. One of the same name in another code location is of another platform."""
    here = context.code_location_origin
    states = context.instance.all_instigator_state(
        instigator_type=InstigatorType.SCHEDULE, instigator_statuses={InstigatorStatus.STOPPED}
    )
    stopped = {
        state.instigator_name for state in states if here is None or state.origin.location_name == here.location_name
    }
    return [source for source in sources if source.names.schedule not in stopped]


def _sweep(source: PlatformSource, key: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=key, job_name=source.names.job(RECONCILE))


def _result(requests: list[dg.RunRequest], otherwise: str, cursor: str | None) -> dg.SensorResult:
    """Dagster takes either runs or a reason why there are none."""
    return dg.SensorResult(requests or None, None if requests else otherwise, cursor=cursor)


def start_id(instance: dg.DagsterInstance) -> str:
    """An id that changes with every start of the deployment, and only then.

    It is the sensor daemon's id, which lasts as long as the daemon's process. The code server, where this runs, is
    restarted by every reload of the code; its own id is used only when there has never been a daemon.
    """
    heartbeat = instance.get_daemon_heartbeats().get("SENSOR")
    return heartbeat.daemon_id if heartbeat is not None and heartbeat.daemon_id else _THIS_PROCESS
