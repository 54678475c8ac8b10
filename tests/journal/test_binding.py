"""What belongs to a campaign table stays with it: a renamed platform forgets nothing, a second one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis as driver
import sqlalchemy as sa
import yaml

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.errors import Refused
from campaign_ops.core.model import Verdict
from campaign_ops.core.policy import Policy
from campaign_ops.doctor import Level, examine
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.rebind import rebind
from campaign_ops.fixes.retry import retry_quarantined
from campaign_ops.fixes.undo import undo
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database
from campaign_ops.profile.model import Profile
from campaign_ops.settings import connect, load_settings
from campaign_ops.sweep.report import dry_run
from tests.conftest import World, Worlds

ANNA = Person("anna", "TICKET-1", "by-anna")


def as_platform(
    world: World,
    name: str,
    *,
    queue: str | None = None,
    url: str | None = None,
    redis: str | None = None,
    profile: Profile | None = None,
    **policy: Any,
) -> Platform:
    """The same tables under another name, or with another queue or Redis."""
    chosen = profile or world.platform.profile
    assert chosen.queue is not None
    assert world.queue_url is not None
    if queue is not None:
        chosen = chosen.model_copy(update={"queue": chosen.queue.model_copy(update={"name": queue})})
    assert chosen.queue is not None
    reader = Queue(QueueAddress(redis or world.queue_url, world.queue.prefix), chosen.queue)
    made = Platform(name, chosen, Policy(**policy), Database(url or world.url), reader)
    world.created.append(made)
    return made


def renamed(world: World, name: str = "shop", **options: Any) -> World:
    """From now on the world's platform is called so."""
    world.created.append(world.platform)
    world.platform = as_platform(world, name, **options)
    return world


def verdict_of(world: World, campaign: str) -> str:
    return next(item.verdict.value for item in world.sweep().stuck if item.target == campaign and item.verdict)


def live_jobs(world: World) -> int:
    return len(world.queue.live_job_ids())


# -- a rename ----------------------------------------------------------------------------------------------------------


def test_a_renamed_platform_keeps_a_campaign_in_cooldown(sms: World) -> None:
    """Measured before: the second name put all recipients back at once."""
    sms.app.add_campaign("c1", pending=10)
    sms.sweep()
    sms.queue.clear()
    sms.queue.open()
    assert verdict_of(renamed(sms), "c1") == Verdict.COOLDOWN
    assert live_jobs(sms) == 0


def test_a_renamed_platform_keeps_a_campaign_in_quarantine(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"cooldown_seconds": 0, "max_attempts": 1})
    world.app.add_campaign("c1", pending=10)
    world.sweep()
    world.queue.clear()
    world.queue.open()
    renamed(world, cooldown_seconds=0, max_attempts=1)
    assert verdict_of(world, "c1") == Verdict.QUARANTINED
    assert live_jobs(world) == 0


def test_a_renamed_platform_leaves_alone_what_a_person_undid(sms: World) -> None:
    campaign = sms.app.add_campaign("c1", succeeded=3)
    sms.app.add_reservation("r1", campaign=campaign)
    sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("r2", campaign="over")
    sms.sweep()
    for row in sms.rows("SELECT id FROM campaign_ops.repair WHERE parent_id IS NULL ORDER BY id"):
        undo(sms.platform, row["id"], Person("anna", "TICKET-1", f"undo {row['id']}"))
    assert sms.app.campaign("c1")["status"] == "sending"
    renamed(sms).sweep()
    assert sms.app.campaign("c1")["status"] == "sending"
    assert [row["status"] for row in sms.app.reservations("c1")] == ["active"]
    assert [row["status"] for row in sms.app.reservations("over")] == ["active"]


def test_a_person_finds_the_repairs_of_the_former_name_and_takes_them_back(sms: World) -> None:
    sms.app.add_campaign("c1", succeeded=3)
    sms.sweep()
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair")
    undo(renamed(sms).platform, repair["id"], ANNA)
    assert sms.app.campaign("c1")["status"] == "sending"
    retry_quarantined(renamed(sms, "third").platform, "c1", Person("anna", "done", "lift"))
    sms.sweep()
    assert sms.app.campaign("c1")["status"] == "sent"


def test_intents_of_the_former_name_are_settled(sms: World) -> None:
    """A sweep died between adding and confirming; the platform is renamed before the next one."""
    sms.app.add_campaign("c1", pending=10)
    sms.sweep()
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.intent SET added_at = NULL"))
        connection.execute(sa.text("UPDATE campaign_ops.attempt SET without_progress = 0"))
    renamed(sms).sweep()
    assert [row["added_at"] is not None for row in sms.rows("SELECT added_at FROM campaign_ops.intent")] == [True]
    assert sms.rows("SELECT tables, without_progress FROM campaign_ops.attempt") == [
        {"tables": "public.Campaign", "without_progress": 1}
    ]


def test_a_restarted_redis_is_noticed_under_another_name(sms: World) -> None:
    sms.sweep()
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.queue_sighting SET server_id = 'another'"))
    plan = dry_run(renamed(sms).platform).plan
    assert any("restarted" in doubt for doubt in plan.doubts)


