"""The peak memory of a sweep and other contestants, each in a process of its own."""

from __future__ import annotations

from benchmarks.child import CONTESTANTS, peak_megabytes
from benchmarks.rounds import say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import Kind, Size

# Every recipient is pending: one half in live jobs, the other to be put back.
SIZES = [Size(count // 2_000, 2_000, count // 1_000, mix=(Kind.HALF,)) for count in (10_000, 100_000, 1_000_000)]


def measure(session: Session) -> Result:
    """Measure all at each size, except row by row: it peaks no higher than the floor, and takes too long."""
    peaks: dict[int, dict[str, float]] = {}
    for size in session.some(SIZES):
        count = session.size(size).stuck_recipients
        with session.loaded(size) as dataset:
            peaks[count] = {}
            for contestant in CONTESTANTS:
                dataset.restore()
                peaks[count][contestant] = peak_megabytes(dataset, contestant)
    rows = [(f"{count:,}", *(f"{of[name]:.0f}" for name in CONTESTANTS)) for count, of in peaks.items()]
    say("\npeak memory, MB, by pending recipients; `nothing` only imports\n")
    say(table(("pending", *CONTESTANTS), rows))
    fewest, most = min(peaks), max(peaks)
    swept = [of["sweep"] for of in peaks.values()]
    result = Result(figures={str(count): of for count, of in peaks.items()})
    result.at_most(f"peak memory of the sweep, {most:,} / {fewest:,} pending", swept[-1] / swept[0], 1.2)
    result.at_most(f"peak memory of the sweep at {most:,} pending", swept[-1], 200, " MB")
    return result
