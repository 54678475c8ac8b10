"""Behind PgBouncer in transaction mode: no session state survives between transactions, and nothing may need it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.core.errors import SweepBusy
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.postgres.database import Database, SweepLock
from tests.conftest import World
from tests.sweep.actors import covered


@pytest.fixture
def bouncer(sms: World, tmp_path: Path) -> Iterator[Database]:
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed; `.ci/run` installs it")
    url = sa.make_url(sms.url)
    port, home = free_port(), Path(f"/tmp/campaign-ops-bouncer-{os.getpid()}")
    home.mkdir(mode=0o755, exist_ok=True)
    config = home / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{url.database} = host={url.query['host']} port=5432 dbname={url.database} user={url.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\n"
        "unix_socket_dir =\ndefault_pool_size = 4\nserver_reset_query_always = 0\n"
    )
    command = [program, str(config)]
    if os.geteuid() == 0:  # it refuses to run as root
        command[1:1] = ["-u", next(name for name in ("pgserver", "postgres", "nobody") if _exists(name))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(port, process)
        yield Database(f"postgresql+psycopg://{url.username}@127.0.0.1:{port}/{url.database}")
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(home, ignore_errors=True)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, f"pgbouncer ended with {process.returncode}"
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("pgbouncer did not listen in time")


def test_a_whole_sweep_works_behind_pgbouncer(sms: World, bouncer: Database) -> None:
    sms.platform.database = bouncer
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_reservation("hold", campaign="done")
    sms.app.add_campaign("lost", pending=1200)
    for number in range(2):
        sms.sweep(run_id=f"behind-{number}")
    assert sms.app.campaign("done")["status"] == "sent"
    assert sms.app.reservation("hold")["status"] == "released"
    assert covered(sms) == Counter(sms.app.pending_ids("lost"))


def test_the_sweep_lock_holds_behind_pgbouncer_and_against_those_in_front(sms: World, bouncer: Database) -> None:
    with SweepLock(bouncer, "sms").hold() as lock:
        for database in (bouncer, Database(sms.url)):
            with pytest.raises(SweepBusy), SweepLock(database, "sms", wait_seconds=0.2).hold():
                pass
        lock.check()
    with SweepLock(Database(sms.url), "sms").hold():
        pass
