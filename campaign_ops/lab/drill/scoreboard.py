"""The scoreboard: the result of a drill, as a table for people, as JSON for programs, and as a picture over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from campaign_ops.core.wording import plural
from campaign_ops.lab.drill.checkers.figure import Figure
from campaign_ops.lab.drill.ledger import FAULT, MISSED, Mark
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.timeline import Sample, settled_at, spans
from campaign_ops.lab.drill.worlds import WORLDS


@dataclass(frozen=True)
class Scoreboard:
    """The result of a drill.

    Attributes:
        options: The drill's options.
        began: When it began.
        seconds: How long it took, including settling and checks.
        figures: The figures, in order.
        waiting: (campaign, reason) of campaigns that wait for a person.
        samples: The state of the platform over time.
        marks: The ledger's marks.
        skipped: Faults that could not be injected, and why.
        cut_short: It ended early: the figures cover only what was known then.
    """

    options: DrillOptions
    began: datetime
    seconds: float
    figures: Sequence[Figure]
    waiting: Sequence[tuple[str, str]] = ()
    samples: Sequence[Sample] = ()
    marks: Sequence[Mark] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    cut_short: bool = False

    @property
    def holds(self) -> bool:
        """Return whether every figure holds, faults took effect, and the drill was not cut short."""
        return not self.cut_short and self.hits > 0 and all(figure.holds for figure in self.figures)

    @property
    def hits(self) -> int:
        """The number of faults that took effect."""
        kinds = [mark.kind for mark in self.marks]
        return kinds.count(FAULT) - kinds.count(MISSED)

    @property
    def verdict(self) -> str:
        """The result in one line."""
        failed = sum(not figure.holds for figure in self.figures)
        if failed:
            return f"NOT OK: {failed} of {plural(len(self.figures), 'figure')} failed"
        if self.cut_short:
            return "CUT SHORT: no damage so far"
        if not self.hits:
            return "NOT OK: no fault took effect, so nothing was tested"
        return f"OK: all {plural(len(self.figures), 'figure')} hold"

    # -- for people --------------------------------------------------------------------------------------------

    def table(self) -> RenderableType:
        """The table, then failures, campaigns that wait for a person, and skipped faults; fits 120 columns."""
        parts: list[RenderableType] = [self._figures()]
        failed = [figure for figure in self.figures if not figure.holds]
        parts += [_section(f"NOT OK: {figure.what}", figure.examples, "red") for figure in failed]
        if self.waiting:
            lines = [f"{campaign}: {reason}" for campaign, reason in self.waiting]
            parts.append(_section("campaigns that wait for a person", lines, "yellow"))
        if self.skipped:
            lines = [f"{name}: {reason}" for name, reason in self.skipped.items()]
            parts.append(_section("skipped faults", lines, "yellow"))
        parts.append(Text(f"\n{self.verdict}", style="bold green" if self.holds else "bold red"))
        return Group(*parts)

    def _figures(self) -> Table:
        faults = plural(len(spans(self.marks, self.began)), "fault")
        title = f"{self.options.command}: {faults}"
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, width=120)
        table.add_column("figure", width=60)
        table.add_column("must be", width=7)
        table.add_column("found", ratio=1)
        table.add_column("", width=6, no_wrap=True)
        for figure in self.figures:
            table.add_row(Text(figure.what), Text(figure.must_be), Text(figure.found), _mark(figure))
        return table

    # -- for programs ------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values: durations in seconds from the beginning, moments in ISO 8601 and UTC."""
        settled = settled_at(self.marks, self.began)
        return {
            "holds": self.holds,
            "verdict": self.verdict,
            "began": self.began.astimezone(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "worlds": {name: WORLDS[name].what for name in self.options.worlds},
            "options": {key: _plain(value) for key, value in asdict(self.options).items() if key not in _PRIVATE},
            "figures": [_plain(figure) for figure in self.figures],
            "waiting": [{"campaign": campaign, "reason": reason} for campaign, reason in self.waiting],
            "skipped": dict(self.skipped),
            "faults": [_plain(span) for span in spans(self.marks, self.began)],
            "settled_at": None if settled is None else round(settled, 2),
            "samples": [_plain(sample) for sample in self.samples],
        }

    def draw(self, path: Path) -> None:
        """Draw the picture, 1200 x 800, as PNG.

        Raises:
            ConfigurationError: matplotlib is not installed.
        """
        from campaign_ops.lab.drill.picture import draw  # noqa: PLC0415 - matplotlib takes half a second to load

        draw(path, self.samples, spans(self.marks, self.began), settled_at(self.marks, self.began), self.verdict)


_PRIVATE = frozenset({"database_url", "redis_url", "work_dir"})
"""Options left out of the JSON: URLs may hold passwords, and the directory is irrelevant."""


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(item) for key, item in asdict(value).items()}
    if isinstance(value, tuple):
        return list(value)
    return round(value, 2) if isinstance(value, float) else value


def _mark(figure: Figure) -> Text:
    if figure.informational:
        return Text("")
    return Text("ok", style="green") if figure.holds else Text("NOT OK", style="bold red")


def _section(title: str, lines: Sequence[str], style: str) -> RenderableType:
    body = [Padding(Text(line), (0, 0, 0, 4)) for line in lines]
    return Group(Text(f"\n{title}", style=style), *body)
