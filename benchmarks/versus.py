"""The sweep against the floor and against how such jobs are usually written, at the anchor sizes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import contestants, usual
from benchmarks.bench import Bench, Result
from benchmarks.rounds import Seconds, alternate, say, table
from benchmarks.sizes import ANCHORS

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
        say(f"\n{name}: {bench.size(size)}\n")
        say(table(("who", "median (min - max)", "rounds", "x floor", "x sweep"), list(_rows(taken))))
        result.figures[name] = {who: seconds.as_json() for who, seconds in taken.items()}
        if name == "large" and {"sweep", "floor"} <= taken.keys():
            ratio = taken["sweep"].over(taken["floor"])
            result.at_most("sweep / floor at 500 x 2,000 and 5,000 jobs", ratio, 1.5)
        if name == "large" and {"sweep", "row by row"} <= taken.keys():
            result.at_least("row by row / sweep, same size", taken["row by row"].over(taken["sweep"]), 40)
    return result


def _rows(taken: dict[str, Seconds]) -> Iterator[tuple[object, ...]]:
    for who, seconds in taken.items():
        ratios = [f"{seconds.over(taken[other]):.2f}" if other in taken else "" for other in ("floor", "sweep")]
        yield who, seconds, len(seconds.rounds), *ratios
