"""The lab's commands, as the command line finds them. Cheap to import: each program is loaded when it is called."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import typer

from campaign_ops.faces.cli.plugins import Plugin
from campaign_ops.faces.cli.program import Section


def _lab(name: str, text: str, module: str, program: str) -> Plugin:
    load: Callable[[], typer.Typer] = lambda: getattr(import_module(module), program)  # noqa: E731
    return Plugin(name, text, "lab", load, Section.TRY)


COMMANDS = (
    _lab("demo", "Build stuck platforms, repair them with Dagster, and report.", "campaign_ops.lab.demo.cli", "demo"),
    _lab("up", "Run platforms with traffic, faults and Dagster, until Ctrl-C.", "campaign_ops.lab.demo.cli", "up"),
    _lab("drill", "Inject faults on throw-away servers and print a scoreboard.", "campaign_ops.lab.drill.cli", "app"),
)
