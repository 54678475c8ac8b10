"""docs/cli.md is generated from the program and complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from campaign_ops.faces.cli import app
from campaign_ops.faces.cli.commands import COMMANDS
from campaign_ops.faces.cli.describe import describe_cli, program_of
from campaign_ops.faces.cli.plugins import PLUGINS
from tests.faces.cli.program import run

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    """If this fails: ``python -m campaign_ops.faces.cli.describe > docs/cli.md``."""
    assert PAGE.read_text(encoding="utf-8") == describe_cli()


def test_every_command_and_every_option_is_in_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    group: Any = typer.main.get_command(app)
    assert set(group.commands) == {*(name.split()[0] for name in COMMANDS), *PLUGINS}
    commands = {name: program_of(group, name) for name in COMMANDS}
    commands |= {name: typer.main.get_command(plugin.load()) for name, plugin in PLUGINS.items()}
    for name, command in commands.items():
        assert f"## {name}\n" in page
        for param in command.params:
            assert param.help, f"{name} {param.name} has no help"
            for option in param.opts if param.param_type_name == "option" else [param.metavar]:
                assert f"`{option}" in page, f"{name} {option}"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_a_help_with_examples_that_parse(name: str) -> None:
    text = run(*name.split(), "--help").stdout
    assert "Examples:" in text
    for option in ("--config", "--platform", "--json", "--verbose", "--debug"):
        assert option in text
    for example in COMMANDS[name].examples:
        assert example.startswith("campaign-ops ")
        assert example in text
