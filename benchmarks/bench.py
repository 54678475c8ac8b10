"""What every measure is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ground import Ground, a_worker, lay
from benchmarks.sizes import ANCHORS, Size, T
from campaign_ops.lab.servers.embedded import EmbeddedServers


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that should hold, and what was found. ``met`` is None where a figure is only shown."""

    what: str
    goal: str
    found: str
    met: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON takes it."""
        return {"what": self.what, "goal": self.goal, "found": self.found, "met": self.met}


@dataclass
class Result:
    """What one measure found: goals, and figures for ``--json``."""

    goals: list[Goal] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def at_most(self, what: str, found: float, limit: float, unit: str = "") -> None:
        """Note a figure that should not be larger than ``limit``."""
        self.goals.append(Goal(what, f"<= {limit:g}{unit}", f"{found:.3g}{unit}", found <= limit))

    def at_least(self, what: str, found: float, limit: float, unit: str = "") -> None:
        """Note a figure that should not be smaller than ``limit``."""
        self.goals.append(Goal(what, f">= {limit:g}{unit}", f"{found:.3g}{unit}", found >= limit))

    def shown(self, what: str, goal: str, found: str, *, met: bool | None = None) -> None:
        """Note what has no single limit."""
        self.goals.append(Goal(what, goal, found, met))


@dataclass
class Bench:
    """One run of the benchmark.

    Attributes:
        servers: Running ones.
        rounds: Rounds that are counted.
        quick: Small sizes, to see that everything works; their figures say nothing.
        anchors: Anchor sizes to compare everybody at.
        who: Contestants that take part there.
        plot: Where the plot of growth goes; None for none.
    """

    servers: EmbeddedServers
    rounds: int
    quick: bool = False
    anchors: Sequence[str] = tuple(ANCHORS)
    who: Sequence[str] = ("sweep", "floor")
    plot: Path | None = None
    _big: Ground | None = None

    def size(self, size: Size) -> Size:
        """The size, or a small one of the same make."""
        return size.scaled_down() if self.quick else size

    def some(self, points: Sequence[T]) -> Sequence[T]:
        """All of a series, or its ends."""
        return [points[0], points[-1]] if self.quick else points

    @contextmanager
    def laid(self, size: Size, name: str = "bench", *, scaled: bool = True) -> Iterator[Ground]:
        """A ground of its own for the length of the block, with a worker connected to its queue."""
        ground = lay(self.servers, self.size(size) if scaled else size, name)
        try:
            with a_worker(ground):
                yield ground
        finally:
            self.servers.postgres.drop_database(name)

    @contextmanager
    def big(self) -> Iterator[Ground]:
        """The one with 10 million recipients, laid once: 200 stuck campaigns, 210 live ones, the rest is over."""
        self._big = self._big or lay(self.servers, self.size(BIG), "big")
        self._big.restore()
        with a_worker(self._big):
            yield self._big

    def forget_big(self) -> None:
        """Drop it: for whoever has changed more than `Ground.restore` puts back."""
        self._big = None
        self.servers.postgres.drop_database("big")


BESIDE = Size(200, 2_000, 1_000, resting=290)
"""200 stuck campaigns beside 500 others."""
BIG = Size(200, 2_000, 1_000, resting=4_790)
"""The same beside ten times as many."""
