"""The cause of a server that cannot be reached, in plain words, from the driver's text where there is no error code.

PostgreSQL's driver gives no error code for a connection that was never made, so its text is the only evidence.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from campaign_ops.core.errors import (
    CampaignOpsError,
    ConfigurationError,
    DatabaseTimeout,
    PermissionMissing,
    QueueUnavailable,
)
from campaign_ops.doctor.finding import Finding, Level


class _Cause(NamedTuple):
    """A pattern of a driver's text, its meaning, and the mend."""

    pattern: str
    what: str
    mend: str


_NETWORK = (
    _Cause(r"connection refused", "nothing listens there", "start the server, or correct host and port in {url}"),
    _Cause(r"no such file", "there is no such socket", "start the server, or correct the path in {url}"),
    _Cause(r"resolve|name or service|getaddrinfo|nodename", "the host name is not known", "correct the host in {url}"),
    _Cause(r"tim(e|ed)[ -]?out|in time", "it does not answer", "check the network and firewall between here and there"),
    _Cause(r"unreachable|no route", "there is no route to that host", "check the network between here and there"),
    _Cause(r"certificate|\bssl\b|\btls\b", "no encrypted connection was made", "correct the TLS settings in {url}"),
)
_POSTGRES = (
    _Cause(
        r"permission denied for database",
        "this user may not connect to it",
        "GRANT CONNECT ON DATABASE <name> TO <user>",
    ),
    _Cause(
        r"too many (connections|clients)|connection slots",
        "it has no connection left",
        "free some, or raise its limit",
    ),
    _Cause(r"starting up|shutting down|recovery", "it is starting or stopping", "wait until it is up"),
)


def database_finding(error: CampaignOpsError, *, connected: bool) -> Finding:
    """Report why the examination of the database failed, or was cut short."""
    if connected:
        what = f"PostgreSQL at {error.where}: the connection was lost in the middle"
        return Finding("database", Level.ERROR, what, "the server may be restarting; run the doctor again")
    if isinstance(error, ConfigurationError):  # the user or the database was refused; the error is in our own words
        what, mend = error.what, error.mend
    else:
        away = "the connection failed", "check that PostgreSQL is up and reachable from this machine"
        what, mend = _cause(error.what, (*_POSTGRES, *_NETWORK), "database_url") or away
    return Finding("database", Level.ERROR, f"PostgreSQL at {error.where}: {what}", mend)


def queue_finding(check: str, error: QueueUnavailable) -> Finding:
    """Report why the examination of the queue failed."""
    # The text in brackets is the driver's.
    words, _, detail = error.what.rstrip(")").partition(" (")
    found = _cause(detail, _NETWORK, "queue_url") if words.endswith("cannot be reached") else None
    what, mend = found or (words, error.mend)
    return Finding(check, Level.ERROR, f"{error.where}: {what}", mend)


def unexamined(check: str, error: CampaignOpsError) -> Finding:
    """Report one check that failed while others succeeded."""
    if isinstance(error, DatabaseTimeout):
        what, mend = "the query took too long or met a lock", "run the doctor again when the server is less busy"
    elif isinstance(error, PermissionMissing):
        what, mend = "this role may not read it", "see the findings on rights"
    else:
        what, mend = "the server refused the query", "see its log"
    return Finding(check, Level.WARNING, f"not examined: {what}", mend)


def _cause(text: str, causes: tuple[_Cause, ...], url: str) -> tuple[str, str] | None:
    for cause in causes:
        if re.search(cause.pattern, text, re.IGNORECASE):
            return cause.what, cause.mend.format(url=url)
    return None
