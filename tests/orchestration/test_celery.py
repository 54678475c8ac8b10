"""Runs on workers of Celery, with Redis as broker: they work, and one whose worker was killed is ended."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.orchestration.active_run import active_run
from tests.conftest import World
from tests.deploy.started import unit
from tests.lab.waiting import wait_until
from tests.orchestration.harness import REPOSITORY, dagster_on_postgres

pytest.importorskip("dagster_celery")
pytestmark = pytest.mark.slow
LAUNCHER = (REPOSITORY / "deploy" / "celery" / "run_launcher.yaml").read_text()
UNIT = REPOSITORY / "deploy" / "systemd" / "campaign-ops-worker.service"
CELERY = Path(sys.executable).parent / "celery"


@dataclass
class Deployment:
    """A Dagster whose runs go to Celery, with one worker."""

    dagster: dg.DagsterInstance
    worker: ChildProcess

    def launch(self, job: str) -> dg.DagsterRun:
        """Hand a run to the workers, as the daemon does."""
        repository = ReconstructableRepository(ModuleCodePointer("campaign_ops.definitions", "defs", None))
        recon = repository.get_reconstructable_job(job)
        definition = recon.get_definition()
        run = self.dagster.create_run_for_job(
            definition, job_code_origin=recon.get_python_origin(), tags=definition.tags
        )
        self.dagster.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
        return run

    def has(self, run: dg.DagsterRun, status: dg.DagsterRunStatus) -> bool:
        stored = self.dagster.get_run_by_id(run.run_id)
        return stored is not None and stored.status is status


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def deployment(
    sms: World, silent: int, servers: EmbeddedServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    """Two platforms, the database of one of which hangs."""
    hanging = f"postgresql://nobody@127.0.0.1:{silent}/nothing"
    _configure(tmp_path, sms, f"{{name: hangs, profile: messenger, database_url: '{hanging}', {_PATIENT}}}")
    monkeypatch.setenv("CAMPAIGN_OPS_CONFIG", str(tmp_path / "campaign_ops.yaml"))
    monkeypatch.setenv("CAMPAIGN_OPS_CELERY_URL", servers.redis.url(9))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dagster_on_postgres(servers, tmp_path, LAUNCHER) as dagster:
        worker = _worker(tmp_path)
        try:
            yield Deployment(dagster, worker)
        finally:
            worker.stop(20)


_PATIENT = "timeouts: {connect_seconds: 60}"
_CAREFUL = "thresholds: {breaker_floor: 0, breaker_share: 1.0e-9}"


def _configure(home: Path, sms: World, *others: str, thresholds: str = "") -> None:
    entry = (
        f"{{name: sms, profile: sms, database_url: '{sms.url}', queue_url: '{sms.queue_url}',"
        f" queue_prefix: {sms.queue.prefix}, {thresholds}}}"
    )
    lines = ["platforms:", *(f"  - {platform}" for platform in (entry, *others))]
    (home / "campaign_ops.yaml").write_text("\n".join(lines) + "\n")


def _worker(home: Path) -> ChildProcess:
    _, *words = shlex.split(unit(UNIT)["Service"]["ExecStart"])
    worker = ChildProcess("worker", [CELERY, *words], log_path=home / "worker.log", environment=os.environ)
    worker.start()
    return worker


def test_a_run_is_executed_by_a_worker_that_has_loaded_the_code(sms: World, deployment: Deployment) -> None:
    for label in ("first", "second"):
        sms.app.add_campaign(label, succeeded=5)
        run = _succeeds(deployment, "sms__reconcile")
        assert sms.app.campaign(label)["status"] == "sent"
    assert deployment.dagster.run_launcher.check_run_worker_health(_stored(deployment, run)).status in (
        WorkerStatus.RUNNING,
        WorkerStatus.SUCCESS,
    )


def test_a_run_takes_the_configuration_as_it_is_now(sms: World, deployment: Deployment, tmp_path: Path) -> None:
    """A worker that kept what it had read would sweep past a breaker that has been set since."""
    sms.app.add_campaign("first", succeeded=5)
    _succeeds(deployment, "sms__reconcile")
    assert sms.app.campaign("first")["status"] == "sent"
    _configure(tmp_path, sms, thresholds=_CAREFUL)
    sms.app.add_campaign("second", succeeded=5)
    _succeeds(deployment, "sms__reconcile")
    assert sms.app.campaign("second")["status"] == "sending"


def test_the_run_of_a_killed_worker_is_ended_and_its_slot_is_free(deployment: Deployment) -> None:
    """It stayed "started" until its maximum runtime: Celery's stored state says so for ever."""
    run = deployment.launch("hangs__reconcile")
    wait_until(lambda: deployment.has(run, dg.DagsterRunStatus.STARTED))
    assert _check(deployment, run) is WorkerStatus.RUNNING
    assert deployment.worker.pid is not None
    os.killpg(deployment.worker.pid, signal.SIGKILL)
    assert _check(deployment, run) is WorkerStatus.RUNNING  # one answer may get lost
    (record,) = deployment.dagster.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    monitor_started_run(deployment.dagster, None, record, logging.getLogger(__name__))  # type: ignore[arg-type]
    assert deployment.has(run, dg.DagsterRunStatus.FAILURE)
    assert active_run(deployment.dagster, "hangs", timedelta(minutes=15), datetime.now(UTC)) is None


def test_a_worker_that_was_started_again_does_not_answer_for_the_run_of_the_killed_one(
    deployment: Deployment, tmp_path: Path
) -> None:
    run = deployment.launch("hangs__reconcile")
    wait_until(lambda: deployment.has(run, dg.DagsterRunStatus.STARTED))
    assert deployment.worker.pid is not None
    os.killpg(deployment.worker.pid, signal.SIGKILL)
    again = _worker(tmp_path)
    try:
        wait_until(lambda: bool(_celery(deployment).control.inspect(timeout=2).ping()))
        assert [_check(deployment, run) for _ in range(2)] == [WorkerStatus.RUNNING, WorkerStatus.FAILED]
    finally:
        again.stop(20)


def test_a_run_that_is_terminated_is_killed_and_the_worker_goes_on(sms: World, deployment: Deployment) -> None:
    run = deployment.launch("hangs__reconcile")
    wait_until(partial(deployment.has, run, dg.DagsterRunStatus.STARTED))
    assert deployment.dagster.run_launcher.terminate(run.run_id)
    wait_until(lambda: _check(deployment, run) is not WorkerStatus.RUNNING)
    assert deployment.worker.pid is not None
    _succeeds(deployment, "sms__reconcile")


def _succeeds(deployment: Deployment, job: str) -> dg.DagsterRun:
    run = deployment.launch(job)
    wait_until(partial(deployment.has, run, dg.DagsterRunStatus.SUCCESS))
    return run


def _stored(deployment: Deployment, run: dg.DagsterRun) -> dg.DagsterRun:
    stored = deployment.dagster.get_run_by_id(run.run_id)
    assert stored is not None
    return stored


def _check(deployment: Deployment, run: dg.DagsterRun) -> WorkerStatus:
    return deployment.dagster.run_launcher.check_run_worker_health(_stored(deployment, run)).status


def _celery(deployment: Deployment) -> Any:
    return deployment.dagster.run_launcher.celery  # type: ignore[attr-defined]
