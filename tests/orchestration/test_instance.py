"""The repository's own dagster.yaml, on PostgreSQL; and the job that keeps its storage from growing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.storage.runs.schema import RunsTable
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage

from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.orchestration.names import HOUSEKEEPING, PLATFORM_TAG, WORK_TAG
from tests.conftest import World, Worlds
from tests.orchestration.harness import configured, dagster_on_postgres, deployed, reconciled, run
from tests.orchestration.test_runs import busy
from tests.orchestration.test_schedule import begun


@pytest.fixture(scope="module")
def instance(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dagster_on_postgres(servers, tmp_path_factory.mktemp("home")) as dagster:
        yield dagster


def test_dagster_reads_dagster_yaml_and_stores_runs_in_postgresql(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_storage, PostgresRunStorage)
    assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    assert instance.run_coordinator.dequeue_interval_seconds == 1
    assert (instance.run_monitoring_enabled, instance.run_monitoring_max_runtime_seconds) == (True, 900)
    assert (instance.run_retries_enabled, instance.telemetry_enabled, instance.nux_enabled) == (False, False, False)
    assert instance.managed_python_loggers == ["campaign_ops"]


def test_two_runs_of_one_platform_never_run_at_the_same_time(instance: dg.DagsterInstance) -> None:
    settings = instance.get_concurrency_config()
    assert settings.run_queue_config is not None
    assert settings.run_queue_config.tag_concurrency_limits == [
        {"key": PLATFORM_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
    ]
    assert settings.pool_config.default_pool_limit == 1


def test_a_sweep_is_stored_with_its_events_metadata_and_our_own_log(
    worlds: Worlds, instance: dg.DagsterInstance
) -> None:
    sms = worlds.make(queue_url="redis://127.0.0.1:1/0")
    sms.app.add_campaign("over", status="sent")
    sms.app.add_reservation("leak", campaign="over")
    result = run(deployed(configured(sms)), "sms__reconcile", instance)
    assert result.success
    assert sms.app.reservation("leak")["status"] == "released"
    event = instance.get_latest_materialization_event(dg.AssetKey(["sms", "released_credits"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["done"].value == 1
    record = instance.get_run_record_by_id(result.run_id)
    assert record is not None
    assert record.dagster_run.tags[PLATFORM_TAG] == "sms"
    assert any("the queue could not be read" in entry.user_message for entry in instance.all_logs(result.run_id))


def test_a_queued_fix_goes_before_a_queued_sweep_and_still_one_at_a_time(
    sms: World, instance: dg.DagsterInstance
) -> None:
    """As Dagster's own daemon picks them. The sweep was queued first."""
    definitions = deployed(configured(sms))
    jobs = [definitions.resolve_job_def(f"sms__{name}") for name in ("reconcile", "mark_campaign_complete")]
    sweep, fix = (begun(instance, dg.DagsterRunStatus.QUEUED, **job.tags) for job in jobs)
    daemon, settings = QueuedRunCoordinatorDaemon(interval_seconds=1), instance.get_concurrency_config()

    def next_runs() -> list[str]:
        return [run.run_id for run in daemon._get_runs_to_dequeue(instance, settings, fixed_iteration_time=None)]

    assert next_runs() == [fix.run_id]
    instance.report_run_canceled(fix)
    assert next_runs() == [sweep.run_id]
    instance.report_run_canceled(sweep)


def test_steps_hand_nothing_on_in_files(sms: World, instance: dg.DagsterInstance) -> None:
    reconciled(busy(sms), instance)
    kept = {path.parent.name for path in Path(instance.storage_directory()).rglob("*") if path.is_file()}
    assert kept <= {"compute_logs"}


def old_run(instance: dg.DagsterInstance, days: int, **tags: str) -> str:
    """A finished run that looks ``days`` days old."""
    stored = instance.create_run_for_job(a_job, tags=tags, status=dg.DagsterRunStatus.SUCCESS)
    moment = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
    storage = instance.run_storage
    assert isinstance(storage, PostgresRunStorage)
    with storage.connect() as connection:
        connection.execute(
            sa.update(RunsTable).where(RunsTable.c.run_id == stored.run_id).values(create_timestamp=moment)
        )
    return stored.run_id


@dg.op
def nothing() -> None: ...


@dg.job
def a_job() -> None:
    nothing()


def test_our_old_runs_are_deleted_a_bounded_number_at_a_time_and_no_others(
    sms: World, instance: dg.DagsterInstance
) -> None:
    ours = [old_run(instance, days, **{WORK_TAG: "reconcile"}) for days in (40, 30, 20)]
    kept = [old_run(instance, 5, **{WORK_TAG: "fix"}), old_run(instance, 400)]
    config = {"ops": {"delete_old_runs": {"config": {"at_most": 2}}}}
    first = run(deployed(configured(sms)), HOUSEKEEPING, instance, run_config=config)
    assert first.success
    assert [instance.has_run(run_id) for run_id in ours] == [False, False, True]
    assert run(deployed(configured(sms)), HOUSEKEEPING, instance).success
    assert not instance.has_run(ours[2])
    assert all(instance.has_run(run_id) for run_id in kept)


def test_deleting_a_run_deletes_its_events(sms: World, instance: dg.DagsterInstance) -> None:
    result = run(deployed(configured(sms)), "sms__plan", instance)
    assert instance.all_logs(result.run_id)
    instance.delete_run(result.run_id)
    assert instance.all_logs(result.run_id) == []
