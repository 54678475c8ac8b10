"""The thresholds that a person can set, and the breaker. Units are in the names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class EmptyPolicy(StrEnum):
    """What a sweep does with a stuck campaign without recipients."""

    REPORT = "report"
    COMPLETE = "complete"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds of one platform. The defaults are the runbook's where it names one."""

    stuck_after_seconds: int = 900
    alert_after_seconds: int = 1800
    cooldown_seconds: int = 900
    max_attempts: int = 3
    reservation_max_age_seconds: int = 172_800
    empty_campaigns: EmptyPolicy = EmptyPolicy.REPORT
    breaker_share: float = 0.5
    breaker_floor: int = 10
    backlog_limit: int = 10_000
    max_queue_depth: int = 50_000
    max_jobs_per_sweep: int = 2_000
    max_releases_per_sweep: int = 20_000
    history_days: int = 7

    @property
    def stuck_after(self) -> timedelta:
        """How long a campaign may stay untouched before it is looked at, and, once it is over, its held credits."""
        return timedelta(seconds=self.stuck_after_seconds)

    @property
    def cooldown(self) -> timedelta:
        """How long a re-enqueued campaign is left alone; a fresh intent counts as coverage for as long."""
        return timedelta(seconds=self.cooldown_seconds)

    @property
    def reservation_max_age(self) -> timedelta:
        """How old a reservation may grow whose campaign is not sending."""
        return timedelta(seconds=self.reservation_max_age_seconds)


@dataclass(frozen=True, slots=True)
class Breaker:
    """The judgement whether a sweep would do so much that a person must confirm it first.

    A wrong prefix, an emptied Redis or a bad deploy all look like "everything is lost".
    """

    tripped: bool
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The reasons in one line, or ``closed``."""
        return "; ".join(self.reasons) if self.tripped else "closed"


def check_breaker(
    policy: Policy,
    verb: str,
    *,
    count: int,
    of: int,
    what: str = "sending campaigns",
    floor: int | None = None,
    lately: int = 0,
    suspicions: Sequence[str] = (),
    alarms: Sequence[str] = (),
) -> Breaker:
    """Decide whether a sweep may do one kind of repair.

    Args:
        policy: Thresholds; the share and the floor must both be exceeded to trip.
        verb: The repair in a person's words: ``complete``, ``re-enqueue``.
        count: The targets that the sweep would repair.
        of: All that exist: campaigns of the platform in ``sending``, stuck or not.
        what: The plural noun for them.
        floor: The number that may be repaired whatever its share; the policy's unless given.
        lately: Other campaigns that recent sweeps repaired without a person's confirmation: sweeps that follow each
            other quickly must not do together what a single one may not.
        suspicions: Reasons to doubt the evidence (Redis restarted); the floor no longer protects from tripping.
        alarms: Strong reasons (the queue is gone); they trip when anything at all would be done.
    """
    reasons = list(alarms) if count else []
    floor = policy.breaker_floor if floor is None else floor
    floor = 0 if suspicions else floor
    together = count + lately
    if count and together > floor and together > policy.breaker_share * of:
        before = f" after {lately} that were done shortly before" if lately else ""
        reasons.append(f"would {verb} {count} of {of} {what}{before}, more than {policy.breaker_share:.0%}")
        reasons.extend(suspicions)
    return Breaker(bool(reasons), tuple(reasons))
