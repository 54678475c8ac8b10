"""Commands with a program of their own: loaded by name when they are called, for they need more than this one.

The program neither imports them nor gets slower by them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from campaign_ops.faces.cli.app import app


@dataclass(frozen=True)
class Beside:
    """One of them.

    Attributes:
        module: Holds ``app``, its typer program, and ``main(arguments, prog_name)``. It says in one line what it
            needs that is not installed.
        help: Its line in the list of commands.
    """

    module: str
    help: str


BESIDES = {
    "drill": Beside("campaign_ops.drill.cli", "Run the accidents that operators fear; print a scoreboard."),
}


def load(name: str) -> Any:
    """The module of a command."""
    return importlib.import_module(BESIDES[name].module)


def _entry_of(name: str) -> Callable[..., None]:
    def entry(
        arguments: Annotated[
            list[str] | None, typer.Argument(metavar="[OPTIONS]...", help="Its own; --help shows them.")
        ] = None,
    ) -> None:
        load(name).main(arguments or [], prog_name=f"campaign-ops {name}")

    entry.__doc__ = BESIDES[name].help
    return entry


for _name in BESIDES:
    # Whatever follows the name is the command's own, --help too.
    app.command(
        _name, add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
    )(_entry_of(_name))
