"""The server and its session: version, primary or standby, defaults that would stop a sweep, timeouts, pooler."""

from __future__ import annotations

from collections.abc import Iterator

from campaign_ops.core.wording import plural
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import quoted
from campaign_ops.postgres.database import CONNECTIONS, Timeouts
from campaign_ops.postgres.inspection import Server

OLDEST = 14
SHORT_STATEMENT_SECONDS = 5


def version(server: Server) -> Finding:
    """Report a server that is too old."""
    major = server.version // 10_000
    if major < OLDEST:
        what = f"PostgreSQL {major} is older than {OLDEST}; nothing else was examined in this database"
        return Finding("version", Level.ERROR, what, f"upgrade the server to PostgreSQL {OLDEST} or newer")
    return Finding("version", Level.OK, f"PostgreSQL {major}.{server.version % 10_000}")


def primary(server: Server) -> Finding:
    """Report a server that takes no writes."""
    if server.standby:
        what = "this server is a standby: no repair can be written, and its data may be old"
        return Finding("primary", Level.ERROR, what, "put the primary into database_url")
    return Finding("primary", Level.OK, "the server is a primary")


def session(server: Server) -> Iterator[Finding]:
    """Report defaults of a new session that would stop a sweep or cut it off."""
    setting = f"ALTER ROLE {quoted(server.role)} IN DATABASE {quoted(server.database)} SET"
    if server.read_only:
        what = f"transactions of {quoted(server.role)} are read only by default, so every repair would fail"
        yield Finding("session", Level.ERROR, what, f"{setting} default_transaction_read_only = off")
    if server.transaction_timeout_ms:
        seconds = server.transaction_timeout_ms / 1000
        what = f"the server ends transactions after {seconds:g} s: a longer sweep would lose its lock half way"
        yield Finding("session", Level.WARNING, what, f"{setting} transaction_timeout = 0")
    too_few = server.connections is not None and server.connections < CONNECTIONS
    if too_few:
        role, database = quoted(server.role), quoted(server.database)
        what = f"{role} may have {plural(server.connections or 0, 'connection')}, and a sweep needs {CONNECTIONS}"
        mend = f"ALTER ROLE {role} CONNECTION LIMIT -1, and the same for database {database}"
        yield Finding("session", Level.ERROR, what, mend)
    if not (server.read_only or server.transaction_timeout_ms or too_few):
        yield Finding("session", Level.OK, "no default of the session stops a sweep")


def timeouts(ours: Timeouts) -> Finding:
    """Report timeouts of ours that make no sense together."""
    statement, lock = ours.statement_seconds, ours.lock_seconds
    if lock >= statement:
        what = (
            f"the lock timeout is {lock:g} s and the statement timeout {statement:g} s: a wait for a lock looks like"
            " a slow statement"
        )
        return Finding(
            "timeouts", Level.WARNING, what, "set timeouts.lock_seconds well below timeouts.statement_seconds"
        )
    if statement < SHORT_STATEMENT_SECONDS:
        what = f"the statement timeout is {statement:g} s: counting the recipients of large campaigns takes longer"
        return Finding("timeouts", Level.WARNING, what, "set timeouts.statement_seconds to 60")
    return Finding("timeouts", Level.OK, f"statements {statement:g} s, locks {lock:g} s")


def pooler(server: Server) -> Finding:
    """Report a connection pooler such as PgBouncer in between."""
    if server.pooled:
        what = "the connection goes through a pooler such as PgBouncer: fine in session and in transaction mode"
        return Finding("pooler", Level.NOTE, what)
    return Finding("pooler", Level.OK, "connected to the server itself")
