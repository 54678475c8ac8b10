"""The program itself: the list of its commands, and its own help. Cheap to import.

The module of a command is imported when the command is called: with all of them, ``--help`` and each TAB took a second.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from campaign_ops import __version__
from campaign_ops.faces.cli.exit_codes import MEANINGS
from campaign_ops.faces.cli.stopping import stop_code, stop_on_sigterm, while_loading


class Section(StrEnum):
    """The sections of the list of commands, in their order."""

    LOOK = "Look"
    SWEEP = "Sweep"
    FIX = "Fix"
    SET_UP = "Set up"
    TRY = "Try it"


class Entry(NamedTuple):
    """One line of the list of commands.

    Attributes:
        section: Where the help lists it.
        module: The module of this package that registers it, or the commands that begin with this word.
        summary: The first sentence of its help.
    """

    section: Section
    module: str
    summary: str


INDEX: dict[str, Entry] = {
    "status": Entry(Section.LOOK, "status", "Show every campaign in sending: progress, verdict and reason."),
    "workers": Entry(
        Section.LOOK, "workers", "Show the workers of each queue: connected ones, their uptime, restarts."
    ),
    "report": Entry(Section.LOOK, "report", "Print the latest sweep's health report as Markdown."),
    "history": Entry(
        Section.LOOK, "history", "Show the journal: every repair, its reason, who made it, and how to undo it."
    ),
    "metrics": Entry(Section.LOOK, "metrics", "Print the metrics of all platforms in Prometheus' text format."),
    "incidents": Entry(
        Section.LOOK, "incidents", "Show the incidents: cause, since when, the campaigns behind it, the next step."
    ),
    "watch": Entry(Section.LOOK, "plugins", "Look at all platforms each minute and notify people, until SIGTERM."),
    "serve": Entry(Section.LOOK, "plugins", "Serve the HTTP API and the operator's console, until SIGTERM."),
    "reconcile": Entry(Section.SWEEP, "sweep", "Find stuck campaigns and repair what is safe to repair."),
    "plan": Entry(Section.SWEEP, "sweep", "Show what a sweep would do now, line by line, and why."),
    "acknowledge": Entry(Section.FIX, "incidents", "Take an incident on."),
    "silence": Entry(Section.FIX, "incidents", "Silence an incident for a time."),
    "resolve": Entry(Section.FIX, "incidents", "End an incident."),
    "mark-complete": Entry(Section.FIX, "fixes", "Complete a campaign in which nothing is pending."),
    "reenqueue": Entry(Section.FIX, "fixes", "Put a campaign's missing recipients back into the queue."),
    "release": Entry(Section.FIX, "fixes", "Release a reservation that is held for nothing."),
    "undo": Entry(Section.FIX, "fixes", "Undo one repair."),
    "send-again": Entry(
        Section.FIX,
        "fixes",
        "Put a campaign's ambiguous recipients back into the queue, although they may get the message twice.",
    ),
    "take-as-sent": Entry(
        Section.FIX, "fixes", "Record a campaign's ambiguous recipients as sent, although they may have got nothing."
    ),
    "retry-quarantined": Entry(Section.FIX, "fixes", "Let sweeps repair a quarantined or held campaign again."),
    "bind": Entry(Section.FIX, "fixes", "Accept the configured queues as the place of a campaign table's jobs."),
    "init": Entry(Section.SET_UP, "plugins", "Draft a platform's configuration from its database, and judge it."),
    "config": Entry(Section.SET_UP, "config", "Check the configuration file and show it."),
    "doctor": Entry(Section.SET_UP, "doctor", "Check that a platform is ready to be swept."),
    "migrate": Entry(Section.SET_UP, "migrate", "Create schema campaign_ops, or upgrade it."),
    "token": Entry(Section.SET_UP, "tokens", "Create, list and revoke the tokens of the HTTP interface."),
    "notify": Entry(Section.SET_UP, "notify", "Send the notifications that are due, or a test message."),
}
"""Every command of this package, by its name or the first of its two words, in the order of the help."""


def load(name: str) -> None:
    """Import the module that registers a command."""
    import_module(f"{__package__}.{INDEX[name].module}")


class Group(TyperGroup):
    """Lists its commands by section, each with its whole first sentence.

    Click cuts them at the width of the screen: "Put a campaign's ambiguous recipients back into the queue..." lost
    that they may get the message twice.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as its base class has it
        """Write the sections."""
        width = max(map(len, self.commands))
        listed: dict[str, list[tuple[str, str]]] = {}
        for name, member in self.commands.items():
            section = getattr(member, "rich_help_panel", None) or "Commands"
            listed.setdefault(section, []).append((name.ljust(width), summary_of(member.help)))
        for section in filter(listed.get, (*Section, "Commands")):
            with formatter.section(section):
                formatter.write_dl(listed[section])


class _Program(Group):
    """The program; a command of the index takes the place of its entry when it is called."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        entries = {
            name: TyperCommand(name, help=entry.summary, rich_help_panel=entry.section) for name, entry in INDEX.items()
        }
        self.commands = {**entries, **self.commands}
        self._only_names = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, its module imported."""
        member = super().get_command(ctx, cmd_name)
        if self._only_names or member is None or cmd_name not in INDEX:
            return member
        with while_loading():
            load(cmd_name)
        registered: Any = typer.main.get_command(app)
        return registered.commands[cmd_name]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the completions of a command's name; none is imported for it."""
        self._only_names = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._only_names = False

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as its base class has it
        """Write the exit codes, below the list of all commands."""
        with formatter.section("Exit codes (of several platforms, the lowest that is not 0)"):
            formatter.write_dl([(str(code.value), meaning) for code, meaning in MEANINGS.items()])


def summary_of(text: str | None) -> str:
    """The first paragraph of a help text."""
    return " ".join((text or "").partition("\n\n")[0].split())


# Plain help: it is also read in pipes and mails, and square brackets in it are not markup.
app = typer.Typer(
    name="campaign-ops",
    help="Find, explain and repair campaigns that are stuck in sending.",
    cls=_Program,
    rich_markup_mode=None,
    context_settings={"max_content_width": 110},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"campaign-ops {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _show_version(wanted=wanted),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Find, explain and repair campaigns that are stuck in sending."""


def main() -> None:
    """Run the program."""
    stop_on_sigterm()
    try:
        app(prog_name="campaign-ops")
    except KeyboardInterrupt as stop:  # before a command begins, or after its end
        sys.exit(stop_code(stop))
    except BrokenPipeError:
        raise
    except OSError as error:  # a command words its own; this is --help on a full disk
        sys.exit(f"error: {error.strerror}")
