"""docs/cli.md, generated from the program itself, so that the two cannot differ.

Regenerate it with ``python -m campaign_ops.faces.cli.describe > docs/cli.md``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer
from typing_extensions import is_typeddict

from campaign_ops.core.markdown import table
from campaign_ops.faces import shapes
from campaign_ops.faces.cli import app
from campaign_ops.faces.cli.command import help_of
from campaign_ops.faces.cli.commands import COMMANDS
from campaign_ops.faces.cli.exit_codes import MEANINGS
from campaign_ops.faces.cli.plugins import PLUGINS, Plugin
from campaign_ops.faces.cli.program import Section
from campaign_ops.faces.cli.runner import Command, Common
from campaign_ops.faces.cli.stopping import STOPPED

_INTRODUCTION = """\
# The command line

`campaign-ops` does on request what the pipeline does automatically. It connects to the platforms directly, so it works
while Dagster is down. `campaign-ops COMMAND --help` shows the same text as this page.

- Answers go to stdout; errors, logs and progress go to stderr. In a pipe nothing is coloured or wrapped: one row is one
  line.
- A command that takes every platform continues with the others when one is down or its entry is broken; the exit code
  shows it.
- `campaign-ops --install-completion` lets your shell (bash, zsh, fish, PowerShell) complete commands and options.
- Names and texts of campaigns are foreign data: control characters in them are shown as escapes, such as `\\x1b`.
"""

_JSON = """\
## JSON

With `--json`, stdout is exactly one `Document`; it is empty only when the command line is wrong (exit code 2). Keys may
be added; none is removed or renamed. Durations are seconds, moments are ISO 8601 in UTC, amounts of credits are decimal
strings. Everything outside ASCII is escaped.
"""


def describe_cli() -> str:
    """The page, as Markdown."""
    group: Any = typer.main.get_command(app)
    common = {field.name for field in fields(Common)}
    parts = [_INTRODUCTION, "## Commands\n", _overview(), "## Exit codes\n", _exit_codes()]
    parts.append("## Options of every command\n")
    first = program_of(group, next(iter(COMMANDS)))
    parts.append(_options(param for param in first.params if param.name in common))
    for name, command in COMMANDS.items():
        parts += _command(command, [param for param in program_of(group, name).params if param.name not in common])
    parts += map(_plugin, PLUGINS.values())
    parts.append(_JSON)
    results = dict.fromkeys(command.shape for command in COMMANDS.values())
    parts += map(_shape, _reached([shapes.Document, *results]))
    return "\n".join(parts)


def program_of(group: Any, name: str) -> Any:
    """The program of a command; of one in two words, inside the group that the first names."""
    for word in name.split():
        group = group.commands[word]
    return group


def _overview() -> str:
    commands = [(command.section, command.name) for command in COMMANDS.values()]
    commands += [(plugin.section, plugin.name) for plugin in PLUGINS.values()]
    links = [(section, f"[`{name}`](#{name.replace(' ', '-')})") for section, name in commands]
    return "".join(
        f"- **{section}**: {', '.join(link for listed, link in links if listed == section)}\n" for section in Section
    )


def _exit_codes() -> str:
    rows = [[str(code.value), meaning] for code, meaning in MEANINGS.items()]
    rows += [[str(code), f"{how}; what was done stays done"] for code, how in STOPPED.items()]
    return f"{table(['code', 'meaning'], rows)}\n\nOf several platforms, the lowest code that is not 0 counts.\n"


def _command(command: Command, own: Sequence[Any]) -> Iterator[str]:
    arguments = [param.metavar for param in own if param.param_type_name == "argument"]
    yield f"## {command.name}\n"
    yield f"```\n{' '.join(['campaign-ops', command.name, *arguments, '[OPTIONS]'])}\n```\n"
    yield f"{help_of(command)}\n"
    if own:
        yield _options(own)
    which = "every platform, unless `--platform` names one" if command.several else "one platform"
    result = f"[{command.shape.__name__}](#{command.shape.__name__.lower()})"
    yield f"Takes {which}. With `--json`, its `result` is a {result}.\n"
    yield "```sh\n" + "\n".join(command.examples) + "\n```\n"


def _plugin(plugin: Plugin) -> str:
    """A command with a program and options of its own."""
    program: Any = typer.main.get_command(plugin.load())
    arguments = [f"[{param.metavar}]" for param in program.params if param.param_type_name == "argument"]
    usage = f"```\n{' '.join(['campaign-ops', plugin.name, *arguments, '[OPTIONS]'])}\n```\n"
    own = _options(param for param in program.params if param.name != "help")
    extra = f"Needs the extra `{plugin.extra}`. " if plugin.extra else ""
    needs = f"{extra}Takes its own options only."
    return f"## {plugin.name}\n\n{usage}\n{inspect.cleandoc(program.help)}\n\n{needs}\n\n{own}"


def _options(params: Iterable[Any]) -> str:
    rows = []
    for param in params:
        spellings = [*param.opts, *param.secondary_opts]
        value = "" if getattr(param, "is_flag", False) else f" {param.metavar}"
        names = [param.metavar] if param.param_type_name == "argument" else [f"{option}{value}" for option in spellings]
        default = "" if param.default in (None, "", False) else f"`{param.default}`"
        rows.append(
            [", ".join(f"`{name}`" for name in names), param.help or "", "required" if param.required else default]
        )
    return table(["option", "meaning", "default"], rows) + "\n"


def _reached(shapes_to_show: Iterable[Any]) -> list[type]:
    """The typed dictionaries and those inside them, each once, in the order of first mention."""
    reached: dict[type, None] = {}
    for shape in shapes_to_show:
        if is_typeddict(shape):
            reached[shape] = None
            reached |= dict.fromkeys(_reached(part for hint in get_type_hints(shape).values() for part in _parts(hint)))
    return list(reached)


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for argument in get_args(hint):
        yield from _parts(argument)


def _shape(shape: type) -> str:
    rows = []
    for key, hint in get_type_hints(shape, include_extras=True).items():
        kind, meaning = get_args(hint)
        rows.append([f"`{key}`", _words(kind), meaning])
    return f"### {shape.__name__}\n\n{inspect.getdoc(shape)}\n\n{table(['key', 'type', 'meaning'], rows, cell=str)}\n"


_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    NoneType: "null",
    object: "any",
}


def _words(kind: Any) -> str:
    """A type in the words of a reader of JSON."""
    if is_typeddict(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if get_origin(kind) is list:
        return f"list of {_words(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return f"mapping of text to {_words(get_args(kind)[1])}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_words, get_args(kind)))
    return _WORDS[kind]


if __name__ == "__main__":
    sys.stdout.write(describe_cli())
