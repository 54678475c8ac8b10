"""The words of the system as plain values. No behaviour beyond arithmetic on themselves.

All ids are strings, whatever the platform's column type; all datetimes are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum


def check_aware(moment: datetime | None) -> datetime | None:
    """Return ``moment`` in UTC; refuse a naive one, whose time zone is not known."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        msg = f"naive datetime {moment!r}: campaign_ops only takes aware ones"
        raise ValueError(msg)
    return moment.astimezone(UTC)


class Verdict(StrEnum):
    """Why a campaign is stuck. The order is the order of judgement: the first that fits wins."""

    UNCOUNTED = "uncounted"
    UNKNOWN_STATUS = "unknown_status"
    IMPOSSIBLE_DATE = "impossible_date"
    EMPTY = "empty"
    FINISHED = "finished"
    PROGRESSING = "progressing"
    DISPUTED = "disputed"
    QUEUE_UNREADABLE = "queue_unreadable"
    QUEUE_PAUSED = "queue_paused"
    UNCLEAR_JOBS = "unclear_jobs"
    NO_WORKERS = "no_workers"
    BACKLOG = "backlog"
    COOLDOWN = "cooldown"
    QUARANTINED = "quarantined"
    JOBS_FAILED = "jobs_failed"
    JOBS_LOST = "jobs_lost"
    AMBIGUOUS = "ambiguous"
    STALLED = "stalled"


PATIENT = frozenset({Verdict.PROGRESSING, Verdict.BACKLOG, Verdict.COOLDOWN})
"""The verdicts of campaigns that are stuck by age only: they are slow or wait for their turn. None raises an alarm."""


class RepairKind(StrEnum):
    """The kinds of journal entries: the four repairs, and what only a person does."""

    COMPLETE = "complete"
    REENQUEUE = "reenqueue"
    RELEASE = "release"
    RECOUNT = "recount"
    UNDO = "undo"
    LIFT = "lift"
    SEND_AGAIN = "send_again"
    TAKE_AS_SENT = "take_as_sent"
    CONFIRM = "confirm"
    BIND = "bind"


