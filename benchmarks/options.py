"""The command line: its options, and what is refused before anything starts. Measures nothing."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from benchmarks.comparison import CONTESTANTS
from benchmarks.sizes import ANCHORS, TINY


@dataclass(frozen=True, slots=True)
class Measure:
    """A module with a function ``measure``, and what it measures, in words."""

    module: str
    what: str


# In this order: `idle` and `indexes` use the large dataset that `growth` loads, and `indexes` spoils it.
MEASURES = {
    "sweep": Measure(
        "comparison", "the sweep against the floor, the least code by hand, and against conventional jobs"
    ),
    "memory": Measure("memory", "the peak memory of each contestant"),
    "statements": Measure("statements", "the statements that a sweep sends"),
    "locks": Measure("locks", "what a sweep locks, and how long the application waits for it"),
    "watch": Measure("watching", "a scrape of the metrics and a tick of the watcher, without a past and after 90 days"),
    "serve": Measure("serving", "the console with 50 people and a scraper over 10,000 campaigns, and sweeps beside it"),
    "dagster": Measure("dagster_run", "the Dagster run against a run of assets that do nothing"),
    "runs": Measure("fresh_runs", "the CPU of a run's process by the number of platforms, and that of the code server"),
    "workers": Measure("workers", "sweeps of 20 and 200 platforms at once: processes against workers of Celery"),
    "growth": Measure("growth", "how the time grows with what is stuck, with live jobs, and with what is not stuck"),
    "one": Measure(
        "one_platform", "one very large platform: up to 100,000 stuck campaigns, with the limits as shipped"
    ),
    "idle": Measure("idle", "a sweep that finds nothing"),
    "latency": Measure("latency", "a sweep 20 ms from PostgreSQL and 200 ms from Redis, and its round trips"),
    "indexes": Measure("indexes", "what each index that the doctor advises is worth"),
}
SIZES = {**ANCHORS, "tiny": TINY}
ROUNDS, QUICK_ROUNDS = 5, 1

_NOT_WITH_PROFILE = ("only", "sizes", "contestants", "rounds", "quick", "json", "plot")
_NEEDED_BY = {"sizes": "sweep", "contestants": "sweep", "plot": "growth"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line; the usage, which argparse would print above it, is in --help."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line, every default filled in; end the process with code 2 where it makes no sense."""
    parser = _Parser(prog="python -m benchmarks", description="Measure sweeps on embedded servers.")
    parser.add_argument("--only", type=_some_of(MEASURES), help=f"measures, by comma: {', '.join(MEASURES)}")
    parser.add_argument("--sizes", type=_some_of(ANCHORS), help=f"sizes of the measure sweep: {', '.join(ANCHORS)}")
    parser.add_argument(
        "--contestants", type=_some_of(CONTESTANTS), help=f"contestants of the measure sweep: {', '.join(CONTESTANTS)}"
    )
    parser.add_argument("--rounds", type=_rounds, help=f"counted rounds ({ROUNDS}; with --quick {QUICK_ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="small sizes: everything works, the figures say nothing")
    parser.add_argument("--json", type=_file, help="keep all figures in this file")
    parser.add_argument("--plot", type=_png, help="draw the plot of growth into this PNG file")
    parser.add_argument("--profile", choices=SIZES, help="profile one sweep of this size instead of measuring")
    parser.add_argument("--calm", action="store_true", help="with --profile: nothing is stuck")
    wanted = parser.parse_args(argv)
    _refuse_ignored_options(parser, wanted)
    wanted.only = [name for name in MEASURES if name in (wanted.only or MEASURES)]
    wanted.sizes = wanted.sizes or list(ANCHORS)
    wanted.contestants = wanted.contestants or list(CONTESTANTS)
    wanted.rounds = wanted.rounds or (QUICK_ROUNDS if wanted.quick else ROUNDS)
    return wanted


def _refuse_ignored_options(parser: argparse.ArgumentParser, wanted: argparse.Namespace) -> None:
    if wanted.profile:
        for name in _NOT_WITH_PROFILE:
            if getattr(wanted, name):
                parser.error(f"argument --{name}: not with --profile, which profiles one sweep and measures nothing")
    elif wanted.calm:
        parser.error(f"argument --calm: only with --profile (one of: {', '.join(SIZES)})")
    for name, measure in _NEEDED_BY.items():
        if getattr(wanted, name) and wanted.only and measure not in wanted.only:
            parser.error(f"argument --{name}: only with the measure {measure}, which --only leaves out")


def _some_of(choices: Iterable[str]) -> Callable[[str], list[str]]:
    def _names(text: str) -> list[str]:
        names = list(dict.fromkeys(name.strip() for name in text.split(",")))
        for name in names:
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name!r} is none of: {', '.join(choices)}")
        return names

    return _names


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds: write 1 or more")
    return int(text)


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir():  # so is ''
        raise argparse.ArgumentTypeError(f"{text!r} is a directory: name a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {str(path.parent)!r}: make it, or name another file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: name another file")
    return path


def _png(text: str) -> Path:
    path = _file(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text!r} is not a PNG file: let its name end in .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("matplotlib is not installed: pip install 'campaign_ops[lab]'")
    return path
