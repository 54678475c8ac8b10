"""The sensor that keeps incidents up to date from within Dagster, evaluated as the daemon does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from campaign_ops.core.causes import Cause
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.watch.channels import Notify
from tests.conftest import World, Worlds
from tests.orchestration.harness import configured, deployed
from tests.orchestration.test_schedule import begun
from tests.watch.looking import open_causes
from tests.watch.receivers import Received, webhook


@pytest.fixture
def hook() -> Iterator[Received]:
    with webhook() as received:
        yield received


def evaluate(world: World, instance: dg.DagsterInstance, hook: Received, **changes: Any) -> str:
    """One evaluation of the sensor; what it says."""
    # Looks at the present moment count once in 20 seconds; the test does not wait for them.
    world.rows("UPDATE campaign_ops.incident SET looked_at = looked_at - interval '1 minute' RETURNING id")
    definitions = deployed(configured(world, notify=Notify(channels=(hook.channel(),)), **changes))
    sensor = definitions.get_repository_def().get_sensor_def("incidents")
    with dg.build_sensor_context(instance, resources=dict(definitions.resources or {})) as context:
        data = sensor.evaluate_tick(context)
    assert not data.run_requests
    assert data.skip_message is not None
    return data.skip_message


def test_a_healthy_platform_has_no_incident(sms: World, instance: dg.DagsterInstance, hook: Received) -> None:
    sms.sweep()
    assert [evaluate(sms, instance, hook) for _ in range(3)] == ["sms: wrong: nothing"] * 3
    assert open_causes(sms) == []
    assert hook.messages == []


def test_a_sweep_is_too_old_by_the_schedule_of_its_platform(
    sms: World, instance: dg.DagsterInstance, hook: Received
) -> None:
    sms.sweep()
    sms.rows("UPDATE campaign_ops.sweep SET finished_at = now() - interval '40 minutes' RETURNING id")
    assert evaluate(sms, instance, hook, schedule="0 * * * *") == "sms: wrong: nothing"
    assert "wrong: sweep_stale" in evaluate(sms, instance, hook)


def test_what_is_seen_of_the_queue_is_kept_as_by_a_watcher(
    sms: World, instance: dg.DagsterInstance, hook: Received
) -> None:
    """Restarts of workers between two sweeps were not noticed, and `campaign-ops workers` was as old as the sweep."""
    sms.sweep()
    sms.queue.add("c", "shop_north", ["r1"], batch_size=1)
    evaluate(sms, instance, hook)
    assert [row["depth"] for row in sms.rows("SELECT depth FROM campaign_ops.queue_look")] == [1]


def test_campaigns_stuck_over_the_alert_age_are_an_incident_that_is_sent_once(
    worlds: Worlds, instance: dg.DagsterInstance, hook: Received
) -> None:
    world = worlds.make("sms", policy={"max_jobs_per_sweep": 1})
    for number in range(3):
        world.app.add_campaign(f"c{number}", pending=1, updated_ago=hours(2))
    world.sweep()
    evaluate(world, instance, hook)
    world.sweep()
    said = evaluate(world, instance, hook)
    assert "stuck opened" in said
    assert "1 message sent" in said
    evaluate(world, instance, hook)
    assert len(hook.messages) == 1


def test_runs_that_fail_are_an_incident_and_one_that_succeeds_ends_it(
    sms: World, instance: dg.DagsterInstance, hook: Received
) -> None:
    sms.sweep()
    for _ in range(2):
        begun(instance, dg.DagsterRunStatus.FAILURE)
        evaluate(sms, instance, hook)
    assert open_causes(sms) == [Cause.RUN_FAILED.value]
    for _ in range(3):
        begun(instance, dg.DagsterRunStatus.SUCCESS)
        evaluate(sms, instance, hook)
    assert open_causes(sms) == []
    assert ["resolved" in subject for subject in hook.subjects] == [False, True]


def test_a_refused_sweep_counts_as_failed_and_a_refused_fix_as_nothing(
    sms: World, instance: dg.DagsterInstance, hook: Received
) -> None:
    """Dagster calls both a success. A sweep that is always refused would end the incident that its failure opened."""
    sms.sweep()
    for work in ("reconcile", "fix", "reconcile"):
        refused = begun(instance, dg.DagsterRunStatus.SUCCESS)
        instance.add_run_tags(refused.run_id, {"campaign_ops/outcome": "refused", "campaign_ops/work": work})
        evaluate(sms, instance, hook)
    assert open_causes(sms) == [Cause.RUN_FAILED.value]


def test_only_a_sweep_that_succeeds_proves_that_runs_do(
    sms: World, instance: dg.DagsterInstance, hook: Received
) -> None:
    """Three that a person had cancelled ended the incident, and so did three dry runs of fixes."""
    sms.sweep()
    for _ in range(2):
        begun(instance, dg.DagsterRunStatus.FAILURE)
        evaluate(sms, instance, hook)
    for _ in range(4):
        begun(instance, dg.DagsterRunStatus.CANCELED)
        evaluate(sms, instance, hook)
        for work in ("fix", "plan"):
            begun(instance, dg.DagsterRunStatus.SUCCESS, **{"campaign_ops/work": work})
            evaluate(sms, instance, hook)
    assert open_causes(sms) == [Cause.RUN_FAILED.value]
    assert ["resolved" in subject for subject in hook.subjects] == [False]


def test_the_same_failed_run_is_one_look(sms: World, instance: dg.DagsterInstance, hook: Received) -> None:
    sms.sweep()
    begun(instance, dg.DagsterRunStatus.FAILURE)
    for _ in range(4):
        evaluate(sms, instance, hook)
    assert open_causes(sms) == []


def test_a_platform_without_our_schema_is_reported_and_nothing_fails(
    worlds: Worlds, instance: dg.DagsterInstance, hook: Received
) -> None:
    world = worlds.make("sms", migrated=False)
    definitions = deployed(configured(world))
    sensor = definitions.get_repository_def().get_sensor_def("incidents")
    with dg.build_sensor_context(instance, resources=dict(definitions.resources or {})) as context:
        data = sensor.evaluate_tick(context)
    assert "run `campaign-ops migrate`" in (data.skip_message or "")
