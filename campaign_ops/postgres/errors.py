"""Driver errors mapped to ours where they arise. The driver's error leaves the chain: it may quote a row or a URL."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from campaign_ops.core.errors import (
    CampaignOpsError,
    ConfigurationError,
    Conflict,
    DatabaseTimeout,
    DatabaseUnavailable,
    PermissionMissing,
    ProfileMismatch,
    StatementRejected,
    StateSchemaError,
)
from campaign_ops.core.outages import NETWORK, POSTGRES, cause_of

STATE_SCHEMA = "campaign_ops"
log = logging.getLogger(__name__)


@contextmanager
def mapped(where: str) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except (psycopg.Error, sa.exc.SQLAlchemyError) as error:
        driver = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
        ours = map_error(driver, where)
        try:
            raise ours from None
        finally:
            ours.__context__ = None  # `from None` only hides it from tools that respect the flag


_BY_STATE: dict[str, tuple[type[CampaignOpsError], str, str]] = {
    "40001": (Conflict, "serialization failure", "it is tried again"),
    "40P01": (Conflict, "deadlock", "it is tried again"),
    "55P03": (DatabaseTimeout, "a lock could not be taken in time", "another transaction holds it; it is tried again"),
    "57014": (DatabaseTimeout, "a statement took too long", "see timeouts.statement_seconds and the doctor's indexes"),
    "42501": (PermissionMissing, "", "run `campaign-ops doctor` for the exact GRANT"),
    "25006": (
        ConfigurationError,
        "the server takes no writes from this session: it is a standby, or default_transaction_read_only is set",
        "point database_url at the primary, or set default_transaction_read_only = off for this role",
    ),
    "port": (ConfigurationError, "the port is not a port number", "correct the port in database_url: 1 to 65535"),
    "option": (ConfigurationError, "a parameter of the URL is not valid", "correct the part after ? in database_url"),
    "protocol": (ConfigurationError, "what answers there is not PostgreSQL", "correct host and port in database_url"),
    "tls": (
        ConfigurationError,
        "no encrypted connection can be made",
        "correct sslmode, sslrootcert in database_url",
    ),
    "28P01": (ConfigurationError, "the password was refused", "check user and password in database_url"),
    "28000": (ConfigurationError, "the user was refused", "check user and password in database_url"),
    "rules": (
        ConfigurationError,
        "the server's rules (pg_hba.conf) do not let this user in from here",
        "let its administrator add a line for this user, database and address, or ask for TLS in database_url",
    ),
    "3D000": (ConfigurationError, "there is no such database", "check database_url"),
    "42703": (ProfileMismatch, "", "run `campaign-ops doctor`"),
    "42P01": (ProfileMismatch, "", "run `campaign-ops doctor`"),
    "25P03": (DatabaseTimeout, "a transaction stood idle for too long", "it is tried again"),
    "25P04": (
        DatabaseTimeout,
        "a transaction took too long",
        "it is tried again; see the server's transaction_timeout",
    ),
}
_LOST = (psycopg.InterfaceError, sa.exc.PendingRollbackError, sa.exc.ResourceClosedError)
# The client library gives no SQLSTATE for a connection that was refused, only the server's (or PgBouncer's) words.
_BY_WORDS = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "pg_hba.conf": "rules",
    "is not permitted to log in": "28000",
    'role "[^"]*" does not exist': "28000",
    "no such user": "28000",
    'database "[^"]*" does not exist': "3D000",
    "no such database": "3D000",
    "invalid port number": "port",
    r"invalid \w+ value|invalid (integer|connection option)|unrecognized \w+ value|is not a valid IP": "option",
    "response to SSL negotiation|expected authentication request from server": "protocol",
    "does not support SSL, but SSL was required|root certificate file": "tls",
}


def not_postgresql(where: str) -> CampaignOpsError:
    """The error for a server of another protocol."""
    kind, what, mend = _BY_STATE["protocol"]
    return kind(what, where=where, mend=mend)


def map_error(error: BaseException, where: str) -> CampaignOpsError:
    """The error of ours for a driver's."""
    state = getattr(error, "sqlstate", None) or ""
    if not state and isinstance(error, psycopg.OperationalError | psycopg.ProgrammingError):
        state = next((state for words, state in _BY_WORDS.items() if re.search(words, str(error))), "")
    diag = getattr(error, "diag", None)
    primary = " ".join((getattr(diag, "message_primary", None) or "").split())
    if state in ("42P01", "3F000") and (f"{STATE_SCHEMA}." in primary or f'"{STATE_SCHEMA}"' in primary):
        return StateSchemaError(
            f"schema {STATE_SCHEMA} is missing or incomplete", where=where, mend="run `campaign-ops migrate`"
        )
    if getattr(diag, "source_function", None) == "check_enable_rls":  # its text is in the server's language
        mend = "give the role BYPASSRLS; `campaign-ops doctor` has the statement"
        return PermissionMissing(f"row level security hides rows from this role: {primary}", where=where, mend=mend)
    if state in _BY_STATE:
        kind, what, mend = _BY_STATE[state]
        if kind is ProfileMismatch:
            return ProfileMismatch([primary], where=where, mend=mend)
        return kind(what or primary, where=where, mend=mend)
    if state[:2] in ("08", "53", "57") or (not state and isinstance(error, psycopg.OperationalError)):
        return _outage(state, primary or _first_line(error), where)
    if state:
        constraint = getattr(diag, "constraint_name", None)
        what = f"the database refused a statement: {primary} ({state})"
        return StatementRejected(what + (f", constraint {constraint}" if constraint else ""), where=where)
    if isinstance(error, _LOST) or "closed" in str(error):
        return _outage("08", _first_line(error), where)
    log.info("%s: %s: %s", where, type(error).__name__, _first_line(error))
    return StatementRejected(f"a statement could not be sent ({type(error).__name__})", where=where)


def _outage(state: str, text: str, where: str) -> DatabaseUnavailable:
    """The error for a server that is away; the driver's text, with its socket paths and ports, goes to the log."""
    log.info("%s: %s", where, text)
    what, mend = cause_of(text, (*POSTGRES, *NETWORK), "database_url") or _AWAY.get(state[:2], _WAS_LOST)
    return DatabaseUnavailable(what, where=where, mend=mend)


_AWAY = {
    "53": ("it has no disk, memory or connection left", "look at its log"),
    "": ("the connection failed", "check that PostgreSQL is up and reachable from this machine"),
}
_WAS_LOST = "the connection was lost", "check that PostgreSQL is up and reachable from this machine"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
