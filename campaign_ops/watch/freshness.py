"""The age at which the last finished sweep of a platform is too old, by its schedule. Pure."""

from __future__ import annotations

from datetime import datetime

from croniter import croniter

STALE_AFTER_SECONDS = 1800
TICKS = 3
"""Sweeps that may be missed: a tick is skipped while a run goes on, and the next one is the retry."""


def stale_after(schedule: str, now: datetime) -> int:
    """The age in seconds at which a sweep is too old: half an hour, or three ticks of a slower schedule.

    With half an hour for all, a platform that is swept every hour had a critical incident each hour.
    """
    ticks = (now - ticks_ago(schedule, now, TICKS)).total_seconds() if schedule else 0
    return max(STALE_AFTER_SECONDS, int(ticks))


def ticks_ago(schedule: str, now: datetime, ticks: int) -> datetime:
    """When the schedule ticked some ticks ago."""
    cron = croniter(schedule, now)
    moment = now
    for _ in range(ticks):
        moment = cron.get_prev(datetime)
    return moment
