"""Values that a column holds and Python does not: such a row is one campaign's problem, and the others go on."""

from __future__ import annotations

from typing import Any

import pytest

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import Verdict
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.release import release_one
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.lab.shop.schema import PRISMA, PlatformShape
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile
from campaign_ops.queries.status import campaign_status
from campaign_ops.sweep import evidence
from campaign_ops.sweep.report import dry_run
from tests.conftest import World, Worlds
from tests.doctor.bench import run

NEVER = ("infinity", "-infinity", "0044-03-15 12:00:00 BC", "294276-12-31 23:00:00", "10000-01-01", "2999-01-01")
AWARE = PlatformShape(timestamps="aware", amounts="numeric")
ME = Person("me", "it is right", "by-hand")


@pytest.fixture(params=[PRISMA, AWARE], ids=["naive", "aware"])
def shop(worlds: Worlds, request: pytest.FixtureRequest) -> World:
    """A platform with one finished campaign, whose sweep must go on whatever the other rows hold."""
    world = worlds.make("sms", shape=request.param)
    world.app.add_campaign("sound", succeeded=2)
    world.app.add_reservation("sound's", campaign="sound")
    return world


def put(world: World, table: str, row: str, **values: str | None) -> None:
    """Write values as SQL text, as no driver could."""
    changes = ", ".join(f'"{key}" = {"NULL" if value is None else repr(value)}' for key, value in values.items())
    run(world, f"UPDATE \"{table}\" SET {changes} WHERE id = '{row}'")


def sql(world: World, query: str) -> tuple[Any, ...]:
    """One row, as no driver could hold it."""
    with world.app.engine.connect() as connection:
        return tuple(connection.exec_driver_sql(query).one())


def others_go_on(world: World) -> dict[str, Any]:
    """A sweep completes the sound campaign; what it says of the others."""
    report = world.sweep()
    assert world.app.campaign("sound")["status"] == "sent"
    assert world.app.reservation("sound's")["status"] == "released"
    return {item.target: item for item in report.for_person}


@pytest.mark.parametrize("value", NEVER)
def test_an_updated_at_that_cannot_be_is_shown_and_the_others_go_on(shop: World, value: str) -> None:
    """Measured before: infinity stopped every sweep of the platform; the year 2999 hid its campaign for ever."""
    shop.app.add_campaign("odd", succeeded=3)
    put(shop, "Campaign", "odd", updatedAt=value)
    item = others_go_on(shop)["odd"]
    assert item.verdict is Verdict.IMPOSSIBLE_DATE
    assert "updatedAt is " in item.reason
    assert sql(shop, f"SELECT status, \"updatedAt\" = '{value}' FROM \"Campaign\" WHERE id = 'odd'") == (
        "sending",
        True,
    )


def test_a_person_may_complete_such_a_campaign_and_take_it_back_to_the_last_digit(shop: World) -> None:
    for number, value in enumerate(("infinity", "-infinity", "0044-03-15 12:00:00 BC")):
        label = f"odd{number}"
        shop.app.add_campaign(label, succeeded=3)
        put(shop, "Campaign", label, updatedAt=value)
        fix = mark_complete(shop.platform, label, Person("me", "it is right", label))
        assert shop.app.campaign(label)["status"] == "sent"
        undo(shop.platform, fix.repair_ids[0], Person("me", "it was wrong", f"{label} back"))
        query = f"SELECT status, \"updatedAt\" = '{value}' FROM \"Campaign\" WHERE id = '{label}'"
        assert sql(shop, query) == ("sending", True)


@pytest.mark.parametrize("value", NEVER)
def test_a_recipient_s_moment_that_cannot_be_blocks_its_campaign_only(shop: World, value: str) -> None:
    shop.app.add_campaign("odd", succeeded=3, pending=2)
    run(shop, f"UPDATE \"CampaignRecipient\" SET \"sentAt\" = '{value}' WHERE id = 'odd_r000001'")
    item = others_go_on(shop)["odd"]
    assert item.verdict is Verdict.IMPOSSIBLE_DATE
    assert item.reason.startswith("1 recipient moved at an impossible moment")
    assert not shop.queue.live_job_ids()