def test_the_history_shows_each_sweep_under_the_name_of_its_day(sms: World) -> None:
    sms.sweep()
    renamed(sms).sweep()
    assert [row["platform"] for row in sms.rows("SELECT platform FROM campaign_ops.sweep ORDER BY id")] == [
        "sms",
        "shop",
    ]
    # One row, the latest: the former name's would look like a second platform that is never swept again.
    assert [row["platform"] for row in sms.rows("SELECT platform FROM campaign_ops.campaign_health")] == ["shop"]


def test_a_renamed_table_keeps_what_was_recorded(sms: World) -> None:
    sms.app.add_campaign("c1", succeeded=3)
    sms.sweep()
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair")
    undo(sms.platform, repair["id"], ANNA)
    with sms.app.engine.begin() as connection:
        connection.execute(sa.text('CREATE SCHEMA app; ALTER TABLE "Campaign" SET SCHEMA app'))
        connection.execute(sa.text('ALTER TABLE "CampaignRecipient" SET SCHEMA app'))
        connection.execute(sa.text('ALTER TABLE "CreditReservation" SET SCHEMA app'))
    moved = sms.platform.profile.model_copy(update={"db_schema": "app"})
    renamed(sms, "sms", profile=moved).sweep()
    with sms.app.engine.connect() as connection:
        assert connection.scalar(sa.text('SELECT status FROM app."Campaign"')) == "sending"
    assert [row["tables"] for row in sms.rows("SELECT tables FROM campaign_ops.binding")] == ["app.Campaign"]


def test_records_from_before_the_upgrade_are_adopted_by_the_first_sweep(sms: World) -> None:
    sms.app.add_campaign("c1", pending=10)
    with sms.platform.database.transaction() as connection:
        connection.execute(sa.text("INSERT INTO campaign_ops.binding (tables, platform) VALUES ('name:sms', 'sms')"))
        hold = "INSERT INTO campaign_ops.attempt (tables, campaign_id, held_by) VALUES ('name:sms', 'c1', 'anna')"
        connection.execute(sa.text(hold))
    sms.sweep()
    assert live_jobs(sms) == 0
    assert sms.rows("SELECT tables, held_by FROM campaign_ops.attempt") == [
        {"tables": "public.Campaign", "held_by": "anna"}
    ]


# -- a second platform -------------------------------------------------------------------------------------------------


def configured(directory: Path, *entries: dict[str, Any]) -> list[Platform]:
    path = directory / "campaign_ops.yaml"
    path.write_text(yaml.safe_dump({"platforms": list(entries)}))
    return [connect(one) for one in load_settings(path).platforms]


def entry(world: World, name: str, **more: Any) -> dict[str, Any]:
    url = sa.make_url(world.url).set(drivername="postgresql").render_as_string(hide_password=False)
    made = {"name": name, "profile": "sms", "database_url": url, "queue_url": world.queue_url}
    return made | {"queue_prefix": world.queue.prefix} | more


def spelled_otherwise(world: World) -> str:
    """The same server, by another name of its socket's directory."""
    url = sa.make_url(world.url).set(drivername="postgresql")
    return url.update_query_dict({"host": f"{url.query['host']}/."}).render_as_string(hide_password=False)


def sharing(platform: Platform) -> dict[Level, str]:
    return {one.level: one.what for one in examine(platform) if one.check == "sharing"}


def test_a_second_platform_over_the_same_table_is_refused_however_its_url_is_spelled(
    worlds: Worlds, tmp_path: Path
) -> None:
    world = worlds.make("sms")
    first, second = configured(
        tmp_path, entry(world, "first"), entry(world, "second", database_url=spelled_otherwise(world))
    )
    world.created += [first, second]
    assert "second" in sharing(first)[Level.ERROR]
    assert "first" in sharing(second)[Level.ERROR]
    world.app.add_campaign("c1", pending=10)
    world.created.append(world.platform)
    world.platform = first
    world.sweep()
    world.created.append(world.platform)
    world.platform = second
    with pytest.raises(Refused, match="platform first"):
        world.sweep()
    assert live_jobs(world) == 1


def test_the_same_table_name_in_another_database_is_another_table(worlds: Worlds, tmp_path: Path) -> None:
    one, other = worlds.make("sms"), worlds.make("sms")
    first, second = configured(tmp_path, entry(one, "first"), entry(other, "second"))
    one.created += [first, second]
    assert sharing(first) == {Level.OK: "no other platform watches campaign table public.Campaign"}
    assert sharing(second) == {Level.OK: "no other platform watches campaign table public.Campaign"}


def test_two_names_that_change_places_are_two_platforms_still(worlds: Worlds, tmp_path: Path) -> None:
    one, other = worlds.make("sms"), worlds.make("sms")
    first, second = configured(tmp_path, entry(one, "first"), entry(other, "second"))
    one.created += [first, second]
    for platform in (first, second):
        begin(platform)
    swapped = configured(tmp_path, entry(other, "first"), entry(one, "second"))
    one.created += swapped
    for platform in swapped:
        begin(platform)


