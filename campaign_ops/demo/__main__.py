"""`python -m campaign_ops.demo run|up`: what `make demo` and `make up` call."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.demo.run import run as run_demo
from campaign_ops.demo.up import up as bring_up

app = typer.Typer(add_completion=False, help="Stuck campaigns to play with, on embedded servers.")
WorkDir = Annotated[
    Path,
    typer.Option(
        help="Emptied first; reports and logs are left there. While another run uses it, one beside it is taken."
    ),
]


class Kind(StrEnum):
    """The kinds of platform that ship."""

    SMS = "sms"
    MESSENGER = "messenger"


@app.command()
def run(profile: Kind = Kind.SMS, work_dir: WorkDir = Path(".demo/run")) -> None:
    """Build stuck platforms, repair them with one Dagster run each, and tell what came of it."""
    raise typer.Exit(run_demo(profile.value, work_dir.resolve(), _console()))


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="Port of Dagster's web page; any free one unless given.")] = None,
    work_dir: WorkDir = Path(".demo/up"),
) -> None:
    """Start platforms that live and break, and Dagster that repairs them, until Ctrl-C."""
    raise typer.Exit(bring_up(work_dir.resolve(), port, _console()))


def _console() -> Console:
    return Console(highlight=False)


def main() -> None:
    """Run, and say what went wrong in one line."""
    try:
        app()
    except CampaignOpsError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
