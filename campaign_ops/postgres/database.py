"""Connections to one platform's PostgreSQL: timeouts, retries and the sweep lock. No statement on any table.

Works behind PgBouncer in transaction mode: no session state, no prepared statements, timeouts set per transaction.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
import tenacity
from psycopg import capabilities, sql
from sqlalchemy.util import LRUCache

from campaign_ops.core.errors import CommitUnknown, DatabaseTimeout, DatabaseUnavailable, SweepBusy
from campaign_ops.core.outages import SILENT
from campaign_ops.postgres.errors import STATE_SCHEMA, mapped, not_postgresql

__all__ = ["STATE_SCHEMA", "Database", "SweepLock", "Timeouts", "same_database"]

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the server and the network may take, in seconds."""

    connect_seconds: float = 5
    statement_seconds: float = 60
    lock_seconds: float = 2
    queue_seconds: float = 10


CONNECTIONS = 3
"""Of one sweep: the lock, the look and the write."""
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

# A statement whose client is gone ends within seconds, not at its timeout: a killed process, or a run terminated in
# Dagster, for whose exception psycopg cancels nothing. PostgreSQL 14 on Linux; elsewhere setting it is an error.
_END_WITH_CLIENT = (
    "CASE WHEN current_setting('server_version_num')::int >= 140000 AND version() LIKE '%linux%'"
    " THEN set_config('client_connection_check_interval', '2000', true) END"
)


