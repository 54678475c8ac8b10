"""The profile against the tables: columns, words, foreign key, triggers."""

from __future__ import annotations

from campaign_ops.demo.tables import PlatformShape
from campaign_ops.doctor import Level, examine
from campaign_ops.platform.profile_file import load_profile
from tests.conftest import World, Worlds
from tests.doctor.bench import complaints, least, mend, of, run, the

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
