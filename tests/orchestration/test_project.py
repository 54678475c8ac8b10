"""In somebody else's Dagster project: the definitions collide with nothing, impose nothing, and work."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.orchestration import definitions
from campaign_ops.settings import BrokenPlatform, Settings
from tests.conftest import World
from tests.orchestration.harness import NOWHERE, REPOSITORY, configured, materialized, run
from tests.orchestration.test_definitions import nowhere

EXAMPLES = REPOSITORY / "examples"
PROJECT = EXAMPLES / "dagster_project"
BIN = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the examples expect, without a server, for a process of its own."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return {
        **os.environ,
        "DAGSTER_HOME": str(tmp_path),
        "SMS_DATABASE_URL": NOWHERE,
        "SMS_REDIS_URL": "redis://127.0.0.1:1/0",
        "PYTHONPATH": f"{PROJECT}:{REPOSITORY}",
    }


def mine() -> dg.Definitions:
    """Another project, with an executor and with the names that ours have elsewhere."""

    @dg.asset(key=["sms", "repair_plan"], group_name="sms")
    def repair_plan() -> int:
        return 1

    @dg.asset(group_name="sms", deps=[repair_plan])
    def sms() -> int:
        return 2

    @dg.op
    def delete_old_runs() -> int:
        return 3

    @dg.job
    def housekeeping() -> None:
        delete_old_runs()

    return dg.Definitions(
        assets=[repair_plan, sms],
        jobs=[housekeeping, dg.define_asset_job("sms__reconcile", [repair_plan])],
        schedules=[dg.ScheduleDefinition(name="housekeeping_schedule", job=housekeeping, cron_schedule="0 4 * * *")],
        resources={"io_manager": dg.mem_io_manager, "sms_platform": dg.ResourceDefinition.hardcoded_resource(1)},
        executor=dg.multiprocess_executor,
        loggers={"console": dg.colored_console_logger},
    )


def test_a_project_with_an_executor_and_the_same_names_takes_them_in_and_both_kinds_of_jobs_work(
    sms: World, instance: dg.DagsterInstance
) -> None:
    """Merging was refused once for the executor; where there was none, ours was imposed; `housekeeping` collided."""
    sms.app.add_campaign("done", succeeded=5)
    merged = dg.Definitions.merge(mine(), definitions(Settings(Path("c.yaml"), (configured(sms),))))
    dg.Definitions.validate_loadable(merged)
    assert merged.executor is dg.multiprocess_executor
    for job in ("housekeeping", "sms__reconcile", "campaign_ops__housekeeping", "campaign_ops__sms__plan"):
        assert run(merged, job, instance).success, job
    result = run(merged, "campaign_ops__sms__reconcile", instance)
    assert result.success
    assert sms.app.campaign("done")["status"] == "sent"
    executors = {name: merged.resolve_job_def(name).executor_def for name in merged.get_repository_def().job_names}
    own = {name for name, executor in executors.items() if executor is dg.in_process_executor}
    assert own == {name for name in executors if name.startswith("campaign_ops__")}
    everything = run(merged, IMPLICIT_ASSET_JOB_NAME, instance)
    assert everything.success
    assert {"sms", "campaign_health"} <= materialized(everything)


def test_every_name_has_the_prefix_so_that_two_configurations_fit_into_one_project() -> None:
    wrong = BrokenPlatform("shop", ConfigurationError("no such key", where="campaign_ops.yaml:7"))
    settings = Settings(Path("c.yaml"), (nowhere("sms"), nowhere("chat", "messenger")), (wrong,))
    repository = definitions(settings, prefix="eu").get_repository_def()
    jobs = set(repository.job_names) - {IMPLICIT_ASSET_JOB_NAME}
    ops = {node.definition.name for name in jobs for node in repository.get_job(name).nodes}
    named = {sensor.name for sensor in repository.sensor_defs} | {each.name for each in repository.schedule_defs}
    assert {name for name in jobs | ops | named if not name.startswith("eu__")} == set()
    graph = repository.asset_graph
    keys = graph.get_all_asset_keys()
    assert {(key.path[0], graph.get(key).group_name) for key in keys} == {
        ("eu", "eu__sms"),
        ("eu", "eu__chat"),
        ("eu", "eu__shop"),
    }
    lineages = (graph.get(key).metadata["dagster/column_lineage"] for key in graph.materializable_asset_keys)
    read = {dep.asset_key for lineage in lineages for deps in lineage.deps_by_column.values() for dep in deps}
    assert read <= keys
    both = dg.Definitions.merge(definitions(settings, prefix="eu"), definitions(settings, prefix="us"))
    dg.Definitions.validate_loadable(both)


@pytest.mark.parametrize("prefix", ["two words", "Übung", "1st", "a/b"])
def test_a_prefix_that_cannot_be_part_of_a_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="lower-case letters"):
        definitions(Settings(Path("c.yaml"), (nowhere("sms"),)), prefix=prefix)


def test_importing_the_factory_or_the_component_reads_no_configuration(tmp_path: Path) -> None:
    config = tmp_path / "campaign_ops.yaml"
    config.write_text("platforms: []")
    code = (
        "import sys; opened = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and opened.append(str(args[0])))\n"
        "from campaign_ops import CampaignOps\n"
        "from campaign_ops.orchestration import definitions\n"
        f"print({str(config)!r} in opened)\n"
        "definitions()\n"
        f"print({str(config)!r} in opened)\n"
    )
    environment = {**os.environ, "CAMPAIGN_OPS_CONFIG": str(config)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_a_command_line_without_dagster_can_import_the_package() -> None:
    code = "import campaign_ops, sys; print(campaign_ops.__version__, 'dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "False"


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example project can be imported."""
    monkeypatch.syspath_prepend(str(PROJECT))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.mark.usefixtures("project")
