"""One very large platform: how a sweep grows with the number of stuck campaigns, and how many sweeps it takes."""

from __future__ import annotations

from math import ceil

from benchmarks import contestants
from benchmarks.child import peak_megabytes
from benchmarks.rounds import say, table, timed
from benchmarks.session import Result, Session
from benchmarks.sizes import Kind, Size
from campaign_ops.core.policy import Policy

SIZES = [Size(stuck, 20, 0, mix=(Kind.FINISHED, Kind.LOST)) for stuck in (1_000, 10_000, 100_000)]
"""One half is finished, the other is in no job: as many jobs to put back."""


def measure(session: Session) -> Result:
    """Sweep each size twice with the limits as they are shipped: what the first leaves, the second finds."""
    rows, result = [], Result()
    for size in map(session.size, session.some(SIZES)):
        with session.loaded(size, scaled=False) as dataset:
            first, second = (timed(contestants.limited_sweep, dataset) for _ in range(2))
            dataset.restore()
            peak = peak_megabytes(dataset, "limited sweep")
        sweeps = ceil(size.stuck / 2 / Policy().max_jobs_per_sweep)
        rows.append((f"{size.stuck:,}", f"{first.seconds:.1f} s", f"{second.seconds:.1f} s", f"{peak:.0f} MB", sweeps))
        result.figures[f"{size.stuck}"] = {
            "first": first._asdict(),
            "second": second._asdict(),
            "peak": peak,
            "sweeps": sweeps,
        }
    say(f"\none half finished, one half lost; at most {Policy().max_jobs_per_sweep:,} jobs a sweep\n")
    say(table(("stuck campaigns", "first sweep", "second sweep", "peak memory", "sweeps until all are put back"), rows))
    return result
