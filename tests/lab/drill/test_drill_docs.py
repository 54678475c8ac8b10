"""The page about the drill lists all faults, figures and exit codes."""

from __future__ import annotations

from pathlib import Path

from campaign_ops.lab.drill.faults import FAULTS
from campaign_ops.lab.drill.worlds import WORLDS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "drill.md").read_text(encoding="utf-8")


def first_cells(text: str, header: str) -> list[str]:
    """The first cell of every row of the table below a header."""
    rows = text.partition(f"| {header} |")[2].partition("\n\n")[0].splitlines()
    return [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]]


def test_every_fault_is_listed_with_its_title() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    listed = [line for line in rows if line.split("`")[1] in FAULTS]
    assert listed == [f"| `{name}` | {fault.title} |" for name, fault in FAULTS.items()]


def test_every_world_is_listed_with_what_is_different() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and line.split("`")[1] in WORLDS]
    assert rows == [f"| `{name}` | {world.what} |" for name, world in WORLDS.items()]


def test_figures_are_explained_by_the_names_that_a_drill_prints() -> None:
    names = first_cells(PAGE, "figure | how it is computed")
    assert names
    assert set(names) <= set(first_cells(PAGE, "figure | must be | found"))


def test_every_exit_code_is_explained() -> None:
    assert first_cells(PAGE, "exit code | meaning") == ["0", "1", "2", "3", "130"]
