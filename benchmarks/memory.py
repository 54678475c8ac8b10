"""How much memory a sweep takes at most, each time in a process of its own."""

from __future__ import annotations

from benchmarks.bench import Bench, Result
from benchmarks.child import WHO, peak_megabytes
from benchmarks.rounds import say, table
from benchmarks.sizes import Kind, Size

# Every recipient pending, one half in live jobs, the other to be put back.
SIZES = [Size(count // 2_000, 2_000, count // 1_000, mix=(Kind.HALF,)) for count in (10_000, 100_000, 1_000_000)]


def measure(bench: Bench) -> Result:
    """The peak of everybody at each size; of row by row it is the floor's at most, and it takes too long."""
    peaks: dict[int, dict[str, float]] = {}
    for size in bench.some(SIZES):
        count = bench.size(size).stuck_recipients
        with bench.laid(size) as ground:
            peaks[count] = {}
            for who in WHO:
                ground.restore()
                peaks[count][who] = peak_megabytes(ground, who)
    say("\npeak memory, MB, by pending recipients; `nothing` only imports\n")
    say(table(("pending", *WHO), [(f"{count:,}", *(f"{of[who]:.0f}" for who in WHO)) for count, of in peaks.items()]))
    fewest, most = min(peaks), max(peaks)
    swept = [of["sweep"] for of in peaks.values()]
    result = Result(figures={str(count): of for count, of in peaks.items()})
    result.at_most(f"peak memory of the sweep, {most:,} / {fewest:,} pending", swept[-1] / swept[0], 1.2)
    result.at_most(f"peak memory of the sweep at {most:,} pending", swept[-1], 200, " MB")
    return result
