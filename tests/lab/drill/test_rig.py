"""The rig: its processes, what is replaced, what a lost Redis excuses, and which external servers are refused."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import sqlalchemy as sa

from campaign_ops.core.errors import ConfigurationError, Refused
from campaign_ops.lab.drill.checkers import liveness, read, stores_of
from campaign_ops.lab.drill.environment import processes
from campaign_ops.lab.drill.environment.environment import BESIDE
from campaign_ops.lab.drill.environment.processes import node_missing
from campaign_ops.lab.drill.environment.rig import OPS_ROLE, SWEEPERS, Rig
from campaign_ops.lab.drill.on_call import OnCall
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.workload import Workload
from campaign_ops.lab.drill.worlds import NODE_MAJORS
from campaign_ops.lab.servers.embedded import EmbeddedServers
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow

NOW = timedelta(0)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(DrillOptions(tmp_path, seed=1, dagster=False)) as up:
        yield up


def start(rig: Rig, campaign: str, recipients: int = 40) -> list[str]:
    """Start a campaign as the application does. Returns the ids of its jobs."""
    rig.writer.add_campaign(campaign, updated_ago=NOW, pending=recipients)
    return rig.queue.add(campaign, "shop_north", rig.writer.pending_ids(campaign), batch_size=20)


def is_over(rig: Rig, campaign: str) -> bool:
    return bool(rig.writer.campaign(campaign)["status"] == rig.profile.campaign.words.done)


def changes_of(rig: Rig, campaign: str) -> list[tuple[str, str]]:
    """(role, status) of each change of the campaign's row."""
    query = "SELECT role, new->>'status' FROM drill.change WHERE key = :key AND old IS NOT NULL ORDER BY id"
    with rig.owner.connect() as connection:
        return [(role, word) for role, word in connection.execute(sa.text(query), {"key": campaign})]


def test_a_campaign_without_jobs_is_sent_and_our_role_has_only_the_documented_grants(rig: Rig) -> None:
    rig.queue.remove(start(rig, "cmp_lost"))
    rig.start_all()
    wait_until(lambda: is_over(rig, "cmp_lost"), 30)
    assert {role for role, _ in changes_of(rig, "cmp_lost")} <= {"postgres", OPS_ROLE}
    with rig.owner.connect() as connection:
        acted = connection.execute(sa.text("SELECT DISTINCT role, kind FROM drill.journaled, campaign_ops.repair"))
        assert (OPS_ROLE, "reenqueue") in {tuple(row) for row in acted}
    query = 'SELECT "phone" FROM "CampaignRecipient"'
    with (
        pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        sa.create_engine(rig.ops_url).connect() as ours,
    ):
        ours.execute(sa.text(query))
    assert rig.servers is not None
    assert f"{OPS_ROLE}@sms" in (rig.servers.work_dir / "postgres.log").read_text()


def test_a_statement_of_ours_that_runs_too_long_is_found_in_the_servers_log(rig: Rig) -> None:
    stores = stores_of(rig)
    stores = replace(stores, timeouts=replace(stores.timeouts, statement_seconds=0.1))
    with rig.owner.begin() as connection:
        connection.execute(sa.text(f"ALTER ROLE {OPS_ROLE} SET log_min_duration_statement = 0"))
    with sa.create_engine(rig.ops_url).connect() as ours:
        ours.execute(sa.text("SELECT 1"))
        # The wait for the sweep lock has a bound of its own.
        ours.execute(sa.text("SELECT pg_sleep(1.2), pg_advisory_xact_lock(1)"))
        assert liveness.slow_statements(read(stores)).holds
        ours.execute(sa.text("SELECT pg_sleep(1.2)"))
    result = liveness.slow_statements(read(stores))
    assert not result.holds
    assert result.found == "1"
    assert "pg_sleep(1.2)" in result.examples[0]


def test_a_second_platform_is_swept_beside_and_nothing_is_left_running(tmp_path: Path) -> None:
    with Rig(DrillOptions(tmp_path, seed=1, dagster=False, worlds=("counters", "bigint_ids"))) as rig:
        rig.start_all()
        assert rig.beside is not None
        assert "cmp_1" in str(Workload(rig).start_beside(0.0))
        sweeps = rig.beside.work_dir / f"sweeps-{BESIDE}.jsonl"
        wait_until(lambda: sweeps.exists() and '"done"' in sweeps.read_text(), 20)
        assert "beside" not in rig.watch_config.read_text()
        (campaign,) = rig.beside.application.campaigns()
        assert campaign["total"] == 5
        pids = [one.pid for one in rig.workers] + [one.pid for one in rig.sweepers.values()]
        assert None not in pids
        pids += [rig.servers.postgres.pid, rig.servers.redis.pid] if rig.servers else []
        pids += [rig.pgbouncer.pid] if rig.pgbouncer else []
        assert rig.watcher is not None
        pids.append(rig.watcher.pid)
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)


