"""Every error that a user can meet. Errors of drivers are mapped to these where they arise and go no further.

CampaignOpsError
├── ConfigurationError          a file, key or variable is wrong; nothing was connected to
├── ProfileMismatch             the profile does not fit the database; nothing was touched
├── StateSchemaError            schema campaign_ops is missing or older than this program
├── PermissionMissing           the database role may not do what a sweep needs
├── Refused                     a person's request whose premise does not hold; nothing was changed
│   └── NotFound                no such campaign, reservation or repair (or another tenant's)
├── StatementRejected           the database refused one statement (trigger, constraint, bad value)
└── Unavailable                 worth trying again
    ├── SweepBusy               another sweep of this platform is under way
    ├── DatabaseUnavailable     unreachable, restarting, out of connections
    │   ├── CommitUnknown       the answer to a commit was lost: it may have been written
    │   └── DatabaseTimeout     a statement or lock timeout ran out
    │       └── Conflict        deadlock or serialization failure: the same work may succeed at once
    ├── StillWriting            an open transaction of the application may change what we would judge
    └── QueueUnavailable        Redis unreachable, or the queue could not be read whole
        └── QueueUnclear        it was read, and must not be acted on: work for a person, not an outage
"""

from __future__ import annotations

from campaign_ops.core.wording import cut_in_the_middle

LONGEST_PLACE = 300
"""Characters: an id that a person or a program has sent may be of any length."""


class CampaignOpsError(Exception):
    """Base of all errors that reach a user.

    ``what`` is wrong, ``where`` it is, and the ``mend``: together one line. None of the three may hold a secret.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what = what
        self.where = cut_in_the_middle(where, LONGEST_PLACE)
        self.mend = mend
        super().__init__(what)

    def __str__(self) -> str:
        """One line: ``where: what; mend``."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.mend}" if self.mend else text


class ConfigurationError(CampaignOpsError):
    """A file, key or variable is wrong. Raised before anything is connected to."""


class ProfileMismatch(CampaignOpsError):
    """The profile names something the database does not have. Raised before anything is touched.

    ``problems`` holds one line for each missing table, column or word; the message shows the first few of them.
    """

    SHOWN = 3

    def __init__(self, problems: list[str], *, where: str = "", mend: str = "") -> None:
        self.problems = problems
        more = len(problems) - self.SHOWN
        shown = " | ".join(problems[: self.SHOWN])
        super().__init__(
            f"{shown} | and {more} more, all named by `campaign-ops doctor`" if more > 0 else shown,
            where=where,
            mend=mend,
        )


class StateSchemaError(CampaignOpsError):
    """Schema ``campaign_ops`` is missing or older than this program."""


class PermissionMissing(CampaignOpsError):
    """The database role lacks a privilege that a sweep needs."""


class Refused(CampaignOpsError):
    """A person's request whose premise does not hold. Nothing was changed."""


class NotFound(Refused):
    """No such campaign, reservation or repair, or it belongs to another tenant."""


class StatementRejected(CampaignOpsError):
    """The database refused one statement: a trigger, a constraint, a value out of range."""


class Unavailable(CampaignOpsError):
    """A server or a lock is not available now; the same call may succeed later."""


class SweepBusy(Unavailable):
    """Another sweep of this platform is under way, here or on another machine."""


class DatabaseUnavailable(Unavailable):
    """PostgreSQL could not be reached, or the connection was lost."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost while a commit was answered: it may have been written, or not."""


class DatabaseTimeout(DatabaseUnavailable):
    """A statement or a lock took longer than it may."""


class Conflict(DatabaseTimeout):
    """Deadlock or serialization failure."""


class StillWriting(Unavailable):
    """A transaction has written recipients and is still open. Nothing is completed before it ends."""


class QueueUnavailable(Unavailable):
    """The queue could not be read whole. It is never treated as an empty one."""


class QueueUnclear(QueueUnavailable):
    """The queue was read, but cannot be understood, or belongs to a library whose queues are only looked at."""
