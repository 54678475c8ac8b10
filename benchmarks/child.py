"""One contestant in a process of its own, so that its memory is its own and nothing else runs in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.ground import Ground

WHO = ("nothing", "sweep", "floor", "pandas")


def peak_megabytes(ground: Ground, who: str) -> float:
    """Run a contestant in a fresh interpreter.

    Returns:
        The most memory that it was resident with, in MB.
    """
    command = [sys.executable, "-m", "benchmarks.child", who, ground.url, ground.redis_url]
    home = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(json.loads(done.stdout)["peak"])


def _peak() -> float:
    """``ru_maxrss`` would begin with what the parent was before the exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def main(who: str, url: str, redis_url: str) -> None:
    """Run one; ``nothing`` imports what a sweep imports and stops."""
    ground = Ground(url, redis_url)
    if who == "pandas":
        from benchmarks import usual  # noqa: PLC0415 - the others are not charged for pandas

        usual.pandas(ground)
    else:
        from benchmarks import contestants  # noqa: PLC0415

        if who != "nothing":
            {"sweep": contestants.sweep, "floor": contestants.floor}[who](ground)
    sys.stdout.write(json.dumps({"peak": _peak()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