def test_dead_processes_are_replaced_and_everything_broken_is_restored(rig: Rig) -> None:
    rig.start_all()
    dead, hung = rig.workers
    dead.kill()
    killed, stopped = SWEEPERS
    rig.sweepers[killed].kill()
    rig.stop_sweeper(stopped)
    wait_until(hung.hang, 20)
    rig.keep_alive()
    assert dead not in rig.workers
    assert len(rig.workers) == 2
    assert rig.sweepers[killed].pid is not None
    assert rig.sweepers[stopped].pid is None, "it was stopped on purpose"

    jobs = start(rig, "cmp_a")
    rig.writer.set_campaign("cmp_a", status="paused")
    rig.queue.remove(jobs)
    rig.queue.pause()
    rig.start_sweeper(killed, clock_skew_seconds=7200)
    rig.configure(second_database_url="postgresql://nobody@127.0.0.1:1/annex")
    assert "annex" in rig.config.read_text()
    assert rig.servers is not None
    rig.servers.redis.kill()
    rig.servers.postgres.kill()
    for _ in range(2):
        rig.restore()
    assert "annex" not in rig.config.read_text()
    assert hung.pid is None
    assert len(rig.workers) == 2
    assert all(one.ordinary and one.pid is not None for one in rig.sweepers.values())
    with OnCall(rig):  # the Redis that was killed came back empty: a person must confirm what is put back
        wait_until(lambda: is_over(rig, "cmp_a"), 40)


def excused(rig: Rig) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with rig.owner.connect() as connection:
        for kind, recipient in connection.execute(sa.text("SELECT kind, recipient_id FROM drill.excuse")):
            found.setdefault(kind, set()).add(recipient)
    return found


def test_a_redis_that_loses_data_excuses_unwritten_sends_and_restored_jobs(rig: Rig) -> None:
    jobs = start(rig, "cmp_a")
    first, *rest = rig.writer.pending_ids("cmp_a")
    rig.provider.send(first, "cmp_a", "a worker that died", "1")
    assert rig.sent_but_unwritten() == [first]
    kept = rig.save_redis()
    rig.restart_redis()
    assert rig.queue.live_job_ids() == []
    assert excused(rig) == {"unknowable": {first}}
    rig.restart_redis(kept)
    assert sorted(rig.queue.live_job_ids()) == sorted(jobs)
    assert excused(rig)["restored"] == {first, *rest} == rig.live_recipients()


def test_a_sweeper_works_behind_pgbouncer(rig: Rig) -> None:
    if rig.pgbouncer is None:
        pytest.skip("pgbouncer is not installed")
    rig.writer.add_campaign("cmp_done", succeeded=3)
    os.kill(rig.pgbouncer.pid or 0, signal.SIGKILL)
    wait_until(lambda: rig.pgbouncer is not None and rig.pgbouncer.pid is None)
    rig.pgbouncer.start()
    sweeper = rig.start_sweeper("behind", database_url=rig.pgbouncer.url)
    wait_until(lambda: is_over(rig, "cmp_done"), 20)
    assert not sweeper.ordinary
    assert changes_of(rig, "cmp_done") == [(OPS_ROLE, "sent")]


# -- Node ------------------------------------------------------------------------------------------------------------


@pytest.mark.node
def test_node_workers_of_all_versions_send_die_and_hang_like_any_other(rig: Rig) -> None:
    if (reason := node_missing()) is not None:
        pytest.skip(reason)
    start(rig, "cmp_mixed", 240)
    dying = rig.start_worker(node=5, die_at="after_send", die_after=2)
    wait_until(lambda: dying.pid is None, 20)
    (first, *_) = rig.sent_but_unwritten()
    # Another of the same version may send at once: the dead one's Node has died with it.
    workers = [rig.start_worker(node=major) for major in NODE_MAJORS]
    hung = workers[0]
    wait_until(hung.hang, 20)
    wait_until(lambda: len(rig.writer.pending_ids("cmp_mixed")) < 60, 30)
    hung.kill()
    wait_until(lambda: not rig.queue.live_job_ids(), 40)
    assert first in rig.writer.pending_ids("cmp_mixed"), "it was claimed, so no worker may send to it again"
    assert rig.provider.double_sends() == {}
    with rig.owner.connect() as connection:
        senders = connection.scalars(sa.text("SELECT DISTINCT worker FROM demo.provider_send")).all()
    assert {name[:5] for name in senders} >= {"node5", "node6"}


