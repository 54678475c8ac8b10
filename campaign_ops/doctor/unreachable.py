"""Findings about a server that cannot be reached, or that refuses a query."""

from __future__ import annotations

from campaign_ops.bullmq.address import UNREACHABLE
from campaign_ops.core.errors import (
    CampaignOpsError,
    DatabaseTimeout,
    PermissionMissing,
    QueueUnavailable,
)
from campaign_ops.doctor.finding import Finding, Level


def database_finding(error: CampaignOpsError, *, connected: bool) -> Finding:
    """Report why the examination of the database failed, or was cut short."""
    if connected:
        what = f"PostgreSQL at {error.where}: the connection was lost in the middle"
        return Finding("database", Level.ERROR, what, "the server may be restarting; run the doctor again")
    return Finding("database", Level.ERROR, f"PostgreSQL at {error.where}: {error.what}", error.mend)


def queue_finding(check: str, error: QueueUnavailable) -> Finding:
    """Report why the examination of the queue failed."""
    words, _, _ = error.what.removeprefix(UNREACHABLE).rstrip(")").partition(" (")  # the server's words are in brackets
    return Finding(check, Level.ERROR, f"{error.where}: {words}", error.mend)


def unexamined(check: str, error: CampaignOpsError) -> Finding:
    """Report one check that failed while others succeeded."""
    if isinstance(error, DatabaseTimeout):
        what, mend = "the query took too long or met a lock", "run the doctor again when the server is less busy"
    elif isinstance(error, PermissionMissing):
        what, mend = "this role may not read it", "see the findings on rights"
    else:
        what, mend = "the server refused the query", "see its log"
    return Finding(check, Level.WARNING, f"not examined: {what}", mend)