def test_the_example_project_loads_the_component_and_keeps_what_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_DATABASE_URL", NOWHERE)
    monkeypatch.setenv("SMS_REDIS_URL", "redis://127.0.0.1:1/0")
    merged = dg.ComponentTree.for_project(PROJECT).build_defs()
    assert {"housekeeping", "campaign_ops__housekeeping"} <= set(merged.get_repository_def().job_names)
    import shop.definitions  # type: ignore[import-not-found]

    whole = shop.definitions.defs()
    dg.Definitions.validate_loadable(whole)
    assert whole.executor is dg.multiprocess_executor
    own = {key for key in whole.resolve_asset_graph().get_all_asset_keys() if key.path[0] != "campaign_ops"}
    assert own == {dg.AssetKey("campaign_health")}


def test_the_example_without_components_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMPAIGN_OPS_CONFIG", str(PROJECT / "shop" / "defs" / "campaigns" / "campaign_ops.yaml"))
    monkeypatch.setenv("SMS_DATABASE_URL", NOWHERE)
    monkeypatch.setenv("SMS_REDIS_URL", "redis://127.0.0.1:1/0")
    spec = importlib.util.spec_from_file_location("merged_definitions", EXAMPLES / "merged_definitions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dg.Definitions.validate_loadable(module.defs)
    jobs = set(module.defs.get_repository_def().job_names)
    assert {"housekeeping", "campaign_ops__housekeeping", "campaign_ops__sms__reconcile"} <= jobs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (["list", "components"], "campaign_ops.CampaignOps"),
        (["check", "defs"], "All definitions loaded successfully"),
        (
            ["launch", "--job", "campaign_ops__housekeeping"],
            'Finished execution of run for "campaign_ops__housekeeping"',
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_dg_knows_the_component_and_checks_and_launches_its_definitions(
    command: list[str], answer: str, environment: dict[str, str]
) -> None:
    pytest.importorskip("dagster_dg_cli")
    done = subprocess.run(
        [str(BIN / "dg"), *command], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout + done.stderr
