"""Clocks and time zones: the server's, ours, and the one that the application writes with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from campaign_ops.doctor import Level, examine
from campaign_ops.doctor.clock import duration, skew
from campaign_ops.lab.shop.row_writer import PlatformShape, hours, minutes
from tests.conftest import World, Worlds
from tests.doctor.bench import owner, run, the

MANY = 12_000


@pytest.mark.parametrize(
    ("off_seconds", "level", "words"),
    [
        (0, Level.OK, "agree"),
        (4, Level.OK, "agree"),
        (-20, Level.NOTE, "20 s behind"),
        (7200, Level.WARNING, "2 h ahead"),
    ],
)
def test_clocks_that_disagree_are_reported(off_seconds: int, level: Level, words: str) -> None:
    before = datetime.now(UTC)
    found = skew(before + timedelta(seconds=off_seconds), before, before)
    assert found.level is level
    assert words in found.what


def test_the_duration_of_the_query_does_not_count_as_skew() -> None:
    before = datetime.now(UTC)
    assert skew(before + timedelta(seconds=8), before, before + timedelta(seconds=16)).level is Level.OK


@pytest.mark.parametrize(
    ("timestamps", "timezone", "level"),
    [("naive", "Asia/Kolkata", Level.NOTE), ("aware", "Asia/Kolkata", Level.OK), ("naive", "Etc/UTC", Level.OK)],
)
def test_another_time_zone_is_noted_where_columns_have_none(
    worlds: Worlds, timestamps: Any, timezone: str, level: Level
) -> None:
    world = worlds.make("sms", shape=PlatformShape(timestamps=timestamps), timezone=timezone)
    world.app.add_campaign(updated_ago=minutes(1))
    found = the(examine(world.platform), "time_zone")
    assert found.level is level
    assert (timezone in found.what) is (timezone != "Etc/UTC")


@pytest.mark.parametrize(
    ("timestamps", "updated_ago", "level", "words"),
    [
        ("naive", hours(0), Level.OK, "not in the future"),
        ("naive", hours(-5.5) + minutes(1), Level.ERROR, "UTC+5:30"),
        ("naive", hours(-2), Level.ERROR, "UTC+2)"),
        ("naive", hours(-2.1), Level.WARNING, "2 h 6 min in the future"),
        ("naive", hours(-50), Level.WARNING, "2 d 2 h in the future"),
        ("aware", hours(-2) - minutes(0.9), Level.WARNING, "2 h in the future"),
        ("naive", hours(5) + minutes(2), Level.WARNING, "what Etc/GMT+5 is behind UTC"),
        ("aware", hours(5) + minutes(2), Level.OK, "not in the future"),
        ("naive", hours(6), Level.OK, "not in the future"),
    ],
)
def test_the_newest_row_shows_that_an_application_writes_local_time(
    worlds: Worlds, timestamps: Any, updated_ago: timedelta, level: Level, words: str
) -> None:
    world = worlds.make("sms", shape=PlatformShape(timestamps=timestamps), timezone="Etc/GMT+5")
    world.app.add_campaign(updated_ago=updated_ago)
    world.app.add_campaign(updated_ago=hours(9))
    found = the(examine(world.platform), "application_clock")
    assert found.level is level
    assert words in found.what
    assert bool(found.mend) is (level is not Level.OK)


def test_the_newest_row_of_a_large_table_is_not_looked_for_without_an_index(sms: World) -> None:
    with owner(sms) as connection:
        connection.execute(
            'INSERT INTO "Campaign" (id, "shopId", name, status, "updatedAt") SELECT n::text, %s, %s, %s, now()'
            " FROM generate_series(1, %s) n",
            ["shop", "name", "sent", MANY],
        )
    run(sms, 'ANALYZE "Campaign"')
    assert the(examine(sms.platform), "application_clock").level is Level.OK
    run(sms, 'DROP INDEX "Campaign_status_updatedAt_idx"')
    assert "not looked up" in the(examine(sms.platform), "application_clock").what


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=59), "59 s"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(hours=5, minutes=30), "5 h 30 min"),
        (timedelta(days=2, hours=2, minutes=9), "2 d 2 h"),
        (timedelta(days=1), "1 d"),
    ],
)
def test_lengths_of_time_are_formatted_with_two_units(length: timedelta, said: str) -> None:
    assert duration(length) == said
