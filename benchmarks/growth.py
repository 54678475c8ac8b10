"""The growth of a sweep's time: with what is stuck, with live jobs, and not with what is not stuck."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace

from benchmarks import contestants
from benchmarks.plot import draw
from benchmarks.rounds import RATIO_OF_ROUNDS, Seconds, alternate, say, table, taken_on
from benchmarks.session import BESIDE, BIG, Result, Session
from benchmarks.sizes import Size

BOTH = {"sweep": contestants.sweep, "floor": contestants.floor}
BASE = Size(200, 2_000, 1_000)
BY_STUCK = [replace(BASE, stuck=stuck) for stuck in (50, 100, 200, 400)]
BY_JOBS = [replace(BASE, jobs=jobs) for jobs in (500, 2_000, 4_000, 8_000)]

Points = dict[int, dict[str, Seconds]]


def measure(session: Session) -> Result:
    """Measure all three, and draw the plot."""
    result = Result()
    _beside(session, result)
    by_stuck = _points(session, {session.size(size).stuck_recipients: size for size in session.some(BY_STUCK)})
    by_jobs = _points(session, {session.size(size).jobs: size for size in session.some(BY_JOBS)})
    _slopes(result, "stuck recipients", by_stuck)
    _slopes(result, "live jobs", by_jobs)
    if session.plot is not None:
        draw(session.plot, {"recipients of stuck campaigns": by_stuck, "live jobs": by_jobs})
    return result


def _beside(session: Session, result: Result) -> None:
    """Measure the same stuck campaigns beside 500 and beside 5,000 others, the two datasets in turn."""
    few_others, many_others = (f"beside {session.size(size).others:,}" for size in (BESIDE, BIG))
    stuck, recipients = session.size(BIG).stuck, session.size(BIG).all_recipients
    with session.loaded(BESIDE, "beside") as few, session.big() as many:
        datasets = {few_others: few, many_others: many}
        for name, contestant in BOTH.items():
            taken = taken_on(datasets, contestant, session.rounds)
            say(
                f"\n{name}, {stuck} stuck campaigns {few_others} others and {many_others} ({recipients:,} recipients)\n"
            )
            say(table(("dataset", "median (min - max)"), list(taken.items())))
            result.figures[f"{name} beside"] = {others: seconds.as_json() for others, seconds in taken.items()}
            ratio = taken[many_others].over(taken[few_others])
            if name == "sweep":
                what = f"sweep {many_others} campaigns that are not stuck / {few_others}, {RATIO_OF_ROUNDS}"
                result.at_most(what, ratio, 1.2)
            else:
                result.shown("the floor in the same", "shown", f"{ratio:.3g}")


def _points(session: Session, sizes: Mapping[int, Size]) -> Points:
    points = {}
    for at, size in sizes.items():
        with session.loaded(size) as dataset:
            points[at], _ = alternate(dataset, BOTH, session.rounds)
    return points


def _slopes(result: Result, axis: str, points: Points) -> None:
    say(f"\nby {axis}\n")
    rows = [(f"{at:,}", *(seconds for seconds in of.values())) for at, of in points.items()]
    say(table((axis, *BOTH), rows))
    slopes, straight = {}, {}
    for name in BOTH:
        seconds = [of[name].median for of in points.values()]
        slopes[name] = statistics.linear_regression(list(points), seconds).slope
        straight[name] = statistics.correlation(list(points), seconds) ** 2
    result.figures[axis] = {
        "points": {str(at): {name: seconds.as_json() for name, seconds in of.items()} for at, of in points.items()},
        "slopes": slopes,
        "r squared": straight,
    }
    result.at_most(f"slope of the sweep against {axis} / slope of the floor", slopes["sweep"] / slopes["floor"], 1.5)
    result.at_least(f"R squared of the sweep against {axis}", straight["sweep"], 0.98)
