"""How a function becomes a command with the options that every command has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import typer

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.exit_codes import ExitCode, exit_code_of
from campaign_ops.faces.cli.program import INDEX, Group, Section, app
from campaign_ops.faces.cli.runner import Answer, Command, Common, Run, gravest_of
from campaign_ops.faces.cli.stopping import STOPPED, stop_code

LOADED: dict[str, Command] = {}
"""The commands that have been loaded, by name; `commands` has all of them."""
GROUPS: dict[str, typer.Typer] = {}
"""The programs of commands in two words, by the first."""


def verbatim(title: str, lines: Sequence[str]) -> str:
    """A block of help text that is not wrapped."""
    return "\b\n" + "\n".join([f"{title}:", *(f"  {line}" for line in lines)])


def command(
    *,
    shape: type,
    examples: Sequence[str],
    name: str = "",
    several: bool = False,
    together: Callable[[Sequence[shapes.PlatformOutcome]], str] | None = None,
    exit_code: Callable[[Sequence[shapes.PlatformOutcome]], ExitCode] = gravest_of,
) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Make a command of a function that takes a `Call` and options of its own.

    A parameter whose type is a dataclass stands for a group of options, one for each field.

    Args:
        shape: The typed dictionary of its result.
        examples: Command lines without the program's name, for the help.
        name: As it is typed, in two words for a command of a group; by default the function's name.
        several: Whether it takes all platforms when none is named.
        together: Makes the text from the outcomes of all platforms, where it is not one platform after the other.
        exit_code: Makes the exit code from the outcomes of all platforms, where it is not the gravest.
    """

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        typed = name or function.__name__.replace("_", "-")
        hints = get_type_hints(function, include_extras=True)
        _, *own = inspect.signature(function).parameters.values()
        groups = {option.name: hints[option.name] for option in own if is_dataclass(hints[option.name])}
        program_examples = tuple(f"campaign-ops {example}" for example in examples)
        called = _grouping(function, groups)
        entry = INDEX[typed.split()[0]]
        registered = Command(typed, entry.section, called, several, shape, program_examples, together, exit_code)
        LOADED[typed] = registered
        parameters = [
            option.replace(annotation=hints[option.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for option in own
            if option.name not in groups
        ]
        for group in (*groups.values(), Common):
            parameters += _options_of(group)
        group, _, last = typed.rpartition(" ")
        program = GROUPS[group] if group else app
        panel = None if group else entry.section
        program.command(last, epilog=verbatim("Examples", registered.examples), rich_help_panel=panel)(
            _entry_of(registered, parameters)
        )
        return function

    return register


def group(name: str) -> None:
    """Make a group of commands, such as ``token`` of ``token list``."""
    entry = INDEX[name]
    GROUPS[name] = typer.Typer(help=entry.summary, cls=Group, rich_markup_mode=None, no_args_is_help=True)
    app.add_typer(GROUPS[name], name=name, rich_help_panel=entry.section)


def help_of(command: Command) -> str:
    """The help text of a command; for a manual fix, also whether it can be undone."""
    text = inspect.getdoc(command.function) or ""
    if command.section != Section.FIX:
        return text
    from campaign_ops.fixes.table import FIXES  # noqa: PLC0415 - imports every fix, and other commands need none

    return f"{text}\n\nIt {FIXES[command.name].undoing}." if command.name in FIXES else text


def _grouping(function: Callable[..., Answer], groups: Mapping[str, Any]) -> Callable[..., Answer]:
    """The function, called with plain options: those of each group are put into its dataclass."""

    @functools.wraps(function)
    def with_plain_options(call: Any, **values: Any) -> Answer:
        filled = {name: _take(group, values) for name, group in groups.items()}
        return function(call, **values, **filled)

    return with_plain_options


def _take(group: Any, values: dict[str, Any]) -> Any:
    """An option group, filled from the values, which lose what it takes."""
    return group(**{field.name: values.pop(field.name) for field in fields(group)})


def _options_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]


def _entry_of(command: Command, parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """The function that typer calls: its signature lists every option of the command."""

    def entry(**values: Any) -> None:
        run = Run(command, _take(Common, values))
        try:
            code = run.execute(values)
        except KeyboardInterrupt as stop:
            ended = stop_code(stop)
            run.screen.error(f"{STOPPED[ended]}; what was done stands, and the next sweep continues from there")
            raise typer.Exit(ended) from None
        except CampaignOpsError as error:
            run.screen.error(str(error))
            raise typer.Exit(exit_code_of(error).value) from None
        raise typer.Exit(code.value)

    entry.__doc__ = help_of(command)
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    entry.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return entry
