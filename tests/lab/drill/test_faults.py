"""Every fault really takes effect, and its end really repairs it: each is injected once on a small rig."""

from __future__ import annotations

import importlib.util
import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError, Conflict, SweepBusy
from campaign_ops.lab.drill.environment.rig import OPS_ROLE, Rig
from campaign_ops.lab.drill.environment.workforce import DAGSTER, SWEEPERS
from campaign_ops.lab.drill.faults import FAULTS, Fault
from campaign_ops.lab.drill.faults.base import NotYet, RepeatedAction
from campaign_ops.lab.drill.faults.data import UNKNOWN_WORD
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.receiver import RECEIVED, read_received
from campaign_ops.lab.drill.settling import let_time_pass
from campaign_ops.lab.drill.workload import Workload
from campaign_ops.lab.shop.provider import provider_send
from campaign_ops.queries.status import campaign_status
from campaign_ops.settings import load_settings
from campaign_ops.sweep import Sweep, dry_run
from campaign_ops.sweep.confirm import confirmation
from campaign_ops.watch.symptoms import RESTARTS_AN_HOUR
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow

NOW = timedelta(0)
LONG_AGO = timedelta(minutes=5)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One rig for all tests: whatever a fault leaves behind fails the next test."""
    with Rig(DrillOptions(tmp_path_factory.mktemp("rig"), seed=1, dagster=False)) as rig:
        yield rig


@pytest.fixture
def rig(up: Rig) -> Iterator[Rig]:
    """Stop the processes of the last test, and delete its campaigns and jobs."""
    yield up
    up.stop_all()
    up.watcher = None
    up.sweepers.clear()
    up.workers.clear()
    up.queue.clear()
    up.queue.open()
    with up.owner.begin() as connection:
        tables = up.writer.tables
        for table in (tables.recipient, tables.reservations, tables.campaign):
            connection.execute(table.delete())
        connection.execute(provider_send.delete())


def make(name: str, seed: int = 1) -> tuple[Fault, random.Random]:
    return FAULTS[name](), random.Random(f"{seed} {name}")


def sweep(rig: Rig, *, confirmed: bool = False) -> None:
    """Run one whole sweep, as our processes do."""
    platform = rig.connect()
    try:
        code = confirmation(dry_run(platform, run_id=str(random.random())), "ann", "a test") if confirmed else None
        Sweep(platform, run_id=str(random.random()), trigger="test", actor="tests", confirm=code).run()
    finally:
        platform.close()


def value(rig: Rig, query: str, **binds: Any) -> Any:
    with rig.owner.connect() as connection:
        return connection.scalar(sa.text(query), binds)


def connected_as_ours(rig: Rig) -> sa.Engine:
    return sa.create_engine(rig.ops_url, poolclass=sa.NullPool)


def start(rig: Rig, label: str = "cmp_1", size: int = 40) -> list[str]:
    return Workload(rig).start(label, size, "shop_north")


def status(rig: Rig, campaign: str) -> str:
    return str(rig.writer.campaign(campaign)["status"])


def sends(rig: Rig) -> int:
    return rig.provider.sends()


# -- workers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "claimed", "sent", "written"),
    [
        ("kill_worker_before_send", 1, 0, 0),
        ("kill_worker_after_send", 1, 1, 0),
        ("kill_worker_after_write", 1, 1, 1),
    ],
)
def test_a_worker_dies_at_exactly_that_point(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str, claimed: int, sent: int, written: int
) -> None:
    """The state of its current recipient: claimed, sent to, written. With two jobs at a time there may be a second."""
    monkeypatch.setattr(rig, "loose_every", 0)  # a loose worker claims nothing
    fault, rng = make(name)
    fault.inject(rig, rng)
    (worker,) = rig.workers
    assert psutil.pid_exists(worker.pid or 0)
    wait_until(lambda: worker.pid is None, 20)
    with redis.Redis.from_url(rig.queue.url) as client:
        claims = len(list(client.scan_iter("sms:send-claim:*")))
    label = only(rig)
    done = len(rig.writer.recipient_ids(label)) - len(rig.writer.pending_ids(label))
    assert claims - done in (claimed - written, claimed - written + 1)
    assert sends(rig) - done in (sent - written, sent - written + 1)
    assert len(rig.sent_but_unwritten()) == sends(rig) - done
    fault.end(rig)
    rig.keep_alive()
    assert all(one.pid is not None for one in rig.workers)
    with redis.Redis.from_url(rig.queue.url) as client:
        client.flushall()


def test_workers_crash_until_their_restarts_are_an_incident(rig: Rig) -> None:
    rig.keep_alive()
    fault, rng = make("restart_workers")
    fault.inject(rig, rng)

    def look() -> None:
        rig.keep_alive()
        sweep(rig)

    def over() -> bool:
        look()
        try:
            fault.end(rig)
        except NotYet:
            return False
        return True

    def counted() -> bool:
        look()
        return bool(value(rig, "SELECT count(*) FROM campaign_ops.worker WHERE restarted") > RESTARTS_AN_HOUR)

    wait_until(over, 60)
    assert not fault.missed
    wait_until(counted, 30)


def test_a_hung_worker_keeps_its_lock_and_sends_nothing_more(rig: Rig) -> None:
    start(rig, size=300)
    worker = rig.start_worker()
    wait_until(lambda: sends(rig) > 0 and len(rig.queue.job_ids("active")) > 0, 20)
    fault, rng = make("hang_worker")
    fault.inject(rig, rng)
    assert worker.hung
    wait_until(lambda: _stands_still(rig), 10)
    (job, *_) = rig.queue.job_ids("active")
    with redis.Redis.from_url(rig.queue.url) as client:
        wait_until(lambda: client.pttl(rig.queue.key(f"{job}:lock")) > 2000, 10)
    assert worker.pid is not None
    fault.end(rig)
    assert worker.pid is None


def wait_or_not(true: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition became true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.1)
    return False


def _stands_still(rig: Rig) -> bool:
    before = sends(rig)
    return not wait_or_not(lambda: sends(rig) != before, 0.5)


# -- servers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_postgresql_is_gone_and_comes_back_with_what_was_committed(rig: Rig, seed: int) -> None:
    start(rig)
    fault, rng = FAULTS["restart_postgres"](), random.Random(seed)
    assert rig.servers is not None
    pid = rig.servers.postgres.pid
    fault.inject(rig, rng)
    assert rig.servers.postgres.pid is None
    assert not psutil.pid_exists(pid or 0)
    with pytest.raises(sa.exc.OperationalError):
        rig.writer.campaigns()
    fault.end(rig)
    fault.end(rig)  # idempotent
    assert rig.servers.postgres.pid not in (None, pid)
    wait_until(lambda: _answers(rig), 10)
    assert status(rig, "cmp_1") == "sending"


def _answers(rig: Rig) -> bool:
    try:
        return bool(rig.writer.campaigns())
    except sa.exc.OperationalError:
        return False


def test_connections_are_dropped_and_new_ones_are_taken(rig: Rig) -> None:
    fault, rng = make("drop_connections")
    with connected_as_ours(rig).connect() as ours:
        assert ours.scalar(sa.text("SELECT 1")) == 1
        fault.inject(rig, rng)
        with pytest.raises(sa.exc.OperationalError):
            ours.scalar(sa.text("SELECT 1"))
    with connected_as_ours(rig).connect() as ours:
        assert ours.scalar(sa.text("SELECT 1")) == 1


def test_redis_does_not_answer_and_then_continues_with_its_data(rig: Rig) -> None:
    jobs = start(rig)
    fault, rng = make("hang_redis")
    fault.inject(rig, rng)
    with (
        pytest.raises(redis.TimeoutError),
        redis.Redis.from_url(rig.queue.url, socket_timeout=0.5, retry=None) as client,
    ):
        client.get("anything")
    with pytest.raises(NotYet):
        fault.end(rig)
    assert sorted(rig.queue.live_job_ids()) == sorted(jobs)  # an answer, once it has one
    wait_until(lambda: _over(fault, rig))


def test_redis_comes_back_empty_and_the_ledger_notes_the_unknowable_recipients(rig: Rig) -> None:
    jobs = start(rig)
    rig.provider.send("cmp_1_r000001", "cmp_1", "worker-x")
    assert rig.servers is not None
    pid = rig.servers.redis.pid
    fault, rng = make("redis_empty")
    fault.inject(rig, rng)
    with rig.owner.begin() as locking:  # as the fault of a lock does, whose end is called after this one's
        locking.execute(sa.text('LOCK TABLE "CampaignRecipient" IN ACCESS EXCLUSIVE MODE'))
        with pytest.raises(NotYet):
            fault.end(rig)
    wait_until(lambda: _over(fault, rig))
    assert rig.servers.redis.pid not in (None, pid)
    assert len(jobs) == 2
    assert rig.queue.live_job_ids() == []
    excused = "SELECT recipient_id FROM drill.excuse WHERE kind = 'unknowable' ORDER BY at DESC LIMIT 1"
    assert value(rig, excused) == "cmp_1_r000001"


def test_redis_comes_back_with_old_data_and_the_ledger_notes_the_restored_recipients(rig: Rig) -> None:
    old = start(rig, "cmp_1", 20)
    fault, rng = make("redis_old_data")
    fault.prepare(rig)
    rig.queue.remove(old)
    start(rig, "cmp_2", 20)
    fault.inject(rig, rng)
    wait_until(lambda: _over(fault, rig))
    assert rig.queue.live_job_ids() == old
    restored = "SELECT count(*) FROM drill.excuse WHERE kind = 'restored' AND recipient_id LIKE 'cmp_1%'"
    assert value(rig, restored) == 20


# -- queue -------------------------------------------------------------------------------------------------------------


def test_the_queue_is_paused_and_resumed(rig: Rig) -> None:
    fault, rng = make("pause_queue")
    with redis.Redis.from_url(rig.queue.url) as client:
        fault.inject(rig, rng)
        assert client.hexists(rig.queue.key("meta"), "paused")
        fault.end(rig)
        assert not client.hexists(rig.queue.key("meta"), "paused")


def test_another_version_enqueues_with_priorities_until_it_is_rolled_back(rig: Rig) -> None:
    fault, rng = make("priorities")
    fault.inject(rig, rng)
    assert sorted(start(rig, "cmp_1")) == sorted(rig.queue.job_ids("prioritized"))
    fault.end(rig)
    assert sorted(start(rig, "cmp_2")) == sorted(rig.queue.job_ids("wait"))


def test_jobs_vanish(rig: Rig) -> None:
    before = len(start(rig, "cmp_1", 200))
    fault, rng = make("lose_jobs")
    fault.inject(rig, rng)
    (label,) = {row["id"] for row in rig.writer.campaigns()} - {"cmp_1"}
    covered = rig.live_recipients()
    assert set(rig.writer.pending_ids(label)) - covered
    assert set(rig.writer.pending_ids("cmp_1")) - covered
    assert 0 < len(rig.queue.live_job_ids()) < before + 13


def test_one_job_is_left_and_waits_for_the_others(rig: Rig) -> None:
    fault, rng = make("lose_all_but_one")
    fault.inject(rig, rng)
    (job,) = rig.queue.live_job_ids()
    label = only(rig)
    assert max(rig.writer.recipient_ids(label)) in rig.queue.job_data(job)["recipientIds"]
    before = sends(rig)
    worker = rig.start_worker()
    wait_until(lambda: worker.name in rig.queue.workers(), 20)
    assert not wait_or_not(lambda: sends(rig) > before, 3)
    left = rig.queue.job_data(job)["recipientIds"]
    rig.queue.add(label, "shop_north", sorted(set(rig.writer.pending_ids(label)) - set(left)), batch_size=20)
    wait_until(lambda: status(rig, label) == "sent", 20)


def test_doomed_jobs_wait_and_fail_when_they_are_taken(rig: Rig) -> None:
    fault, rng = make("doom_jobs")
    fault.inject(rig, rng)
    with redis.Redis.from_url(rig.queue.url) as client:
        waiting = rig.queue.job_ids("wait")
        doomed = [job for job in waiting if client.hexists(rig.queue.key(job), "defa")]
    assert len(doomed) == len(waiting) - 1
    rig.start_worker()
    wait_until(lambda: set(rig.queue.job_ids("failed")) == set(doomed), 20)


# -- the database ------------------------------------------------------------------------------------------------------


def test_a_table_is_locked_by_a_real_session_and_free_again(rig: Rig) -> None:
    fault, rng = make("table_lock")
    fault.inject(rig, rng)
    held = (
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation IN"
        " (SELECT oid FROM pg_class WHERE relname IN ('Campaign', 'CampaignRecipient', 'CreditReservation'))"
    )
    assert value(rig, held) == 1
    with pytest.raises(CampaignOpsError):
        sweep(rig)
    fault.end(rig)
    fault.end(rig)
    assert value(rig, held) == 0
    sweep(rig)


def test_serialization_failures_come_from_the_server_and_sweeps_repair_all_the_same(rig: Rig) -> None:
    rig.writer.add_campaign("cmp_1", updated_ago=LONG_AGO, succeeded=3)
    rig.writer.add_reservation("res_1", campaign="cmp_1")
    fault, rng = make("serialization_failures")
    fault.inject(rig, rng)
    with connected_as_ours(rig).connect() as ours:
        assert ours.scalar(sa.text("SHOW default_transaction_isolation")) == "serializable"
    before = int(value(rig, "SELECT last_value FROM drill.conflicts"))
    wait_until(lambda: _swept(rig) and status(rig, "cmp_1") == "sent", 30)
    assert int(value(rig, "SELECT last_value FROM drill.conflicts")) > before
    assert rig.writer.reservation("res_1")["status"] == "released"
    fault.end(rig)
    fault.end(rig)
    with connected_as_ours(rig).connect() as ours:
        assert ours.scalar(sa.text("SHOW default_transaction_isolation")) == "read committed"
    assert value(rig, "SELECT count(*) FROM pg_trigger WHERE tgname = 'drill_conflict'") == 0


def _swept(rig: Rig) -> bool:
    """Return whether a sweep completed; its rows or the lock may be held by another session."""
    try:
        sweep(rig)
    except (Conflict, SweepBusy):
        return False
    return True


def test_another_session_locks_in_the_opposite_order_and_we_are_the_victim(rig: Rig) -> None:
    for number in range(3):
        rig.writer.add_campaign(f"cmp_{number}", updated_ago=LONG_AGO, pending=1)
        rig.writer.add_reservation(f"res_{number}", campaign=f"cmp_{number}")
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = int(value(rig, deadlocks))
    fault, rng = make("deadlocks")
    fault.inject(rig, rng)
    rounds = RepeatedAction(lambda: _lock_as_we_do(rig), 0.01).start()
    wait_until(lambda: rounds.refused > 0 and int(value(rig, deadlocks)) > before, 30)
    rounds.stop()
    fault.end(rig)
    fault.end(rig)
    with connected_as_ours(rig).connect() as ours:
        assert ours.scalar(sa.text("SHOW deadlock_timeout")) != "150ms"
    for number in range(3):
        rig.writer.move_recipients(f"cmp_{number}", "succeeded")
        rig.writer.set_campaign(f"cmp_{number}", updated_ago=LONG_AGO)
    sweep(rig, confirmed=True)
    assert {status(rig, f"cmp_{number}") for number in range(3)} == {"sent"}


def _lock_as_we_do(rig: Rig) -> None:
    """Lock a campaign first and its credits second, as our role."""
    with connected_as_ours(rig).begin() as ours:
        ours.execute(sa.text("UPDATE \"Campaign\" SET status = status WHERE id = 'cmp_1'"))
        ours.execute(sa.text('UPDATE "CreditReservation" SET status = status WHERE "campaignId" = \'cmp_1\''))


def test_the_disk_is_full_for_the_report_alone(rig: Rig) -> None:
    rig.writer.add_campaign("cmp_1", updated_ago=LONG_AGO, succeeded=3)
    fault, rng = make("disk_full_on_report")
    fault.inject(rig, rng)
    with pytest.raises(CampaignOpsError, match="it has no disk, memory or connection left"):
        sweep(rig)
    assert status(rig, "cmp_1") == "sent"
    fault.end(rig)
    fault.end(rig)
    sweep(rig)


# -- the deployment ----------------------------------------------------------------------------------------------------


def test_a_sweep_is_killed_and_replaced(rig: Rig) -> None:
    for name in SWEEPERS:
        rig.start_sweeper(name)
    before = {one.pid for one in rig.sweepers.values()}
    fault, rng = make("kill_sweeper")
    fault.inject(rig, rng)
    wait_until(lambda: any(one.pid is None for one in rig.sweepers.values()), 30)
    rig.keep_alive()
    fault.end(rig)
    after = {one.pid for one in rig.sweepers.values()}
    assert None not in after
    assert len(after - before) == 1


def test_sweepers_stay_away_until_they_are_started_again(rig: Rig) -> None:
    for name in SWEEPERS:
        rig.start_sweeper(name)
    fault, rng = make("stop_sweepers")
    fault.inject(rig, rng)
    rig.keep_alive()
    assert [one.pid for one in rig.sweepers.values()] == [None, None]
    fault.end(rig)
    assert None not in [one.pid for one in rig.sweepers.values()]


def test_sweepers_hang_and_continue(rig: Rig) -> None:
    for name in SWEEPERS:
        rig.start_sweeper(name)
    pids = [one.pid for one in rig.sweepers.values()]
    fault, rng = make("hang_sweepers")
    fault.inject(rig, rng)
    wait_until(lambda: [psutil.Process(pid).status() for pid in pids] == [psutil.STATUS_STOPPED] * 2, 10)
    rig.keep_alive()
    fault.end(rig)
    assert [one.pid for one in rig.sweepers.values()] == pids
    assert psutil.STATUS_STOPPED not in [psutil.Process(pid).status() for pid in pids]


@pytest.mark.parametrize("name", ["stop_sweepers", "hang_sweepers"])
def test_sweeps_that_were_never_stale_are_a_fault_without_effect(rig: Rig, name: str) -> None:
    sweep(rig)
    fault, rng = make(name)
    fault.inject(rig, rng)
    fault.end(rig)
    assert fault.missed
    fault, rng = make(name)
    fault.inject(rig, rng)
    with rig.owner.begin() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.sweep SET finished_at = finished_at - interval '4 seconds'"))
    fault.end(rig)
    assert not fault.missed


# -- the watcher -------------------------------------------------------------------------------------------------------


def test_the_watcher_dies_and_comes_back(rig: Rig) -> None:
    rig.start_watcher()
    assert rig.watcher is not None
    before = rig.watcher.pid
    fault, rng = make("stop_watcher")
    fault.inject(rig, rng)
    rig.keep_alive()
    assert rig.watcher.pid is None
    fault.end(rig)
    assert rig.watcher.pid not in (None, before)


def test_a_notification_comes_again_and_says_so_when_the_watcher_dies_before_it_is_noted(rig: Rig) -> None:
    """The lease of the dead watcher is let pass, as the drill does when it settles."""
    sweep(rig)
    fault, rng = make("kill_watcher_after_send")
    rig.start_watcher()  # no sweep follows: the last one gets stale
    fault.inject(rig, rng)
    assert rig.watcher is not None
    wait_until(lambda: rig.watcher is not None and rig.watcher.pid is None, 30)
    fault.end(rig)
    assert not fault.missed
    rig.keep_alive()
    subject = value(rig, "SELECT subject FROM campaign_ops.notification WHERE attempts > 0 AND sent_at IS NULL")
    assert subject

    def settled() -> bool:
        let_time_pass(rig)
        return not value(rig, "SELECT count(*) FROM campaign_ops.notification WHERE sent_at IS NULL")

    wait_until(settled, 30)
    first, second = [message for message in read_received(rig.work_dir / RECEIVED) if message.subject == subject]
    assert "may have come before" not in first.body
    assert "may have come before" in second.body


@pytest.mark.skipif(importlib.util.find_spec("time_machine") is None, reason="time-machine is not installed")
def test_a_clock_is_wrong_and_right_again(rig: Rig) -> None:
    fault, rng = make("clock_skew")
    fault.inject(rig, rng)
    (sweeper,) = rig.sweepers.values()
    assert abs(sweeper.options.clock_skew_seconds) >= 3 * 3600
    fault.end(rig)
    (sweeper,) = rig.sweepers.values()
    assert sweeper.options.clock_skew_seconds == 0
    assert sweeper.pid is not None


def test_sweeps_go_through_pgbouncer_and_back(rig: Rig) -> None:
    fault, rng = make("pgbouncer")
    if (reason := fault.unavailable(rig)) is not None:
        pytest.skip(reason)
    for name in SWEEPERS:
        rig.start_sweeper(name)
    fault.inject(rig, rng)
    moved = [one for one in rig.sweepers.values() if one.options.database_url]
    assert moved
    wait_until(lambda: _swept_by(rig, moved[0].name) > 0, 30)
    fault.end(rig)
    assert not any(one.options.database_url for one in rig.sweepers.values())


def _swept_by(rig: Rig, name: str) -> int:
    file = rig.work_dir / f"sweeps-{name}.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return sum(json.loads(line)["outcome"] == "done" for line in lines)


@pytest.mark.parametrize(("seed", "manner"), [(1, "refuses connections"), (4, "never answers")])
def test_a_second_platform_is_down_and_the_command_line_sweeps_the_first(rig: Rig, seed: int, manner: str) -> None:
    rig.writer.add_campaign("cmp_1", updated_ago=LONG_AGO, succeeded=3)
    fault, rng = make("platform_down", seed)
    assert manner in fault.inject(rig, rng)
    assert len(load_settings(rig.config).platforms) == 2
    wait_until(lambda: _over(fault, rig), 60)
    told = rig.story[-1][1]
    assert "exited with 1" in told
    assert "sms: swept" in told
    assert "DatabaseUnavailable" in told
    assert len(load_settings(rig.config).platforms) == 1
    assert status(rig, "cmp_1") == "sent"


def _over(fault: Fault, rig: Rig) -> bool:
    try:
        fault.end(rig)
    except NotYet:
        return False
    return True


def test_two_dagsters_execute_the_same_schedule(tmp_path: Path) -> None:
    with Rig(DrillOptions(tmp_path, seed=1)) as rig:
        rig.start_sweeper(DAGSTER)
        fault, rng = make("duplicate_ticks")
        fault.inject(rig, rng)
        assert len([one for one in rig.sweepers.values() if one.pid is not None]) == 2
        wait_until(lambda: _swept_by(rig, "dagster") > 1 and _swept_by(rig, "dagster-2") > 1, 90)
        fault.end(rig)
        fault.end(rig)
        rig.restore()
        assert list(rig.sweepers) == [DAGSTER]


# -- data --------------------------------------------------------------------------------------------------------------


def only(rig: Rig) -> str:
    (row,) = rig.writer.campaigns()
    return str(row["id"])


def wait_until_stuck(rig: Rig, campaign: str) -> None:
    rig.writer.set_campaign(campaign, updated_ago=LONG_AGO)
    _age_recipients(rig, campaign)


def _age_recipients(rig: Rig, campaign: str) -> None:
    table = rig.writer.tables.recipient
    old = sa.func.timezone("utc", sa.func.now()) - timedelta(minutes=5)
    with rig.owner.begin() as connection:
        for column in (table.c.sentAt, table.c.failedAt):
            connection.execute(
                table.update().where(table.c.campaign_id == campaign, column.is_not(None)).values({column.key: old})
            )


def test_a_completion_is_lost_and_a_sweep_finds_it(rig: Rig) -> None:
    fault, rng = make("lose_completion")
    fault.inject(rig, rng)
    labels = [str(row["id"]) for row in rig.writer.campaigns()]
    for label in labels:
        assert status(rig, label) == "sending"
        assert rig.writer.pending_ids(label) == []
        assert {row["status"] for row in rig.writer.reservations(label)} == {"active"}
        wait_until_stuck(rig, label)
    sweep(rig)
    assert sorted(status(rig, label) for label in labels) == ["failed", "sent"]


def test_finished_campaigns_get_recipients_or_are_cancelled_when_they_have_become_stuck(rig: Rig) -> None:
    fault, rng = make("late_change")
    fault.inject(rig, rng)
    labels = [str(row["id"]) for row in rig.writer.campaigns()]
    sent = {label: len(rig.writer.recipient_ids(label)) for label in labels}
    assert not any(rig.writer.pending_ids(label) for label in labels)
    wait_until(lambda: all(_changed(rig, label, sent[label]) for label in labels), 20)
    fault.end(rig)
    fault.end(rig)
    assert {status(rig, label) for label in labels} == {"sending", "cancelled"}


def _changed(rig: Rig, label: str, sent: int) -> bool:
    return status(rig, label) == "cancelled" or len(rig.writer.recipient_ids(label)) > sent


def test_a_poisoned_campaign_cannot_be_completed_until_the_fault_ends_and_others_can(rig: Rig) -> None:
    fault, rng = make("poison_campaign")
    fault.inject(rig, rng)
    label = only(rig)
    wait_until_stuck(rig, label)
    rig.writer.add_campaign("cmp_1", updated_ago=LONG_AGO, succeeded=3)
    sweep(rig)
    assert status(rig, label) == "sending"
    assert status(rig, "cmp_1") == "sent"
    fault.end(rig)
    fault.end(rig)
    sweep(rig)
    assert status(rig, label) in ("sent", "failed")


def test_an_unknown_word_blocks_its_campaign(rig: Rig) -> None:
    fault, rng = make("unknown_word")
    fault.inject(rig, rng)
    label = only(rig)
    wait_until_stuck(rig, label)
    sweep(rig)
    assert UNKNOWN_WORD in rig.writer.tally(label)
    platform = rig.connect()
    assert [line.verdict for line in campaign_status(platform)] == ["unknown_status"]
    platform.close()
    assert rig.queue.live_job_ids() == []


def test_all_jobs_of_one_campaign_vanish_and_others_are_sent(rig: Rig) -> None:
    fault, rng = make("unsendable")
    fault.inject(rig, rng)
    label = only(rig)
    start(rig, "cmp_2", 5)  # workers forget the completion of cmp_1
    rig.start_worker()
    wait_until(lambda: status(rig, "cmp_2") == "sent" and not rig.queue.live_job_ids(), 20)
    assert rig.writer.tally(label) == {"pending": len(rig.writer.recipient_ids(label))}


# -- all of them -------------------------------------------------------------------------------------------------------


def test_every_fault_says_what_it_is_and_has_its_test() -> None:
    tested = Path(__file__).read_text()
    for name, kind in FAULTS.items():
        assert kind.name == name
        assert kind.title
        assert f'"{name}"' in tested


def test_a_fault_that_is_not_possible_says_why(tmp_path: Path) -> None:
    options = DrillOptions(tmp_path, seed=1, dagster=False, database_url="postgresql://a@127.0.0.1/test")
    assert FAULTS["duplicate_ticks"]().impossible(options) == "the drill runs without Dagster"
    assert FAULTS["redis_empty"]().impossible(options) == "the servers are external, and the drill may not stop them"
    assert OPS_ROLE == "drill_ops"