@pytest.mark.parametrize("column", ["createdAt", "expiresAt", "releasedAt"])
@pytest.mark.parametrize("value", NEVER)
def test_a_reservation_with_an_impossible_moment_stops_no_other(shop: World, column: str, value: str) -> None:
    shop.app.add_reservation("odd", campaign=None, created_ago=hours(1))
    put(shop, "CreditReservation", "odd", **{column: value})
    shown = others_go_on(shop)
    ends = column == "expiresAt" and value in ("-infinity", NEVER[2])
    assert ("odd" in shown) is (column == "createdAt" or ends)
    assert sql(shop, "SELECT status FROM \"CreditReservation\" WHERE id = 'odd'") == ("active",)


def test_a_reservation_that_never_ends_is_released_with_its_campaign(shop: World) -> None:
    shop.app.add_reservation("endless", campaign="sound")
    put(shop, "CreditReservation", "endless", expiresAt="infinity")
    others_go_on(shop)
    assert sql(shop, "SELECT status FROM \"CreditReservation\" WHERE id = 'endless'") == ("released",)


def test_a_reservation_of_unknown_age_stops_no_other(shop: World) -> None:
    run(shop, 'ALTER TABLE "CreditReservation" ALTER "createdAt" DROP NOT NULL')
    shop.app.add_reservation("undated", campaign=None)
    put(shop, "CreditReservation", "undated", createdAt=None)
    others_go_on(shop)
    assert shop.app.reservation("undated")["status"] == "active"


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity"])
def test_credits_that_are_no_number_are_for_a_person(worlds: Worlds, amount: str) -> None:
    world = worlds.make("sms", shape=AWARE)
    run(world, 'ALTER TABLE "CreditReservation" ALTER amount TYPE numeric')
    world.app.add_campaign("sound", succeeded=2)
    world.app.add_reservation("sound's", campaign="sound", amount=7)
    for label, campaign in (("odd", "sound"), ("gone", None)):
        world.app.add_reservation(label, campaign=campaign, created_ago=hours(99))
        put(world, "CreditReservation", label, amount=amount)
    shown = others_go_on(world)
    assert world.app.reservation("odd")["status"] == "active"
    assert f"amount is {amount}" in shown["gone"].reason
    assert all(line.held.is_finite() for line in dry_run(world.platform).credits)


# -- no moment at all -----------------------------------------------------------------------------------------------


def undated(worlds: Worlds, **names: str) -> World:
    """A platform whose campaigns may have no ``updatedAt``."""
    raw = load_profile("sms").model_dump(by_alias=True)
    profile = Profile.model_validate({**raw, "campaign": {**raw["campaign"], **names}})
    world = worlds.make(profile)
    run(world, 'ALTER TABLE "Campaign" ALTER "updatedAt" DROP NOT NULL')
    if "created_at" in names:
        run(world, 'ALTER TABLE "Campaign" ADD "createdAt" timestamp')
    world.app.add_campaign("sound", succeeded=2)
    world.app.add_reservation("sound's", campaign="sound")
    return world


def test_a_campaign_without_updated_at_counts_as_untouched_since_it_started(worlds: Worlds) -> None:
    """Measured before: never looked at, whatever became of its jobs."""
    world = undated(worlds, started_at="startedAt")
    for label, started, pending in (("stuck", hours(2), 2), ("lately", minutes(2), 0), ("ended", hours(2), 0)):
        world.app.add_campaign(label, succeeded=1, pending=pending, started_ago=started)
        put(world, "Campaign", label, updatedAt=None)
    others_go_on(world)
    (row,) = world.rows("SELECT * FROM campaign_ops.repair_plan WHERE kind = 'reenqueue'")
    assert row["target"] == "stuck"
    assert 7100 < row["stuck_seconds"] < 7300
    assert len(world.queue.live_job_ids()) == 1
    assert world.app.campaign("ended")["status"] == "sent"
    assert world.app.campaign("ended")["updated_at"] is not None
    assert world.app.campaign("lately")["status"] == "sending"


