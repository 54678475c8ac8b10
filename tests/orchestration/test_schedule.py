"""When a sweep is started: by the schedule, the queue or a start of the deployment; and when it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from campaign_ops.core.queue_state import QueueState
from campaign_ops.orchestration.backlog import Queues, Watched, notice
from campaign_ops.orchestration.cron import longest_pause, ticks_since
from campaign_ops.orchestration.names import PLATFORM_TAG
from tests.conftest import World, Worlds
from tests.orchestration.harness import configured, deployed

FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
ACTIVE = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)


def begun(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, platform: str = "sms", **tags: str
) -> dg.DagsterRun:
    """A run of a platform in Dagster's storage, created now."""
    job = f"{platform}__reconcile"
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("campaign_ops"), "__repository__")
    origin = RemoteJobOrigin(repository, job)
    run: dg.DagsterRun = create_run_for_test(
        instance, job, status=status, tags={PLATFORM_TAG: platform, **tags}, remote_job_origin=origin
    )
    return run


def tick(world: World, instance: dg.DagsterInstance, after: timedelta = timedelta()) -> tuple[int, str | None]:
    """One tick of the schedule: the number of runs that it requests, and why it skips."""
    schedule = deployed(configured(world)).get_repository_def().get_schedule_def("sms__reconcile_schedule")
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC) + after)
    data = schedule.evaluate_tick(context)
    return len(data.run_requests or ()), data.skip_message


def test_a_tick_requests_a_sweep_and_the_schedule_is_on_by_default(sms: World, instance: dg.DagsterInstance) -> None:
    assert tick(sms, instance) == (1, None)
    schedule = deployed(configured(sms, schedule="*/5 * * * *")).get_repository_def().schedule_defs[-1]
    assert (schedule.name, schedule.cron_schedule) == ("sms__reconcile_schedule", "*/5 * * * *")
    assert (schedule.execution_timezone, schedule.default_status) == ("UTC", dg.DefaultScheduleStatus.RUNNING)