class Database:
    """Transactions on one platform's database. Connects at the first of them, not before.

    Args:
        url: SQLAlchemy URL with the ``postgresql+psycopg`` driver.
        timeouts: Limits for connecting, for a statement and for waiting for a lock.
    """

    def __init__(self, url: str, timeouts: Timeouts = Timeouts()) -> None:
        self.timeouts = timeouts
        parsed = sa.make_url(url)
        host = parsed.host or parsed.query.get("host") or "local"
        several = "" if isinstance(host, str) else ",".join(host)  # each with its port
        self.where = f"{several or f'{host}:{parsed.port or 5432}'}/{parsed.database}"
        self.application_name = f"campaign_ops {socket.gethostname()}:{os.getpid()}"[:63]
        self._engine = _engine(parsed, timeouts)

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[sa.Connection]:
        """One transaction: committed at the end, rolled back on any error.

        Always READ COMMITTED, whatever the server's default: a statement must see what was committed before *it*
        began, since the queue is read between two statements.

        Raises:
            DatabaseUnavailable, DatabaseTimeout, Conflict: try again later.
            CommitUnknown: look before you try again.
            PermissionMissing, StateSchemaError, ProfileMismatch, StatementRejected, ConfigurationError: do not.
        """
        with self.asking("NULL", read_only=read_only) as (connection, _):
            yield connection

    @contextmanager
    def asking(self, expression: str, *, read_only: bool = False) -> Iterator[tuple[sa.Connection, Any]]:
        """A `transaction`, with the value of an SQL expression that its first round trip asks for."""
        is_committing = False
        try:
            with mapped(self.where):
                connection, value = self._begin(expression, read_only=read_only)
                with connection, connection.begin():
                    yield connection, value
                    is_committing = not read_only
        except DatabaseUnavailable as error:
            if is_committing and not isinstance(error, DatabaseTimeout):
                what = "the connection was lost during a commit: whether it was written is unknown"
                raise CommitUnknown(what, where=self.where, mend="look before you try again") from None
            if error.what == SILENT and self._is_redis():
                raise not_postgresql(self.where) from None
            raise

    def _begin(self, expression: str, *, read_only: bool) -> tuple[sa.Connection, Any]:
        """Begin a transaction, set it up and ask it for the expression, in one round trip; return it and the value.

        A pooled connection that broke meanwhile, as by the server's restart, is replaced: nothing has happened on it.
        """
        values = [f"set_config('{key}', {sql.quote(value)}, true)" for key, value in self._settings().items()]
        asked = ", ".join([*values, _END_WITH_CLIENT, expression])
        statement = f"{_BEGIN}{' READ ONLY' if read_only else ''}; SELECT {asked}"
        for is_last in (False, True):
            connection = self._engine.connect()
            driver: Any = connection.connection.driver_connection
            try:
                cursor = driver.execute(statement)
                cursor.nextset()
                return connection, cursor.fetchone()[-1]
            except BaseException:
                is_broken = driver.closed
                if is_broken:
                    connection.invalidate()
                    self._engine.dispose()
                connection.close()
                if is_last or not is_broken:
                    raise
        raise AssertionError

    def _settings(self) -> dict[str, str]:
        """The settings of a transaction."""
        timeouts = self.timeouts
        return {
            "application_name": self.application_name,
            "timezone": "UTC",
            "row_security": "off",  # a policy that would hide rows is an error then; hidden rows look finished
            "datestyle": "ISO",  # the only style that the driver reads; moments travel as text, too
            "intervalstyle": "postgres",
            "statement_timeout": str(round(timeouts.statement_seconds * 1000)),
            "lock_timeout": str(round(timeouts.lock_seconds * 1000)),
            "idle_in_transaction_session_timeout": str(round(timeouts.statement_seconds * 1000) * 5),
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
            "jit": "off",  # compiling takes longer than our statements do
            # Workers take cores from the application, and starting them costs more than they save: 0.12 s of CPU and
            # not 0.09 to compare 450,000 recipients.
            "max_parallel_workers_per_gather": "0",
        }

    def _is_redis(self) -> bool:
        """Return whether a Redis answers there. Redis waits for the end of a line, which our driver never sends."""
        url = self._engine.url
        try:
            with socket.create_connection((url.host, url.port or 5432), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-DENIED", b"-LOADING"))
        except (OSError, TypeError):
            return False

    def run(self, work: Callable[[sa.Connection], T], *, read_only: bool = False) -> T:
        """Run ``work`` in a transaction, with the retries of `retrying`."""

        def _once() -> T:
            with self.transaction(read_only=read_only) as connection:
                return work(connection)

        return self.retrying(_once)

    def retrying(self, work: Callable[[], T]) -> T:
        """Call ``work``; after a transient database error call it again, three times in all, with back-off.

        ``work`` must be guarded by its own premises: when the connection is lost during a commit, it is unknown whether
        the first try took effect. If no later one succeeds, the error says so.
        """
        unknown: list[CommitUnknown] = []

        def _try() -> T:
            try:
                return work()
            except CommitUnknown as error:
                unknown.append(error)
                raise

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(DatabaseUnavailable),
            stop=tenacity.stop_after_attempt(3),
            wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=2),
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return retrying(_try)
        except DatabaseUnavailable as error:
            raise unknown[0] if unknown else error from None

    def close(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()


def _engine(url: sa.URL, timeouts: Timeouts) -> sa.Engine:
    """Return an engine with a pool of its own, and with the statements that the process has compiled for this address.

    A sweep compiled its 35 statements each time.
    """
    first = _first_engine(url, timeouts, os.getpid())
    options = first.get_execution_options()
    return sa.Engine(first.pool.recreate(), first.dialect, url, hide_parameters=True, execution_options=options)


@lru_cache(maxsize=64)
def _first_engine(url: sa.URL, timeouts: Timeouts, _process: int) -> sa.Engine:
    """The engine whose dialect, and whose compiled statements, all engines of an address share. It never connects."""
    return sa.create_engine(
        url,
        pool_size=CONNECTIONS,
        use_native_hstore=False,
        execution_options={"compiled_cache": LRUCache(500)},
        connect_args={
            "autocommit": True,  # our own BEGIN sets the transaction up, too
            "connect_timeout": max(1, round(timeouts.connect_seconds)),
            "prepare_threshold": None,  # PgBouncer in transaction mode loses prepared statements
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": round(timeouts.statement_seconds * 1000) + 30_000,
        },
    )


@contextmanager
def at_once(connection: sa.Connection) -> Iterator[None]:
    """Send the statements of the block in one round trip. Their results, and the rows that they change, are unknown."""
    driver: Any = connection.connection.driver_connection
    with driver.pipeline() if capabilities.has_pipeline() else nullcontext():
        yield


def same_database(first: Database, second: Database) -> bool:
    """Return whether two addresses lead to the same database of the same server, however they are spelled.

    An advisory lock taken through one is seen through the other. No name or number proves as much: a server restored
    from a base backup has the system identifier and all the oids of the first, and some hosts hide the identifier.
    """
    key = secrets.randbits(62)
    with first.transaction(read_only=True) as holding:
        holding.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        with second.transaction(read_only=True) as asking:
            return not asking.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(key)))


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("database error, trying again (%s of 3): %s", state.attempt_number + 1, error)


