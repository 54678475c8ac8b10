"""The sweep against the floor and against conventional jobs, at the anchor sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks import contestants, conventional
from benchmarks.careful import careful_floor
from benchmarks.rounds import RATIO_OF_MEDIANS, RATIO_OF_ROUNDS, Seconds, alternate, say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import ANCHORS

CONTESTANTS = {
    "sweep": contestants.sweep,
    "floor": contestants.floor,
    "floor with markers": contestants.floor_with_markers,
    "careful floor": careful_floor,
    "pandas": conventional.pandas,
    "row by row": conventional.row_by_row,
}


def measure(session: Session) -> Result:
    """Compare all contestants on the same data."""
    result = Result()
    for name in session.anchors:
        size = ANCHORS[name]
        with session.loaded(size) as dataset:
            chosen = {contestant: CONTESTANTS[contestant] for contestant in session.contestants}
            taken, cpu = alternate(dataset, chosen, session.rounds)
        loaded = session.size(size)
        say(f"\n{name}: {loaded}; x is the {RATIO_OF_ROUNDS} (of one round: the {RATIO_OF_MEDIANS})\n")
        for what, each in (("wall", taken), ("CPU of all processes", cpu)):
            say(table((what, "median (min - max)", "rounds", "x floor", "x sweep"), list(_rows(each))))
            say()
        result.figures[name] = {
            contestant: {**seconds.as_json(), "cpu": cpu[contestant].as_json()} for contestant, seconds in taken.items()
        }
        if name == "large" and {"sweep", "floor"} <= taken.keys():
            _goal(result.at_most, taken, "sweep", "floor", loaded, 1.4)
            _goal(result.at_most, cpu, "sweep", "floor", f"{loaded}, CPU", 1.4)
        if name == "large" and {"sweep", "careful floor"} <= taken.keys():
            _goal(result.at_most, taken, "sweep", "careful floor", loaded, 1.25)
            _goal(result.at_most, cpu, "sweep", "careful floor", f"{loaded}, CPU", 1.25)
        if name == "large" and {"sweep", "row by row"} <= taken.keys():
            _goal(result.at_least, taken, "row by row", "sweep", loaded, 50)
    return result


def _goal(
    note: Callable[[str, float, float], None],
    taken: dict[str, Seconds],
    one: str,
    other: str,
    loaded: object,
    limit: float,
) -> None:
    how = taken[one].ratio_of(taken[other])
    note(f"{one} / {other} at {loaded}, {how}", taken[one].over(taken[other]), limit)


def _rows(taken: dict[str, Seconds]) -> Iterator[tuple[object, ...]]:
    for contestant, seconds in taken.items():
        ratios = [f"{seconds.over(taken[other]):.2f}" if other in taken else "" for other in ("floor", "sweep")]
        yield contestant, seconds, len(seconds.rounds), *ratios
