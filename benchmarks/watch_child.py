"""The watcher in a process of its own, one tick right after the other: its memory and the CPU of a tick."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from benchmarks.child import peak_of_this_process
from benchmarks.dataset import Dataset

_WARM = 3


@dataclass(frozen=True, slots=True)
class Ticks:
    """Means of a tick, in seconds, and the process's peak memory; the first ticks count only there."""

    seconds: float
    cpu: float
    megabytes: float

    def row(self) -> Sequence[object]:
        """The cells of a table."""
        return (f"{self.seconds * 1000:.0f} ms", f"{self.cpu * 1000:.0f} ms", f"{self.megabytes:.0f} MB")


def ticks(dataset: Dataset, number: int) -> Ticks:
    """Run so many ticks over a dataset in a fresh interpreter."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        yaml.safe_dump({"platforms": [dataset.entry]}, config)
        config.flush()
        command = [sys.executable, "-m", "benchmarks.watch_child", config.name, str(number)]
        home = Path(__file__).parents[1]
        child = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(child.stderr)
    return Ticks(**json.loads(child.stdout))


def main(config: str, number: int) -> None:
    """Tick without waiting. Sends nothing: no channel is configured."""
    from campaign_ops.faces.cli.watch import watch_of  # noqa: PLC0415 - as the program loads it
    from campaign_ops.settings import load_settings  # noqa: PLC0415
    from campaign_ops.watch.watcher import Watcher  # noqa: PLC0415

    watcher = Watcher(watch_of(load_settings(Path(config))))
    for _ in range(_WARM):
        watcher.tick()
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(number):
        (seen,) = watcher.tick()
        assert not seen.error, seen.error
    taken = Ticks((time.perf_counter() - begun) / number, (time.process_time() - cpu) / number, peak_of_this_process())
    sys.stdout.write(json.dumps(asdict(taken)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
