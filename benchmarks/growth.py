"""How a sweep's time grows: with what is stuck, with the live jobs, and not with what is not stuck."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace

from benchmarks import contestants
from benchmarks.bench import BESIDE, BIG, Bench, Result
from benchmarks.plot import draw
from benchmarks.rounds import RATIO_OF_ROUNDS, Seconds, alternate, say, table, taken_on
from benchmarks.sizes import Size

BOTH = {"sweep": contestants.sweep, "floor": contestants.floor}
BASE = Size(200, 2_000, 1_000)
BY_STUCK = [replace(BASE, stuck=stuck) for stuck in (50, 100, 200, 400)]
BY_JOBS = [replace(BASE, jobs=jobs) for jobs in (500, 2_000, 4_000, 8_000)]

Points = dict[int, dict[str, Seconds]]


def measure(bench: Bench) -> Result:
    """All three, and the plot."""
    result = Result()
    _beside(bench, result)
    by_stuck = _points(bench, {bench.size(size).stuck_recipients: size for size in bench.some(BY_STUCK)})
    by_jobs = _points(bench, {bench.size(size).jobs: size for size in bench.some(BY_JOBS)})
    _slopes(result, "stuck recipients", by_stuck)
    _slopes(result, "live jobs", by_jobs)
    if bench.plot is not None:
        draw(bench.plot, {"recipients of stuck campaigns": by_stuck, "live jobs": by_jobs})
    return result


def _beside(bench: Bench, result: Result) -> None:
    """The same stuck campaigns beside 500 and beside 5,000 others, the two grounds in turn."""
    few_others, many_others = (f"beside {bench.size(size).others:,}" for size in (BESIDE, BIG))
    stuck, recipients = bench.size(BIG).stuck, bench.size(BIG).all_recipients
    with bench.laid(BESIDE, "beside") as few, bench.big() as many:
        grounds = {few_others: few, many_others: many}
        for who, contestant in BOTH.items():
            taken = taken_on(grounds, contestant, bench.rounds)
            say(f"\n{who}, {stuck} stuck campaigns {few_others} others and {many_others} ({recipients:,} recipients)\n")
            say(table(("ground", "median (min - max)"), list(taken.items())))
            result.figures[f"{who} beside"] = {name: seconds.as_json() for name, seconds in taken.items()}
            ratio = taken[many_others].over(taken[few_others])
            if who == "sweep":
                what = f"sweep {many_others} campaigns that are not stuck / {few_others}, {RATIO_OF_ROUNDS}"
                result.at_most(what, ratio, 1.2)
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
