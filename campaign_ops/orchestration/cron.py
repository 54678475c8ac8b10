"""The ticks of a cron expression: how many have passed, and how far apart they can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise

from croniter import croniter

_EXAMINED = 200  # ticks: enough to include the night of "every ten minutes from 9 to 17"


def ticks_since(schedule: str, since: datetime, now: datetime, *, at_most: int) -> int:
    """The number of ticks after ``since`` and up to ``now``, at most ``at_most``."""
    ticks = croniter(schedule, since).all_next(datetime)
    return sum(tick <= now for tick in islice(ticks, at_most))


@cache
def longest_pause(schedule: str, now: datetime | None = None) -> timedelta:
    """The longest time between two of the coming ticks."""
    ticks = islice(croniter(schedule, now or datetime.now(UTC)).all_next(datetime), _EXAMINED)
    return max(later - earlier for earlier, later in pairwise(ticks))
