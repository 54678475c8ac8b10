"""Totals of repairs and sweeps: each counted once, and never less than before."""

from __future__ import annotations

import os

import pytest

from campaign_ops.journal.counters import REPAIRS, SWEEPS, totals
from campaign_ops.lab.shop.row_writer import hours
from tests.conftest import World
from tests.sweep.actors import ended, in_child


def counted(world: World, name: str) -> dict[tuple[str, ...], int]:
    tables = world.platform.profile.tables_key
    with world.platform.database.transaction(read_only=True) as connection:
        return {labels: value for (counter, labels), value in totals(connection, tables).items() if counter == name}


def test_repairs_are_counted_by_kind_and_trigger_once(sms: World) -> None:
    sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_campaign("lost", pending=2)
    sms.sweep(trigger="schedule")
    assert counted(sms, REPAIRS) == {("complete", "schedule"): 1, ("reenqueue", "schedule"): 1}
    sms.sweep(trigger="schedule")
    sms.app.add_campaign("finished_later", succeeded=3)
    sms.sweep(trigger="manual")
    assert counted(sms, REPAIRS) == {
        ("complete", "schedule"): 1,
        ("reenqueue", "schedule"): 1,
        ("complete", "manual"): 1,
    }


def test_finished_sweeps_are_counted_by_outcome(sms: World) -> None:
    sms.sweep()
    sms.app.add_campaign("without_recipients")
    sms.sweep()
    sms.sweep()
    assert counted(sms, SWEEPS) == {("done",): 1, ("needs_person",): 2}


def test_the_totals_outlive_what_is_pruned(sms: World) -> None:
    sms.app.add_campaign("finished", succeeded=3)
    sms.sweep(trigger="schedule")
    before = counted(sms, REPAIRS) | counted(sms, SWEEPS)
    sms.rows("UPDATE campaign_ops.sweep SET started_at = started_at - interval '400 days' RETURNING id")
    with sms.platform.database.transaction() as connection:
        sms.platform.sweeps.prune(connection, 1)
    sms.sweep(trigger="schedule")
    after = counted(sms, REPAIRS) | counted(sms, SWEEPS)
    assert after == {**before, ("done",): 2}


@pytest.mark.parametrize("dies_at", ["release", "report"])
def test_the_repairs_of_a_sweep_that_died_are_counted_by_the_next(sms: World, dies_at: str) -> None:
    """It never came to its report; what it did is in the journal and is counted when the next sweep finishes."""
    sms.app.add_campaign("finished", succeeded=3)

    def dying() -> None:
        sms.platform = sms.again()
        sweep = sms.begin(trigger="schedule", run_id="dies")
        assert hasattr(sweep, dies_at)
        setattr(sweep, dies_at, lambda *_: os._exit(7))
        sweep.run()

    assert ended(in_child(dying)) == 7
    assert counted(sms, REPAIRS) == {}
    assert len(sms.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'complete'")) == 1
    sms.sweep(trigger="schedule")
    assert counted(sms, REPAIRS) == {("complete", "schedule"): 1}
    assert counted(sms, SWEEPS) == {("done",): 1}


def test_a_reenqueue_that_added_nothing_is_not_counted(sms: World) -> None:
    sms.app.add_campaign("lost", pending=2, updated_ago=hours(24))
    sms.sweep(trigger="schedule")
    sms.rows("UPDATE campaign_ops.intent SET added_at = NULL, closed_as = 'not_added' RETURNING job_id")
    sms.rows("UPDATE campaign_ops.counted SET repair_id = 0 RETURNING repair_id")
    sms.rows("DELETE FROM campaign_ops.counter RETURNING name")
    sms.sweep(trigger="schedule")
    assert ("reenqueue", "schedule") not in counted(sms, REPAIRS)
