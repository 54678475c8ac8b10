"""One contestant in a process of its own, whose memory nothing else shares."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.dataset import Dataset

CONTESTANTS = ("nothing", "sweep", "floor", "pandas")


def peak_megabytes(dataset: Dataset, contestant: str) -> float:
    """Run a contestant in a fresh interpreter.

    Returns:
        Its peak resident memory, in MB.
    """
    command = [sys.executable, "-m", "benchmarks.child", contestant, dataset.url, dataset.redis_url]
    home = Path(__file__).parents[1]
    child = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(child.stderr)
    return float(json.loads(child.stdout)["peak"])


def peak_of_this_process() -> float:
    """In MB. ``ru_maxrss`` would begin at the parent's size before the exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def main(contestant: str, url: str, redis_url: str) -> None:
    """Run one contestant; ``nothing`` imports what a sweep imports and stops."""
    dataset = Dataset(url, redis_url)
    if contestant == "pandas":
        from benchmarks import conventional  # noqa: PLC0415 - the others are not charged for pandas

        conventional.pandas(dataset)
    else:
        from benchmarks import contestants  # noqa: PLC0415

        if contestant != "nothing":
            {
                "sweep": contestants.sweep,
                "limited sweep": contestants.limited_sweep,
                "floor": contestants.floor,
            }[contestant](dataset)
    sys.stdout.write(json.dumps({"peak": peak_of_this_process()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
