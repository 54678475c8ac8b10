"""A real PostgreSQL from a wheel: no fsync, no password, loopback and unix socket only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from campaign_ops.core.errors import DatabaseUnavailable
from campaign_ops.lab.servers.directories import DirectoryLock
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.lab.servers.programs import postgres_installation
from campaign_ops.lab.servers.unprivileged import reachable_installation, server_home, server_user
from campaign_ops.lab.servers.waiting import wait_until

_SOCKET_PORT = 5432
_SETTINGS = {
    # A crash of the machine may lose everything, a crash of the server nothing: `synchronous_commit` stays on, and
    # without fsync it costs no more than a write to the page cache.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "logging_collector": "off",
}
_INITDB = ("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")


class EmbeddedPostgres:
    """One PostgreSQL server with its own data directory.

    Args:
        work_dir: Holds its log. Its data and sockets are in this process's scratch directory, which the user that runs
            the server can enter and whose path is short enough for a socket.
        port: Also listen on this port of 127.0.0.1; 0 for any free one, None for the unix socket only.
        settings: Server settings on top of ours, such as ``{"timezone": "Asia/Kolkata"}``.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.work_dir = work_dir.resolve()
        self._wanted_port = port
        self._settings = {**_SETTINGS, **(settings or {})}
        self._lock = DirectoryLock(self.work_dir)
        self._home: Path | None = None
        self._port = _SOCKET_PORT
        self._programs: Path | None = None
        self._child: ChildProcess | None = None

    def start(self) -> Self:
        """Start it and wait until it is ready: empty, unless it was killed and is started again.

        Raises:
            ConfigurationError: The wheel is missing, or the directory is in use or out of reach.
            DatabaseUnavailable: It did not come up; the message ends with its log.
        """
        if self._child is not None and self._child.running:
            return self
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop it in order (open transactions are rolled back, clients get an error) and remove its data."""
        if self._child is not None:
            self._child.stop()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None
        self._lock.release()

    def kill(self) -> None:
        """Kill it as a crash does. ``start`` recovers what was committed."""
        if self._child is not None:
            self._child.kill()

    def restart(self) -> None:
        """Stop it and start it again on the same socket and port; databases stay."""
        if self._child is not None:
            self._child.stop()
        self.start()

    def url(self, database: str = "postgres", *, tcp: bool = False) -> str:
        """Return the SQLAlchemy URL for psycopg 3; over 127.0.0.1 with ``tcp``."""
        return self._url("postgresql+psycopg", database, tcp=tcp)

    def psycopg2_url(self, database: str = "postgres", *, tcp: bool = False) -> str:
        """Return the SQLAlchemy URL for psycopg2, which Dagster's storage uses."""
        return self._url("postgresql+psycopg2", database, tcp=tcp)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of ``template`` if one is given (no client may be connected to it).

        Returns:
            Its URL for psycopg 3.
        """
        # Without fsync the checkpoints of FILE_COPY are free, and it takes half the time of writing all to the log.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
            sql.Identifier(name), sql.Identifier(template or "template1")
        )
        self._administer(statement, f"database {name!r} could not be created")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists; its connections are cut."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        self._administer(statement, f"database {name!r} could not be dropped")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the server; None when it is not running."""
        return self._child.pid if self._child is not None else None

    def _start(self) -> None:
        user = server_user()
        identity = (user.pw_uid, user.pw_gid) if user is not None else None
        if self._home is None:
            self._home = server_home("postgres", user)
            self._programs = reachable_installation(postgres_installation(), self._home, user) / "bin"
        assert self._programs is not None
        home, programs = self._home, self._programs
        if self._child is None:
            # The port is chosen once, so that the URLs outlive a restart.
            self._port = _SOCKET_PORT if self._wanted_port is None else self._wanted_port or free_port()
        data, sockets = home / "data", home / "sockets"
        self._child = ChildProcess(
            "PostgreSQL",
            [programs / "postgres", "-D", data, "-k", sockets, "-p", str(self._port), *self._arguments()],
            log_path=self.work_dir / "postgres.log",
            stop_signal=signal.SIGINT,  # "fast shutdown": SIGTERM would wait for clients to leave
            user=identity,
        )
        if not data.exists():
            for directory in (data, sockets):
                directory.mkdir(mode=0o700)
                if identity is not None:
                    os.chown(directory, *identity)
            self._initialise(programs, data, identity)
        # We hold the lock and an earlier child is gone: a file that is left names a dead process.
        (data / "postmaster.pid").unlink(missing_ok=True)
        self._child.start()
        self._await_ready(data)

    def _arguments(self) -> Iterator[str]:
        listen = "" if self._wanted_port is None else "127.0.0.1"
        for key, value in {"listen_addresses": listen, **self._settings}.items():
            yield from ("-c", f"{key}={value}")

    def _initialise(self, programs: Path, data: Path, identity: tuple[int, int] | None) -> None:
        options = {} if identity is None else {"user": identity[0], "group": identity[1], "extra_groups": ()}
        result = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", *_INITDB],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **options,  # type: ignore[call-overload]
        )
        if result.returncode != 0:
            words = " / ".join(line.strip() for line in result.stderr.splitlines()[-4:] if line.strip())
            raise DatabaseUnavailable(
                f"initdb failed: {words}",
                where=str(data),
                mend="see that the directory is writable and not full",
            )

    def _await_ready(self, data: Path) -> None:
        child = self._child
        assert child is not None

        def ready() -> bool:
            with contextlib.suppress(FileNotFoundError):
                return (data / "postmaster.pid").read_text().rstrip().endswith("ready")
            return False

        wait_until(lambda: ready() or not child.running, seconds=30)
        if child.running and ready():
            return
        words = child.last_words()
        child.stop()
        raise DatabaseUnavailable(
            f"PostgreSQL did not start: {words}", where=str(self.work_dir), mend="see postgres.log there"
        )

    def _url(self, driver: str, database: str, *, tcp: bool) -> str:
        if tcp:
            if self._wanted_port is None:
                msg = "this server has no TCP port: give EmbeddedPostgres one"
                raise ValueError(msg)
            return f"{driver}://postgres@127.0.0.1:{self._port}/{database}"
        if self._home is None:
            msg = "the server has not been started"
            raise ValueError(msg)
        port = "" if self._port == _SOCKET_PORT else f"&port={self._port}"
        return f"{driver}://postgres@/{database}?host={self._home / 'sockets'}{port}"

    def _administer(self, statement: sql.Composed, failure: str) -> None:
        assert self._home is not None, "the server has not been started"
        try:
            with psycopg.connect(
                host=str(self._home / "sockets"), port=self._port, user="postgres", dbname="postgres", autocommit=True
            ) as connection:
                connection.execute(statement)
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise DatabaseUnavailable(
                f"{failure}: {reason}", where=str(self.work_dir), mend="see postgres.log there"
            ) from error