@pytest.mark.parametrize("status", ACTIVE)
def test_a_tick_skips_while_a_run_of_the_platform_is_active_and_names_it(
    sms: World, instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    run = begun(instance, status)
    runs, why = tick(sms, instance)
    assert runs == 0
    assert why is not None
    assert run.run_id in why
    assert status.value.lower() in why


def test_a_tick_does_not_skip_for_finished_runs_or_those_of_another_platform(
    sms: World, instance: dg.DagsterInstance
) -> None:
    for status in FINISHED:
        begun(instance, status)
    begun(instance, dg.DagsterRunStatus.STARTED, "messenger")
    assert tick(sms, instance) == (1, None)


def test_a_dead_run_blocks_no_longer_than_the_maximum_runtime(sms: World, instance: dg.DagsterInstance) -> None:
    begun(instance, dg.DagsterRunStatus.STARTED)
    assert tick(sms, instance, after=timedelta(minutes=14))[0] == 0
    assert tick(sms, instance, after=timedelta(minutes=16))[0] == 1


def look(
    world: World, instance: dg.DagsterInstance, cursor: str | None, sensor: str = "queue_backlog"
) -> tuple[list[dg.RunRequest], str | None, str | None]:
    """One evaluation of a sensor: its run requests, its cursor afterwards, and why it skips."""
    definitions = deployed(configured(world))
    definition = definitions.get_repository_def().get_sensor_def(sensor)
    with dg.build_sensor_context(instance, cursor=cursor, resources=dict(definitions.resources or {})) as context:
        data = definition.evaluate_tick(context)
    # Dagster keeps the old cursor where a sensor gives none.
    return list(data.run_requests or ()), data.cursor if data.cursor is not None else cursor, data.skip_message


def enqueue(world: World, label: str, jobs: int) -> list[str]:
    campaign = world.app.add_campaign(label, pending=jobs)
    return world.queue.add(campaign, "shop_north", world.app.pending_ids(campaign), batch_size=1)


def test_each_backlog_is_swept_once(worlds: Worlds, instance: dg.DagsterInstance) -> None:
    sms = worlds.make(policy={"backlog_limit": 3})
    jobs = enqueue(sms, "small", 3)
    requests, cursor, why = look(sms, instance, None)
    assert (requests, why) == ([], "sms: 3 jobs wait")
    more = enqueue(sms, "large", 2)
    first, cursor, _ = look(sms, instance, cursor)
    assert len(first) == 1
    assert "5 jobs wait in queue sms-send, more than 3" in str(first[0].run_key)
    again, cursor, _ = look(sms, instance, cursor)
    assert again == []
    sms.queue.remove([*jobs, *more][:4])
    _, cursor, _ = look(sms, instance, cursor)
    enqueue(sms, "larger", 6)
    second, cursor, _ = look(sms, instance, cursor)
    assert len(second) == 1
    assert second[0].run_key != first[0].run_key


def test_a_queue_that_has_run_dry_while_campaigns_are_sending_is_swept_once(
    sms: World, instance: dg.DagsterInstance
) -> None:
    jobs = enqueue(sms, "sending", 3)
    requests, cursor, _ = look(sms, instance, None)
    assert requests == []
    sms.queue.remove(jobs)
    first, cursor, _ = look(sms, instance, cursor)
    assert len(first) == 1
    assert "has run dry while 1 campaigns are sending" in str(first[0].run_key)
    again, cursor, why = look(sms, instance, cursor)
    assert (again, why) == ([], "sms: 0 jobs wait")


def test_an_empty_queue_starts_no_sweep_when_nothing_is_sending_or_it_was_empty_before(
    sms: World, instance: dg.DagsterInstance
) -> None:
    sms.queue.remove(enqueue(sms, "over", 2))
    assert look(sms, instance, None)[0] == []
    jobs = enqueue(sms, "next", 2)
    _, cursor, _ = look(sms, instance, None)
    sms.queue.remove(jobs)
    for label in ("over", "next"):
        sms.app.set_campaign(label, status="sent")
    assert look(sms, instance, cursor)[0] == []


def test_a_failed_read_is_not_an_empty_queue_and_keeps_the_cursor(worlds: Worlds, instance: dg.DagsterInstance) -> None:
    sms = worlds.make(queue_url="redis://127.0.0.1:1/0")
    sms.app.add_campaign("sending", pending=2)
    before = Queues({"sms": Watched(backed_up=False, drained=False)}).dump()
    requests, cursor, why = look(sms, instance, before)
    assert (requests, cursor) == ([], before)
    assert why is not None
    assert "could not be read" in why


def test_a_sensor_waits_for_the_active_run_and_requests_its_own_afterwards(
    worlds: Worlds, instance: dg.DagsterInstance
) -> None:
    sms = worlds.make(policy={"backlog_limit": 1})
    enqueue(sms, "large", 3)
    run = begun(instance, dg.DagsterRunStatus.STARTED)
    requests, cursor, why = look(sms, instance, None)
    assert (requests, cursor) == ([], None)
    assert why is not None
    assert run.run_id in why
    instance.report_run_canceled(run)
    assert len(look(sms, instance, cursor)[0]) == 1


def test_a_depth_that_fluctuates_around_the_limit_is_one_backlog() -> None:
    watched, asked = Watched(), 0
    for depth in (100, 101, 99, 101, 100, 102, 89, 101):
        noticed = notice(watched, QueueState("q", {"wait": depth}), 0, backlog_limit=100)
        watched, asked = noticed.watched, asked + (noticed.why is not None)
    assert asked == 2


def test_a_cursor_of_another_version_is_ignored() -> None:
    others = ('{"backed_up": true, "drained": false}', "not json", "[]", '{"watched": {"sms": 3}, "after": null}')
    assert [Queues.load(cursor) for cursor in others] == [Queues()] * 4
    kept = Queues({"sms": Watched(backed_up=True, drained=False), "chat": Watched()}, after="sms")
    assert Queues.load(kept.dump()) == kept


def heartbeat(instance: dg.DagsterInstance, daemon: str) -> None:
    instance.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), "SENSOR", daemon))


def test_every_start_of_the_deployment_is_swept_once_and_a_code_reload_is_not_a_start(
    sms: World, instance: dg.DagsterInstance
) -> None:
    heartbeat(instance, "first-daemon")
    first, cursor, _ = look(sms, instance, None, "startup_sweep")
    assert len(first) == 1
    heartbeat(instance, "first-daemon")
    assert look(sms, instance, cursor, "startup_sweep")[::2] == ([], "already swept since the start")
    heartbeat(instance, "second-daemon")
    second, cursor, _ = look(sms, instance, cursor, "startup_sweep")
    assert len(second) == 1
    assert second[0].run_key != first[0].run_key
    assert look(sms, instance, cursor, "startup_sweep")[0] == []


def test_the_sweep_at_the_start_waits_for_the_active_run(sms: World, instance: dg.DagsterInstance) -> None:
    run = begun(instance, dg.DagsterRunStatus.QUEUED)
    requests, cursor, why = look(sms, instance, None, "startup_sweep")
    assert (requests, cursor) == ([], None)
    assert why is not None
    assert run.run_id in why


def test_ticks_are_counted_by_the_schedule() -> None:
    monday, tuesday = datetime(2026, 3, 2, 16, 55, tzinfo=UTC), datetime(2026, 3, 3, 9, 5, tzinfo=UTC)
    assert ticks_since("*/10 9-16 * * *", monday, tuesday, at_most=3) == 1
    assert ticks_since("*/10 * * * *", monday, monday + timedelta(minutes=26), at_most=9) == 3
    assert longest_pause("*/10 * * * *") == timedelta(minutes=10)
    assert longest_pause("*/10 9-16 * * *", monday) == timedelta(hours=16, minutes=10)
