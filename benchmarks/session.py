"""What every measure takes, and what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.dataset import Dataset, connected_worker, load
from benchmarks.sizes import ANCHORS, Size, T
from campaign_ops.lab.servers.embedded import EmbeddedServers


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that should hold, and the one that was measured. ``met`` is None where it is only shown."""

    what: str
    goal: str
    measured: str
    met: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """The goal as JSON."""
        return {"what": self.what, "goal": self.goal, "measured": self.measured, "met": self.met}


@dataclass
class Result:
    """The goals of one measure, and its figures for ``--json``."""

    goals: list[Goal] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def at_most(self, what: str, measured: float, limit: float, unit: str = "") -> None:
        """Note a figure that should not be larger than ``limit``."""
        self.goals.append(Goal(what, f"<= {limit:g}{unit}", f"{measured:.3g}{unit}", measured <= limit))

    def at_least(self, what: str, measured: float, limit: float, unit: str = "") -> None:
        """Note a figure that should not be smaller than ``limit``."""
        self.goals.append(Goal(what, f">= {limit:g}{unit}", f"{measured:.3g}{unit}", measured >= limit))

    def shown(self, what: str, goal: str, measured: str, *, met: bool | None = None) -> None:
        """Note a figure without a single limit."""
        self.goals.append(Goal(what, goal, measured, met))


@dataclass
class Session:
    """One run of the benchmark.

    Attributes:
        servers: Running ones.
        rounds: Rounds that are counted.
        quick: Whether sizes are small, to see that everything works; their figures say nothing.
        anchors: Anchor sizes at which contestants are compared.
        contestants: Those that take part there.
        plot: File of the plot of growth; None for none.
    """

    servers: EmbeddedServers
    rounds: int
    quick: bool = False
    anchors: Sequence[str] = tuple(ANCHORS)
    contestants: Sequence[str] = ("sweep", "floor")
    plot: Path | None = None
    _big: Dataset | None = None

    def size(self, size: Size) -> Size:
        """The size, or a small one of the same kind where ``quick``."""
        return size.scaled_down() if self.quick else size

    def some(self, points: Sequence[T]) -> Sequence[T]:
        """The whole series, or its ends where ``quick``."""
        return [points[0], points[-1]] if self.quick else points

    @contextmanager
    def loaded(self, size: Size, name: str = "bench", *, scaled: bool = True) -> Iterator[Dataset]:
        """A dataset in a database of its own, with a worker connected to its queue."""
        dataset = load(self.servers, self.size(size) if scaled else size, name)
        try:
            with connected_worker(dataset):
                yield dataset
        finally:
            self.servers.postgres.drop_database(name)

    @contextmanager
    def big(self) -> Iterator[Dataset]:
        """The dataset of 10 million recipients, loaded once: 200 stuck campaigns, 210 live ones, the others over."""
        self._big = self._big or load(self.servers, self.size(BIG), "big")
        self._big.restore()
        with connected_worker(self._big):
            yield self._big

    def forget_big(self) -> None:
        """Drop it, after a measure that has changed more than `Dataset.restore` restores."""
        self._big = None
        self.servers.postgres.drop_database("big")


BESIDE = Size(200, 2_000, 1_000, resting=290)
"""200 stuck campaigns beside 500 others."""
BIG = Size(200, 2_000, 1_000, resting=4_790)
"""The same beside ten times as many."""
