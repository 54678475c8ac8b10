"""A sweep far from its servers: 20 ms to PostgreSQL and 200 ms to Redis, by proxies that also count the round trips.

Its time should be the round trips' latency and the work that it has without any, and the round trips should be the
same however many campaigns a page holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks import contestants
from benchmarks.dataset import Dataset
from benchmarks.rounds import say, table, timed
from benchmarks.session import Result, Session
from benchmarks.statements import SIZES
from benchmarks.wire import Wire, through, to_postgres, to_redis, wire

POSTGRES_SECONDS, REDIS_SECONDS = 0.02, 0.2


@dataclass(frozen=True, slots=True)
class Far:
    """One sweep: its round trips to each server, and its seconds with latency and without."""

    postgres: int
    redis: int
    seconds: float
    near: float

    @property
    def latency(self) -> float:
        """The seconds that its round trips take by themselves."""
        return self.postgres * POSTGRES_SECONDS + self.redis * REDIS_SECONDS


@contextmanager
def far(dataset: Dataset, *, is_far: bool) -> Iterator[tuple[Dataset, Wire, Wire]]:
    """The dataset by way of two wires, with latency or without."""
    postgres = wire(partial(to_postgres, dataset.url), delay_seconds=POSTGRES_SECONDS * is_far)
    redis = wire(partial(to_redis, dataset.redis_url), delay_seconds=REDIS_SECONDS * is_far)
    with postgres as to_database, redis as to_queue:
        yield Dataset(through(to_database, dataset.url), through(to_queue, dataset.redis_url)), to_database, to_queue


def first_sweep(there: Dataset, *ways: Wire) -> None:
    """Sweep once, uncounted: the first sweep by another address of Redis binds the table to it."""
    contestants.sweep(there)
    for way in ways:
        way.forget()


def measure(session: Session) -> Result:
    """Sweep 10, 100 and 1,000 stuck campaigns with as many recipients in all, and a platform where nothing is stuck."""
    taken: dict[str, Far] = {}
    for stuck, size in SIZES.items():
        with session.loaded(size, scaled=False) as dataset:
            dataset.restore()
            taken[f"{stuck:,} stuck"] = _swept(dataset)
            if stuck == min(SIZES):
                dataset.calm()
                taken["nothing stuck"] = _swept(dataset, is_calm=True)
    say(f"\none sweep, {POSTGRES_SECONDS * 1000:.0f} ms from PostgreSQL and {REDIS_SECONDS * 1000:.0f} ms from Redis\n")
    head = ("sweep", "round trips to PostgreSQL", "to Redis", "their latency, s", "the sweep, s", "without latency, s")
    rows = [
        (name, one.postgres, one.redis, *(f"{seconds:.2f}" for seconds in (one.latency, one.seconds, one.near)))
        for name, one in taken.items()
    ]
    say(table(head, rows))
    result = Result(figures={name: [one.postgres, one.redis, one.seconds, one.near] for name, one in taken.items()})
    trips = ", ".join(str(one.postgres + one.redis) for one in taken.values())
    result.shown(f"round trips: {', '.join(taken)}", "constant per page of 250 jobs", trips)
    for name, one in taken.items():
        result.at_most(f"sweep / (its round trips' latency + the same without), {name}", _excess(one), 1.1)
    return result


def _excess(one: Far) -> float:
    return one.seconds / (one.latency + one.near)


def _swept(dataset: Dataset, *, is_calm: bool = False) -> Far:
    """Sweep the dataset without latency, and restored with it."""
    near = 0.0
    for is_far in (False, True):
        if not is_calm:
            dataset.restore()
        with far(dataset, is_far=is_far) as (there, to_database, to_queue):
            if is_calm:
                first_sweep(there, to_database, to_queue)
            seconds = timed(contestants.sweep, there).seconds
            if not is_far:
                near = seconds
    return Far(to_database.round_trips, to_queue.round_trips, seconds, near)
