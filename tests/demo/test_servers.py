"""The embedded servers: their lives, crashes and parents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
import sqlalchemy as sa

from campaign_ops.core.errors import ConfigurationError, DatabaseUnavailable, QueueUnavailable
from campaign_ops.demo.servers import EmbeddedPostgres, EmbeddedRedis, EmbeddedServers

# A parent that starts servers in argv[1], says their process ids and does what argv[2] says.
PARENT = """
import os, signal, sys, time
from pathlib import Path
import psycopg, redis
from campaign_ops.demo.servers import EmbeddedServers

servers = EmbeddedServers(Path(sys.argv[1])).start()
servers.postgres.drop_database("kept")
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
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    return process, [int(pid) for pid in process.stdout.readline().split()]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_servers_start_again_where_a_killed_parent_left_them(work_dir: Path) -> None:
    """The servers of a parent that was killed live on; the next start ends them and keeps their data."""
    process, leftovers = parent(work_dir, "crash")
    process.wait()
    assert len(leftovers) == 2
    assert not any(map(gone, leftovers))
    with EmbeddedServers(work_dir) as servers:
        assert all(map(gone, leftovers))
        psycopg.connect(servers.postgres.url("kept").replace("+psycopg", "")).close()


def test_ctrl_c_reaches_the_parent_alone_and_its_clean_exit_stops_the_servers(work_dir: Path) -> None:
    process, pids = parent(work_dir, "wait")
    os.killpg(process.pid, signal.SIGINT)
    answer, _ = process.communicate(timeout=15)
    assert answer == "True\n", "the servers answered after the interrupt"
    assert process.returncode == 0
    assert all(map(gone, pids)), "nobody called stop: leaving the process did"


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
        server.drop_database("copy")  # somebody is connected to it still
        with pytest.raises(DatabaseUnavailable, match="could not be created: template database"):
            server.create_database("copy", template="no_such_template")
        with engine.connect() as connection:
            names = "fsync", "full_page_writes", "max_connections"
            assert [connection.scalar(sa.text(f"SHOW {name}")) for name in names] == ["off", "off", "200"]
        engine.dispose()
    assert server.pid is None


def test_redis_comes_back_empty_unless_told_to_keep_its_data(work_dir: Path) -> None:
    with EmbeddedRedis(work_dir) as server, redis.Redis.from_url(server.url()) as client:
        client.set("key", "value")
        server.restart(keep_data=True)
        assert client.get("key") == b"value"
        server.restart()
        assert client.get("key") is None
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_server_that_cannot_start_says_why_and_where_its_log_is(work_dir: Path) -> None:
    with EmbeddedRedis(work_dir / "first") as first:
        with pytest.raises(QueueUnavailable, match=r"Address already in use.*see redis.log"):
            EmbeddedRedis(work_dir / "second", port=first.port).start()
        with pytest.raises(DatabaseUnavailable, match=r"could not create any TCP/IP sockets.*see postgres.log"):
            EmbeddedPostgres(work_dir / "third", port=first.port).start()
