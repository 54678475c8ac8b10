"""Builds the data, measures, prints, compares with the goals. ``python -m benchmarks --help`` says how."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.bench import Bench, Goal
from benchmarks.ground import lay, running
from benchmarks.rounds import say, table
from benchmarks.sizes import ANCHORS, TINY
from benchmarks.versus import EVERYBODY
from campaign_ops.demo.servers import EmbeddedServers

# In this order: `idle` and `indexes` use the large ground that `growth` lays, and `indexes` spoils it.
MEASURES = {
    "sweep": "versus",
    "memory": "memory",
    "statements": "statements",
    "locks": "locks",
    "dagster": "dagster_run",
    "growth": "growth",
    "idle": "idle",
    "indexes": "indexes",
}
SIZES = {**ANCHORS, "tiny": TINY}


def arguments() -> argparse.Namespace:
    """What the caller wants."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure sweeps on embedded servers.")
    parser.add_argument("--only", default=",".join(MEASURES), help=f"measures, by comma: {', '.join(MEASURES)}")
    parser.add_argument("--sizes", default=",".join(ANCHORS), help="anchor sizes of the measure sweep, by comma")
    parser.add_argument("--who", default=",".join(EVERYBODY), help=f"who takes part in it: {', '.join(EVERYBODY)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (5)")
    parser.add_argument("--quick", action="store_true", help="small sizes: everything works, the figures say nothing")
    parser.add_argument("--json", type=Path, help="keep all figures in this file")
    parser.add_argument("--plot", type=Path, help="draw the plot of growth into this PNG file")
    parser.add_argument("--profile", choices=SIZES, help="take one sweep of this size apart instead of measuring")
    parser.add_argument("--calm", action="store_true", help="with --profile: nothing is stuck")
    return parser.parse_args()


def main() -> None:
    """Measure, or take one sweep apart."""
    wanted = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are stopped, as after Ctrl-C
    with tempfile.TemporaryDirectory(prefix="campaign_ops_bench") as home, running(Path(home)) as servers:
        if wanted.profile:
            from benchmarks.profiling import profile  # noqa: PLC0415 - it patches what is measured

            profile(lay(servers, SIZES[wanted.profile]), calm=wanted.calm)
        else:
            _measure(wanted, servers)


def _measure(wanted: argparse.Namespace, servers: EmbeddedServers) -> None:
    bench = Bench(
        servers,
        rounds=wanted.rounds,
        quick=wanted.quick,
        anchors=wanted.sizes.split(","),
        who=wanted.who.split(","),
        plot=wanted.plot,
    )
    machine = _machine(servers)
    say(", ".join(f"{key}: {value}" for key, value in machine.items()))
    goals: list[Goal] = []
    figures: dict[str, Any] = {}
    for name in (name for name in MEASURES if name in wanted.only.split(",")):
        result = importlib.import_module(f"benchmarks.{MEASURES[name]}").measure(bench)
        goals += result.goals
        figures[name] = result.figures
        if wanted.json:
            kept = {"machine": machine, "goals": [goal.as_json() for goal in goals], "figures": figures}
            wanted.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    say("\ngoals\n")
    words = {True: "met", False: "not met", None: ""} if not wanted.quick else {}
    say(
        table(
            ("measure", "goal", "found", ""), [(one.what, one.goal, one.found, words.get(one.met, "")) for one in goals]
        )
    )


def _machine(servers: EmbeddedServers) -> dict[str, Any]:
    with psycopg.connect(servers.postgres.url().replace("+psycopg", "")) as connection:
        version = connection.info.parameter_status("server_version")
    return {"cores": os.cpu_count(), "python": platform.python_version(), "postgresql": version}


if __name__ == "__main__":
    main()
