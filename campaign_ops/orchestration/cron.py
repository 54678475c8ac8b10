"""The schedule's cron expression as moments: how many ticks have passed, and how far apart they may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from croniter import croniter

_LOOKED_AT = 200  # ticks: enough to meet the night of "every ten minutes from 9 to 17"


def ticks_since(schedule: str, since: datetime, now: datetime, *, at_most: int) -> int:
    """How many ticks there were after ``since`` and up to ``now``; counts no further than ``at_most``."""
    ticks = croniter(schedule, since).all_next(datetime)
    return sum(tick <= now for tick in islice(ticks, at_most))


def longest_pause(schedule: str, now: datetime | None = None) -> timedelta:
    """The longest time between two ticks, of those to come next."""
    ticks = islice(croniter(schedule, now or datetime.now(UTC)).all_next(datetime), _LOOKED_AT)
    return max(later - earlier for earlier, later in pairwise(ticks))
