"""The page about the drill names what there is."""

from __future__ import annotations

from pathlib import Path

from campaign_ops.drill.accidents import ACCIDENTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "drill.md"


def test_every_accident_stands_in_the_page_with_what_it_is() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    listed = [line for line in rows if line.split("`")[1] in ACCIDENTS]
    assert listed == [f"| `{name}` | {accident.title} |" for name, accident in ACCIDENTS.items()]
