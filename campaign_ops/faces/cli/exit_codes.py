"""The exit codes, for cron, scripts and monitoring. The numbers are defined here only."""

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
    """Exit codes; after 0 the most severe first: of several platforms, the lowest that is not 0 counts."""

    DONE = 0
    FAILED = 1
    SET_UP = 2
    REFUSED = 3
    BUSY = 4
    PERSON = 5


MEANINGS = {
    ExitCode.DONE: "done, and nothing needs a person",
    ExitCode.FAILED: "a server cannot be reached (database: nothing was done, unless the message calls that unknown;"
    " queue: what does not need it was done) or something unexpected happened; trying again may help",
    ExitCode.SET_UP: "command line, configuration, profile, schema or permissions are wrong; a retry does not help",
    ExitCode.REFUSED: "refused: a premise does not hold, the id does not exist, or the database rejects it;"
    " nothing was changed",
    ExitCode.BUSY: "another sweep of the platform is running; nothing was done",
    ExitCode.PERSON: "done, but something needs a person: a tripped breaker, a quarantined campaign, a warning",
}

_SET_UP = (ConfigurationError, ProfileMismatch, StateSchemaError, PermissionMissing)


def exit_code_of(error: Exception) -> ExitCode:
    """The exit code for an error, ours or not."""
    if isinstance(error, Refused | StatementRejected):
        return ExitCode.REFUSED
    if isinstance(error, SweepBusy):
        return ExitCode.BUSY
    return ExitCode.SET_UP if isinstance(error, _SET_UP) else ExitCode.FAILED


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """One exit code for several platforms."""
    return min((code for code in codes if code is not ExitCode.DONE), default=ExitCode.DONE)
