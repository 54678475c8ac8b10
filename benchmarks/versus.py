"""The sweep against the floor and against how such jobs are usually written, at the anchor sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks import contestants, usual
from benchmarks.bench import Bench, Result
from benchmarks.rounds import RATIO_OF_MEDIANS, RATIO_OF_ROUNDS, Seconds, alternate, say, table
from benchmarks.sizes import ANCHORS, Size

EVERYBODY = {
    "sweep": contestants.sweep,
    "floor": contestants.floor,
    "floor with markers": contestants.floor_with_markers,
    "floor looking twice": contestants.floor_looking_twice,
    "pandas": usual.pandas,
    "row by row": usual.row_by_row,
}


def measure(bench: Bench) -> Result:
    """Everybody on the same data."""
    result = Result()
    for name in bench.anchors:
        size = ANCHORS[name]
        with bench.laid(size) as ground:
            taken = alternate(ground, {name: EVERYBODY[name] for name in bench.who}, bench.rounds)
        laid = bench.size(size)
        say(f"\n{name}: {laid}; x is the {RATIO_OF_ROUNDS} (of who went only once: the {RATIO_OF_MEDIANS})\n")
        say(table(("who", "median (min - max)", "rounds", "x floor", "x sweep"), list(_rows(taken))))
        result.figures[name] = {who: seconds.as_json() for who, seconds in taken.items()}
        if name == "large" and {"sweep", "floor"} <= taken.keys():
            _goal(result.at_most, taken, "sweep", "floor", laid, 1.5)
        if name == "large" and {"sweep", "row by row"} <= taken.keys():
            _goal(result.at_least, taken, "row by row", "sweep", laid, 40)
    return result


def _goal(
    note: Callable[[str, float, float], None], taken: dict[str, Seconds], one: str, other: str, laid: Size, limit: float
) -> None:
    how = taken[one].ratio_of(taken[other])
    note(f"{one} / {other} at {laid}, {how}", taken[one].over(taken[other]), limit)


def _rows(taken: dict[str, Seconds]) -> Iterator[tuple[object, ...]]:
    for who, seconds in taken.items():
        ratios = [f"{seconds.over(taken[other]):.2f}" if other in taken else "" for other in ("floor", "sweep")]
        yield who, seconds, len(seconds.rounds), *ratios
