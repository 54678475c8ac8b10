"""The profile against the tables, and what lies about them: words, indexes, foreign key, triggers, clocks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from campaign_ops.demo.tables import PlatformShape, hours, minutes
from campaign_ops.doctor import Level, examine
from campaign_ops.doctor.clock import duration, skew
from campaign_ops.platform.profile_file import load_profile
from tests.conftest import World, Worlds
from tests.doctor.bench import complaints, least, mend, of, owner, run, the

ENUMS = PlatformShape(statuses="enum")
MANY = 12_000


# -- profile and words ---------------------------------------------------------------------------------------------


def test_everything_that_does_not_fit_is_said_at_once_and_the_rest_goes_on(worlds: Worlds) -> None:
    world = worlds.make("sms", shape=ENUMS)
    profile = load_profile("sms")
    campaign = profile.campaign.model_copy(
        update={
            "updated_at": "updated_at",
            "words": profile.campaign.words.model_copy(update={"done": "complete", "idle": ("paused", "halted")}),
        }
    )
    reservation = profile.reservation.model_copy(update={"table": "Credits"}) if profile.reservation else None
    world.platform.profile = profile.model_copy(update={"campaign": campaign, "reservation": reservation})
    findings = examine(world.platform)
    found = of(findings, "profile")
    assert {one.level for one in found} == {Level.ERROR}
    assert [one.what.split(" is ")[0] for one in found] == [
        'table "Credits"',
        "'complete'",
        "'halted'",
        'column "Campaign"."updated_at" (campaign.updated_at)',
    ]
    assert 'did you mean "updatedAt"?' in found[3].mend
    assert the(findings, "journal").level is Level.OK
    assert the(findings, "queue_depth").level is Level.OK
    assert not [one for one in findings if one.check in ("index", "words", "rights")]


def test_words_of_an_enum_without_a_meaning_are_warned_of(worlds: Worlds) -> None:
    world = worlds.make("sms", shape=PlatformShape(statuses="enum", extra_words=("bounced", "blocked")))
    least(world)
    (found,) = complaints(examine(world.platform))
    assert found.check == "words"
    assert "no meaning to blocked, bounced" in found.what
    assert "recipient.words.pending" in found.mend


def test_words_of_a_text_column_are_looked_for_in_the_rows(sms: World) -> None:
    least(sms)
    sms.app.add_campaign("odd", pending=2, words={"bounced": 1})
    sms.app.add_campaign("archived", status="archived")
    found = complaints(examine(sms.platform))
    assert [(one.check, one.level) for one in found] == [("words", Level.WARNING)] * 2
    assert "archived" in found[0].what
    assert "campaign.words.over" in found[0].mend
    assert "bounced" in found[1].what


def test_words_are_found_in_a_sample_of_a_large_table(sms: World) -> None:
    least(sms)
    sms.app.add_campaign(pending=3 * MANY, words={"bounced": 3 * MANY})
    run(sms, 'ANALYZE "CampaignRecipient"')
    (found,) = complaints(examine(sms.platform))
    assert "bounced" in found.what


# -- indexes -------------------------------------------------------------------------------------------------------

INDEX = "CampaignRecipient_campaignId_status_idx"
RECIPIENTS = '"CampaignRecipient"'


@pytest.fixture
def large(sms: World) -> World:
    """A platform whose recipients are many."""
    least(sms)
    sms.app.add_campaign(succeeded=MANY)
    run(sms, f"ANALYZE {RECIPIENTS}")
    return sms


def about_recipients(world: World) -> list[Any]:
    return [one for one in of(examine(world.platform), "index") if RECIPIENTS in one.what]


def test_a_missing_index_is_built_by_its_mend(large: World) -> None:
    run(large, f'DROP INDEX "{INDEX}"')
    (found,) = about_recipients(large)
    assert found.level is Level.WARNING
    assert found.mend == f'CREATE INDEX CONCURRENTLY ON "public".{RECIPIENTS} ("campaignId", "status")'
    mend(large, found)
    assert about_recipients(large) == []


def test_a_missing_index_does_not_matter_on_a_small_table(sms: World) -> None:
    run(sms, f'DROP INDEX "{INDEX}"', 'DROP INDEX "Campaign_status_updatedAt_idx"')
    found = of(examine(sms.platform), "index")
    assert len(found) == 3  # held credits have no index of their own in Prisma's schema
    assert {one.level for one in found} == {Level.NOTE}
    assert all("does not matter yet" in one.what for one in found)
    mend(sms, *found)
    assert of(examine(sms.platform), "index") == []


@pytest.mark.parametrize(
    ("index", "level", "words"),
    [
        ('("campaignId", status, "sentAt")', None, ""),
        ('("campaignId") INCLUDE (status)', Level.NOTE, "serves less well"),
        ('(status, "campaignId")', Level.NOTE, "serves less well"),
        ('USING hash ("campaignId")', Level.NOTE, "serves less well"),
        ("""("campaignId") WHERE status = 'pending'""", Level.NOTE, "only WHERE (status = 'pending'"),
        ("""("campaignId", status) WHERE "sentAt" IS NULL""", Level.NOTE, "only WHERE"),
        ("""(id) WHERE "campaignId" IS NOT NULL AND status = 'sent'""", Level.WARNING, "has no index"),
        ("(status)", Level.WARNING, "has no index"),
        ('(lower("campaignId"), status)', Level.WARNING, "has no index"),
        ('USING brin ("campaignId", status)', Level.WARNING, "has no index"),
    ],
)
def test_an_index_that_serves_as_well_is_as_good(large: World, index: str, level: Level | None, words: str) -> None:
    run(large, f'DROP INDEX "{INDEX}"', f"CREATE INDEX ON {RECIPIENTS} {index}")
    found = about_recipients(large)
    assert [one.level for one in found] == ([level] if level else [])
    assert all(words in one.what for one in found)
    mend(large, *found)
    assert about_recipients(large) == []


def test_an_id_that_nothing_keeps_unique_is_warned_of(sms: World) -> None:
    least(sms)
    run(sms, 'ALTER TABLE "CampaignRecipient" DROP CONSTRAINT "CampaignRecipient_pkey"')
    (found,) = complaints(examine(sms.platform))
    assert "no unique index" in found.what
    mend(sms, found)
    assert complaints(examine(sms.platform)) == []


def test_an_index_that_failed_half_way_is_reported_and_rebuilt(sms: World) -> None:
    least(sms)
    sms.app.add_campaign("one", name="twice")
    sms.app.add_campaign("two", name="twice")
    build = 'CREATE UNIQUE INDEX CONCURRENTLY by_name ON "Campaign" (name)'
    for statement in (build, "REINDEX INDEX CONCURRENTLY by_name"):
        with pytest.raises(psycopg.errors.UniqueViolation):
            run(sms, statement)
    broken, leftover = complaints(examine(sms.platform))
    assert (broken.mend, leftover.mend) == (
        'REINDEX INDEX CONCURRENTLY "public"."by_name"',
        'DROP INDEX CONCURRENTLY "public"."by_name_ccnew"',
    )
    run(sms, """UPDATE "Campaign" SET name = 'once' WHERE id = 'one'""")
    mend(sms, broken, leftover)
    assert complaints(examine(sms.platform)) == []


def test_an_index_that_is_being_built_is_only_noted(sms: World) -> None:
    with owner(sms) as blocking, owner(sms) as building:
        blocking.execute('BEGIN; LOCK TABLE "Campaign" IN ROW EXCLUSIVE MODE')
        build = threading.Thread(target=building.execute, args=(b'CREATE INDEX CONCURRENTLY ON "Campaign" (name)',))
        build.start()
        deadline = datetime.now(UTC) + timedelta(seconds=10)
        while not (found := [one for one in of(examine(sms.platform), "index") if "being built" in one.what]):
            assert datetime.now(UTC) < deadline
        blocking.execute("COMMIT")
        build.join()
    assert [one.level for one in found] == [Level.NOTE]


def test_a_partitioned_table_is_examined_as_a_whole(sms: World) -> None:
    least(sms)
    run(
        sms,
        'ALTER TABLE "CampaignRecipient" RENAME TO old_recipient',
        'CREATE TABLE "CampaignRecipient" (LIKE old_recipient) PARTITION BY HASH (id)',
        'CREATE TABLE part PARTITION OF "CampaignRecipient" FOR VALUES WITH (MODULUS 1, REMAINDER 0)',
        'GRANT SELECT ON "CampaignRecipient" TO PUBLIC',
    )
    sms.app.add_campaign(succeeded=MANY)
    run(sms, "ANALYZE part")
    no_id, no_campaign = complaints(examine(sms.platform))
    assert f"about {MANY} rows" in no_campaign.what
    assert "partitioned" in no_campaign.what
    assert "CONCURRENTLY" not in no_campaign.mend
    mend(sms, no_id, no_campaign)
    assert complaints(examine(sms.platform)) == []


# -- foreign key, triggers -----------------------------------------------------------------------------------------


def test_a_missing_foreign_key_is_noted_and_added(messenger: World) -> None:
    run(messenger, 'ALTER TABLE "Message" DROP CONSTRAINT "Message_campaignId_fkey"')
    note = the(examine(messenger.platform), "foreign_key")
    assert note.level is Level.NOTE
    mend(messenger, note)
    assert the(examine(messenger.platform), "foreign_key").level is Level.OK


def test_triggers_that_our_repairs_fire_are_named(sms: World) -> None:
    run(
        sms,
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        'CREATE TRIGGER touch BEFORE UPDATE ON "Campaign" FOR EACH ROW EXECUTE FUNCTION nothing()',
        'CREATE TRIGGER greet BEFORE INSERT ON "Campaign" FOR EACH ROW EXECUTE FUNCTION nothing()',
        'CREATE TRIGGER asleep BEFORE UPDATE ON "Campaign" FOR EACH ROW EXECUTE FUNCTION nothing()',
        'ALTER TABLE "Campaign" DISABLE TRIGGER asleep',
    )
    (note,) = of(examine(sms.platform), "triggers")
    assert note.level is Level.NOTE
    assert note.what.endswith('triggers too: "touch"')


# -- clocks --------------------------------------------------------------------------------------------------------


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


def test_the_time_a_question_takes_is_no_skew() -> None:
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
        ("aware", hours(-2), Level.WARNING, "2 h in the future"),
        ("naive", hours(5) + minutes(2), Level.WARNING, "what Etc/GMT+5 is behind UTC"),
        ("aware", hours(5) + minutes(2), Level.OK, "not in the future"),
        ("naive", hours(6), Level.OK, "not in the future"),
    ],
)
def test_an_application_that_writes_local_time_is_given_away_by_its_newest_row(
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
def test_lengths_of_time_are_said_in_two_units(length: timedelta, said: str) -> None:
    assert duration(length) == said
