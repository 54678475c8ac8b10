"""docs/cli.md, made from the program itself, so that neither can say what the other does not.

Write it anew with ``python -m campaign_ops.faces.cli.describe > docs/cli.md``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import typer

from campaign_ops.core.report import table
from campaign_ops.faces.cli import app, shapes
from campaign_ops.faces.cli.app import COMMANDS, INTERRUPTED, help_of
from campaign_ops.faces.cli.exit_codes import MEANINGS
from campaign_ops.faces.cli.plugins import PLUGINS, Plugin
from campaign_ops.faces.cli.runner import Command, Common

_INTRODUCTION = """\
# The command line

`campaign-ops` does by hand what the pipeline does by itself. It speaks to the platforms directly, so it works while
Dagster is down. `campaign-ops COMMAND --help` says the same as this page.

- Text goes to stdout; errors, logs and progress go to stderr. In a pipe nothing is coloured or wrapped: one row is one
  line.
- A command that takes every platform goes on with the others when one is down or its entry is broken; the exit code
  tells.
- Names and texts of campaigns are other people's data: control characters in them are shown as escapes, such as
  `\\x1b`.
"""

_JSON = """\
## JSON

With `--json`, stdout holds exactly one `Document` and nothing else; only a command line that cannot be understood (exit
code 2) leaves it empty. Keys may be added; none is taken away or renamed. Times are seconds, moments ISO 8601 in UTC,
amounts of credits decimal strings. Everything outside ASCII is escaped.
"""


def describe_cli() -> str:
    """The page, as Markdown."""
    group: Any = typer.main.get_command(app)
    common = {one.name for one in fields(Common)}
    parts = [_INTRODUCTION, "## Exit codes\n", _exit_codes(), "## Options of every command\n"]
    first = group.commands[next(iter(COMMANDS))]
    parts.append(_options(one for one in first.params if one.name in common))
    for name, made in COMMANDS.items():
        parts += _command(made, [one for one in group.commands[name].params if one.name not in common])
    parts += map(_plugin, PLUGINS.values())
    parts.append(_JSON)
    results = dict.fromkeys(made.shape for made in COMMANDS.values())
    parts += map(_shape, _reached([shapes.Document, *results]))
    return "\n".join(parts)


def _exit_codes() -> str:
    rows = [[str(code.value), meaning] for code, meaning in MEANINGS.items()]
    rows.append([str(INTERRUPTED), "interrupted; what was done stands"])
    return f"{table(['code', 'meaning'], rows)}\n\nOf several platforms, the lowest code that is not 0 counts.\n"


def _command(made: Command, own: Sequence[Any]) -> Iterator[str]:
    arguments = [one.metavar for one in own if one.param_type_name == "argument"]
    yield f"## {made.name}\n"
    yield f"```\n{' '.join(['campaign-ops', made.name, *arguments, '[OPTIONS]'])}\n```\n"
    yield f"{help_of(made)}\n"
    if own:
        yield _options(own)
    which = "every platform, unless `--platform` names one" if made.several else "one platform"
    yield f"Takes {which}. With `--json`, its `result` is a [{made.shape.__name__}](#{made.shape.__name__.lower()}).\n"
    yield "```sh\n" + "\n".join(made.examples) + "\n```\n"


def _plugin(plugin: Plugin) -> str:
    """A command with a program and options of its own."""
    made: Any = typer.main.get_command(plugin.load())
    usage = f"```\ncampaign-ops {plugin.name} [OPTIONS]\n```\n"
    own = _options(one for one in made.params if one.name != "help")
    needs = f"Needs the extra `{plugin.extra}`. Has options of its own, and no others."
    return f"## {plugin.name}\n\n{usage}\n{inspect.cleandoc(made.help)}\n\n{needs}\n\n{own}"


def _options(params: Iterable[Any]) -> str:
    rows = []
    for one in params:
        takes = "" if getattr(one, "is_flag", False) else f" {one.metavar}"
        names = [one.metavar] if one.param_type_name == "argument" else [f"{opt}{takes}" for opt in one.opts]
        default = "" if one.default in (None, "", False) or one.required else f"`{one.default}`"
        rows.append([", ".join(f"`{name}`" for name in names), one.help or "", "required" if one.required else default])
    return table(["option", "meaning", "default"], rows) + "\n"


def _reached(shapes_to_show: Iterable[Any]) -> list[type]:
    """The typed dictionaries and all that are in them, each once, in the order of first sight."""
    found: dict[type, None] = {}
    for shape in shapes_to_show:
        if is_typeddict(shape):
            found[shape] = None
            found |= dict.fromkeys(_reached(part for hint in get_type_hints(shape).values() for part in _parts(hint)))
    return list(found)


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for one in get_args(hint):
        yield from _parts(one)


def _shape(shape: type) -> str:
    rows = []
    for key, hint in get_type_hints(shape, include_extras=True).items():
        kind, meaning = get_args(hint)
        rows.append([f"`{key}`", _words(kind), meaning])
    return f"### {shape.__name__}\n\n{inspect.getdoc(shape)}\n\n{table(['key', 'type', 'meaning'], rows)}\n"


_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    NoneType: "null",
    object: "any",
}


def _words(kind: Any) -> str:
    """A type, as a reader of JSON says it."""
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
