"""Clocks and time zones: this machine's, the database's and the application's.

Ages decide what is stuck, so an application that writes local time into a column without zone makes every age wrong.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.postgres.inspection import Server

SKEW_NOTED = timedelta(seconds=5)
SKEW_BAD = timedelta(seconds=60)
UTC_NAMES = frozenset(
    {"utc", "etc/utc", "uct", "etc/uct", "gmt", "etc/gmt", "zulu", "etc/zulu", "universal", "etc/universal"}
)

ZONE_STEP = timedelta(minutes=15)
FARTHEST_ZONE = timedelta(hours=14)
JUST_WRITTEN = timedelta(minutes=5)  # a busy application touches some campaign this often
LOCAL_TIME_MEND = "let the application write UTC, or make the column timestamptz"


def skew(database: datetime, before: datetime, after: datetime) -> Finding:
    """Compare the database's clock with this machine's, which showed ``before`` and ``after`` around the query."""
    off = max(before - database, database - after, timedelta(0))
    if off <= SKEW_NOTED:
        return Finding("clock", Level.OK, "the database's clock and this machine's agree")
    side = "ahead of" if database > after else "behind"
    what = f"the database's clock is {duration(off)} {side} this machine's; ages are computed by the database's"
    level = Level.WARNING if off > SKEW_BAD else Level.NOTE
    return Finding("clock", level, what, "synchronize both machines with NTP")


def time_zone(server: Server, *, naive: bool) -> Finding:
    """The time zone of a new session. It matters where columns have none, and is handled there."""
    if server.time_zone.lower() in UTC_NAMES:
        return Finding("time_zone", Level.OK, "the server's time zone is UTC")
    what = f"the server's time zone is {server.time_zone}"
    if not naive:
        return Finding("time_zone", Level.OK, f"{what}; all timestamp columns have a time zone")
    what += ", and some timestamp columns have none: they are read as UTC, which is what Prisma writes"
    return Finding("time_zone", Level.NOTE, what)


def application_clock(newest: datetime | None, now: datetime, server: Server, column: str, *, naive: bool) -> Finding:
    """Infer from the newest ``updated_at`` the clock, or the time zone, that the application writes it with."""
    if newest is None:
        return Finding(
            "application_clock",
            Level.NOTE,
            f"there is no campaign yet to read {column} from",
        )
    ahead = newest - now
    if ahead > SKEW_BAD:
        return _from_the_future(ahead, column, naive=naive)
    west = -server.utc_offset
    if naive and west > timedelta(0) and west <= -ahead <= west + JUST_WRITTEN:
        what = (
            f"the newest {column} is {duration(-ahead)} old, exactly what {server.time_zone} is behind UTC:"
            " if it is local time, campaigns look stuck as soon as they are touched"
        )
        return Finding("application_clock", Level.WARNING, what, LOCAL_TIME_MEND)
    return Finding("application_clock", Level.OK, f"the newest {column} is not in the future")


def _from_the_future(ahead: timedelta, column: str, *, naive: bool) -> Finding:
    what = f"the newest {column} is {duration(ahead)} in the future, so that campaign will not look stuck when it is"
    zone = -(-ahead // ZONE_STEP) * ZONE_STEP
    if naive and zone <= FARTHEST_ZONE and zone - ahead <= JUST_WRITTEN:
        hours, minutes = divmod(zone // timedelta(minutes=1), 60)
        what += f": the application seems to write local time (UTC+{hours}{f':{minutes:02}' if minutes else ''})"
        return Finding("application_clock", Level.ERROR, f"{what} into a column without a time zone", LOCAL_TIME_MEND)
    return Finding("application_clock", Level.WARNING, what, "check the application's clock, and that campaign")


def duration(length: timedelta) -> str:
    """Format a length of time with two units at most."""
    seconds = round(length.total_seconds())
    for size, unit, smaller_size, smaller_unit in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            smaller = seconds % size // smaller_size
            return f"{seconds // size} {unit}" + (f" {smaller} {smaller_unit}" if smaller else "")
    return f"{seconds} s"
