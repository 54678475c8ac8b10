"""What the program's exit says: for cron, scripts and monitoring. The only place that knows the numbers."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from campaign_ops.core.errors import (
    ConfigurationError,
    PermissionMissing,
    ProfileMismatch,
    Refused,
    StatementRejected,
    StateSchemaError,
    SweepBusy,
)


class ExitCode(IntEnum):
    """Exit codes, the gravest after 0 first: of several platforms, the lowest that is not 0 counts."""

    DONE = 0
    FAILED = 1
    SET_UP = 2
    REFUSED = 3
    BUSY = 4
    PERSON = 5


MEANINGS = {
    ExitCode.DONE: "done, and nothing needs a person",
    ExitCode.FAILED: "a server is away (the database: nothing was done; the queue: what does not need it was done), or"
    " something unexpected; trying again may help",
    ExitCode.SET_UP: "command line, configuration, profile, schema or permissions are wrong; trying again is no help",
    ExitCode.REFUSED: "refused: what was asked for does not hold (or no such id), or the database rejects it;"
    " nothing was changed",
    ExitCode.BUSY: "another sweep of the platform is under way; nothing was done",
    ExitCode.PERSON: "done, but something needs a person: a breaker holds back, a campaign is given up, a check warns",
}

_SET_UP = (ConfigurationError, ProfileMismatch, StateSchemaError, PermissionMissing)


def exit_code_of(error: Exception) -> ExitCode:
    """The exit code that stands for an error, ours or not."""
    if isinstance(error, Refused | StatementRejected):
        return ExitCode.REFUSED
    if isinstance(error, SweepBusy):
        return ExitCode.BUSY
    return ExitCode.SET_UP if isinstance(error, _SET_UP) else ExitCode.FAILED


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """One exit code for several platforms."""
    return min((code for code in codes if code is not ExitCode.DONE), default=ExitCode.DONE)
