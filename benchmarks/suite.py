"""Runs the chosen measures on servers of their own: measures, prints, keeps, compares with the goals."""

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

from benchmarks.dataset import load, running
from benchmarks.options import MEASURES, SIZES
from benchmarks.rounds import say, table
from benchmarks.session import Goal, Session
from campaign_ops.lab.servers.embedded import EmbeddedServers


def run_suite(options: argparse.Namespace) -> None:
    """Run what `options.arguments` returned; servers and files are removed afterwards, however it ends."""
    with tempfile.TemporaryDirectory(prefix="campaign_ops_bench") as home, running(Path(home)) as servers:
        if options.profile:
            from benchmarks.profiling import profile  # noqa: PLC0415 - it patches what is measured

            profile(load(servers, SIZES[options.profile]), calm=options.calm)
        else:
            _measure(options, servers)


def _measure(options: argparse.Namespace, servers: EmbeddedServers) -> None:
    session = Session(
        servers,
        rounds=options.rounds,
        quick=options.quick,
        anchors=options.sizes,
        contestants=options.contestants,
        plot=options.plot,
    )
    machine = _machine(servers)
    say(", ".join(f"{key}: {value}" for key, value in machine.items()))
    lasts = "a few minutes at small sizes" if options.quick else "about an hour at the full sizes, with 8 GB of disk"
    say(f"measuring {', '.join(options.only)}; rounds: {options.rounds}. All measures take {lasts}, on two cores.")
    goals: list[Goal] = []
    figures: dict[str, Any] = {}
    for name in options.only:
        say(f"\n# {name}: {MEASURES[name].what}")
        result = importlib.import_module(f"benchmarks.{MEASURES[name].module}").measure(session)
        # Each goal is set for a full size.
        goals += [replace(goal, goal="", met=None) for goal in result.goals] if options.quick else result.goals
        figures[name] = result.figures
        if options.json:
            kept = {
                "machine": machine,
                "quick": options.quick,
                "goals": [goal.as_json() for goal in goals],
                "figures": figures,
            }
            options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if goals:
        _compare(goals, quick=options.quick)


def _compare(goals: list[Goal], *, quick: bool) -> None:
    if quick:
        say("\n# measured (--quick judges no goals: they are set for the full sizes)\n")
        say(table(("measure", "measured"), [(goal.what, goal.measured) for goal in goals]))
    else:
        words = {True: "met", False: "not met", None: ""}
        say("\n# goals\n")
        say(
            table(
                ("measure", "goal", "measured", ""),
                [(goal.what, goal.goal, goal.measured, words[goal.met]) for goal in goals],
            )
        )


def _machine(servers: EmbeddedServers) -> dict[str, Any]:
    with psycopg.connect(servers.postgres.url().replace("+psycopg", "")) as connection:
        version = connection.info.parameter_status("server_version")
    return {"cores": os.cpu_count(), "python": platform.python_version(), "postgresql": version}
