"""Dagster's own storage, as dagster.yaml chooses it from the environment: SQLite, or PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.processes import ChildProcess
from tests.conftest import World
from tests.faces.cli import program
from tests.lab.waiting import wait_until
from tests.orchestration.harness import REPOSITORY, configured, deployed, run

URL = "CAMPAIGN_OPS_DAGSTER_URL"
PASSWORD = "correct-horse"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DAGSTER_HOME with the repository's dagster.yaml, and no URL."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv(URL, raising=False)
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    return tmp_path


def test_without_a_url_runs_are_in_sqlite_in_dagsters_home(home: Path, sms: World) -> None:
    """It did not start: `You have attempted to fetch the environment variable … which is not set`."""
    sms.app.add_campaign("finished", succeeded=1)
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, SqliteEventLogStorage)
        result = run(deployed(configured(sms)), "sms__reconcile", instance)
    assert sms.app.campaign("finished")["status"] == "sent"
    assert (home / "history" / "runs" / f"{result.run_id}.db").exists()
    with dg.DagsterInstance.get() as again:
        assert [stored.run_id for stored in again.get_runs()] == [result.run_id]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_with_a_url_runs_are_in_postgresql_whatever_driver_it_names(
    scheme: str, home: Path, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since SQLAlchemy 2.1 postgresql:// means psycopg 3, with which Dagster connects, and then every run fails."""
    name = f"dagster_{scheme.replace('+', '_')}"
    url = servers.postgres.create_database(name).replace("postgresql+psycopg://", f"{scheme}://")
    assert url.startswith(f"{scheme}://")
    monkeypatch.setenv(URL, url)
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.run_storage, PostgresRunStorage)
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        run_id = a_job.execute_in_process(instance=instance).run_id
        assert [stored.status for stored in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
    assert [path.name for path in home.iterdir() if path.name in ("history", "schedules")] == []
    engine = sa.create_engine(servers.postgres.url(name))
    with engine.connect() as connection:
        assert connection.scalars(sa.text("SELECT run_id FROM runs")).all() == [run_id]
    engine.dispose()


@dg.op
def nothing() -> None: ...


@dg.job
def a_job() -> None:
    nothing()


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("mysql://u:correct-horse@h/db", "is not a PostgreSQL URL"),
        ("postgresql://u:correct-horse@h", "names no database"),
        ("correct-horse", "is not a PostgreSQL URL"),
    ],
)
def test_a_wrong_url_is_named_without_a_part_of_it(
    url: str, what: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, url)
    with pytest.raises(ConfigurationError, match=f"^{URL}: {what}") as raised:
        dg.DagsterInstance.get()
    assert PASSWORD not in str(raised.value)


def test_without_url_and_home_there_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    with pytest.raises(ConfigurationError, match=f"^DAGSTER_HOME: is not set, nor is {URL}"):
        dg.DagsterInstance.from_config(str(home))


@pytest.mark.slow
def test_the_daemon_says_once_where_its_runs_are_and_sweeps(home: Path, sms: World) -> None:
    """Its first sensor starts a sweep, in a process of its own, which keeps silent about the storage."""
    sms.app.add_campaign("finished", succeeded=1)
    config = program.configured(home, sms).config
    log = home / "daemon.log"
    command = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-w", str(REPOSITORY / "workspace.yaml")]
    environment = {**os.environ, "CAMPAIGN_OPS_CONFIG": str(config)}
    daemon = ChildProcess("daemon", command, log_path=log, environment=environment)
    daemon.start()
    try:
        with dg.DagsterInstance.get() as instance:
            wait_until(lambda: [stored.status for stored in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS])
    finally:
        daemon.stop(30)
    assert sms.app.campaign("finished")["status"] == "sent"
    assert log.read_text().count(f"Dagster's runs are in SQLite in {home};") == 1