def test_or_since_it_was_made(worlds: Worlds) -> None:
    world = undated(worlds, created_at="createdAt")
    for label, ago in (("stuck", "2 h"), ("lately", "2 min")):
        world.app.add_campaign(label, succeeded=1)
        run(
            world,
            f'UPDATE "Campaign" SET "updatedAt" = NULL, "createdAt" = now() - \'{ago}\'::interval'
            f" WHERE id = '{label}'",
        )
    others_go_on(world)
    assert world.app.campaign("stuck")["status"] == "sent"
    assert world.app.campaign("lately")["status"] == "sending"


def test_with_neither_a_person_is_asked_and_may_complete_it(worlds: Worlds) -> None:
    """Measured before: mark-complete said that its status was no longer 'sending', which was false."""
    world = undated(worlds)
    world.app.add_campaign("undated", succeeded=1)
    world.app.add_reservation("held", campaign="undated")
    put(world, "Campaign", "undated", updatedAt=None)
    item = others_go_on(world)["undated"]
    assert item.verdict is Verdict.IMPOSSIBLE_DATE
    assert item.stuck_seconds is None
    assert [(one.id, one.untouched_seconds) for one in campaign_status(world.platform)] == [("undated", None)]
    fix = mark_complete(world.platform, "undated", ME)
    assert world.app.campaign("undated")["status"] == "sent"
    undo(world.platform, fix.repair_ids[0], Person("me", "it was wrong", "back"))
    assert (world.app.campaign("undated")["status"], world.app.campaign("undated")["updated_at"]) == ("sending", None)
    world.app.add_campaign("empty")  # refused before: "it changed while we looked"
    put(world, "Campaign", "empty", updatedAt=None)
    mark_complete(world.platform, "empty", ME)
    assert world.app.campaign("empty")["status"] == "sent"


def test_where_nothing_dates_a_campaign_s_end_the_age_of_its_credits_decides(worlds: Worlds) -> None:
    world = undated(worlds)
    for label, value in (("null", None), ("ahead", "infinity"), ("before", "-infinity"), ("next week", "2999-01-01")):
        world.app.add_campaign(label, status="sent", succeeded=1)
        world.app.add_reservation(f"{label}, old", campaign=label)
        world.app.add_reservation(f"{label}, young", campaign=label, created_ago=minutes(1))
        put(world, "Campaign", label, updatedAt=value)
    world.sweep()
    held = world.rows("SELECT id FROM \"CreditReservation\" WHERE status = 'active' ORDER BY id")
    assert [row["id"] for row in held] == ["ahead, young", "before, young", "next week, young", "null, young"]


def test_what_moved_since_is_not_overwritten_whatever_it_was(worlds: Worlds) -> None:
    world = undated(worlds, started_at="startedAt")
    world.app.add_campaign("one", succeeded=1, started_ago=hours(2))
    put(world, "Campaign", "one", updatedAt=None)
    sweep = world.begin()
    plan = sweep.make_plan()
    put(world, "Campaign", "one", updatedAt="2026-01-01")
    seen = world.platform.database.run(
        lambda connection: list(evidence.stuck_campaigns(world.platform, connection, ["one"], any_age=False))
    )
    assert [one.updated_at_exact for one in seen] == ["2026-01-01 00:00:00+00"]
    sweep.complete(plan)
    assert world.app.campaign("one")["status"] == "sent", "stuck still, by its own moment now"


def test_pages_of_campaigns_go_on_across_moments_that_python_cannot_hold(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = undated(worlds)
    monkeypatch.setattr(evidence, "PAGE", 2)
    for label, value in zip("abcdefghij", [*["-infinity"] * 4, *["infinity"] * 3, None, None, None], strict=True):
        world.app.add_campaign(label, succeeded=1)
        put(world, "Campaign", label, updatedAt=value)
    shown = others_go_on(world)
    assert sorted(shown) == list("abcdefghij")
    ids = [one.id for one in campaign_status(world.platform)]
    assert sorted(ids) == list("abcdefghij")


def test_a_person_s_release_says_what_is_wrong_with_the_row(shop: World) -> None:
    shop.app.add_reservation("odd", campaign=None, created_ago=hours(99))
    put(shop, "CreditReservation", "odd", createdAt="-infinity")
    with pytest.raises(Refused, match="createdAt is -infinity"):
        release_one(shop.platform, "odd", ME)
