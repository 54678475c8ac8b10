"""How a sweep's time grows: with what is stuck, with the live jobs, and not with what is not stuck."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace

from benchmarks import contestants
from benchmarks.bench import BESIDE, Bench, Result
from benchmarks.plot import draw
from benchmarks.rounds import Seconds, alternate, say, table, taken_on
from benchmarks.sizes import Size

BOTH = {"sweep": contestants.sweep, "floor": contestants.floor}
BASE = Size(200, 2_000, 1_000)
BY_STUCK = {stuck * BASE.recipients: replace(BASE, stuck=stuck) for stuck in (50, 100, 200, 400)}
BY_JOBS = {jobs: replace(BASE, jobs=jobs) for jobs in (500, 2_000, 4_000, 8_000)}

Points = dict[int, dict[str, Seconds]]


def measure(bench: Bench) -> Result:
    """All three, and the plot."""
    result = Result()
    _beside(bench, result)
    by_stuck = _points(bench, BY_STUCK)
    by_jobs = _points(bench, BY_JOBS)
    _slopes(result, "stuck recipients", by_stuck)
    _slopes(result, "live jobs", by_jobs)
    if bench.plot is not None:
        draw(bench.plot, {"recipients of stuck campaigns": by_stuck, "live jobs": by_jobs})
    return result


def _beside(bench: Bench, result: Result) -> None:
    """The same stuck campaigns beside 500 and beside 5,000 others, the two grounds in turn."""
    with bench.laid(BESIDE, "beside") as few, bench.big() as many:
        grounds = {"beside 500": few, "beside 5,000": many}
        for who, contestant in BOTH.items():
            taken = taken_on(grounds, contestant, bench.rounds)
            say(f"\n{who}, 200 stuck campaigns beside 500 others and beside 5,000 (10 million recipients)\n")
            say(table(("ground", "median (min - max)"), list(taken.items())))
            result.figures[f"{who} beside"] = {name: seconds.as_json() for name, seconds in taken.items()}
            ratio = taken["beside 5,000"].over(taken["beside 500"])
            if who == "sweep":
                result.at_most("sweep beside 5,000 campaigns that are not stuck / beside 500", ratio, 1.2)
            else:
                result.shown("the floor in the same", "shown", f"{ratio:.3g}")


def _points(bench: Bench, sizes: Mapping[int, Size]) -> Points:
    points = {}
    for at, size in sizes.items():
        with bench.laid(size) as ground:
            points[at] = alternate(ground, BOTH, bench.rounds)
    return points


def _slopes(result: Result, axis: str, points: Points) -> None:
    say(f"\nby {axis}\n")
    rows = [(f"{at:,}", *(seconds for seconds in of.values())) for at, of in points.items()]
    say(table((axis, *BOTH), rows))
    slopes, straight = {}, {}
    for who in BOTH:
        seconds = [of[who].median for of in points.values()]
        slopes[who] = statistics.linear_regression(list(points), seconds).slope
        straight[who] = statistics.correlation(list(points), seconds) ** 2
    result.figures[axis] = {
        "points": {str(at): {who: one.as_json() for who, one in of.items()} for at, of in points.items()},
        "slopes": slopes,
        "r squared": straight,
    }
    result.at_most(f"slope of the sweep against {axis} / slope of the floor", slopes["sweep"] / slopes["floor"], 1.5)
    result.at_least(f"R squared of the sweep against {axis}", straight["sweep"], 0.98)
