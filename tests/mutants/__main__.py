"""`python -m tests.mutants [--part core] [--most 50] [--seed 1]`: the kill rate of each part, and the survivors."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from campaign_ops.bullmq import guard
from tests.deadline import patience
from tests.mutants.equivalents import EQUIVALENT
from tests.mutants.operators import Mutant, mutants
from tests.mutants.running import Coverage, coverage, killed_by, load, servers

ROOT = Path(__file__).resolve().parents[2]
FAST = ["-m", "not slow and not node and not browser and not power"]
SECONDS = 20.0
"""The CPU seconds of tests for one mutant: of those that reach its line, the shortest come first."""


@dataclass(frozen=True)
class Part:
    """Modules, the fast tests that are asked about them, and how many mutants are tried."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    most: int = 50


PARTS = {
    "core": Part(("core/*.py",), ("tests/core",)),
    "writes": Part(
        ("postgres/completion.py", "postgres/guarded.py", "postgres/reservations.py", "postgres/recipients.py"),
        ("tests/postgres/test_completing.py", "tests/postgres/test_releasing.py", "tests/postgres/test_reading.py",
         "tests/sweep/test_repairs.py", "tests/sweep/test_completing.py", "tests/fixes/test_undo.py"),
    ),
    "queue": Part(
        ("bullmq/reader.py", "bullmq/live_jobs.py", "bullmq/writer.py", "bullmq/guard.py", "bullmq/guarded_add.lua"),
        ("tests/bullmq", "tests/doctor/test_queue.py"),
    ),
    "act": Part(
        ("sweep/act.py", "sweep/add_page.py", "sweep/complete.py", "sweep/release.py", "sweep/intents.py",
         "sweep/guarded.py", "sweep/reenqueue.py", "sweep/settle.py", "sweep/live_work.py", "sweep/writers.py"),
        ("tests/sweep/test_repairs.py", "tests/sweep/test_completing.py", "tests/sweep/test_refused_writes.py",
         "tests/sweep/test_settling.py", "tests/sweep/test_last_moment.py", "tests/sweep/test_look_grows_old.py",
         "tests/sweep/test_limits.py", "tests/sweep/test_judged_on_the_look.py"),
    ),
}  # fmt: skip


def everything(part: Part) -> list[Mutant]:
    """All mutants of a part."""
    paths = sorted(path for pattern in part.modules for path in (ROOT / "campaign_ops").glob(pattern))
    return [mutant for path in paths for mutant in mutants(ROOT, str(path.relative_to(ROOT)))]


def chosen(of_all: list[Mutant], most: int, seed: int) -> list[Mutant]:
    """The mutants to try: with the same seed the same, as long as the code stays."""

    def lot(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {mutant.name}".encode()).digest()

    return sorted(sorted(of_all, key=lot)[:most], key=lambda mutant: (mutant.path, mutant.lines.start))


def try_part(name: str, part: Part, most: int, seed: int) -> None:
    """Try one part, and print what becomes of its mutants."""
    of_all = everything(part)
    tried = chosen(of_all, most, seed)
    load(ROOT, part.tests)
    covering = coverage(ROOT, {mutant.path for mutant in of_all}, [*FAST, *part.tests])
    say(f"{name}: {len({test for tests in covering.values() for _, test in tests})} tests reach it")
    killed = equivalent = 0
    for number, mutant in enumerate(tried, 1):
        tests = reaching(covering, mutant)
        reason = EQUIVALENT.get(mutant.name)
        if tests and (how := killed_by(mutant, tests, 60 * patience())):
            killed += 1
            if how == "ended":
                say(f"  its tests crash, or do not end: {mutant}")
            if reason is not None:
                say(f"  killed, though listed as equivalent: {mutant}")
        elif reason is not None:
            equivalent += 1
        else:
            say(f"  survives: {mutant}" if tests else f"  no test reaches it: {mutant}")
        if number % 10 == 0:
            say(f"  {name}: {number} of {len(tried)}")
    of_them = len(tried) - equivalent
    say(f"{name}: {killed} of {of_them} killed ({killed / of_them:.1%}), {equivalent} equivalent; {len(of_all)} in all")


def reaching(covering: Coverage, mutant: Mutant) -> list[str]:
    """The tests to ask about a mutant: those that reach its statement, or for the Lua script, those that send it."""
    in_lua = ("campaign_ops/bullmq/guard.py", guard.script.__code__.co_firstlineno)
    lines = [in_lua] if mutant.tree is None else [(mutant.path, line) for line in mutant.lines]
    tests: list[str] = []
    spent = 0.0
    for seconds, test in sorted({entry for line in lines for entry in covering.get(line, [])}):
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
    options.add_argument("--seed", type=int, default=1, help="chooses the mutants")
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as directory, servers(Path(directory)):
        for name, part in PARTS.items():
            if name in (wanted.part or PARTS):
                began = time.monotonic()
                try_part(name, part, wanted.most or part.most, wanted.seed)
                say(f"  {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
