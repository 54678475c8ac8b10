"""One sweep per platform at a time: two holders in two processes, one that dies, one that loses its connection."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from campaign_ops.core.errors import CampaignOpsError, SweepBusy, Unavailable
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.postgres.database import Database, SweepLock, Timeouts

HOLD = """
import sys, time
from campaign_ops.postgres.database import Database, SweepLock
with SweepLock(Database(sys.argv[1]), sys.argv[2]).hold():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def url(servers: EmbeddedServers) -> str:
    return servers.postgres.create_database("locks")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url)
    yield made
    made.close()


@contextmanager
def another_process_holding(url: str, platform: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLD, url, platform], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def can_be_had(database: Database, platform: str) -> bool:
    try:
        with SweepLock(database, platform).hold():
            return True
    except SweepBusy:
        return False


def lose_connection(database: Database) -> None:
    """End the session that holds an advisory lock in this database, as a failing network or an administrator does."""
    with database.transaction() as connection:
        ended = connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert ended.scalars().all() == [True]


def test_a_second_sweep_is_told_who_sweeps_and_since_when(url: str, database: Database) -> None:
    with another_process_holding(url, "shop") as holder:
        with pytest.raises(SweepBusy) as caught, SweepLock(database, "shop").hold():
            pass
        assert holder.poll() is None
    message = str(caught.value)
    assert "shop" in message
    assert f":{holder.pid}," in message
    assert " UTC" in message
    assert "\n" not in message


def test_the_lock_of_a_holder_that_is_killed_is_free_at_once(url: str, database: Database) -> None:
    with another_process_holding(url, "shop") as holder:
        assert not can_be_had(database, "shop")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with SweepLock(database, "shop", wait_seconds=10).hold() as lock:
            lock.check()


def test_another_platform_of_the_same_database_is_not_kept_waiting(database: Database) -> None:
    with SweepLock(database, "shop").hold():
        assert can_be_had(database, "messenger")
        assert not can_be_had(database, "shop")
    assert can_be_had(database, "shop")


def test_the_lock_is_given_back_when_the_sweep_fails(database: Database) -> None:
    with pytest.raises(KeyError, match="mine"), SweepLock(database, "shop").hold():
        raise KeyError("mine")
    assert can_be_had(database, "shop")


def test_a_busy_platform_is_not_tried_again_behind_the_caller_s_back(database: Database) -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        with SweepLock(database, "shop").hold():
            pass

    with SweepLock(database, "shop").hold(), pytest.raises(SweepBusy):
        database.retrying(work)
    assert len(tries) == 1


@pytest.mark.parametrize("statement_seconds", [60, 0.2], ids=["", "longer than a statement may take"])
def test_a_sweep_that_may_wait_gets_the_lock_when_the_other_ends(
    url: str, database: Database, statement_seconds: float
) -> None:
    patient = Database(url, Timeouts(statement_seconds=statement_seconds, lock_seconds=0.1))
    held, release = threading.Event(), threading.Event()

    def first() -> None:
        with SweepLock(database, "shop").hold():
            held.set()
            release.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(10)
    threading.Timer(0.5, release.set).start()
    with SweepLock(patient, "shop", wait_seconds=10).hold() as lock:
        assert release.is_set()
        lock.check()
    thread.join()
    patient.close()


def test_a_sweep_that_waited_in_vain_says_busy_whatever_the_timeouts(url: str, database: Database) -> None:
    hurried = Database(url, Timeouts(statement_seconds=0.3, lock_seconds=0.1))
    with SweepLock(database, "shop").hold():
        began = time.monotonic()
        with pytest.raises(SweepBusy), SweepLock(hurried, "shop", wait_seconds=1).hold():
            pass
        assert time.monotonic() - began > 0.9
    hurried.close()


def test_a_lock_whose_connection_was_lost_is_noticed_before_the_next_effect(url: str, database: Database) -> None:
    other = Database(url)

    def sweep() -> None:
        with SweepLock(database, "shop").hold() as lock:
            lock.check()
            lose_connection(other)
            assert can_be_had(other, "shop"), "somebody else may sweep from here on"
            for _ in range(2):  # it stays lost: the second question must not find a new connection
                with pytest.raises(Unavailable):
                    lock.check()
            lock.check()

    with pytest.raises(Unavailable):
        sweep()
    other.close()


def test_a_lock_lost_unnoticed_is_not_taken_for_a_sweep_that_went_well(url: str, database: Database) -> None:
    other = Database(url)
    with pytest.raises(CampaignOpsError), SweepLock(database, "shop").hold():
        lose_connection(other)
    other.close()


def test_a_lock_that_is_not_held_does_not_check(database: Database) -> None:
    lock = SweepLock(database, "shop")
    with pytest.raises(SweepBusy):
        lock.check()
    with lock.hold():
        lock.check()
    with pytest.raises(SweepBusy):
        lock.check()


def test_a_long_sweep_does_not_lose_its_lock_to_the_idle_timeout(url: str) -> None:
    hurried = Database(url, Timeouts(statement_seconds=0.2))
    with SweepLock(hurried, "shop").hold() as lock:
        time.sleep(1.5)  # the idle timeout is five times as long as a statement's
        lock.check()
    hurried.close()


def test_a_lock_leaves_no_mark_on_the_connection_that_held_it(database: Database) -> None:
    with SweepLock(database, "shop", wait_seconds=1).hold():
        pass
    show = (
        "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout'),"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
    )
    with database._engine.connect() as connection:
        assert tuple(connection.exec_driver_sql(show).one()) == ("0", "0", 0)