class Outcome(StrEnum):
    """The end of a campaign: done if any recipient succeeded, else failed."""

    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign row as read. ``counters`` is None on platforms that keep none.

    Attributes:
        updated_at: When it was last touched; None where no column tells.
        updated_at_exact: The column as the database writes it, for comparing; None where it is NULL.
        impossible: In words, the moments of the row that cannot be right; empty when all can.
    """

    id: str
    tenant: str
    name: str
    status: str
    updated_at: datetime | None
    started_at: datetime | None = None
    counters: Counters | None = None
    updated_at_exact: str | None = None
    impossible: str = ""

    def untouched_seconds(self, now: datetime) -> int | None:
        """Whole seconds since it was last touched; None where that is not known."""
        return None if self.updated_at is None else int(age(self.updated_at, now).total_seconds())

    def is_stuck(self, now: datetime, after_seconds: float) -> bool:
        """Return whether it was not touched for so long, or nothing tells when it was."""
        untouched = self.untouched_seconds(now)
        return untouched is None or untouched > after_seconds or bool(self.impossible)


@dataclass(frozen=True, slots=True)
class Counters:
    """The campaign's own counts, which drift: recipients in all, sent and failed."""

    total: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Tally:
    """A campaign's recipient rows, counted by state.

    ``accepted`` rows still say pending but carry a provider message id: handed over, never to be sent again.
    ``pending`` does not include them. ``unknown`` maps status words that the profile does not know to their counts.
    ``impossible`` rows moved, by their timestamps, at an impossible moment.

    Where rows appear only when sent, a settled row counts only if it is of this run and the best of its recipient:
    ``earlier`` and ``repeated`` rows are not among the others. Of those that count, ``unsure`` rows may be either:
    nothing tells when they were made, or which recipient they are about.
    """

    pending: int = 0
    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: Mapping[str, int] = field(default_factory=dict)
    last_activity: datetime | None = None
    impossible: int = 0
    earlier: int = 0
    repeated: int = 0
    unsure: int = 0

    @property
    def rows(self) -> int:
        """All recipient rows, except earlier and repeated ones."""
        return self.pending + self.accepted + self.succeeded + self.failed + sum(self.unknown.values())


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the queue says of a campaign's pending recipients: pending = covered + marked + missing.

    ``covered`` recipients are in a live job; ``marked`` ones are in none, but the provider may have them; ``missing``
    ones are in none. ``doubled`` ones are in two or more live jobs. ``unclear_jobs`` counts, by name, the live jobs
    that may be about the campaign and cannot be understood: their recipients are not known. Completed jobs list
    ``in_completed_jobs`` of those marked; ``unread_completed_jobs`` are kept in the queue and were not read.
    ``unwritable_id``: an id among the missing, or the campaign's own, that no job can carry. ``live_in`` names the
    queues that its live jobs are in, where the platform has several.
    """

    covered: int = 0
    marked: int = 0
    missing: int = 0
    doubled: int = 0
    live_jobs: int = 0
    failed_jobs: int = 0
    unclear_jobs: Mapping[str, int] = field(default_factory=dict)
    in_completed_jobs: int = 0
    unread_completed_jobs: int = 0
    unwritable_id: str | None = None
    live_in: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Attempts:
    """The re-enqueues of a campaign. ``without_progress`` starts again when its pending count has fallen.

    ``left_out`` recipients were missing at the last attempt too and got no job: a limit was reached, or the queue
    changed under it.
    """

    total: int = 0
    without_progress: int = 0
    last_at: datetime | None = None
    pending_at_last: int | None = None
    held_by: str | None = None
    held_reason: str | None = None
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one stuck campaign at one moment.

    ``coverage`` is None where there is no queue to read. ``rows_when_sent``: a recipient has no row before it is
    sent, so the total is the campaign's own counter; ``people_known``: those rows name their recipient.
    ``strange_holds``: the words of its reservations, where the profile knows none of them. ``uncounted`` says why its
    recipients could not be read in time, if so; then the tally or the coverage is not known.
    """

    campaign: Campaign
    tally: Tally
    rows_when_sent: bool = False
    people_known: bool = False
    attempts: Attempts = field(default_factory=Attempts)
    coverage: Coverage | None = None
    pending_before: int | None = None
    observed_before_at: datetime | None = None
    strange_holds: tuple[str, ...] = ()
    uncounted: str = ""


class Action(StrEnum):
    """A sweep's response to a verdict."""

    NONE = "none"
    REPORT = "report"
    COMPLETE = "complete"
    REENQUEUE = "reenqueue"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its reason in words and what follows from it.

    ``needs_person``: no later sweep will mend it.
    """

    verdict: Verdict
    reason: str
    action: Action
    outcome: Outcome | None = None
    recount: Counters | None = None
    needs_person: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """Credits held for a campaign. ``campaign_status`` is None when the campaign row is gone or was never named.

    ``created_at`` is None where its age is not known; ``impossible`` names, in words, values that cannot be right.
    ``campaign_updated_at``: when the campaign was last touched; None where there is none, or no moment that can be.
    """

    id: str
    tenant: str
    campaign_id: str | None
    amount: str
    created_at: datetime | None
    expires_at: datetime | None
    campaign_status: str | None
    release_undone: bool = False
    impossible: str = ""
    campaign_updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CreditDecision:
    """Whether a reservation is released, and why."""

    release: bool
    reason: str
    leaked: bool = False
    needs_person: bool = False


def age(since: datetime, now: datetime) -> timedelta:
    """Time from ``since`` to ``now``, never below zero (clocks disagree by a little)."""
    return max(now - since, timedelta(0))


@dataclass(frozen=True, slots=True)
class Suspect:
    """A pending recipient that the provider may have: a marker says so, or the completed jobs ``job_ids`` list it."""

    campaign_id: str
    recipient_id: str
    job_ids: tuple[str, ...] = ()
