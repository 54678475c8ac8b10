"""The files of deploy/ fit the program: command lines parse, variables are read, no process may more than it needs."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePath
from typing import Any

import pytest
import typer
import yaml
from dagster import DagsterInstance
from pydantic_settings import BaseSettings

from campaign_ops import __version__
from campaign_ops.faces.cli import app
from campaign_ops.faces.cli.describe import program_of
from campaign_ops.faces.cli.plugins import PLUGINS
from campaign_ops.faces.http.app import openapi_document
from campaign_ops.settings import environment, load_settings
from tests.deploy import started
from tests.deploy.started import DEPLOY, KUBERNETES, UNITS, Started

ROOT = DEPLOY.parent
PROCESSES = list(started.everything())
# Read by others than ours: Python, Dagster.
THEIRS = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "DAGSTER_HOME"}


def ours() -> set[str]:
    """The variables that the program reads, and those that its example configuration names."""
    classes = [kind for kind in vars(environment).values() if isinstance(kind, type) and issubclass(kind, BaseSettings)]
    read = {str(known.alias) for kind in classes for known in kind.model_fields.values()}
    return read | set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "campaign_ops.example.yaml").read_text()))


each_process = pytest.mark.parametrize("process", PROCESSES, ids=[process.where for process in PROCESSES])


def test_each_file_starts_what_it_is_for() -> None:
    """So that a parser that finds nothing fails."""
    starts = {(process.where.partition(",")[0], " ".join(map(str, process.words[:2]))) for process in PROCESSES}
    assert len(PROCESSES) > 15
    for place in ("compose.yaml", "watch.yaml", "campaign-ops-watch.service"):
        assert any(where == place and words.endswith("campaign-ops watch") for where, words in starts), place


@each_process
def test_the_real_program_takes_the_command_line(process: Started) -> None:
    program, *words = map(str, process.words)
    parse(PurePath(program).name, words)


def parse(program: str, words: list[str]) -> None:
    """Parse a command line with the program's own parser; fail where it refuses an option or a value."""
    if program == "campaign-ops":
        name, *options = words
        command = typer.main.get_command(PLUGINS[name].load()) if name in PLUGINS else program_of(click_of(app), name)
        command.make_context(name, options)
    elif program == "python":
        assert words[:2] == ["-m", "campaign_ops.faces.probe"]
        refused = [sys.executable, *words[:2], "http://127.0.0.1:1/", *words[3:]]
        assert subprocess.run(refused, capture_output=True, check=False).returncode == 1
    elif program == "celery":  # tests/orchestration/test_celery.py starts it
        assert words[:3] == ["--app", "campaign_ops.orchestration.celery_worker", "worker"]
    else:
        module, name = {
            "dagster": ("dagster._cli", "cli"),
            "dagster-daemon": ("dagster._daemon.cli", "cli"),
            "dagster-webserver": ("dagster_webserver.cli", "dagster_webserver"),
        }[program]
        command = getattr(importlib.import_module(module), name)
        words = [re.sub(r"^/var/.*/(workspace.yaml)", rf"{ROOT}/\1", word) for word in words]
        while words and hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(program, words)


def click_of(program: typer.Typer) -> Any:
    return typer.main.get_command(program)


@each_process
def test_every_variable_that_is_set_is_read(process: Started) -> None:
    assert set(process.variables) <= ours() | THEIRS


def test_the_example_of_variables_and_the_configurations_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", (DEPLOY / "environment.example").read_text(), re.MULTILINE)
    assert {name for name, _ in lines} <= ours()
    for name, value in lines:
        monkeypatch.setenv(name, value)
    for path in (ROOT / "campaign_ops.example.yaml", DEPLOY / "kubernetes" / "campaign_ops.yaml"):
        settings = load_settings(path)
        assert settings.names
        assert not settings.broken
    environment.read_watch_environment()
    assert environment.read_console() is not None


def test_checks_ask_addresses_that_are_served() -> None:
    """A health check of a path that was renamed would restart a healthy process."""
    texts = [path.read_text() for path in (started.CONTAINERFILE, started.COMPOSE, *KUBERNETES)]
    asked = {path for text in texts for path in re.findall(r"(/api/[a-z]+)(?=[\",])", text)}
    assert asked == {"/api/health"}
    assert asked <= openapi_document()["paths"].keys()


# -- containers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Containerfile", "helm/Containerfile"])
def test_hadolint_finds_nothing(name: str) -> None:
    run_tool("hadolint", "--no-color", "--failure-threshold", "style", DEPLOY / name)


def test_the_image_may_run_read_only_and_without_rights() -> None:
    text = started.CONTAINERFILE.read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert 'VOLUME ["/tmp", "/var/lib/dagster"]' in text
    assert "--require-hashes" in text
    for name in re.findall(r"^COPY (?:--chown=\S+ )?(?!--from)(.*) \S+$", text, re.MULTILINE):
        for one in name.split():
            assert f"!{one}\n" in (ROOT / ".dockerignore").read_text()
            assert one.startswith("dist/") or (ROOT / one).is_file()


SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(started.COMPOSE.read_text())["services"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "dagster-storage"])
def test_no_service_of_compose_may_write_or_become_root(name: str) -> None:
    service = SERVICES[name]
    assert (service["user"], service["read_only"], service["cap_drop"]) == ("10001:10001", True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]


def test_compose_itself_reads_the_file(tmp_path: Path) -> None:
    for name, written in (("compose.yaml", "compose.yaml"), ("environment.example", "environment")):
        shutil.copyfile(DEPLOY / name, tmp_path / written)
    (tmp_path / ".env").write_text("DAGSTER_PASSWORD=secret\n")
    told = run_tool("docker-compose", "--project-directory", tmp_path, "--profile", "tools", "config")
    assert yaml.safe_load(told)["services"].keys() == SERVICES.keys()


def test_compose_publishes_on_loopback_only_and_names_short_images() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert "/" not in service["image"]
    volumes = yaml.safe_load(started.COMPOSE.read_text())["volumes"]
    mounted = {one.partition(":")[0] for service in SERVICES.values() for one in service.get("volumes", [])}
    assert {one for one in mounted if not one.startswith(".")} == set(volumes)


# -- Kubernetes --------------------------------------------------------------------------------------------------------


KUSTOMIZATION = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
RESOURCES: list[str] = KUSTOMIZATION["resources"]


@pytest.mark.parametrize("name", RESOURCES)
def test_kubernetes_accepts_the_objects(name: str) -> None:
    run_tool("kubernetes-validate", "--strict", DEPLOY / "kubernetes" / name)


def test_kustomization_names_every_file() -> None:
    assert {*RESOURCES, "kustomization.yaml", "campaign_ops.yaml"} == {path.name for path in KUBERNETES}
    assert KUSTOMIZATION["images"][0]["newTag"] == __version__


PODS = list(started.pods())


@pytest.mark.parametrize(("where", "pod"), PODS, ids=[where for where, _ in PODS])
def test_a_pod_has_limits_no_rights_and_a_read_only_file_system(where: str, pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["terminationGracePeriodSeconds"] >= 60
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {
            "memory"
        }  # a limit of CPU makes a sweep hold its lock longer
        mounted = {one["name"] for one in container["volumeMounts"]}
        assert mounted == {one["name"] for one in pod["volumes"]}
        if pod.get("restartPolicy") != "Never":
            assert container.keys() >= {"livenessProbe", "readinessProbe"}


def test_the_chart_gets_the_settings_of_dagster_yaml(tmp_path: Path) -> None:
    """In the chart's words; what it has no words for goes through `additionalInstanceConfig`."""
    dagster = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    values = yaml.safe_load(started.VALUES.read_text())
    daemon, more = values["dagsterDaemon"], values["additionalInstanceConfig"]
    coordinator = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert snake(coordinator) == dagster["run_coordinator"]["config"]
    assert more == {key: dagster[key] for key in ("concurrency", "freshness", "nux")}
    assert snake(daemon["runMonitoring"]) == dagster["run_monitoring"]
    for key in ("sensors", "schedules"):
        assert snake(daemon[key]) == dagster[key]
    assert snake(values["pythonLogs"]) == dagster["python_logs"]
    assert (daemon["runRetries"], values["telemetry"]) == (dagster["run_retries"], dagster["telemetry"])
    assert values["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    instance = {"run_coordinator": dagster["run_coordinator"], **more}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))
    assert DagsterInstance.from_config(str(tmp_path)).run_coordinator


def snake(values: dict[str, Any]) -> dict[str, Any]:
    """Keys such as ``numWorkers`` as Dagster's own file has them."""
    return {re.sub(r"([A-Z])", r"_\1", key).lower(): value for key, value in values.items()}


# -- systemd -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with the programs of this environment in the place of those below /opt."""
    written = []
    for path in UNITS:
        written.append(tmp_path / path.name)
        written[-1].write_text(path.read_text().replace("/opt/campaign_ops/bin", str(Path(sys.executable).parent)))
    return written


def test_systemd_accepts_the_units(units: list[Path]) -> None:
    """It also says which keys it does not know, which a start would ignore."""
    told = run_tool("systemd-analyze", "verify", "--man=no", *units)
    assert [line for line in told.splitlines() if any(unit.name in line for unit in units)] == []


@pytest.mark.parametrize("name", [path.name for path in UNITS if path.suffix == ".service"])
def test_a_unit_is_fenced_in(name: str, units: list[Path]) -> None:
    """By systemd's own measure, of which 10 is no protection."""
    (unit,) = [unit for unit in units if unit.name == name]
    told = run_tool("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    assert "Overall exposure level" in told
    assert started.unit(unit)["Service"]["SuccessExitStatus"] == "143"


def run_tool(program: str, *words: object) -> str:
    """The output of a checker, which must find nothing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed; `.ci/run` installs it")
    done = subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
