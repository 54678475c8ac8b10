"""The command lines of the demo: ``campaign-ops demo`` and ``campaign-ops up``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign_ops.faces.cli.stopping import INTERRUPTED
from campaign_ops.lab.demo.demo import run_demo
from campaign_ops.lab.demo.up import up as bring_up

WorkDir = Annotated[
    Path,
    typer.Option(
        metavar="PATH",
        help="Directory for reports and logs, emptied first; while another run uses it, one next to it is used.",
    ),
]


class Kind(StrEnum):
    """The kinds of platform that ship."""

    SMS = "sms"
    MESSENGER = "messenger"


def _program() -> typer.Typer:
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


demo, up = _program(), _program()


@demo.command("demo")
def _demo(
    *,
    profile: Annotated[Kind, typer.Option(metavar="KIND", help=f"The kind of platform: {', '.join(Kind)}.")] = Kind.SMS,
    keep: Annotated[
        bool | None,
        typer.Option(
            "--keep/--no-keep",
            help="Leave the servers running until Ctrl-C, to try commands on the data. Default: on a terminal.",
        ),
    ] = None,
    work_dir: WorkDir = Path(".demo/run"),
) -> None:
    """Build stuck platforms on embedded servers, repair each with one Dagster run, and print what changed.

    Ends with three commands to try on its data.
    """
    kept = sys.stdin.isatty() and sys.stdout.isatty() if keep is None else keep
    _exit_with(lambda console: run_demo(profile.value, work_dir.resolve(), console, keep=kept))


@up.command("up")
def _up(
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port of Dagster's web page; default: any free port.")
    ] = None,
    work_dir: WorkDir = Path(".demo/up"),
) -> None:
    """Run platforms with traffic and faults on embedded servers, and Dagster, which repairs them, until Ctrl-C."""
    _exit_with(lambda console: bring_up(work_dir.resolve(), port, console))


def _exit_with(work: Callable[[Console], int]) -> None:
    try:
        code = work(Console(highlight=False))
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        code = INTERRUPTED
    raise typer.Exit(code)
