"""Several contestants on the same ground, alternating, warm: medians, spread and ratios."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contestants import Contestant
from benchmarks.ground import Ground

RATIO_OF_ROUNDS = "median of the rounds' ratios"
RATIO_OF_MEDIANS = "ratio of the medians"


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one contestant took in each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The round in the middle."""
        return statistics.median(self.rounds)

    def over(self, other: Seconds) -> float:
        """How many times as long it took as another: the median of the rounds' ratios, since the load of the machine
        changes from round to round more than within one."""
        if len(self.rounds) != len(other.rounds):
            return self.median / other.median
        return statistics.median(one / of_other for one, of_other in zip(self.rounds, other.rounds, strict=True))

    def ratio_of(self, other: Seconds) -> str:
        """What `over` is, in words: mostly not the quotient of the two medians that stand beside it."""
        return RATIO_OF_MEDIANS if len(self.rounds) != len(other.rounds) else RATIO_OF_ROUNDS

    def __str__(self) -> str:
        """Median and spread, as a person reads them."""
        return f"{self.median:.3f} s ({min(self.rounds):.3f} - {max(self.rounds):.3f})"

    def as_json(self) -> dict[str, object]:
        """Rounded to what can be told apart."""
        return {"median": round(self.median, 4), "rounds": [round(one, 4) for one in self.rounds]}


SLOW_SECONDS = 30
"""Who takes longer than this goes once and not again."""


def alternate(ground: Ground, contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Seconds]:
    """Let every contestant repair the same ground once per round, each round begun by another.

    A first round warms and is not counted, but for those who are too slow for a second; after it everybody must have
    left the same behind.

    Raises:
        Disagreement: Two have not, so that their times cannot be compared.
    """
    firsts, left = {}, {}
    for name, contestant in contestants.items():
        ground.restore()
        firsts[name] = timed(contestant, ground)
        left[name] = ground.repaired()
    agree(left)
    order = [name for name in contestants if firsts[name] < SLOW_SECONDS]
    taken: dict[str, list[float]] = {name: [] if name in order else [firsts[name]] for name in contestants}
    expected = None
    for _ in range(rounds):
        for name in order:
            ground.restore()
            taken[name].append(timed(contestants[name], ground))
            counts = ground.counts()
            expected = expected or counts
            agree({"the first round": expected, name: counts})
        order.append(order.pop(0))
    return {name: Seconds(tuple(seconds)) for name, seconds in taken.items()}


def taken_on(grounds: Mapping[str, Ground], contestant: Contestant, rounds: int) -> dict[str, Seconds]:
    """Let one contestant repair several grounds in turn; a first round warms."""
    taken: dict[str, list[float]] = {name: [] for name in grounds}
    for _ in range(1 + rounds):
        for name, ground in grounds.items():
            ground.restore()
            taken[name].append(timed(contestant, ground))
    return {name: Seconds(tuple(seconds[1:])) for name, seconds in taken.items()}


def timed(contestant: Contestant, ground: Ground) -> float:
    """Seconds that one took."""
    gc.collect()
    begun = time.perf_counter()
    contestant(ground)
    return time.perf_counter() - begun


class Disagreement(Exception):
    """Two contestants did not do the same."""


def agree(left: Mapping[str, Mapping[str, object]]) -> None:
    """Raise Disagreement when two contestants have left different things behind."""
    (first, expected), *others = left.items()
    for name, found in others:
        for what in expected.keys() | found.keys():
            if expected.get(what) != found.get(what):
                raise Disagreement(f"{what}: {_difference(first, expected.get(what), name, found.get(what))}")


def _difference(first: str, expected: object, name: str, found: object) -> str:
    if isinstance(expected, set) and isinstance(found, set):
        here, there = found - expected, expected - found
        return f"{len(there)} only after {first} {sorted(there)[:3]}, {len(here)} only after {name} {sorted(here)[:3]}"
    return f"{expected} after {first}, {found} after {name}"


def say(text: str = "") -> None:
    """A line for whoever watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns under each other, as Markdown."""
    cells = [list(map(str, head)), *[list(map(str, row)) for row in rows]]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
