"""What a real webserver of Dagster says of its daemons and runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from campaign_ops.core.causes import Cause
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.watch.dagster import DAEMONS, PLATFORM_TAG, Dagster, DagsterState
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow


@dataclass
class Webserver:
    """A webserver, and the instance that it shows."""

    instance: dg.DagsterInstance
    dagster: Dagster

    def beat(self, name: str, age_seconds: float) -> None:
        self.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age_seconds, name, f"{name}-1", []))

    def run(self, status: dg.DagsterRunStatus, platform: str = "sms") -> str:
        made = create_run_for_test(
            self.instance, f"{platform}__reconcile", status=status, tags={PLATFORM_TAG: platform}
        )
        return str(made.run_id)

    def state(self) -> DagsterState:
        state = self.dagster.state()
        assert state is not None
        return state


@pytest.fixture(scope="module")
def webserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    process = ChildProcess(
        "webserver",
        [
            str(Path(sys.executable).parent / "dagster-webserver"),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "--empty-workspace",
        ],
        log_path=home / "webserver.log",
        environment={**os.environ, "DAGSTER_HOME": str(home)},
    )
    process.start()
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            dagster = Dagster(f"http://127.0.0.1:{port}/")
            wait_until(lambda: dagster.state() is not None)
            yield Webserver(instance, dagster)
    finally:
        process.stop(20)


def test_daemons_that_were_never_seen_or_fell_silent_are_dead(webserver: Webserver) -> None:
    assert [text for text in webserver.state().dead if "has never been seen" in text]
    for name in DAEMONS:
        webserver.beat(name, 10)
    assert webserver.state().dead == []
    assert Cause.DAEMON_DEAD not in [symptom.cause for symptom in webserver.state().look("sms").symptoms]
    webserver.beat("SCHEDULER", 900)
    assert webserver.state().dead == ["SCHEDULER has been silent for 15 min"]
    (symptom,) = webserver.state().look("sms").symptoms
    assert (symptom.cause, symptom.detail) == (Cause.DAEMON_DEAD, "SCHEDULER has been silent for 15 min")


def test_the_latest_ended_run_of_each_platform_counts(webserver: Webserver) -> None:
    webserver.run(dg.DagsterRunStatus.FAILURE)
    webserver.run(dg.DagsterRunStatus.SUCCESS)
    failed = webserver.run(dg.DagsterRunStatus.FAILURE, "messenger")
    webserver.run(dg.DagsterRunStatus.STARTED, "messenger")
    webserver.run(dg.DagsterRunStatus.CANCELED, "messenger")
    state = webserver.state()
    assert not state.last_runs["sms"].failed
    assert (state.last_runs["messenger"].run_id, state.last_runs["messenger"].failed) == (failed, True)
    look = state.look("messenger")
    assert look.judged[Cause.RUN_FAILED] == f"run {failed}"
    assert f"run {failed} of messenger__reconcile failed" in [symptom.detail for symptom in look.symptoms]


@pytest.mark.parametrize("path", [":1", "/nowhere"])
def test_a_webserver_that_does_not_answer_says_nothing(
    webserver: Webserver, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    url = "http://127.0.0.1:1" if path == ":1" else f"{webserver.dagster.url}{path}"
    assert Dagster(url).state() is None
    assert "did not answer as expected" in caplog.text
