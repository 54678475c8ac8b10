"""The power of a random drill: of the faults planted in the product, which ones it sees, and by which figure.

    python -m tests.lab.drill.power --seconds 75 --seed 1 --out power.jsonl [--sample 20 | NAME …]

Each planted fault gets a drill of its own, in a process of its own, with a seed that is drawn from the given one and so
with worlds of its own; nothing of it is chosen. Results are appended to the file; what it holds already is not run
again. The first drill is one without a planted fault: a figure that fails in it is a false alarm and counts for
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from campaign_ops.lab.drill.checkers import AT_THE_END, check_so_far, watching
from campaign_ops.lab.drill.drill import run_drill
from campaign_ops.lab.drill.environment.rig import Rig
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.worlds import drawn
from tests.lab.drill.mutations import PLANTED, UNSLOWED, VARIABLE

HEALTHY = "healthy"
"""The name of the drill without a planted fault."""
_OF_THE_WATCHER = {checker.__name__ for checker in AT_THE_END if checker.__module__ == watching.__name__}
_PROVES_NOTHING = frozenset({"unexpected", "watched", *_OF_THE_WATCHER})
"""Figures that fail when a process crashes or does not run, and those of the watcher, where no fault is planted."""
_LONGEST_SECONDS = 600
_RUNNING: set[subprocess.Popen[str]] = set()
_STOPPED = threading.Event()


def stop_all(*_: object) -> None:
    """End all drills in order, and exit."""
    _STOPPED.set()
    while running := [process for process in list(_RUNNING) if process.poll() is None]:
        for process in running:
            process.terminate()
        time.sleep(1)
    os._exit(1)


class PlantedRig(Rig):
    """A rig whose sweepers have the planted fault that the environment variable names."""

    sweeper_module = "tests.lab.drill.mutant_sweeper"
    dagster_module = "tests.lab.drill.mutant_sweeper"


def drill(name: str, options: DrillOptions) -> dict[str, Any]:
    """Run a drill with a planted fault, in this process too: undo and confirmations are made in it."""
    if name != HEALTHY:
        os.environ[VARIABLE] = name
        PLANTED[name].apply()
    os.environ[UNSLOWED] = "yes"
    story, stop = StringIO(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    board = run_drill(options, Console(file=story, width=250), stop, make_rig=PlantedRig, enough=damage_that_stays())
    (options.work_dir / "story.txt").write_text(story.getvalue(), encoding="utf-8")
    failed = {figure.key: figure.examples for figure in board.figures if not figure.holds}
    seconds = round(board.seconds)
    return {"name": name, "seed": options.seed, "worlds": options.worlds, "failed": failed, "seconds": seconds}


def damage_that_stays() -> Callable[[Rig], bool]:
    """Return whether a figure fails for the second time in a row: it will be on the scoreboard, too."""
    before: set[str] = set()

    def damaged(rig: Rig) -> bool:
        failing = {figure.key for figure in check_so_far(rig) if not figure.holds} - _PROVES_NOTHING
        lasting = failing & before
        before.clear()
        before.update(failing)
        return bool(lasting)

    return damaged


def in_a_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The result of one drill; its directory stays where nothing was seen, or the healthy drill failed."""
    seed = seed_of(name, options.seed)
    work_dir = Path(options.work_dir) / f"{name}-{seed}"
    shutil.rmtree(work_dir, ignore_errors=True)
    command = [sys.executable, "-m", __spec__.name, "--one", name, "--work-dir", str(work_dir)]
    command += ["--seconds", str(options.seconds), "--seed", str(seed)]
    if _STOPPED.is_set():
        sys.exit()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    _RUNNING.add(process)
    try:
        output, _ = process.communicate(timeout=options.seconds + _LONGEST_SECONDS)
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        process.terminate()
        output, _ = process.communicate()
        result = {"name": name, "seed": seed, "failed": {}, "seconds": 0, "error": f"{type(error).__name__}"}
        (Path(options.work_dir) / f"{name}.log").write_text(output)
    _RUNNING.discard(process)
    if (name == HEALTHY) == (not result["failed"]):
        shutil.rmtree(work_dir, ignore_errors=True)
    return result


def seed_of(name: str, seed: int) -> int:
    """The seed of a planted fault's own drill."""
    return random.Random(f"{seed} {name}").randrange(1_000_000)


def seen_by(result: dict[str, Any], false_alarms: set[str]) -> list[str]:
    """Keys of the figures that saw a planted fault."""
    return sorted(result["failed"].keys() - false_alarms - _PROVES_NOTHING)


def table(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The results and the kill rate, as a Markdown table."""
    false_alarms = {key for result in results if result["name"] == HEALTHY for key in result["failed"]}
    if false_alarms:
        yield f"False alarms without a planted fault: {', '.join(sorted(false_alarms))}\n"
    planted = [result for result in results if result["name"] != HEALTHY]
    yield "| planted fault | rule | seen by | after |\n|---|---|---|---|"
    for result in planted:
        fault, figures = PLANTED[result["name"]], seen_by(result, false_alarms)
        seen = ", ".join(f"`{key}`" for key in figures) or result.get("error") or "not seen"
        yield f"| `{result['name']}`: {fault.what} | {fault.rule} | {seen} | {result['seconds']} s |"
    killed = sum(bool(seen_by(result, false_alarms)) for result in planted)
    yield f"\n{killed} of {len(planted)} seen: {100 * killed / max(1, len(planted)):.0f} %"


def main() -> None:
    """Run the drills that the command line names, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.drill.power", description=__doc__)
    parser.add_argument("names", nargs="*", help="planted faults; all by default")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, help="so many of the planted faults, drawn by the seed")
    parser.add_argument("--at-once", type=int, default=1, help="drills that run at the same time")
    parser.add_argument("--out", type=Path, default=Path(".drill/power.jsonl"))
    parser.add_argument("--work-dir", default=".drill/power")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        worlds = drawn(options.seed)
        one = DrillOptions(Path(options.work_dir), seed=options.seed, seconds=options.seconds, worlds=worlds)
        print(json.dumps(drill(options.one, one)))  # noqa: T201 - read by the parent
        return
    if options.sample:
        options.names = random.Random(f"{options.seed} power").sample(sorted(PLANTED), options.sample)
    if unknown := set(options.names) - {HEALTHY, *PLANTED}:
        parser.error(f"no such planted fault: {', '.join(sorted(unknown))}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_all)
    Path(options.work_dir).mkdir(parents=True, exist_ok=True)
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    results = [json.loads(line) for line in lines]
    there = {result["name"] for result in results}
    wanted = [name for name in [HEALTHY, *(options.names or PLANTED)] if name not in there]
    with ThreadPoolExecutor(options.at_once) as pool, options.out.open("a", encoding="utf-8") as out:
        for result in pool.map(lambda name: in_a_process(name, options), wanted):
            results.append(result)
            out.write(json.dumps(result) + "\n")
            out.flush()
            print(result["name"], sorted(result["failed"]) or result.get("error", "nothing"), flush=True)  # noqa: T201
    print("\n".join(table(results)))  # noqa: T201


if __name__ == "__main__":
    main()
