"""A real PgBouncer in transaction mode in front of one database: session state does not outlive a transaction."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from campaign_ops.core.errors import DatabaseUnavailable
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.lab.servers.processes import ChildProcess
from campaign_ops.lab.servers.unprivileged import server_home, server_user
from campaign_ops.lab.servers.waiting import wait_until

_POOL_SIZE = 10


def missing() -> str | None:
    """Return why PgBouncer cannot be started here; None when it can."""
    return None if shutil.which("pgbouncer") else "pgbouncer is not installed"


class PgBouncer:
    """One PgBouncer that lets every client in as one role.

    Args:
        work_dir: Holds its log.
        target: SQLAlchemy URL, over TCP, of the database behind it, with that role.
    """

    def __init__(self, work_dir: Path, target: str) -> None:
        self._target = sa.make_url(target)
        self._port = free_port()
        self._user = server_user()
        self._home = server_home("pgbouncer", self._user)
        self._child = ChildProcess(
            "PgBouncer",
            [shutil.which("pgbouncer") or "pgbouncer", *self._as_user(), self._config],
            log_path=work_dir / "pgbouncer.log",
            stop_signal=signal.SIGQUIT,  # at once: other signals wait for clients to leave
        )

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database through it."""
        url = sa.URL.create(
            self._target.drivername, self._target.username, host="127.0.0.1", port=self._port, database=self._database
        )
        return url.render_as_string(hide_password=False)

    @property
    def pid(self) -> int | None:
        """Its process id; None when it is not running."""
        return self._child.pid

    def start(self) -> Self:
        """Start it and wait until it listens.

        Raises:
            DatabaseUnavailable: It did not come up; the message ends with its log.
        """
        if self.pid is not None:
            return self
        self._config.write_text(self._settings(), encoding="utf-8")
        # It holds the role's password.
        self._config.chmod(0o600)
        if self._user is not None:
            os.chown(self._config, self._user.pw_uid, self._user.pw_gid)
        self._child.start()
        wait_until(lambda: self._listens() or self.pid is None, seconds=10, poll_seconds=0.05)
        if self.pid is None or not self._listens():
            words = self._child.last_words()
            self.stop()
            raise DatabaseUnavailable(
                f"PgBouncer did not start: {words}", where=str(self._child.log_path), mend="see the log there"
            )
        return self

    def stop(self) -> None:
        """Stop it; its clients are cut off."""
        self._child.stop()
        self._config.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _config(self) -> Path:
        return self._home / "pgbouncer.ini"

    @property
    def _database(self) -> str:
        assert self._target.database is not None
        return self._target.database

    def _as_user(self) -> list[str]:
        """It refuses to run as root."""
        return [] if self._user is None else ["-u", self._user.pw_name]

    def _settings(self) -> str:
        target = self._target
        behind = {
            "host": target.host,
            "port": target.port or 5432,
            "dbname": target.database,
            "user": target.username,
            "password": target.password,
        }
        # In its file a quote within quotes is written twice.
        quoted = (f"{key}='{str(value).replace(chr(39), chr(39) * 2)}'" for key, value in behind.items() if value)
        return (
            f"[databases]\n{self._database} = {' '.join(quoted)}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self._port}\nauth_type = any\n"
            f"pool_mode = transaction\nunix_socket_dir =\ndefault_pool_size = {_POOL_SIZE}\n"
            "server_reset_query_always = 0\n"
        )

    def _listens(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
