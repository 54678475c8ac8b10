"""People make fixes and undo repairs while a drill goes on, and what they do is really done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign_ops.lab.drill.at_work import _WEIGHTS, AtWork
from campaign_ops.lab.drill.environment.rig import Rig
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.platform import Platform
from campaign_ops.sweep import Sweep

pytestmark = pytest.mark.slow


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(DrillOptions(tmp_path, seed=1, seconds=3, dagster=False, watch=False)) as up:
        yield up


@pytest.fixture
def platform(rig: Rig) -> Iterator[Platform]:
    opened = rig.connect()
    yield opened
    opened.close()


def test_a_person_undoes_a_repair_and_lifts_its_hold(rig: Rig, platform: Platform) -> None:
    people = AtWork(rig)
    assert not any(people.fix(platform, kind) for kind in _WEIGHTS), "there is nothing to fix"
    rig.writer.add_campaign("c", succeeded=1, updated_ago=minutes(5))
    Sweep(platform, run_id="1", trigger="test", actor="tests").run()
    assert rig.writer.campaign("c")["status"] == "sent"
    assert people.fix(platform, "undo")
    assert rig.writer.campaign("c")["status"] == "sending"
    Sweep(platform, run_id="2", trigger="test", actor="tests").run()
    assert people.fix(platform, "lift")
    assert people.fix(platform, "complete")
    assert rig.writer.campaign("c")["status"] == "sent"
    assert str(people) == "1 x undo, 1 x lift, 1 x complete"


def test_a_person_re_enqueues_and_sends_again(rig: Rig, platform: Platform) -> None:
    people = AtWork(rig)
    rig.queue.open()
    rig.writer.add_campaign("lost", pending=2, updated_ago=minutes(5))
    rig.writer.add_campaign("marked", pending=2, updated_ago=minutes(5))
    marked = rig.writer.pending_ids("marked")
    rig.queue.mark(marked)
    Sweep(platform, run_id="1", trigger="test", actor="tests").make_plan()
    assert people.fix(platform, "reenqueue")
    assert people.fix(platform, "send_again")
    assert rig.live_recipients() == {*rig.writer.pending_ids("lost"), *marked}
