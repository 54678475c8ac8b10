"""The program's frame: how a plain function becomes a command with the options that every command has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

import typer

from campaign_ops import __version__
from campaign_ops.core.undoing import KIND_OF_FIX, UNDOING
from campaign_ops.faces.cli import shapes
from campaign_ops.faces.cli.exit_codes import MEANINGS
from campaign_ops.faces.cli.runner import Answer, Command, Common, Run

INTERRUPTED = 130

COMMANDS: dict[str, Command] = {}
"""Every command by its name, in the order of the help."""


def verbatim(title: str, lines: Sequence[str]) -> str:
    """A block of help text that is not wrapped."""
    return "\b\n" + "\n".join([f"{title}:", *(f"  {line}" for line in lines)])


_EXITS = [f"{code.value}  {meaning}" for code, meaning in MEANINGS.items()]

# Plain help: what follows a command is read in pipes and mails too, and brackets in it are not markup.
app = typer.Typer(
    name="campaign-ops",
    help="Find, explain and repair campaigns that are stuck in sending.",
    epilog=verbatim("Exit codes (of several platforms, the lowest that is not 0)", _EXITS),
    rich_markup_mode=None,
    add_completion=False,
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


def command(
    *,
    shape: type,
    examples: Sequence[str],
    several: bool = False,
    together: Callable[[Sequence[shapes.PlatformOutcome]], str] | None = None,
) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Make a command of a function that takes a `Call` and its own options.

    Args:
        shape: The typed dictionary of its result.
        examples: Command lines without the program's name, for the help.
        several: Whether it takes all platforms when none is named.
        together: Makes the text from the outcomes of all platforms, where it is not one platform after the other.
    """

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        name = function.__name__.replace("_", "-")
        examples_typed = tuple(f"campaign-ops {example}" for example in examples)
        made = Command(name, function, several, shape, examples_typed, together)
        COMMANDS[name] = made
        app.command(name, epilog=verbatim("Examples", made.examples))(_entry_of(made))
        return function

    return register


def help_of(made: Command) -> str:
    """What the help says of a command; of a fix by hand, also whether it can be undone."""
    text = inspect.getdoc(made.function) or ""
    return f"{text}\n\nIt {UNDOING[KIND_OF_FIX[made.name]]}." if made.name in KIND_OF_FIX else text


def _entry_of(made: Command) -> Callable[..., None]:
    """What typer sees: the function's own parameters and the common ones, in place of the call."""
    common = get_type_hints(Common, include_extras=True)
    hints = get_type_hints(made.function, include_extras=True)
    _, *own = inspect.signature(made.function).parameters.values()

    def entry(**values: Any) -> None:
        run = Run(made, Common(**{name: values.pop(name) for name in common}))
        try:
            code = run.execute(values)
        except KeyboardInterrupt:
            run.screen.error("interrupted; what was done stands, and the next sweep goes on from there")
            raise typer.Exit(INTERRUPTED) from None
        raise typer.Exit(code.value)

    parameters = [one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    parameters += [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=common[one.name])
        for one in fields(Common)
    ]
    entry.__doc__ = help_of(made)
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    entry.__annotations__ = {one.name: one.annotation for one in parameters}
    return entry


def main() -> None:
    """Run the program."""
    app(prog_name="campaign-ops")
