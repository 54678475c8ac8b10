"""Every fault really happens, and what ends it really mends it: each is let happen once on a small stand."""

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
from campaign_ops.lab.drill.environment.rig import OPS_ROLE, Stand
from campaign_ops.lab.drill.environment.workforce import DAGSTER, SWEEPERS
from campaign_ops.lab.drill.faults import FAULTS, Fault
from campaign_ops.lab.drill.faults.base import Meddler, NotYet
from campaign_ops.lab.drill.faults.data import UNKNOWN_WORD
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.workload import Shop
from campaign_ops.lab.shop.provider import provider_send
from campaign_ops.queries.status import campaign_status
from campaign_ops.settings import load_settings
from campaign_ops.sweep import Sweep, dry_run
from campaign_ops.sweep.confirm import confirmation
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow

NOW = timedelta(0)
LONG_AGO = timedelta(minutes=5)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One stand for all: whatever a fault leaves behind fails the next test."""
    with Stand(DrillOptions(tmp_path_factory.mktemp("stand"), seed=1, dagster=False)) as stand:
        yield stand


@pytest.fixture
def stand(up: Stand) -> Iterator[Stand]:
    """Everybody of the last test has gone home, and its campaigns and jobs are gone."""
    yield up
    up.send_home()
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


def sweep(stand: Stand, *, confirmed: bool = False) -> None:
    """One whole sweep, as a process of ours makes it."""
    platform = stand.connect()
    try:
        given = confirmation(dry_run(platform, run_id=str(random.random())), "ann", "a test") if confirmed else None
        Sweep(platform, run_id=str(random.random()), trigger="test", actor="tests", confirm=given).run()
    finally:
        platform.close()


def value(stand: Stand, query: str, **binds: Any) -> Any:
    with stand.owner.connect() as connection:
        return connection.scalar(sa.text(query), binds)


def connected_as_ours(stand: Stand) -> sa.Engine:
    return sa.create_engine(stand.ops_url, poolclass=sa.NullPool)


def start(stand: Stand, label: str = "cmp_1", size: int = 40) -> list[str]:
    return Shop(stand).start(label, size, "shop_north")


def status(stand: Stand, campaign: str) -> str:
    return str(stand.writer.campaign(campaign)["status"])


def sends(stand: Stand) -> int:
    return stand.provider.sends()


# -- workers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "claimed", "sent", "written"),
    [
        ("kill_worker_before_send", 1, 0, 0),
        ("kill_worker_after_send", 1, 1, 0),
        ("kill_worker_after_write", 1, 1, 1),
    ],
)
def test_a_worker_dies_exactly_there(stand: Stand, name: str, claimed: int, sent: int, written: int) -> None:
    """Of whom it had in hand: claimed, sent to, written. With two jobs at a time there may be another."""
    fault, chance = make(name)
    fault.inject(stand, chance)
    (worker,) = stand.workers
    assert psutil.pid_exists(worker.pid or 0)
    wait_until(lambda: worker.pid is None, 20)
    with redis.Redis.from_url(stand.queue.url) as client:
        claims = len(list(client.scan_iter("sms:send-claim:*")))
    label = only(stand)
    done = len(stand.writer.recipient_ids(label)) - len(stand.writer.pending_ids(label))
    assert claims - done in (claimed - written, claimed - written + 1)
    assert sends(stand) - done in (sent - written, sent - written + 1)
    assert len(stand.sent_but_unwritten()) == sends(stand) - done
    fault.end(stand)
    stand.keep_alive()
    assert all(one.pid is not None for one in stand.workers)
    with redis.Redis.from_url(stand.queue.url) as client:
        client.flushall()


def test_a_hung_worker_keeps_its_lock_and_sends_nothing_more(stand: Stand) -> None:
    start(stand, size=300)
    worker = stand.hire()
    wait_until(lambda: sends(stand) > 0 and len(stand.queue.job_ids("active")) > 0, 20)
    fault, chance = make("hang_worker")
    fault.inject(stand, chance)
    assert worker.hung
    wait_until(lambda: _stands_still(stand), 10)
    (job, *_) = stand.queue.job_ids("active")
    with redis.Redis.from_url(stand.queue.url) as client:
        wait_until(lambda: client.pttl(stand.queue.key(f"{job}:lock")) > 2000, 10)
    assert worker.pid is not None
    fault.end(stand)
    assert worker.pid is None


def wait_or_not(true: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.1)
    return False


def _stands_still(stand: Stand) -> bool:
    before = sends(stand)
    return not wait_or_not(lambda: sends(stand) != before, 0.5)


# -- servers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_postgresql_is_gone_and_comes_back_with_what_was_committed(stand: Stand, seed: int) -> None:
    start(stand)
    fault, chance = FAULTS["restart_postgres"](), random.Random(seed)
    assert stand.servers is not None
    pid = stand.servers.postgres.pid
    fault.inject(stand, chance)
    assert stand.servers.postgres.pid is None
    assert not psutil.pid_exists(pid or 0)
    with pytest.raises(sa.exc.OperationalError):
        stand.writer.campaigns()
    fault.end(stand)
    fault.end(stand)  # as often as one likes
    assert stand.servers.postgres.pid not in (None, pid)
    wait_until(lambda: _answers(stand), 10)
    assert status(stand, "cmp_1") == "sending"


def _answers(stand: Stand) -> bool:
    try:
        return bool(stand.writer.campaigns())
    except sa.exc.OperationalError:
        return False


def test_connections_are_dropped_and_new_ones_are_taken(stand: Stand) -> None:
    fault, chance = make("drop_connections")
    with connected_as_ours(stand).connect() as ours:
        assert ours.scalar(sa.text("SELECT 1")) == 1
        fault.inject(stand, chance)
        with pytest.raises(sa.exc.OperationalError):
            ours.scalar(sa.text("SELECT 1"))
    with connected_as_ours(stand).connect() as ours:
        assert ours.scalar(sa.text("SELECT 1")) == 1


def test_redis_answers_nobody_and_goes_on_with_what_it_had(stand: Stand) -> None:
    jobs = start(stand)
    fault, chance = make("hang_redis")
    fault.inject(stand, chance)
    with (
        pytest.raises(redis.TimeoutError),
        redis.Redis.from_url(stand.queue.url, socket_timeout=0.5, retry=None) as client,
    ):
        client.get("anything")
    with pytest.raises(NotYet):
        fault.end(stand)
    assert sorted(stand.queue.live_job_ids()) == sorted(jobs)  # an answer, once it has one
    wait_until(lambda: _over(fault, stand))


def test_redis_comes_back_empty_and_the_ledger_knows_who_is_unknowable(stand: Stand) -> None:
    jobs = start(stand)
    stand.provider.send("cmp_1_r000001", "cmp_1", "somebody")
    assert stand.servers is not None
    pid = stand.servers.redis.pid
    fault, chance = make("redis_empty")
    fault.inject(stand, chance)
    fault.end(stand)
    assert stand.servers.redis.pid not in (None, pid)
    assert len(jobs) == 2
    assert stand.queue.live_job_ids() == []
    excused = "SELECT recipient_id FROM drill.excuse WHERE kind = 'unknowable' ORDER BY at DESC LIMIT 1"
    assert value(stand, excused) == "cmp_1_r000001"


def test_redis_comes_back_with_old_data_and_the_ledger_knows_whose_jobs_are_back(stand: Stand) -> None:
    old = start(stand, "cmp_1", 20)
    fault, chance = make("redis_old_data")
    fault.prepare(stand)
    stand.queue.remove(old)
    start(stand, "cmp_2", 20)
    fault.inject(stand, chance)
    fault.end(stand)
    assert stand.queue.live_job_ids() == old
    restored = "SELECT count(*) FROM drill.excuse WHERE kind = 'restored' AND recipient_id LIKE 'cmp_1%'"
    assert value(stand, restored) == 20


# -- queue -------------------------------------------------------------------------------------------------------------


def test_the_queue_is_paused_and_resumed(stand: Stand) -> None:
    fault, chance = make("pause_queue")
    with redis.Redis.from_url(stand.queue.url) as client:
        fault.inject(stand, chance)
        assert client.hexists(stand.queue.key("meta"), "paused")
        fault.end(stand)
        assert not client.hexists(stand.queue.key("meta"), "paused")


def test_another_version_enqueues_with_priorities_until_it_is_taken_back(stand: Stand) -> None:
    fault, chance = make("priorities")
    fault.inject(stand, chance)
    assert sorted(start(stand, "cmp_1")) == sorted(stand.queue.job_ids("prioritized"))
    fault.end(stand)
    assert sorted(start(stand, "cmp_2")) == sorted(stand.queue.job_ids("wait"))


def test_jobs_vanish(stand: Stand) -> None:
    before = len(start(stand, "cmp_1", 200))
    fault, chance = make("lose_jobs")
    fault.inject(stand, chance)
    (label,) = {row["id"] for row in stand.writer.campaigns()} - {"cmp_1"}
    covered = stand.live_recipients()
    assert set(stand.writer.pending_ids(label)) - covered
    assert set(stand.writer.pending_ids("cmp_1")) - covered
    assert 0 < len(stand.queue.live_job_ids()) < before + 13


def test_one_job_is_left_and_waits_for_the_others(stand: Stand) -> None:
    fault, chance = make("lose_all_but_one")
    fault.inject(stand, chance)
    (job,) = stand.queue.live_job_ids()
    label = only(stand)
    assert max(stand.writer.recipient_ids(label)) in stand.queue.job_data(job)["recipientIds"]
    before = sends(stand)
    worker = stand.hire()
    wait_until(lambda: worker.name in stand.queue.workers(), 20)
    assert not wait_or_not(lambda: sends(stand) > before, 3)
    left = stand.queue.job_data(job)["recipientIds"]
    stand.queue.add(label, "shop_north", sorted(set(stand.writer.pending_ids(label)) - set(left)), batch_size=20)
    wait_until(lambda: status(stand, label) == "sent", 20)


def test_doomed_jobs_wait_and_fail_when_they_are_taken(stand: Stand) -> None:
    fault, chance = make("doom_jobs")
    fault.inject(stand, chance)
    with redis.Redis.from_url(stand.queue.url) as client:
        waiting = stand.queue.job_ids("wait")
        doomed = [job for job in waiting if client.hexists(stand.queue.key(job), "defa")]
    assert len(doomed) == len(waiting) - 1
    stand.hire()
    wait_until(lambda: set(stand.queue.job_ids("failed")) == set(doomed), 20)


# -- the database ------------------------------------------------------------------------------------------------------


def test_a_table_is_locked_by_a_real_session_and_free_again(stand: Stand) -> None:
    fault, chance = make("table_lock")
    fault.inject(stand, chance)
    held = (
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation IN"
        " (SELECT oid FROM pg_class WHERE relname IN ('Campaign', 'CampaignRecipient', 'CreditReservation'))"
    )
    assert value(stand, held) == 1
    with pytest.raises(CampaignOpsError):
        sweep(stand)
    fault.end(stand)
    fault.end(stand)
    assert value(stand, held) == 0
    sweep(stand)


def test_serialization_failures_come_from_the_server_and_sweeps_repair_all_the_same(stand: Stand) -> None:
    stand.writer.add_campaign("cmp_1", updated_ago=LONG_AGO, succeeded=3)
    stand.writer.add_reservation("res_1", campaign="cmp_1")
    fault, chance = make("serialization_failures")
    fault.inject(stand, chance)
    with connected_as_ours(stand).connect() as ours:
        assert ours.scalar(sa.text("SHOW default_transaction_isolation")) == "serializable"
    before = int(value(stand, "SELECT last_value FROM drill.conflicts"))
    wait_until(lambda: _swept(stand) and status(stand, "cmp_1") == "sent", 30)
    assert int(value(stand, "SELECT last_value FROM drill.conflicts")) > before
    assert stand.writer.reservation("res_1")["status"] == "released"
    fault.end(stand)
    fault.end(stand)
    with connected_as_ours(stand).connect() as ours:
        assert ours.scalar(sa.text("SHOW default_transaction_isolation")) == "read committed"
    assert value(stand, "SELECT count(*) FROM pg_trigger WHERE tgname = 'drill_conflict'") == 0


def _swept(stand: Stand) -> bool:
    """Whether a sweep came to its end; it may find everything held by somebody."""
    try:
        sweep(stand)
    except (Conflict, SweepBusy):
        return False
    return True


def test_somebody_locks_in_the_opposite_order_and_we_are_the_victim(stand: Stand) -> None:
    for number in range(3):
        stand.writer.add_campaign(f"cmp_{number}", updated_ago=LONG_AGO, pending=1)
        stand.writer.add_reservation(f"res_{number}", campaign=f"cmp_{number}")
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = int(value(stand, deadlocks))
    fault, chance = make("deadlocks")
    fault.inject(stand, chance)
    rounds = Meddler(lambda: _lock_as_we_do(stand), 0.01).start()
    wait_until(lambda: rounds.refused > 0 and int(value(stand, deadlocks)) > before, 30)
    rounds.stop()
    fault.end(stand)
    fault.end(stand)
    with connected_as_ours(stand).connect() as ours:
        assert ours.scalar(sa.text("SHOW deadlock_timeout")) != "150ms"
    for number in range(3):
        stand.writer.move_recipients(f"cmp_{number}", "succeeded")
        stand.writer.set_campaign(f"cmp_{number}", updated_ago=LONG_AGO)
    sweep(stand, confirmed=True)
    assert {status(stand, f"cmp_{number}") for number in range(3)} == {"sent"}


def _lock_as_we_do(stand: Stand) -> None:
    """A campaign first, its credits second, as our role."""
    with connected_as_ours(stand).begin() as ours:
        ours.execute(sa.text("UPDATE \"Campaign\" SET status = status WHERE id = 'cmp_1'"))
        ours.execute(sa.text('UPDATE "CreditReservation" SET status = status WHERE "campaignId" = \'cmp_1\''))


def test_the_disk_is_full_for_the_report_alone(stand: Stand) -> None:
    stand.writer.add_campaign("cmp_1", updated_ago=LONG_AGO, succeeded=3)
    fault, chance = make("disk_full_on_report")
    fault.inject(stand, chance)
    with pytest.raises(CampaignOpsError, match="No space left"):
        sweep(stand)
    assert status(stand, "cmp_1") == "sent"
    fault.end(stand)
    fault.end(stand)
    sweep(stand)


# -- the deployment ----------------------------------------------------------------------------------------------------


def test_a_sweep_is_killed_and_replaced(stand: Stand) -> None:
    for name in SWEEPERS:
        stand.start_sweeper(name)
    before = {one.pid for one in stand.sweepers.values()}
    fault, chance = make("kill_sweeper")
    fault.inject(stand, chance)
    wait_until(lambda: any(one.pid is None for one in stand.sweepers.values()), 30)
    stand.keep_alive()
    fault.end(stand)
    after = {one.pid for one in stand.sweepers.values()}
    assert None not in after
    assert len(after - before) == 1


@pytest.mark.skipif(importlib.util.find_spec("time_machine") is None, reason="time-machine is not installed")
def test_a_clock_is_wrong_and_right_again(stand: Stand) -> None:
    fault, chance = make("clock_skew")
    fault.inject(stand, chance)
    (sweeper,) = stand.sweepers.values()
    assert abs(sweeper.orders.clock_skew_seconds) >= 3 * 3600
    fault.end(stand)
    (sweeper,) = stand.sweepers.values()
    assert sweeper.orders.clock_skew_seconds == 0
    assert sweeper.pid is not None


def test_sweeps_go_through_pgbouncer_and_back(stand: Stand) -> None:
    fault, chance = make("pgbouncer")
    if (reason := fault.unavailable(stand)) is not None:
        pytest.skip(reason)
    for name in SWEEPERS:
        stand.start_sweeper(name)
    fault.inject(stand, chance)
    moved = [one for one in stand.sweepers.values() if one.orders.database_url]
    assert moved
    wait_until(lambda: _swept_by(stand, moved[0].name) > 0, 30)
    fault.end(stand)
    assert not any(one.orders.database_url for one in stand.sweepers.values())


def _swept_by(stand: Stand, name: str) -> int:
    file = stand.work_dir / f"sweeps-{name}.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return sum(json.loads(line)["outcome"] == "done" for line in lines)


@pytest.mark.parametrize(("seed", "manner"), [(1, "refuses connections"), (4, "never answers")])
def test_a_second_platform_is_down_and_the_command_line_sweeps_the_first(stand: Stand, seed: int, manner: str) -> None:
    stand.writer.add_campaign("cmp_1", updated_ago=LONG_AGO, succeeded=3)
    fault, chance = make("platform_down", seed)
    assert manner in fault.inject(stand, chance)
    assert len(load_settings(stand.config).platforms) == 2
    wait_until(lambda: _over(fault, stand), 60)
    told = stand.story[-1][1]
    assert "exited with 1" in told
    assert "sms: swept" in told
    assert "DatabaseUnavailable" in told
    assert len(load_settings(stand.config).platforms) == 1
    assert status(stand, "cmp_1") == "sent"


def _over(fault: Fault, stand: Stand) -> bool:
    try:
        fault.end(stand)
    except NotYet:
        return False
    return True


def test_two_dagsters_execute_the_same_schedule(tmp_path: Path) -> None:
    with Stand(DrillOptions(tmp_path, seed=1)) as stand:
        stand.start_sweeper(DAGSTER)
        fault, chance = make("duplicate_ticks")
        fault.inject(stand, chance)
        assert len([one for one in stand.sweepers.values() if one.pid is not None]) == 2
        wait_until(lambda: _swept_by(stand, "dagster") > 1 and _swept_by(stand, "dagster-2") > 1, 90)
        fault.end(stand)
        fault.end(stand)
        stand.mend()
        assert list(stand.sweepers) == [DAGSTER]


# -- data --------------------------------------------------------------------------------------------------------------


def only(stand: Stand) -> str:
    (row,) = stand.writer.campaigns()
    return str(row["id"])


def wait_until_stuck(stand: Stand, campaign: str) -> None:
    stand.writer.set_campaign(campaign, updated_ago=LONG_AGO)
    _age_recipients(stand, campaign)


def _age_recipients(stand: Stand, campaign: str) -> None:
    table = stand.writer.tables.recipient
    old = sa.func.timezone("utc", sa.func.now()) - timedelta(minutes=5)
    with stand.owner.begin() as connection:
        for column in (table.c.sentAt, table.c.failedAt):
            connection.execute(
                table.update().where(table.c.campaign_id == campaign, column.is_not(None)).values({column.key: old})
            )


def test_a_completion_is_lost_and_a_sweep_finds_it(stand: Stand) -> None:
    fault, chance = make("lose_completion")
    fault.inject(stand, chance)
    label = only(stand)
    assert status(stand, label) == "sending"
    assert stand.writer.pending_ids(label) == []
    assert {row["status"] for row in stand.writer.reservations(label)} == {"active"}
    wait_until_stuck(stand, label)
    sweep(stand)
    assert status(stand, label) in ("sent", "failed")


def test_finished_campaigns_get_recipients_or_are_cancelled_when_they_have_become_stuck(stand: Stand) -> None:
    fault, chance = make("late_change")
    fault.inject(stand, chance)
    labels = [str(row["id"]) for row in stand.writer.campaigns()]
    sent = {label: len(stand.writer.recipient_ids(label)) for label in labels}
    assert not any(stand.writer.pending_ids(label) for label in labels)
    wait_until(lambda: all(_changed(stand, label, sent[label]) for label in labels), 20)
    fault.end(stand)
    fault.end(stand)
    assert {status(stand, label) for label in labels} == {"sending", "cancelled"}


def _changed(stand: Stand, label: str, sent: int) -> bool:
    return status(stand, label) == "cancelled" or len(stand.writer.recipient_ids(label)) > sent


def test_a_poisoned_campaign_cannot_be_completed_until_it_is_mended_and_others_can(stand: Stand) -> None:
    fault, chance = make("poison_campaign")
    fault.inject(stand, chance)
    label = only(stand)
    wait_until_stuck(stand, label)
    stand.writer.add_campaign("cmp_1", updated_ago=LONG_AGO, succeeded=3)
    sweep(stand)
    assert status(stand, label) == "sending"
    assert status(stand, "cmp_1") == "sent"
    fault.end(stand)
    fault.end(stand)
    sweep(stand)
    assert status(stand, label) in ("sent", "failed")


def test_an_unknown_word_blocks_its_campaign(stand: Stand) -> None:
    fault, chance = make("unknown_word")
    fault.inject(stand, chance)
    label = only(stand)
    wait_until_stuck(stand, label)
    sweep(stand)
    assert UNKNOWN_WORD in stand.writer.tally(label)
    platform = stand.connect()
    assert [line.verdict for line in campaign_status(platform)] == ["unknown_status"]
    platform.close()
    assert stand.queue.live_job_ids() == []


def test_all_jobs_of_one_campaign_vanish_and_others_are_sent(stand: Stand) -> None:
    fault, chance = make("unsendable")
    fault.inject(stand, chance)
    label = only(stand)
    start(stand, "cmp_1", 5)
    stand.hire()
    wait_until(lambda: status(stand, "cmp_1") == "sent" and not stand.queue.live_job_ids(), 20)
    assert stand.writer.tally(label) == {"pending": len(stand.writer.recipient_ids(label))}


# -- all of them -------------------------------------------------------------------------------------------------------


def test_every_fault_says_what_it_is_and_has_its_test() -> None:
    tested = Path(__file__).read_text()
    for name, kind in FAULTS.items():
        assert kind.name == name
        assert kind.title
        assert f'"{name}"' in tested


def test_what_cannot_happen_here_says_why(tmp_path: Path) -> None:
    options = DrillOptions(tmp_path, seed=1, dagster=False, database_url="postgresql://a@127.0.0.1/test")
    assert FAULTS["duplicate_ticks"]().impossible(options) == "the drill runs without Dagster"
    assert FAULTS["redis_empty"]().impossible(options) == "the servers were given, and the drill may not stop them"
    assert OPS_ROLE == "drill_ops"
