"""The server and its session: version, primary or standby, defaults that would stop a sweep, timeouts, pooler."""

from __future__ import annotations

from collections.abc import Iterator

from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import quoted
from campaign_ops.postgres.database import Timeouts
from campaign_ops.postgres.inspection import Server

OLDEST = 14
SHORT_STATEMENT_SECONDS = 5


def version(server: Server) -> Finding:
    """Whether the server is new enough."""
    major = server.version // 10_000
    if major < OLDEST:
        what = f"PostgreSQL {major} is older than {OLDEST}; nothing else was examined here"
        return Finding("version", Level.ERROR, what, f"upgrade the server to PostgreSQL {OLDEST} or newer")
    return Finding("version", Level.OK, f"PostgreSQL {major}.{server.version % 10_000}")


def primary(server: Server) -> Finding:
    """Whether this server takes writes."""
    if server.standby:
        what = "this server is a standby: it takes no repair, and what it shows may be old"
        return Finding("primary", Level.ERROR, what, "name the primary in database_url")
    return Finding("primary", Level.OK, "the server is a primary")


def session(server: Server) -> Iterator[Finding]:
    """Defaults of a new session that would stop or cut off a sweep."""
    setting = f"ALTER ROLE {quoted(server.role)} IN DATABASE {quoted(server.database)} SET"
    if server.read_only:
        what = f"transactions of {quoted(server.role)} are read only unless they ask, so every repair would fail"
        yield Finding("session", Level.ERROR, what, f"{setting} default_transaction_read_only = off")
    if server.transaction_timeout_ms:
        seconds = server.transaction_timeout_ms / 1000
        what = f"the server ends transactions after {seconds:g} s: a sweep that lasts longer loses its lock half way"
        yield Finding("session", Level.WARNING, what, f"{setting} transaction_timeout = 0")
    if not server.read_only and not server.transaction_timeout_ms:
        yield Finding("session", Level.OK, "nothing in the session's defaults stops a sweep")


def timeouts(ours: Timeouts) -> Finding:
    """Whether our own timeouts make sense together."""
    statement, lock = ours.statement_seconds, ours.lock_seconds
    if lock >= statement:
        what = (
            f"a lock may be waited for {lock:g} s, a statement may take {statement:g} s: the wait is never told apart"
        )
        return Finding(
            "timeouts", Level.WARNING, what, "set timeouts.lock_seconds well below timeouts.statement_seconds"
        )
    if statement < SHORT_STATEMENT_SECONDS:
        what = f"a statement may take {statement:g} s: counting the recipients of large campaigns will not end in time"
        return Finding("timeouts", Level.WARNING, what, "set timeouts.statement_seconds to 60")
    return Finding("timeouts", Level.OK, f"statements {statement:g} s, locks {lock:g} s")


def pooler(server: Server) -> Finding:
    """Whether somebody like PgBouncer stands in between."""
    if server.pooled:
        what = "a connection pooler such as PgBouncer stands in between: fine in session and in transaction mode"
        return Finding("pooler", Level.NOTE, what)
    return Finding("pooler", Level.OK, "connected to the server itself")