def test_the_same_table_name_in_another_schema_is_another_table(sms: World) -> None:
    sms.app.add_campaign("c1", succeeded=3)
    sms.sweep()
    (repair,) = sms.rows("SELECT id FROM campaign_ops.repair")
    undo(sms.platform, repair["id"], ANNA)
    with sms.app.engine.begin() as connection:
        for table in ("Campaign", "CampaignRecipient", "CreditReservation"):
            connection.execute(sa.text(f'CREATE SCHEMA IF NOT EXISTS b; CREATE TABLE b."{table}" AS TABLE "{table}"'))
    profile = sms.platform.profile.model_copy(update={"db_schema": "b"})
    with driver.Redis.from_url(sms.queue.url) as client:
        client.hset(f"{sms.queue.prefix}:other:meta", "version", "bullmq:5.81.0")
    renamed(sms, "b", profile=profile, queue="other").sweep()
    with sms.app.engine.connect() as connection:
        assert connection.scalar(sa.text('SELECT status FROM b."Campaign"')) == "sent"
    assert sms.app.campaign("c1")["status"] == "sending"


def begin(platform: Platform) -> None:
    platform.database.run(lambda connection: platform.begin(connection, "run", "test", "tests"))


# -- other queues ------------------------------------------------------------------------------------------------------


def test_a_sweep_with_another_queue_over_the_same_table_adds_nothing(sms: World) -> None:
    """Measured before: 10 of 10 recipients doubled, each deployment putting back what the other had live."""
    campaign = sms.app.add_campaign("c1", pending=10)
    sms.queue.add(campaign, "shop", sms.app.pending_ids("c1"))
    sms.sweep()
    assert live_jobs(sms) == 1
    for name in ("sms", "second"):
        with pytest.raises(Refused, match="sms-send"):
            renamed(sms, name, queue="sms-retry").sweep()
    assert [key for key in keys(sms) if "sms-retry" in key] == []
    assert sharing(sms.platform).keys() == {Level.ERROR}


def keys(world: World) -> list[str]:
    with driver.Redis.from_url(world.queue.url, decode_responses=True) as client:
        return [str(key) for key in client.keys("*")]


def test_the_doctor_does_not_blame_the_database_for_another_redis_that_is_away(sms: World) -> None:
    """It said "PostgreSQL at Redis …: the connection was lost", and examined nothing more of the database."""
    sms.sweep()
    findings = examine(as_platform(sms, "sms", redis="redis://127.0.0.1:1/0"))
    assert [one.what for one in findings if one.check == "database" and one.level is not Level.OK] == []
    (shared,) = [one for one in findings if one.check == "sharing"]
    assert (shared.level, "127.0.0.1:1/0" in shared.what) == (Level.WARNING, True)
    assert {"index", "words", "queue"} <= {one.check for one in findings}


def test_the_same_queue_on_another_redis_is_another_queue(sms: World, worlds: Worlds) -> None:
    sms.sweep()
    other = sms.queue.url.rsplit("/", 1)[0] + "/7"
    with pytest.raises(Refused, match="is another one"):
        begin(as_platform(sms, "sms", redis=other))


def test_the_same_redis_under_another_address_is_the_same(sms: World) -> None:
    sms.sweep()
    platform = as_platform(sms, "sms", redis=sms.queue.url.replace("127.0.0.1", "localhost"))
    begin(platform)
    begin(sms.platform)
    (row,) = sms.rows("SELECT redis FROM campaign_ops.binding")
    assert len(row["redis"]) == 2


def test_a_queue_that_moved_is_taken_over_once_no_job_is_left_in_the_old_one(sms: World) -> None:
    campaign = sms.app.add_campaign("c1", pending=10)
    sms.queue.add(campaign, "shop", sms.app.pending_ids("c1"))
    sms.sweep()
    moved = as_platform(sms, "sms", queue="sms-new")
    with pytest.raises(Refused, match="1 live job in queue"):
        rebind(moved, "public.Campaign", ANNA)
    sms.queue.clear()
    assert not rebind(moved, "public.Campaign", ANNA, dry_run=True).changed
    with pytest.raises(Refused):
        begin(moved)
    assert "sms-new" in rebind(moved, "public.Campaign", ANNA).message
    begin(moved)
    with pytest.raises(Refused, match="sms-new"):
        begin(sms.platform)
    (row,) = sms.rows("SELECT actor, reason, person_reason FROM campaign_ops.repair WHERE kind = 'bind'")
    assert row["actor"] == "anna"
    assert row["person_reason"].startswith("TICKET-1")
    assert "TICKET-1" not in row["reason"]


def test_a_platform_whose_profile_lost_its_queue_is_refused(sms: World) -> None:
    sms.sweep()
    profile = sms.platform.profile.model_copy(update={"queue": None})
    without = Platform("sms", profile, Policy(), Database(sms.url), None)
    sms.created.append(without)
    with pytest.raises(Refused, match="does not look at"):
        begin(without)
