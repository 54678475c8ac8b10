"""The scoreboard shows the result to people at 120 columns, to programs as JSON, and as a picture."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from campaign_ops.lab.drill.checkers.figure import Figure, none_of, shown
from campaign_ops.lab.drill.ledger import AGAIN, END, FAULT, MISSED, SETTLING, UNDOING, Mark
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.scoreboard import Scoreboard
from campaign_ops.lab.drill.timeline import Sample, Span, spans, timeline
from campaign_ops.lab.shop.row_writer import minutes
from tests.conftest import Worlds
from tests.lab.drill.checked_world import POLICY, checked_world

BEGAN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
GOOD = none_of("sent_twice", "recipients sent twice", [])
BAD = none_of("leaked", "reservations leaked", ["h1: 40 credits", "h2: 2 credits"])
TOLD = shown("detection", "detection time", "median 0.5 s, worst 2.0 s")


def board(*figures: Figure) -> Scoreboard:
    return Scoreboard(
        options=DrillOptions(work_dir=Path("/nowhere"), seed=7, seconds=20, database_url="postgresql://u:secret@h/d"),
        began=BEGAN,
        seconds=31.4159,
        figures=figures,
        waiting=[("cmp_4", "unknown_status: 1 recipient in 'bounced'")],
        samples=[Sample(float(second), 3, 1, 40.5, None if second == 5 else second) for second in range(30)],
        marks=[
            Mark(_at(3), FAULT, "hang_worker"),
            Mark(_at(4), FAULT, "drop_connections"),
            Mark(_at(9), END, "hang_worker"),
            Mark(_at(12), FAULT, "hang_worker"),
            Mark(_at(20), SETTLING, "over"),
            Mark(_at(21), END, "hang_worker"),
        ],
        skipped={"pgbouncer": "no pgbouncer on this machine"},
    )


def _at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def printed(scoreboard: Scoreboard) -> list[str]:
    console = Console(width=120, record=True, quiet=False, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(scoreboard.table())
    return console.export_text().splitlines()


def test_it_holds_only_when_every_figure_does_and_the_drill_was_not_cut_short() -> None:
    assert board(GOOD, TOLD).holds
    assert not board(GOOD, BAD).holds
    assert not replace(board(GOOD), cut_short=True).holds


def test_a_drill_in_which_no_fault_took_effect_is_never_ok() -> None:
    idle = replace(board(GOOD), marks=[Mark(_at(20), SETTLING, "over")])
    in_vain = replace(board(GOOD), marks=[Mark(_at(3), FAULT, "lose_jobs"), Mark(_at(9), MISSED, "lose_jobs")])
    for scoreboard in (idle, in_vain):
        assert not scoreboard.holds
        assert printed(scoreboard)[-1].strip() == "NOT OK: no fault took effect, so nothing was tested"


def test_the_table_is_headed_by_the_command_that_replays_the_script() -> None:
    title = " ".join(line.strip() for line in printed(board(GOOD))[:2]).strip()
    assert title == (
        "campaign-ops drill --seed 7 --seconds 20 --size small --world plain --database-url URL --redis-url URL:"
        " 3 faults"
    )
    options = DrillOptions(Path("x"), 7, 1800, "large", ("lose_jobs",), ("deadlocks",), True, False)
    assert options.command == (
        "campaign-ops drill --seed 7 --seconds 1800 --size large --world plain --fault lose_jobs --without deadlocks"
        " --node --no-dagster"
    )


def test_the_table_shows_required_and_found_values_and_below_it_the_failures() -> None:
    lines = printed(board(GOOD, BAD, TOLD))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 120
    (good,) = [line for line in lines if line.strip().startswith("recipients sent twice")]
    assert good.split() == ["recipients", "sent", "twice", "0", "0", "ok"]
    (bad,) = [line for line in lines if line.strip().startswith("reservations leaked")]
    assert bad.split()[-4:] == ["0", "2", "NOT", "OK"]
    assert text.index("NOT OK: reservations leaked") < text.index("h1: 40 credits")
    for said in ("cmp_4: unknown_status: 1 recipient in 'bounced'", "pgbouncer: no pgbouncer", "--seed 7"):
        assert said in text
    assert lines[-1].strip() == "NOT OK: 1 of 3 figures failed"


def test_brackets_in_examples_are_not_markup() -> None:
    text = "\n".join(printed(board(none_of("k", "w [red]x", ["r [bold]1[/bold]"]))))
    assert "r [bold]1[/bold]" in text
    assert "w [red]x" in text


def test_the_json_is_complete_and_holds_no_secret() -> None:
    document = json.loads(json.dumps(board(GOOD, BAD).to_json()))
    assert (document["holds"], document["seconds"], document["settled_at"]) == (False, 31.4, 20.0)
    assert document["figures"][1]["examples"] == ["h1: 40 credits", "h2: 2 credits"]
    assert document["options"]["seed"] == 7
    assert document["samples"][5]["live_jobs"] is None
    assert "secret" not in json.dumps(document)


def test_a_fault_lasts_to_its_own_end_and_never_into_the_settling() -> None:
    found = spans(board(GOOD).marks, BEGAN)
    assert found == [
        Span("hang_worker", 3.0, 9.0),
        Span("drop_connections", 4.0, 4.0),
        Span("hang_worker", 12.0, 20.0),
    ]


def test_a_fault_begins_when_it_was_tried_last() -> None:
    tried = [Mark(_at(3), FAULT, "table_lock"), Mark(_at(4), FAULT, "lose_jobs")]
    marks = [
        *tried,
        Mark(_at(5), AGAIN, "table_lock"),
        Mark(_at(6), AGAIN, "table_lock"),
        Mark(_at(9), END, "table_lock"),
    ]
    assert spans(marks, BEGAN) == [Span("table_lock", 6.0, 9.0), Span("lose_jobs", 4.0, 4.0)]


def test_the_picture_is_a_png_of_1200_by_800_even_without_samples(tmp_path: Path) -> None:
    for scoreboard in (board(GOOD), Scoreboard(board().options, BEGAN, 0.1, [])):
        path = tmp_path / "timeline.png"
        scoreboard.draw(path)
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == (1200, 800)


def test_the_timeline_follows_the_ledger_and_the_queue_watcher(worlds: Worlds, work_dir: Path) -> None:
    stage = checked_world(worlds.make("sms", policy=POLICY), work_dir)
    app = stage.world.app
    app.add_campaign("stuck", pending=2)
    app.add_campaign("young", pending=2, updated_ago=minutes(0))
    app.add_reservation("h", campaign="stuck", amount=40)
    stage.world.queue.add("young", "shop_north", ["r1"])
    stage.look()
    stage.owner("UPDATE drill.change SET at = at - interval '5 s'")
    began = datetime.now(UTC) - timedelta(seconds=8)
    seen = timeline(stage, began)
    assert (seen[0].sending, seen[0].held) == (0, 0)
    assert (seen[-1].sending, seen[-1].stuck, seen[-1].held, seen[-1].live_jobs) == (2, 1, 40.0, 1)
    stage.ledger.note(UNDOING, "from here on it is no drill any more")
    app.set_campaign("stuck", status="cancelled")
    assert timeline(stage, began)[-1].sending == 2
