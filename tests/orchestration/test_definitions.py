"""The definitions that Dagster loads: the graph, its metadata, and a configuration with mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value
from pydantic import SecretStr

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.definitions import build_definitions
from campaign_ops.orchestration.assets import column_schema
from campaign_ops.orchestration.names import PLATFORM_TAG
from campaign_ops.platform import Platform
from campaign_ops.profile.load import load_profile
from campaign_ops.settings import BrokenPlatform, PlatformSettings, Settings
from tests.conftest import World
from tests.orchestration.harness import NOWHERE, PASSWORD, check_of, deployed, run

REPOSITORY = Path(__file__).parents[2]
WRONG = BrokenPlatform("shop", ConfigurationError("no such key", where="campaign_ops.yaml:7: platforms[1].profil"))


def nowhere(name: str, profile: str = "sms", **changes: object) -> PlatformSettings:
    """A platform that does not exist, for tests that connect to nothing."""
    chosen = load_profile(profile)
    queue_url = SecretStr(f"redis://:{PASSWORD}@127.0.0.1:1/0") if chosen.queue else None
    settings = {"name": name, "profile": chosen, "database_url": SecretStr(NOWHERE), "queue_url": queue_url}
    return PlatformSettings(**{**settings, **changes})  # type: ignore[arg-type]


def edges(definitions: dg.Definitions, platform: str) -> dict[str, set[str]]:
    graph = definitions.resolve_asset_graph()
    mine = [key for key in graph.get_all_asset_keys() if key.path[0] == platform]
    return {key.path[1]: {parent.path[1] for parent in graph.get(key).parent_keys} for key in mine}


def test_lineage_starts_at_the_platforms_own_tables_and_ends_at_the_health_report() -> None:
    assert edges(deployed(nowhere("sms")), "sms") == {
        "campaign": set(),
        "recipient": set(),
        "reservation": set(),
        "queue": set(),
        "stuck_campaigns": {"campaign"},
        "recipient_status": {"stuck_campaigns", "recipient"},
        "queue_state": {"queue"},
        "repair_plan": {"recipient_status", "queue_state", "reservation"},
        "completed_campaigns": {"repair_plan"},
        "reenqueued_batches": {"repair_plan"},
        "released_credits": {"repair_plan"},
        "campaign_health": {"completed_campaigns", "reenqueued_batches", "released_credits"},
    }


def test_a_platform_without_queue_and_credits_has_no_assets_for_them() -> None:
    assert edges(deployed(nowhere("chat", "messenger")), "chat") == {
        "campaign": set(),
        "recipient": set(),
        "stuck_campaigns": {"campaign"},
        "recipient_status": {"stuck_campaigns", "recipient"},
        "repair_plan": {"recipient_status"},
        "completed_campaigns": {"repair_plan"},
        "campaign_health": {"completed_campaigns"},
    }
    repository = deployed(nowhere("chat", "messenger")).get_repository_def()
    assert not any("release" in job or "reenqueue" in job for job in repository.job_names)
    assert [sensor.name for sensor in repository.sensor_defs] == ["incidents", "startup_sweep"]


def test_loading_connects_to_nothing_even_for_a_platform_with_a_difficult_name() -> None:
    def refuse(settings: PlatformSettings) -> Platform:
        raise AssertionError(f"connected to {settings.name}")

    platforms = (nowhere("io_manager"), nowhere("housekeeping"), nowhere("campaign_ops", "messenger"))
    settings = Settings(Path("campaign_ops.yaml"), platforms)
    dg.Definitions.validate_loadable(build_definitions(settings, refuse))


def test_the_webserver_gets_no_password() -> None:
    repository = deployed(nowhere("sms"), nowhere("chat", "messenger")).get_repository_def()
    snapshot = serialize_value(RepositorySnap.from_def(repository))
    assert "campaign_ops/platform" in snapshot
    assert PASSWORD not in snapshot


def test_every_run_of_a_platform_carries_the_tag_that_limits_it_to_one_at_a_time() -> None:
    repository = deployed(nowhere("sms")).get_repository_def()
    jobs = [repository.get_job(name) for name in repository.job_names if name.startswith("sms__")]
    assert len(jobs) == 9
    assert {job.tags[PLATFORM_TAG] for job in jobs} == {"sms"}
    assert {job.tags["dagster/max_runtime"] for job in jobs} == {"900"}
    steps = [step for job in jobs for step in job.all_node_defs if isinstance(step, dg.OpDefinition)]
    assert {pool for step in steps for pool in step.pools} == {"sms_sweep"}


@pytest.mark.parametrize(
    ("contact", "owner"), [("oncall@example.com", ["oncall@example.com"]), ("team:sms", ["team:sms"]), ("Ada", [])]
)
def test_the_contact_owns_the_assets_if_dagster_accepts_it_as_an_owner(contact: str, owner: list[str]) -> None:
    graph = deployed(nowhere("sms", contact=contact)).resolve_asset_graph()
    assert {tuple(graph.get(key).owners) for key in graph.get_all_asset_keys()} == {tuple(owner)}


def test_every_asset_has_the_columns_that_its_view_has_in_the_database(sms: World) -> None:
    query = (
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'campaign_ops' ORDER BY ordinal_position"
    )
    views: dict[str, list[tuple[str, str]]] = {}
    for row in sms.rows(query):
        kind = {"double precision": "float"}.get(row["data_type"], row["data_type"])
        views.setdefault(row["table_name"], []).append((row["column_name"], kind))
    graph = deployed(nowhere("sms")).resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        name = key.path[1]
        assert [(column.name, column.type) for column in column_schema(name).columns] == views[name], name
        assert graph.get(key).metadata["dagster/table_name"] == f"nowhere.campaign_ops.{name}"


@pytest.mark.parametrize("profile", ["sms", "messenger"])
def test_column_lineage_goes_back_to_columns_that_are_really_there(profile: str) -> None:
    graph = deployed(nowhere("shop", profile)).resolve_asset_graph()
    columns = {
        key: {column.name for column in graph.get(key).metadata["dagster/column_schema"].columns}
        for key in graph.get_all_asset_keys()
        if key.path[1] != "queue"
    }
    used = set()
    for key in graph.materializable_asset_keys:
        lineage = graph.get(key).metadata["dagster/column_lineage"].deps_by_column
        assert set(lineage) <= columns[key], key
        assert lineage or key.path[1] == "queue_state"
        for dep in (dep for deps in lineage.values() for dep in deps):
            assert dep.column_name in columns[dep.asset_key], (key, dep)
            used.add((dep.asset_key.path[1], dep.column_name))
    status = load_profile(profile).recipient.status
    assert {("recipient", status), ("stuck_campaigns", "campaign_id"), ("repair_plan", "reason")} <= used


def test_a_platform_with_a_mistake_has_a_failing_check_that_names_it_and_stops_no_other() -> None:
    definitions = deployed(nowhere("sms"), broken=(WRONG,))
    assert "repair_plan" in edges(definitions, "sms")
    assert edges(definitions, "shop") == {"configuration": set()}
    with dg.DagsterInstance.ephemeral() as instance:
        check = check_of(run(definitions, "shop__reconcile", instance), "configuration_is_valid")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "campaign_ops.yaml:7: platforms[1].profil: no such key"


def test_the_schedule_of_a_platform_with_a_mistake_skips_with_the_reason() -> None:
    repository = deployed(broken=(WRONG,)).get_repository_def()
    schedule = repository.get_schedule_def("shop__reconcile_schedule")
    with dg.instance_for_test() as instance:
        tick = schedule.evaluate_tick(dg.build_schedule_context(instance))
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert tick.run_requests == []
    assert tick.skip_message == str(WRONG.error)


def test_the_failing_check_of_a_mistake_is_reported_once_without_a_run() -> None:
    sensor = deployed(broken=(WRONG,)).get_repository_def().get_sensor_def("shop__configuration")
    with dg.instance_for_test() as instance:
        first = sensor.evaluate_tick(dg.build_sensor_context(instance))
        again = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=first.cursor))
    (event,) = first.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert (event.passed, event.description) == (False, str(WRONG.error))
    assert (again.asset_events, again.skip_message) == ([], str(WRONG.error))


def test_without_a_configuration_file_there_is_one_failing_check_and_no_broken_code_location(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CAMPAIGN_OPS_CONFIG", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    definitions = build_definitions()
    dg.Definitions.validate_loadable(definitions)
    assert edges(definitions, "campaign_ops") == {"configuration": set()}
    with dg.DagsterInstance.ephemeral() as instance:
        check = check_of(run(definitions, "campaign_ops__reconcile", instance), "configuration_is_valid")
    assert not check.passed
    assert check.description is not None
    assert "no configuration file" in check.description


@pytest.mark.slow
def test_dagster_definitions_validate_accepts_the_workspace_and_the_example_configuration(tmp_path: Path) -> None:
    example = REPOSITORY / "campaign_ops.example.yaml"
    environment = {
        **os.environ,
        "CAMPAIGN_OPS_CONFIG": str(example),
        "DAGSTER_HOME": str(tmp_path),
        "SMS_DATABASE_URL": NOWHERE,
        "SMS_REDIS_URL": "redis://127.0.0.1:1/0",
        "MESSENGER_DATABASE_URL": NOWHERE,
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(REPOSITORY / "workspace.yaml")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stderr + done.stdout
