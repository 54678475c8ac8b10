"""A sweep that finds nothing, on 10 million recipients, against connecting and looking once."""

from __future__ import annotations

import psycopg

from benchmarks import contestants
from benchmarks.bench import BIG, Bench, Result
from benchmarks.contestants import STUCK
from benchmarks.ground import Ground
from benchmarks.rounds import RATIO_OF_ROUNDS, Seconds, say, table, timed
from campaign_ops.sweep import dry_run

WARM = 3


def probe(ground: Ground) -> None:
    """Connect, and ask the index whether anything is stuck."""
    with psycopg.connect(ground.conninfo) as connection:
        connection.execute(f'SELECT id FROM "Campaign" WHERE {STUCK} LIMIT 1').fetchall()


def look(ground: Ground) -> None:
    """The dry run: it looks and reports, and writes nothing."""
    platform = ground.platform()
    dry_run(platform)
    platform.close()


WHO = {"sweep": contestants.sweep, "dry run": look, "probe": probe}


def measure(bench: Bench) -> Result:
    """All in turn; a sweep's own record of the earlier ones stays, as it does in life."""
    times: dict[str, list[float]] = {who: [] for who in WHO}
    with bench.big() as ground:
        ground.calm()
        for _ in range(WARM + 4 * bench.rounds):
            for who, contestant in WHO.items():
                times[who].append(timed(contestant, ground))
    taken = {who: Seconds(tuple(seconds[WARM:])) for who, seconds in times.items()}
    recipients = bench.size(BIG).all_recipients
    say(f"\nnothing stuck, {recipients:,} recipients; the probe is one connection and one index look-up\n")
    say(table(("who", "median (min - max)"), list(taken.items())))
    result = Result(figures={who: seconds.as_json() for who, seconds in taken.items()})
    what = f"idle sweep / connect and one index probe, {RATIO_OF_ROUNDS}"
    result.at_most(what, taken["sweep"].over(taken["probe"]), 1.5)
    return result