class SweepLock:
    """One sweep per platform at a time, on any number of machines.

    A transaction-level advisory lock on a connection of its own: PgBouncer keeps a server connection for an open
    transaction, and the lock of a holder that dies is freed as soon as the server notices (at once for a killed
    process, within about a minute for a vanished machine).

    Args:
        database: The database that the lock is in.
        platform: The platform's name, for messages.
        key: The locked name; the platform's by default.
        wait_seconds: Time to wait for another holder to end.
    """

    def __init__(self, database: Database, platform: str, *, key: str | None = None, wait_seconds: float = 0) -> None:
        self._database = database
        self._platform = platform
        self._key = f"campaign_ops:{key or platform}"
        self._wait_seconds = wait_seconds
        self._connection: sa.Connection | None = None
        self.waited = False

    @property
    def connection(self) -> sa.Connection:
        """The transaction that holds the lock, which ends with it."""
        assert self._connection is not None
        return self._connection

    @contextmanager
    def hold(self) -> Iterator[SweepLock]:
        """Hold the lock until the block ends.

        Raises:
            SweepBusy: Another sweep holds it and did not end within ``wait_seconds``.
        """
        is_free = f"pg_try_advisory_xact_lock(hashtextextended({sql.quote(self._key)}, 0))"
        never = "set_config('idle_in_transaction_session_timeout', '0', true)"
        with self._database.asking(f"{never}, {is_free}") as (connection, is_ours):
            if not is_ours:
                self._wait(connection)
            self.waited = not is_ours
            self._connection = connection
            try:
                yield self
            finally:
                self._connection = None

    def _wait(self, connection: sa.Connection) -> None:
        key = sa.func.hashtextextended(self._key, 0)
        if self._wait_seconds > 0:
            # This wait may last longer than other statements may.
            statement_seconds = self._wait_seconds + self._database.timeouts.statement_seconds
            bounds = {"lock_timeout": self._wait_seconds, "statement_timeout": statement_seconds}
            try:
                with connection.begin_nested():
                    connection.execute(
                        sa.select(
                            *(sa.func.set_config(name, str(round(most * 1000)), True) for name, most in bounds.items())
                        )
                    )
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
            except sa.exc.OperationalError as error:
                if getattr(error.orig, "sqlstate", None) != "55P03":
                    raise
            else:
                return
        raise SweepBusy(
            f"another sweep of {self._platform} is under way{self._holder(connection)}",
            where=self._platform,
            mend="nothing was done; the next sweep sees the same",
        )

    def _holder(self, connection: sa.Connection) -> str:
        holder = connection.execute(
            sa.text(
                "SELECT a.application_name, a.xact_start FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> pg_backend_pid()"
                " AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(:key, 0)"
            ),
            {"key": self._key},
        ).first()
        if holder is None or holder.xact_start is None:
            return ""
        return f" ({holder.application_name}, since {holder.xact_start:%H:%M:%S} UTC)"

    def check(self) -> None:
        """Raise SweepBusy if the lock is no longer ours. Call it right before every effect outside the database."""
        if self._connection is None:
            raise SweepBusy("the sweep lock is not held", where=self._platform, mend="start the sweep again")
        with mapped(self._database.where):
            self._connection.execute(sa.text("SELECT 1"))
