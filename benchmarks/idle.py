"""A sweep that finds nothing, on 10 million recipients, against one connection with one index look-up."""

from __future__ import annotations

import psycopg

from benchmarks import contestants
from benchmarks.contestants import STUCK
from benchmarks.dataset import Dataset
from benchmarks.latency import far, first_sweep
from benchmarks.rounds import RATIO_OF_ROUNDS, Seconds, say, table, timed
from benchmarks.session import BIG, Result, Session
from campaign_ops.sweep import dry_run

WARM = 3


def probe(dataset: Dataset) -> None:
    """Connect, and ask the index whether anything is stuck."""
    with psycopg.connect(dataset.conninfo) as connection:
        connection.execute(f'SELECT id FROM "Campaign" WHERE {STUCK} LIMIT 1').fetchall()


def look(dataset: Dataset) -> None:
    """The dry run: looks and reports, and writes nothing."""
    platform = dataset.platform()
    dry_run(platform)
    platform.close()


CONTESTANTS = {"sweep": contestants.sweep, "dry run": look, "probe": probe}


def measure(session: Session) -> Result:
    """Run all in turn; the journal of earlier sweeps stays, as it does in production."""
    times: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    with session.big() as dataset:
        dataset.calm()
        for _ in range(WARM + 4 * session.rounds):
            for name, contestant in CONTESTANTS.items():
                times[name].append(timed(contestant, dataset).seconds)
    taken = {name: Seconds(tuple(seconds[WARM:])) for name, seconds in times.items()}
    recipients = session.size(BIG).all_recipients
    say(f"\nnothing stuck, {recipients:,} recipients; the probe is one connection and one index look-up\n")
    say(table(("contestant", "median (min - max)"), list(taken.items())))
    result = Result(figures={name: seconds.as_json() for name, seconds in taken.items()})
    what = f"idle sweep / connect and one index probe, {RATIO_OF_ROUNDS}"
    result.at_most(what, taken["sweep"].over(taken["probe"]), 6)
    result.at_most("round trips of an idle sweep, connections included", _round_trips(session), 12)
    return result


def _round_trips(session: Session) -> int:
    with session.big() as dataset:
        dataset.calm()
        with far(dataset, is_far=False) as (there, *ways):
            first_sweep(there, *ways)
            contestants.sweep(there)
            return sum(way.round_trips for way in ways)
