"""The ledger records which role changed what, independent of what the product reports."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from campaign_ops.core.errors import PermissionMissing
from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.ledger import FAULT, Change, Journaled
from campaign_ops.lab.shop.schema import PlatformShape
from tests.conftest import World, Worlds
from tests.lab.drill.checked_world import OPS, CheckedWorld, checked_world


@pytest.fixture
def watched(sms: World, work_dir: Path) -> CheckedWorld:
    return checked_world(sms, work_dir)


def changes(watched: CheckedWorld, relation: str) -> list[Change]:
    with watched.ledger.engine.connect() as connection:
        return [change for change in ledger.changes(connection) if change.relation == relation]


def journaled(watched: CheckedWorld) -> list[Journaled]:
    with watched.ledger.engine.connect() as connection:
        return list(ledger.journaled(connection))


def test_a_change_says_which_role_made_it_and_what_the_row_was_before(watched: CheckedWorld) -> None:
    watched.world.app.add_campaign("c", succeeded=2)
    watched.world.sweep()
    inserted, completed = changes(watched, "campaign")
    assert (inserted.role, inserted.old) == ("postgres", None)
    assert completed.role == OPS
    assert completed.old is not None
    assert completed.new is not None
    assert (completed.old["status"], completed.new["status"]) == ("sending", "sent")
    assert completed.application.startswith("campaign_ops ")


def test_a_completion_its_releases_and_its_journal_rows_are_of_one_transaction(watched: CheckedWorld) -> None:
    watched.world.app.add_campaign("c", succeeded=2)
    watched.world.app.add_reservation("h", campaign="c")
    watched.world.sweep()
    completed, released = changes(watched, "campaign")[-1], changes(watched, "reservation")[-1]
    assert {completed.txid, released.txid} == {one.txid for one in journaled(watched)}
    assert released.campaign_status == "sent"


def test_a_campaign_that_leaves_sending_is_recorded_with_its_recipient_counts(watched: CheckedWorld) -> None:
    watched.world.app.add_campaign("c", pending=3, accepted=2, succeeded=4, failed=1, words={"bounced": 5})
    watched.world.app.set_campaign("c", status="cancelled")
    counts = changes(watched, "campaign")[-1].recipients
    assert counts is not None
    assert (counts.waiting, counts.unknown, counts.succeeded, counts.failed) == (3, 5, 6, 1)


def test_a_journal_row_is_recorded_with_the_holder_of_the_sweep_lock(watched: CheckedWorld) -> None:
    watched.world.app.add_campaign("c", succeeded=1)
    watched.world.sweep()
    (one,) = journaled(watched)
    assert one.lock_holder == one.application == watched.world.platform.database.application_name


def test_a_journal_row_written_without_the_lock_has_no_holder(watched: CheckedWorld) -> None:
    watched.world.app.add_campaign("c", pending=1)
    plant_journal_row(watched)
    one = journaled(watched)[-1]
    assert one.lock_holder is None
    assert one.campaign is not None
    assert one.recipients is not None
    assert (one.campaign["status"], one.recipients.waiting) == ("sending", 1)


def test_the_holder_of_the_same_lock_in_another_database_holds_none_here(watched: CheckedWorld, worlds: Worlds) -> None:
    """With a second platform beside the first, three repairs seemed to be written without the lock."""
    watched.world.app.add_campaign("c", pending=1)
    with worlds.make("sms").platform.lock(wait_seconds=0).hold():
        plant_journal_row(watched)
    assert journaled(watched)[-1].lock_holder is None


def plant_journal_row(watched: CheckedWorld) -> None:
    watched.world.sweep()
    watched.ops(
        "INSERT INTO campaign_ops.repair (platform, tables, sweep_id, kind, campaign_id, target, reason, actor, run_id)"
        " SELECT platform, tables, id, 'reenqueue', 'c', 'c', 'planted', 'test', run_id FROM campaign_ops.sweep LIMIT 1"
    )


def test_a_change_that_is_rolled_back_is_not_recorded(watched: CheckedWorld) -> None:
    watched.world.app.add_campaign("c", pending=1)
    with watched.world.app.engine.connect() as connection:
        connection.exec_driver_sql("""UPDATE "Campaign" SET status = 'sent'""")
        connection.rollback()
    assert len(changes(watched, "campaign")) == 1


def test_rows_that_existed_before_the_ledger_are_recorded_without_a_role(sms: World, work_dir: Path) -> None:
    sms.app.add_campaign("c", pending=1)
    sms.app.add_reservation("h", campaign="c", amount=7)
    watched = checked_world(sms, work_dir)
    (held,) = changes(watched, "reservation")
    assert held.role == ""
    assert held.new is not None
    assert held.new["amount"] == 7


def test_amounts_stay_exact_to_the_last_decimal(worlds: Worlds, work_dir: Path) -> None:
    world = worlds.make("sms", shape=PlatformShape(amounts="numeric"))
    watched = checked_world(world, work_dir)
    world.app.add_campaign("c", pending=1)
    world.app.add_reservation("h", campaign="c", amount=Decimal("0.100001"))  # type: ignore[arg-type]
    (held,) = changes(watched, "reservation")
    assert held.new is not None
    assert held.new["amount"] == Decimal("0.100001")


@pytest.mark.parametrize("ids", ["uuid", "bigint"])
def test_the_ledger_works_with_ids_that_are_not_text(worlds: Worlds, work_dir: Path, ids: str) -> None:
    world = worlds.make("sms", shape=PlatformShape(ids=ids, statuses="enum"))  # type: ignore[arg-type]
    watched = checked_world(world, work_dir)
    world.app.add_campaign("c", succeeded=1)
    world.app.add_reservation("h", campaign="c")
    world.sweep()
    assert changes(watched, "campaign")[-1].key == world.app.id("c")
    assert changes(watched, "reservation")[-1].campaign_status == "sent"


def test_recipients_are_recorded_only_for_an_unknown_status(watched: CheckedWorld) -> None:
    watched.world.app.add_campaign("c", pending=2)
    watched.world.app.move_recipients("c", "succeeded", 1)
    assert changes(watched, "recipient") == []
    watched.owner("""UPDATE "CampaignRecipient" SET status = 'bounced' WHERE status = 'pending'""")
    (one,) = changes(watched, "recipient")
    assert one.new == {"campaign_id": "c", "status": "bounced"}


def test_our_role_can_neither_read_nor_change_the_ledger(watched: CheckedWorld) -> None:
    with pytest.raises(PermissionMissing):
        watched.ops("DELETE FROM drill.change")


def test_marks_and_excuses_keep_their_order(watched: CheckedWorld) -> None:
    watched.ledger.note(FAULT, "first")
    watched.ledger.note(FAULT, "second")
    watched.ledger.note_unknowable(["r1"])
    watched.ledger.note_restored([])
    assert [mark.text for mark in watched.ledger.marks()] == ["first", "second"]
    with watched.ledger.engine.connect() as connection:
        assert [(one.kind, one.recipient_id) for one in ledger.excuses(connection)] == [("unknowable", "r1")]
