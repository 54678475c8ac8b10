"""The processes that sweep during a drill: they survive errors, record every sweep, and crash where they should."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import redis
import sqlalchemy as sa

from campaign_ops.lab.drill import dagster_sweeper
from campaign_ops.lab.drill.environment.rig import DAGSTER, Rig
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.sweep_loop import SweepFailed
from tests.conftest import World
from tests.lab.waiting import wait_until
from tests.orchestration.harness import configured, deployed, run

pytestmark = pytest.mark.slow

NAME = "sweeper-1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(DrillOptions(tmp_path_factory.mktemp("sweeping"), seed=1, dagster=False)) as up:
        up.queue.open()  # a missing queue would hold repairs back until a person confirms
        yield up


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    yield shared
    for name, sweeper in list(shared.sweepers.items()):
        sweeper.kill()
        path = shared.work_dir / f"sweeps-{name}.jsonl"
        path.unlink(missing_ok=True)
        del shared.sweepers[name]


def sweeps(rig: Rig, name: str = NAME) -> list[dict[str, Any]]:
    """The complete lines that a sweeper has written."""
    path = rig.work_dir / f"sweeps-{name}.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for(rig: Rig, outcome: str, after: int = 0, name: str = NAME, seconds: float = 20) -> int:
    """Wait for one more sweep with this outcome. Returns the number of sweeps by then."""
    wait_until(lambda: any(line["outcome"] == outcome for line in sweeps(rig, name)[after:]), seconds)
    return len(sweeps(rig, name))


def sweeps_begun(rig: Rig) -> int:
    with rig.owner.connect() as connection:
        return int(connection.scalar(sa.text("SELECT count(*) FROM campaign_ops.sweep")) or 0)


def test_every_sweep_is_recorded_and_the_last_one_ends_before_the_process(rig: Rig) -> None:
    began = time.time()
    rig.writer.add_campaign("cmp_noted", succeeded=3)
    sweeper = rig.start_sweeper(NAME)
    wait_for(rig, "done")
    wait_for(rig, "done", 3)
    rig.stop_sweeper(NAME)
    assert sweeper.pid is None
    lines = sweeps(rig)
    assert sum(line["repairs"]["completed"] for line in lines) == 1
    assert all(line["outcome"] == "done" and not line["unexpected"] for line in lines)
    times = [moment for line in lines for moment in (line["began"], line["ended"])]
    assert times == sorted(times)
    assert began < times[0] <= times[-1] < time.time()
    with rig.owner.connect() as connection:
        ids = sa.text("SELECT run_id FROM campaign_ops.sweep WHERE finished_at IS NOT NULL")
        assert {line["run_id"] for line in lines} <= set(connection.scalars(ids))


def test_a_sweeper_survives_unavailable_servers(rig: Rig) -> None:
    assert rig.servers is not None
    sweeper = rig.start_sweeper(NAME)
    pid, seen = sweeper.pid, wait_for(rig, "done")
    rig.servers.postgres.kill()
    seen = wait_for(rig, "failed", seen)
    rig.servers.postgres.start()
    seen = wait_for(rig, "done", seen)
    # Redis comes back with its data: an emptied one trips the breaker for the tests below until a person confirms it.
    kept = rig.save_redis()
    rig.servers.redis.kill()
    wait_until(lambda: len(sweeps(rig)) > seen + 1)
    rig.servers.redis.start(kept)
    wait_for(rig, "done", len(sweeps(rig)))
    assert sweeper.pid == pid
    assert not any(line["unexpected"] for line in sweeps(rig))


def test_a_sweep_that_waits_for_another_in_vain_is_busy(rig: Rig) -> None:
    platform = rig.connect()
    with platform.lock(wait_seconds=0).hold():
        rig.start_sweeper(NAME)
        wait_for(rig, "busy")
    wait_for(rig, "done")
    platform.close()


@pytest.mark.parametrize("statement", [1, 7, 8, 40])
def test_a_sweeper_dies_at_the_given_statement_and_is_replaced_by_an_ordinary_one(rig: Rig, statement: int) -> None:
    begun = sweeps_begun(rig)
    sweeper = rig.start_sweeper(NAME, die_after_statements=statement)
    wait_until(lambda: sweeper.pid is None, 20)
    if statement == 1:
        assert sweeps_begun(rig) == begun, "its first statement never reached the server"
    rig.keep_alive()
    assert rig.sweepers[NAME].ordinary
    wait_for(rig, "done", len(sweeps(rig)))
    for worker in rig.workers:
        worker.kill()


def test_a_wrong_clock_affects_only_the_sweeper(rig: Rig) -> None:
    rig.writer.add_campaign("cmp_late", pending=3)
    rig.queue.open()
    began = time.time()
    rig.start_sweeper(NAME, clock_skew_seconds=7200)
    wait_until(lambda: bool(rig.queue.live_job_ids()), 20)
    rig.stop_sweeper(NAME)
    (job,) = rig.queue.live_job_ids()
    with redis.Redis.from_url(rig.queue.url) as client:
        written = int(client.hget(rig.queue.key(job), "timestamp") or 0) / 1000
    assert 7000 < written - began < 7400, "BullMQ's client was misled"
    assert all(began - 1 < line["began"] < time.time() + 1 for line in sweeps(rig)), "the record was not"


def test_dagsters_own_job_sweeps_as_the_schedule_does_and_stops_on_request(rig: Rig) -> None:
    rig.writer.add_campaign("cmp_by_dagster", succeeded=2)
    sweeper = rig.start_sweeper(DAGSTER)
    wait_for(rig, "done", name=DAGSTER, seconds=60)
    rig.stop_sweeper(DAGSTER)
    assert sweeper.pid is None
    (first, *_) = sweeps(rig, DAGSTER)
    assert (first["repairs"]["completed"], first["stuck"] >= 1) == (1, True)
    with rig.owner.connect() as connection:
        query = sa.text("SELECT trigger FROM campaign_ops.sweep WHERE run_id = :run_id")
        assert connection.scalar(query, {"run_id": first["run_id"]}) == "schedule"


def test_a_run_of_dagster_that_was_refused_is_not_a_sweep(sms: World) -> None:
    """Dagster calls it a success; without figures it would count as a sweep that found nothing."""
    definitions = deployed(configured(sms))
    job = dg.define_asset_job("only_this", selection=[dg.AssetKey(["sms", "completed_campaigns"])])
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])), "only_this", instance)
    assert result.success
    with pytest.raises(SweepFailed, match="there is no plan of this run"):
        dagster_sweeper._outcome(result)
