"""Contestants alternate on the same dataset, warm: medians, spread and ratios of wall time and of CPU time."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.contestants import Contestant
from benchmarks.dataset import Dataset

RATIO_OF_ROUNDS = "median of the rounds' ratios"
RATIO_OF_MEDIANS = "ratio of the medians"


class Took(NamedTuple):
    """One round of a contestant: wall seconds, and CPU seconds of this process and the servers together."""

    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Seconds:
    """The seconds that one contestant took in each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median round."""
        return statistics.median(self.rounds)

    def over(self, other: Seconds) -> float:
        """The ratio to another contestant's time: the median of the rounds' ratios.

        The machine's load changes more from round to round than within one.
        """
        if len(self.rounds) != len(other.rounds):
            return self.median / other.median
        return statistics.median(ours / theirs for ours, theirs in zip(self.rounds, other.rounds, strict=True))

    def ratio_of(self, other: Seconds) -> str:
        """What `over` returns, in words: mostly not the quotient of the two medians shown beside it."""
        return RATIO_OF_MEDIANS if len(self.rounds) != len(other.rounds) else RATIO_OF_ROUNDS

    def __str__(self) -> str:
        """Median and spread in words."""
        return f"{self.median:.3f} s ({min(self.rounds):.3f} - {max(self.rounds):.3f})"

    def as_json(self) -> dict[str, object]:
        """The seconds as JSON, rounded to 0.1 ms."""
        return {"median": round(self.median, 4), "rounds": [round(seconds, 4) for seconds in self.rounds]}


SLOW_SECONDS = 30
"""A contestant that takes longer has a single round."""


def alternate(
    dataset: Dataset, contestants: Mapping[str, Contestant], rounds: int
) -> tuple[dict[str, Seconds], dict[str, Seconds]]:
    """Let every contestant repair the same dataset once per round, a different one first each time.

    Returns their wall seconds and their CPU seconds, which hardly depend on what else the machine does.

    A first round warms up and is not counted, except for contestants that are too slow for a second; after it all must
    have left the same end state.

    Raises:
        Disagreement: Two have not: their times cannot be compared.
    """
    firsts, left = {}, {}
    for name, contestant in contestants.items():
        dataset.restore()
        firsts[name] = timed(contestant, dataset)
        left[name] = dataset.end_state()
    agree(left)
    order = [name for name in contestants if firsts[name].seconds < SLOW_SECONDS]
    taken: dict[str, list[Took]] = {name: [] if name in order else [firsts[name]] for name in contestants}
    expected = None
    for _ in range(rounds):
        for name in order:
            dataset.restore()
            taken[name].append(timed(contestants[name], dataset))
            counts = dataset.counts()
            expected = expected or counts
            agree({"the first round": expected, name: counts})
        order.append(order.pop(0))
    wall = {name: Seconds(tuple(took.seconds for took in each)) for name, each in taken.items()}
    return wall, {name: Seconds(tuple(took.cpu for took in each)) for name, each in taken.items()}


def taken_on(datasets: Mapping[str, Dataset], contestant: Contestant, rounds: int) -> dict[str, Seconds]:
    """Let one contestant repair several datasets in turn; a first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in datasets}
    for _ in range(1 + rounds):
        for name, dataset in datasets.items():
            dataset.restore()
            taken[name].append(timed(contestant, dataset).seconds)
    return {name: Seconds(tuple(seconds[1:])) for name, seconds in taken.items()}


def timed(contestant: Contestant, dataset: Dataset) -> Took:
    """The seconds that one contestant took."""
    gc.collect()
    begun, cpu = time.perf_counter(), dataset.cpu_seconds()
    contestant(dataset)
    return Took(time.perf_counter() - begun, dataset.cpu_seconds() - cpu)


class Disagreement(Exception):
    """Two contestants left different end states."""


def agree(left: Mapping[str, Mapping[str, object]]) -> None:
    """Raise Disagreement unless all contestants have left the same."""
    (first, expected), *others = left.items()
    for name, actual in others:
        for what in expected.keys() | actual.keys():
            if expected.get(what) != actual.get(what):
                raise Disagreement(f"{what}: {_difference(first, expected.get(what), name, actual.get(what))}")


def _difference(first: str, expected: object, name: str, actual: object) -> str:
    if isinstance(expected, set) and isinstance(actual, set):
        here, there = actual - expected, expected - actual
        return f"{len(there)} only after {first} {sorted(there)[:3]}, {len(here)} only after {name} {sorted(here)[:3]}"
    return f"{expected} after {first}, {actual} after {name}"


def say(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with aligned columns."""
    cells = [list(map(str, head)), *[list(map(str, row)) for row in rows]]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
