"""The profile of one sweep: seconds of each step, each SQL statement and each Python function."""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from benchmarks import rounds
from benchmarks.contestants import sweep
from benchmarks.dataset import Dataset, connected_worker
from campaign_ops.sweep import Sweep

STEPS = ("find_stuck", "tally", "read_queue", "make_plan", "complete", "reenqueue", "release", "report")


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begun)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] += seconds
        self.calls[name] += 1

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def _timed(*args: Any, **options: Any) -> Any:
            with self.running(name):
                return function(*args, **options)

        return _timed

    def rows(self) -> list[tuple[str, int, str]]:
        ordered = sorted(self.seconds, key=lambda name: -self.seconds[name])
        return [(f"{self.seconds[name]:.4f}", self.calls[name], name) for name in ordered]


def profile(dataset: Dataset, *, calm: bool = False) -> None:
    """Print where the time of a warm sweep goes; with ``calm``, of one that finds nothing."""
    prepare = dataset.calm if calm else dataset.restore
    with connected_worker(dataset):
        prepare()
        sweep(dataset)
        prepare()
        _steps_and_statements(dataset)
        prepare()
        _functions(dataset)


def _steps_and_statements(dataset: Dataset) -> None:
    steps, statements = _Clock(), _Clock()
    began: list[float] = []

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def _before(*_: Any) -> None:
        began.append(time.perf_counter())

    @sa.event.listens_for(sa.Engine, "after_cursor_execute")
    def _after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.add(" ".join(statement.split())[:150], time.perf_counter() - began.pop())

    platform = dataset.platform()
    profiled = Sweep(platform, run_id=uuid4().hex, trigger="cli", actor="benchmark")
    for name in STEPS:  # the rest is the look that they share
        setattr(profiled, name, steps.wrapped(name, getattr(profiled, name)))
    try:
        with steps.running("all of it"):
            profiled.run()
            platform.close()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", _before)
        sa.event.remove(sa.Engine, "after_cursor_execute", _after)
    rounds.say(rounds.table(("seconds", "calls", "step"), steps.rows()))
    rounds.say("\nStatements, until the server's first answer (without COPY and the fetching of streams):\n")
    rounds.say(rounds.table(("seconds", "calls", "statement"), statements.rows()))


def _functions(dataset: Dataset) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(sweep, dataset)
    for order, most in (("cumulative", 60), ("tottime", 30)):
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).strip_dirs().sort_stats(order).print_stats(most)
        rounds.say(text.getvalue())
