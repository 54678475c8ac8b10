"""A sweep that is asked for over HTTP is a run of a real Dagster, where there is one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from campaign_ops.lab.servers.ports import free_port
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.watch.dagster import DAEMONS, PLATFORM_TAG, Dagster
from tests.conftest import World
from tests.faces.cli.program import configured
from tests.faces.http.conftest import Serve
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[3] / "examples" / "merged_definitions.py"
_AT_ONCE = """
telemetry: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    (directory / "dagster.yaml").write_text(_AT_ONCE)
    return directory


@pytest.fixture(params=[("-m", "campaign_ops.definitions"), ("-f", str(EXAMPLE))], ids=["ours", "merged"])
def webserver(sms: World, home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a webserver with the definitions of the platform: ours, or merged into another project's.

    Runs start at once, as processes.
    """
    port = free_port()
    command = [str(Path(sys.executable).parent / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port)]
    process = ChildProcess(
        "webserver",
        [*command, *request.param],
        log_path=home / "webserver.log",
        environment={
            **os.environ,
            "DAGSTER_HOME": str(home),
            "CAMPAIGN_OPS_CONFIG": str(configured(tmp_path, sms).config),
        },
    )
    process.start()
    try:
        dagster = Dagster(f"http://127.0.0.1:{port}")
        wait_until(lambda: dagster.state() is not None)
        yield dagster.url
    finally:
        process.stop(20)


def test_a_sweep_is_a_run_of_dagster_and_a_second_one_is_refused(
    serve: Serve, sms: World, webserver: str, home: Path
) -> None:
    sms.app.add_campaign("done", succeeded=5)
    api = serve(sms, dagster=webserver)
    client = api.client(api.token(name="bob"))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert api.service.dagster is not None
        assert api.service.dagster.launch("sms", "bob") is None  # its daemons have never been seen
        for name in DAEMONS:
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), name, f"{name}-1", []))
        waiting = instance.create_run_for_job(_job(), tags={PLATFORM_TAG: "sms"}, status=dg.DagsterRunStatus.STARTED)
        refused = client.post("/api/internal/reconciliation", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "busy")
        assert waiting.run_id in refused.json()["detail"]
        instance.delete_run(waiting.run_id)
        (state,) = client.post("/api/internal/reconciliation", json={}).json()["sweeps"]
        assert state["by"] == "dagster"
        assert state["place"] == f"{webserver}/runs/{state['run_id']}"
        assert instance.get_run_by_id(state["run_id"]) is not None
    place = f"/api/sweeps/{state['run_id']}?platform=sms"
    assert client.get(place).json()["state"] in ("unknown", "running", "done")
    wait_until(lambda: bool(sms.rows("SELECT 1 FROM campaign_ops.sweep WHERE finished_at IS NOT NULL")))
    assert client.get(place).json()["state"] == "done"
    assert sms.app.campaign("done")["status"] == "sent"
    assert sms.rows("SELECT run_id, actor FROM campaign_ops.sweep") == [{"run_id": state["run_id"], "actor": "bob"}]


def _job() -> dg.JobDefinition:
    @dg.job(name="sms__reconcile")
    def reconcile() -> None:
        pass

    return reconcile
