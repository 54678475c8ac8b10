"""Everything that was asked for, on servers of its own: measured, printed, kept, compared with the goals."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.bench import Bench, Goal
from benchmarks.ground import lay, running
from benchmarks.options import MEASURES, SIZES
from benchmarks.rounds import say, table
from campaign_ops.lab.servers.embedded import EmbeddedServers


def run(wanted: argparse.Namespace) -> None:
    """Do what `options.arguments` returned; servers and files are gone afterwards, however it ends."""
    with tempfile.TemporaryDirectory(prefix="campaign_ops_bench") as home, running(Path(home)) as servers:
        if wanted.profile:
            from benchmarks.profiling import profile  # noqa: PLC0415 - it patches what is measured

            profile(lay(servers, SIZES[wanted.profile]), calm=wanted.calm)
        else:
            _measure(wanted, servers)


def _measure(wanted: argparse.Namespace, servers: EmbeddedServers) -> None:
    bench = Bench(
        servers, rounds=wanted.rounds, quick=wanted.quick, anchors=wanted.sizes, who=wanted.who, plot=wanted.plot
    )
    machine = _machine(servers)
    say(", ".join(f"{key}: {value}" for key, value in machine.items()))
    lasts = "a few minutes at small sizes" if wanted.quick else "about an hour at the full sizes, with 8 GB of disk"
    say(f"measuring {', '.join(wanted.only)}; rounds: {wanted.rounds}. All measures take {lasts}, on two cores.")
    goals: list[Goal] = []
    figures: dict[str, Any] = {}
    for name in wanted.only:
        say(f"\n# {name}: {MEASURES[name].what}")
        result = importlib.import_module(f"benchmarks.{MEASURES[name].module}").measure(bench)
        # Each goal is set for a full size.
        goals += [replace(goal, goal="", met=None) for goal in result.goals] if wanted.quick else result.goals
        figures[name] = result.figures
        if wanted.json:
            kept = {
                "machine": machine,
                "quick": wanted.quick,
                "goals": [goal.as_json() for goal in goals],
                "figures": figures,
            }
            wanted.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if goals:
        _compare(goals, quick=wanted.quick)


def _compare(goals: list[Goal], *, quick: bool) -> None:
    if quick:
        say("\n# found (--quick judges no goals: they are set for the full sizes)\n")
        say(table(("measure", "found"), [(one.what, one.found) for one in goals]))
    else:
        words = {True: "met", False: "not met", None: ""}
        say("\n# goals\n")
        say(table(("measure", "goal", "found", ""), [(one.what, one.goal, one.found, words[one.met]) for one in goals]))


def _machine(servers: EmbeddedServers) -> dict[str, Any]:
    with psycopg.connect(servers.postgres.url().replace("+psycopg", "")) as connection:
        version = connection.info.parameter_status("server_version")
    return {"cores": os.cpu_count(), "python": platform.python_version(), "postgresql": version}
