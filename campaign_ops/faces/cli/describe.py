"""docs/cli.md, made from the program itself. Write it anew with ``python -m campaign_ops.faces.cli.describe > docs/cli.md``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import typer

from campaign_ops.faces.cli import app, shapes
from campaign_ops.faces.cli.app import COMMANDS, INTERRUPTED
from campaign_ops.faces.cli.exit_codes import MEANINGS

_INTRODUCTION = """\
# The command line

`campaign-ops` does everything by hand that the pipeline does by itself. It speaks to the platforms directly, so it works
while Dagster is down. `campaign-ops COMMAND --help` says the same as this page.

- Text goes to stdout, errors, logs and progress to stderr. Into a pipe nothing is coloured or wrapped: one line is one row.
- `--platform` is needed by a command that takes one platform when several are configured. A command that takes several
  goes on with the others when one is down or its entry is broken; the exit code tells.
- Names and texts of campaigns are other people's: control characters in them are shown as escapes, such as `\\x1b`.
"""

_JSON = """\
## JSON

With `--json`, stdout holds exactly one document and nothing else; only a command line that cannot be understood (exit code
2) leaves it empty. Keys may be added; none is taken away or renamed. Times are seconds, moments ISO 8601 in UTC.
"""


def describe_cli() -> str:
    """The page, as Markdown."""
    group: Any = typer.main.get_command(app)
    parts = [_INTRODUCTION, _exit_codes(), _options("## Options of every command", _common(group)), _JSON]
    parts += [_shape(shape) for shape in (shapes.Document, shapes.PlatformOutcome, shapes.Failure)]
    common = {one.name for one in _common(group)}
    shown: set[str] = set()
    for name, made in COMMANDS.items():
        own = [one for one in group.commands[name].params if one.name not in common]
        usage = " ".join([name, *(one.metavar for one in own if one.param_type_name == "argument"), "[OPTIONS]"])
        parts.append(f"## {name}\n\n```\ncampaign-ops {usage}\n```\n\n{inspect.getdoc(made.function)}\n")
        takes = "takes every configured platform unless `--platform` names one" if made.several else "takes one platform"
        parts.append(f"It {takes}.\n")
        parts.append(_options("", own))
        parts.append("```console\n" + "\n".join(f"$ {example}" for example in made.examples) + "\n```\n")
        parts += [_shape(one, heading="`result`" if one is made.shape else "") for one in _reached(made.shape, shown)]
        if made.shape.__name__ not in shown:
            shown.add(made.shape.__name__)
        else:
            parts.append("")
    return "\n".join(part for part in parts if part)
