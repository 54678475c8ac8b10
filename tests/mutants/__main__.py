"""`python -m tests.mutants [--part core] [--most 100]`: print the kill rate of each part, and the survivors."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.deadline import patience
from tests.mutants.operators import Mutant, mutants
from tests.mutants.running import Coverage, coverage, killed_by, load, servers

ROOT = Path(__file__).resolve().parents[2]
FAST = ["-m", "not slow and not node and not browser and not power"]
SECONDS = 6.0
"""The CPU seconds of tests for one mutant: of those that call the function, the shortest come first."""


@dataclass(frozen=True)
class Part:
    """Modules, the fast tests that are asked about them, and how many mutants are tried if not all."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    most: int


PARTS = {
    "core": Part(("core/*.py",), ("tests/core",), 400),
    "writes": Part(
        ("postgres/completion.py", "postgres/guarded.py", "postgres/reservations.py", "postgres/recipients.py"),
        ("tests/postgres/test_completing.py", "tests/postgres/test_releasing.py", "tests/postgres/test_reading.py",
         "tests/sweep/test_repairs.py", "tests/sweep/test_completing.py", "tests/fixes/test_undo.py"),
        100,
    ),
    "queue": Part(
        ("bullmq/reader.py", "bullmq/live_jobs.py", "bullmq/writer.py", "bullmq/guard.py", "bullmq/guarded_add.lua"),
        ("tests/bullmq",),
        100,
    ),
    "act": Part(
        ("sweep/act.py", "sweep/add_page.py", "sweep/complete.py", "sweep/release.py", "sweep/intents.py",
         "sweep/guarded.py", "sweep/reenqueue.py", "sweep/settle.py", "sweep/live_work.py", "sweep/writers.py"),
        ("tests/sweep/test_repairs.py", "tests/sweep/test_completing.py", "tests/sweep/test_refused_writes.py",
         "tests/sweep/test_settling.py", "tests/sweep/test_last_moment.py", "tests/sweep/test_look_grows_old.py",
         "tests/sweep/test_limits.py", "tests/sweep/test_judged_on_the_look.py"),
        100,
    ),
}  # fmt: skip
_LUA = ("campaign_ops/bullmq/guard.py", "script")


def chosen(part: Part, most: int) -> tuple[list[Mutant], int]:
    """The mutants to try, the same each time, and the number of all."""
    paths = sorted(path for pattern in part.modules for path in (ROOT / "campaign_ops").glob(pattern))
    everything = [mutant for path in paths for mutant in mutants(ROOT, str(path.relative_to(ROOT)))]

    def lot(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{mutant.path} {mutant.function} {mutant.what}".encode()).digest()

    picked = sorted(everything, key=lot)[:most]
    return sorted(picked, key=lambda one: (one.path, one.line)), len(everything)


def try_part(name: str, part: Part, most: int) -> int:
    """Try one part; return the number of survivors."""
    tried, of_all = chosen(part, most)
    load(ROOT, part.tests)
    covering = coverage(ROOT, [*FAST, *part.tests])
    survivors, unseen = [], []
    for number, mutant in enumerate(tried, 1):
        tests = within(covering, mutant)
        if not tests:
            unseen.append(mutant)
        elif not killed_by(mutant, tests, 60 * patience()):
            survivors.append(mutant)
            say(f"  survives: {mutant}")
        if number % 20 == 0:
            say(f"  {name}: {number} of {len(tried)}, {len(survivors)} survive")
    alive = len(survivors) + len(unseen)
    say(f"{name}: {len(tried) - alive} of {len(tried)} killed ({1 - alive / len(tried):.1%}), of {of_all} in all")
    for mutant in unseen:
        say(f"  no test calls it: {mutant}")
    return alive


def within(covering: Coverage, mutant: Mutant) -> list[str]:
    """The tests to ask about a mutant."""
    tests: list[str] = []
    spent = 0.0
    for seconds, test in covering.get(_LUA if mutant.tree is None else (mutant.path, mutant.function), []):
        spent += seconds
        if tests and spent > SECONDS:
            break
        tests.append(test)
    return tests


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    options.add_argument("--part", choices=PARTS, action="append", help="only this part")
    options.add_argument("--most", type=int, help="mutants of each part, instead of its own number")
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as directory, servers(Path(directory)):
        for name, part in PARTS.items():
            if name in (wanted.part or PARTS):
                began = time.monotonic()
                try_part(name, part, wanted.most or part.most)
                say(f"  {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
