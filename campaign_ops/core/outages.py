"""The cause of an outage in plain words, from the driver's text where there is no error code.

A driver gives no code for a connection that was never made, so its text is the only evidence. The text itself, with
socket paths and ports, goes to the log alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Cause(NamedTuple):
    """A pattern of a driver's text, its meaning, and the mend."""

    pattern: str
    what: str
    mend: str


SILENT = "it does not answer"
NETWORK = (
    Cause(
        r"too many (connections|clients)|connection slots|max number of clients",
        "it has no connection left",
        "free some, or raise its limit",
    ),
    Cause(r"connection refused", "nothing listens there", "start the server, or correct host and port in {url}"),
    Cause(r"no such file", "there is no such socket", "start the server, or correct the path in {url}"),
    Cause(r"resolve|name or service|getaddrinfo|nodename", "the host name is not known", "correct the host in {url}"),
    Cause(r"tim(e|ed)[ -]?out|in time", SILENT, "check the network and firewall between here and there"),
    Cause(r"unreachable|no route", "there is no route to that host", "check the network between here and there"),
    Cause(r"certificate|\bssl\b|\btls\b", "no encrypted connection was made", "correct the TLS settings in {url}"),
)
POSTGRES = (
    Cause(
        r"closed the connection|closed unexpectedly|connection is (closed|lost)|terminating connection",
        "the connection was lost",
        "it may be restarting: try again, or look at its log",
    ),
    Cause(r"not currently accepting", "this database accepts no connections now", "ask its administrator"),
    Cause(
        r"permission denied for database",
        "this user may not connect to it",
        "GRANT CONNECT ON DATABASE <name> TO <user>",
    ),
    Cause(r"starting up|shutting down|recovery", "it is starting or stopping", "wait until it is up"),
)
"""The causes that only PostgreSQL's text names."""


def cause_of(text: str, causes: tuple[Cause, ...], url: str) -> tuple[str, str] | None:
    """Return what a driver's text means, and the mend; ``url`` is the setting to correct. None if it is not known."""
    for cause in causes:
        if re.search(cause.pattern, text, re.IGNORECASE):
            return cause.what, cause.mend.format(url=url)
    return None