def test_node_workers_without_their_packages_are_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PACKAGES", tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        Rig(DrillOptions(tmp_path / "work", seed=1, node=True)).__enter__()
    assert f"npm ci --prefix {tmp_path}" in str(refused.value)
    assert not (tmp_path / "work").exists()


# -- external servers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers that were not started by the drill."""
    with EmbeddedServers(tmp_path_factory.mktemp("others"), postgres_port=0) as running:
        for name in ("drill_empty", "shop", "test_full"):
            running.postgres.create_database(name)
        engine = sa.create_engine(running.postgres.url("test_full"))
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE orders (id int)"))
        engine.dispose()
        yield running


def on(servers: EmbeddedServers, work_dir: Path, database: str = "drill_empty", **changes: Any) -> DrillOptions:
    urls = {"database_url": servers.postgres.url(database, tcp=True), "redis_url": servers.redis.url()}
    return DrillOptions(**{"work_dir": work_dir, "seed": 1, "dagster": False, **urls, **changes})


def portrait(servers: EmbeddedServers, database: str) -> list[Any]:
    """Relations, schemas, roles and keys: everything that a drill could leave behind."""
    engine = sa.create_engine(servers.postgres.url(database))
    queries = (
        "SELECT oid::regclass::text, relacl::text FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_'",
        "SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'",
        "SELECT rolname FROM pg_roles",
        "SELECT datname FROM pg_database",
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    )
    with engine.connect() as connection:
        found: list[Any] = [sorted(map(tuple, connection.execute(sa.text(query)))) for query in queries]
    engine.dispose()
    with redis.Redis.from_url(servers.redis.url()) as client:
        return [*found, sorted(client.keys())]


def test_external_servers_are_left_as_they_were(others: EmbeddedServers, tmp_path: Path) -> None:
    before = portrait(others, "drill_empty")
    with Rig(on(others, tmp_path)) as rig:
        assert rig.servers is None
        rig.writer.add_campaign("cmp_done", succeeded=3)
        start(rig, "cmp_a", 20)
        rig.start_all()
        wait_until(lambda: is_over(rig, "cmp_done") and is_over(rig, "cmp_a"), 30)
        assert changes_of(rig, "cmp_done") == [(OPS_ROLE, "sent")]
        assert portrait(others, "drill_empty") != before
    assert portrait(others, "drill_empty") == before


def test_only_one_external_server_is_refused(others: EmbeddedServers, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="only one of the two"):
        Rig(on(others, tmp_path, redis_url=None)).__enter__()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"database": "shop"}, "its name does not contain test"),
        ({"database": "test_full"}, "it has 1 table"),
        ({"database_url": "postgresql://app@db.example.com/test"}, "it is on another machine"),
        ({"redis_url": "redis://10.1.2.3:6379/0"}, "it is on another machine"),
    ],
)
def test_servers_that_look_like_production_are_refused(
    others: EmbeddedServers, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused) as refused:
        Rig(on(others, tmp_path, **changes)).__enter__()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "--throw-away" in str(refused.value)


def test_a_redis_with_keys_or_clients_and_a_database_with_connections_are_refused(
    others: EmbeddedServers, tmp_path: Path
) -> None:
    with redis.Redis.from_url(others.redis.url()) as client:
        client.set("session:1", "x")
        with pytest.raises(Refused, match="it has 1 key, it has 1 other connection"):
            Rig(on(others, tmp_path)).__enter__()
        with Rig(on(others, tmp_path, throw_away=True)):
            pass
        assert client.keys() == [b"session:1"], "foreign keys are kept, even with --throw-away"
        client.delete("session:1")
    engine = sa.create_engine(others.postgres.url("drill_empty"))
    with engine.connect(), pytest.raises(Refused, match="1 other connection"):
        Rig(on(others, tmp_path)).__enter__()
    engine.dispose()
