"""Writes that the database will never make: each becomes work for a person, and none is tried for ever."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from campaign_ops.core.errors import ProfileMismatch, StatementRejected, StillWriting, Unavailable
from campaign_ops.core.model import Counters
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.profile.load import load_profile
from campaign_ops.sweep import act
from campaign_ops.sweep.complete import complete_page
from campaign_ops.sweep.report import dry_run
from tests.conftest import World, Worlds
from tests.doctor.bench import run

SUPPRESS = "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN {row}; END'"
TRIGGER = "CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()"


def keep_back(world: World, table: str, when: str = "OLD.id <> 'sound'", row: str = "NULL") -> None:
    name = f"keep_back_{table}".lower()
    run(world, SUPPRESS.format(name=name, row=row), TRIGGER.format(name=name, table=f'"{table}"', when=when))


@pytest.mark.parametrize("row", ["NULL", "OLD"], ids=["suppressed", "changed back"])
def test_a_completion_that_a_trigger_does_not_let_through_is_given_up_for_a_person(sms: World, row: str) -> None:
    """Measured before: "not this time" in every sweep, exit 0; one that was changed back counted as completed."""
    sms.app.add_campaign("kept", succeeded=2)
    sms.app.add_reservation("its", campaign="kept")
    sms.app.add_campaign("sound", succeeded=2)
    keep_back(sms, "Campaign", row=row)
    for number in range(3):
        report = sms.sweep()
        assert report.figures()["completed"] == (number == 0)
        assert any("keep_back_campaign" in line for line in report.trouble)
    assert sms.app.campaign("sound")["status"] == "sent"
    report = sms.sweep()
    assert report.trouble == []
    (item,) = report.for_person
    assert (item.target, item.kind) == ("kept", None)
    assert "refused 3 times" in item.reason
    assert "keep_back_campaign" in item.reason
    assert sms.app.reservation("its")["status"] == "active"
    with pytest.raises(StatementRejected, match="has no effect"):
        mark_complete(sms.platform, "kept", Person("me", "try", "run"))


@pytest.mark.parametrize(("table", "word"), [("Campaign", "paused"), ("CreditReservation", "frozen")])
def test_what_a_trigger_changes_to_another_word_is_not_reported_as_made(sms: World, table: str, word: str) -> None:
    """Measured before: reported as completed, with its credits as released, and no sweep looked at it again."""
    sms.app.add_campaign("kept", succeeded=2)
    sms.app.add_reservation("its", campaign="kept")
    sms.app.add_campaign("over", status="cancelled")
    sms.app.add_reservation("late", campaign="over")
    run(
        sms,
        f"CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.status = '{word}'; RETURN NEW; END$$",
        f'CREATE TRIGGER turn BEFORE UPDATE ON "{table}" FOR EACH ROW EXECUTE FUNCTION turn()',
    )
    report = sms.sweep()
    assert any(f"{word!r}" in line and "triggers on it: turn" in line for line in report.trouble)
    assert (sms.app.campaign("kept")["status"], sms.app.reservation("its")["status"]) == ("sending", "active")
    freed = [] if table == "CreditReservation" else ["late"]
    assert [row["target"] for row in sms.rows("SELECT target FROM campaign_ops.repair")] == freed


def test_it_is_tried_again_after_a_day_and_then_done(sms: World) -> None:
    sms.app.add_campaign("kept", succeeded=2)
    keep_back(sms, "Campaign")
    for _ in range(3):
        sms.sweep()
    run(sms, 'DROP TRIGGER keep_back_campaign ON "Campaign"')
    assert sms.sweep().figures()["completed"] == 0
    run(sms, "UPDATE campaign_ops.refusal SET last_at = last_at - interval '25 h'")
    assert sms.sweep().figures()["completed"] == 1


def test_a_recount_that_a_trigger_changes_back_is_given_up_for_a_person(worlds: Worlds) -> None:
    """Measured before: journaled and reported as made, with the same counters before and after, in every sweep."""
    profile = load_profile("messenger")
    recipient = profile.recipient.model_copy(update={"rows": "all"})
    world = worlds.make(profile.model_copy(update={"recipient": recipient}))
    for label in ("kept", "sound"):
        world.app.add_campaign(label, pending=2, succeeded=10, counters=Counters(12, 4, 0))
    keep_back(world, "Campaign", row="OLD")
    for number in range(3):
        report = world.sweep()
        assert report.repairs[3].targets == (("sound",) if number == 0 else ())
        assert any("keep_back_campaign" in line for line in report.trouble)
    assert world.app.campaign("sound")["succeeded"] == 10
    assert any("refused 3 times" in item.reason for item in world.sweep().for_person if item.target == "kept")
    assert world.rows("SELECT target FROM campaign_ops.repair") == [{"target": "sound"}]


def test_a_release_that_a_trigger_does_not_let_through_is_given_up_for_a_person(sms: World) -> None:
    for label in ("kept", "sound"):
        sms.app.add_reservation(label, campaign=None, created_ago=hours(99))
    keep_back(sms, "CreditReservation")
    for _ in range(3):
        sms.sweep()
    report = sms.sweep()
    assert [(item.target, item.kind) for item in report.for_person] == [("kept", None)]
    assert sms.app.reservation("sound")["status"] == "released"
    assert sms.app.reservation("kept")["status"] == "active"


def test_a_completion_whose_credits_cannot_be_released_is_not_made(sms: World) -> None:
    sms.app.add_campaign("one", succeeded=2)
    sms.app.add_reservation("kept", campaign="one")
    keep_back(sms, "CreditReservation")
    report = sms.sweep()
    assert report.figures()["completed"] == 0
    assert sms.app.campaign("one")["status"] == "sending"


def test_what_the_database_rejects_is_given_up_for_a_person(sms: World) -> None:
    sms.app.add_campaign("kept", succeeded=2)
    run(sms, """ALTER TABLE "Campaign" ADD CHECK (id <> 'kept' OR status <> 'sent') NOT VALID""")
    for _ in range(3):
        assert sms.sweep().trouble
    (item,) = sms.sweep().for_person
    assert "refused 3 times" in item.reason


def test_columns_that_the_database_computes_are_left_to_it(worlds: Worlds) -> None:
    """Measured before: every repair failed with 428C9, in every sweep."""
    world = worlds.make("sms")
    for table, column, base in (("Campaign", "updatedAt", "touched"), ("CreditReservation", "releasedAt", "freed")):
        run(
            world,
            f'ALTER TABLE "{table}" ADD {base} timestamp DEFAULT \'2026-01-01\', DROP "{column}"',
            f'ALTER TABLE "{table}" ADD "{column}" timestamp GENERATED ALWAYS AS ({base}) STORED',
        )
    run(
        world,
        """INSERT INTO "Campaign" (id, "shopId", name, status) VALUES ('one', 'shop', 'One', 'sending')""",
        """INSERT INTO "CampaignRecipient" (id, "campaignId", phone, status) VALUES ('r', 'one', '+1', 'sent')""",
        """INSERT INTO "CreditReservation" (id, "shopId", "campaignId", amount, status, "createdAt")
           VALUES ('held', 'shop', 'one', 5, 'active', now())""",
    )
    assert world.sweep().figures()["completed"] == 1
    (made,) = world.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'complete'")
    undo(world.platform, made["id"], Person("me", "it was wrong", "back"))
    (row,) = world.rows('SELECT status, "updatedAt" FROM "Campaign"')
    assert (row["status"], row["updatedAt"]) == ("sending", datetime(2026, 1, 1))  # noqa: DTZ001 - as it stands there
    assert world.rows('SELECT status FROM "CreditReservation"') == [{"status": "active"}]


def test_a_status_that_the_database_computes_is_refused(sms: World) -> None:
    run(
        sms,
        'ALTER TABLE "Campaign" DROP status, ADD word text',
        'ALTER TABLE "Campaign" ADD status text GENERATED ALWAYS AS (lower(word)) STORED',
    )
    with pytest.raises(ProfileMismatch, match="is generated by the database"):
        dry_run(sms.platform)


def test_three_time_outs_in_a_row_end_a_step_and_a_transaction_that_stays_open_ends_it_at_once(
    sms: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes three statement timeouts, under the sweep lock."""
    for label in "abcdefgh":
        sms.app.add_campaign(label, succeeded=1)
    errors: dict[str, Exception] = dict.fromkeys("abefg", Unavailable("took too long"))

    def failing(*arguments: Any, **options: Any) -> object:
        *_, page = arguments
        if len(page) > 1:
            raise StatementRejected("one of them was refused")
        if error := errors.get(page[0].target):
            raise error
        return complete_page(*arguments, **options)

    monkeypatch.setattr(act, "complete_page", failing)
    line = sms.sweep().repairs[0]
    assert [target for target, _ in line.failures] == ["a", "b", "e", "f", "g"]
    assert (line.done, line.targets, line.away) == (2, ("c", "d"), True)
    assert "took too long" in str(line.held_back)
    monkeypatch.setattr(act, "PAGE", 3)  # they end the step, not only the page
    errors.update(dict.fromkeys("abefgh", Unavailable("took too long")))
    line = sms.sweep().repairs[0]
    assert [target for target, _ in line.failures] == ["a", "b", "e"]
    errors.clear()
    errors["b"] = StillWriting("a transaction is open")
    line = sms.sweep().repairs[0]
    assert (line.targets, line.failures, line.away) == (("a",), (), False)
    assert "a transaction is open" in str(line.held_back)


def test_the_journal_has_the_credits_that_were_held_though_a_trigger_empties_the_reservation(sms: World) -> None:
    sms.app.add_campaign("c", succeeded=2)
    sms.app.add_reservation("its", campaign="c", amount=7)
    run(
        sms,
        "CREATE FUNCTION empty() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.amount = 0; RETURN NEW; END$$",
        'CREATE TRIGGER empty BEFORE UPDATE ON "CreditReservation" FOR EACH ROW EXECUTE FUNCTION empty()',
    )
    report = sms.sweep()
    assert [line.released for line in report.credits] == [7]
    assert [row["amount"] for row in sms.rows("SELECT amount FROM campaign_ops.repair WHERE kind = 'release'")] == [7]
