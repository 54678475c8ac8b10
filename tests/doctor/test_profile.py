"""The profile against the tables: columns, words, foreign key, triggers."""

from __future__ import annotations

import pytest

from campaign_ops.core.errors import ProfileMismatch
from campaign_ops.doctor import Level, examine
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.shop.row_writer import PlatformShape, hours
from campaign_ops.profile.load import load_profile
from tests.conftest import World, Worlds
from tests.doctor.bench import complaints, least, mend, of, owner, run, the

ENUMS = PlatformShape(statuses="enum")
MANY = 12_000


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
    assert "does not know blocked, bounced" in found.what
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


def test_the_word_that_finished_campaigns_carry_is_suggested_and_the_column_that_says_when(sms: World) -> None:
    """Measured before: the built-in profile passed, and campaigns became `sent` without `finishedAt`."""
    run(sms, 'ALTER TABLE "Campaign" ADD COLUMN "finishedAt" timestamptz, ADD COLUMN "startedAt" timestamptz')
    sms.app.add_campaign("over", status="completed", succeeded=2)
    sms.app.add_campaign("cancelled", status="cancelled", succeeded=2)
    run(sms, 'UPDATE "Campaign" SET "finishedAt" = now()')
    findings = examine(sms.platform)
    (error,) = of(findings, "done_word")
    assert error.level is Level.ERROR
    assert "finished campaigns carry 'completed', and none carries 'sent'" in error.what
    assert error.mend == "set campaign.words.done to 'completed' in the profile"
    assert [(one.level, one.mend) for one in of(findings, "columns")] == [
        (Level.NOTE, "set campaign.started_at to 'startedAt' in the profile"),
        (Level.WARNING, "set campaign.completed_at to 'finishedAt' in the profile"),
    ]


def test_cancelled_campaigns_do_not_say_what_finished_ones_carry(sms: World) -> None:
    run(sms, 'ALTER TABLE "Campaign" ADD COLUMN "endedAt" timestamptz')
    sms.app.add_campaign("cancelled", status="cancelled", succeeded=2)
    run(sms, 'UPDATE "Campaign" SET "endedAt" = now()')
    assert of(examine(sms.platform), "done_word") == []
    sms.app.add_campaign("sent", status="sent", succeeded=2)
    assert the(examine(sms.platform), "done_word").level is Level.OK


def test_a_reservation_s_updated_at_is_suggested_touched_by_a_release_and_put_back_by_its_undo(sms: World) -> None:
    run(sms, 'ALTER TABLE "CreditReservation" ADD COLUMN "updatedAt" timestamp NOT NULL DEFAULT \'2020-01-01\'')
    (note,) = of(examine(sms.platform), "columns")
    assert (note.level, note.mend) == (Level.NOTE, "set reservation.updated_at to 'updatedAt' in the profile")
    profile = sms.platform.profile
    assert profile.reservation is not None
    reservation = profile.reservation.model_copy(update={"updated_at": "updatedAt"})
    sms.platform.profile = profile.model_copy(update={"reservation": reservation})
    least(sms)
    campaign = sms.app.add_campaign("finished", succeeded=1)
    sms.app.add_reservation("hold", campaign=campaign)
    sms.app.add_reservation("leak", campaign="gone", created_ago=hours(90))
    sms.sweep()
    assert _touched(sms) == {"hold": True, "leak": True}
    for repair in sms.rows("SELECT id FROM campaign_ops.repair WHERE parent_id IS NULL"):
        undo(sms.platform, repair["id"], Person("me", "tests", "run"))
    assert _touched(sms) == {"hold": False, "leak": False}


def _touched(world: World) -> dict[str, bool]:
    with owner(world) as connection:
        rows = connection.execute(
            "SELECT id, \"updatedAt\" > now() AT TIME ZONE 'utc' - interval '1 minute' FROM \"CreditReservation\""
        )
        return dict(rows.fetchall())


def test_a_profile_that_fits_nowhere_gets_a_short_message(sms: World) -> None:
    """Measured before: one line of 1,000 characters."""
    profile = sms.platform.profile
    strange = {key: f"no_{key}" for key in ("tenant", "name", "status", "updated_at")}
    sms.platform.profile = profile.model_copy(update={"campaign": profile.campaign.model_copy(update=strange)})
    with pytest.raises(ProfileMismatch) as error:
        sms.sweep()
    assert len(error.value.problems) == 4
    assert "and 1 more, all named by `campaign-ops doctor`" in str(error.value)
    assert len(str(error.value)) < 700
    assert len(of(examine(sms.platform), "profile")) == 4
