"""Arithmetic of plain values: moments are aware, ages never below zero, rows counted once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from campaign_ops.core.model import Tally, age, check_aware
from tests.evidence import NOW, SECOND, ago, sms


def test_moments_are_taken_to_utc_and_naive_ones_refused() -> None:
    in_india = datetime(2026, 3, 1, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    moment = check_aware(in_india)
    assert moment is not None
    assert (moment, moment.tzinfo) == (NOW, UTC)
    assert check_aware(None) is None
    with pytest.raises(ValueError, match="naive"):
        check_aware(datetime(2026, 3, 1))  # noqa: DTZ001 - that is the fault


def test_an_age_is_never_below_zero() -> None:
    assert age(ago(hours=1), NOW) == timedelta(hours=1)
    assert age(NOW + SECOND, NOW) == timedelta(0)


def test_a_campaign_without_a_moment_has_no_age() -> None:
    campaign = sms(1).evidence.campaign
    assert campaign.untouched_seconds(NOW) == 3600
    assert replace(campaign, updated_at=None).untouched_seconds(NOW) is None


def test_rows_are_of_five_kinds_and_earlier_ones_none_of_them() -> None:
    tally = Tally(1, 20, 300, 4000, {"odd": 50_000, "strange": 600_000}, earlier=7, repeated=8, unsure=9)
    assert tally.rows == 654_321
