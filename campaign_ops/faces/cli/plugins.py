"""Commands with a program and options of their own: ours, and those that other packages bring by their entry points.

An entry point of the group ``campaign_ops.commands`` names a sequence of `Plugin`. Its module must be cheap to import:
every command line imports it, for the list of commands in ``--help``.
Each program is loaded when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces.cli.exit_codes import ExitCode, exit_code_of
from campaign_ops.faces.cli.program import INDEX, Section, app
from campaign_ops.faces.cli.stopping import STOPPED, stop_code

GROUP = "campaign_ops.commands"


@dataclass(frozen=True)
class Plugin:
    """One command with a program and options of its own.

    Attributes:
        name: The command as typed.
        help: Its line in the list of commands.
        extra: The extra of this package that installs its dependencies; empty where the base install is enough.
        load: Imports the program and returns it. When a package is missing, one line names the extra.
        section: Where the help lists it.
    """

    name: str
    help: str
    extra: str
    load: Callable[[], typer.Typer]
    section: Section = Section.SET_UP


def _init() -> typer.Typer:
    from campaign_ops.faces.cli.init import app as program  # noqa: PLC0415 - called once in a platform's life

    return program


def _watch() -> typer.Typer:
    from campaign_ops.faces.cli.watch import app as program  # noqa: PLC0415 - apprise takes a second to load

    return program


def _serve() -> typer.Typer:
    from campaign_ops.faces.cli.serve import app as program  # noqa: PLC0415 - an extra, and half a second to load

    return program


def _own(name: str, extra: str, load: Callable[[], typer.Typer]) -> Plugin:
    return Plugin(name, INDEX[name].summary, extra, load, INDEX[name].section)


_OURS = (_own("init", "", _init), _own("watch", "", _watch), _own("serve", "http", _serve))
PLUGINS: dict[str, Plugin] = {
    plugin.name: plugin
    for plugin in [*_OURS, *(brought for point in entry_points(group=GROUP) for brought in point.load())]
}
"""Every such command by its name."""


def run(plugin: Plugin, arguments: list[str]) -> None:
    """Run a command with the arguments that follow its name, and exit with its code."""
    try:
        plugin.load()(args=arguments, prog_name=f"campaign-ops {plugin.name}")
    except KeyboardInterrupt as stop:
        ended = stop_code(stop)
        _stop(STOPPED[ended], ended)
    except ModuleNotFoundError as error:
        wanted = f"campaign_ops[{plugin.extra}]" if plugin.extra else "campaign_ops"
        mend = f"install it with: pip install '{wanted}'"
        _stop(f"error: {plugin.name} needs {error.name}, which is not installed; {mend}", ExitCode.SET_UP)
    except CampaignOpsError as error:
        _stop(f"error: {error}", exit_code_of(error))


def _stop(line: str, code: int) -> NoReturn:
    from rich.console import Console  # noqa: PLC0415 - a third of the time of --help

    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def _entry_of(plugin: Plugin) -> Callable[..., None]:
    def entry(
        arguments: Annotated[
            list[str] | None, typer.Argument(metavar="[OPTIONS]...", help="Options of its own; --help shows them.")
        ] = None,
    ) -> None:
        run(plugin, arguments or [])

    entry.__doc__ = plugin.help
    return entry


class _PluginCommand(TyperCommand):
    """Completes the options of the command's own program."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the completions of a word."""
        try:
            program: Any = typer.main.get_command(PLUGINS[str(self.name)].load())
        except ModuleNotFoundError:
            return []
        own: list[Any] = program.shell_complete(type(ctx)(program, parent=ctx.parent), incomplete)
        return own


for _plugin in PLUGINS.values():
    # Everything after the name belongs to the command, including --help.
    app.command(
        _plugin.name,
        cls=_PluginCommand,
        add_help_option=False,
        rich_help_panel=_plugin.section,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(_entry_of(_plugin))
