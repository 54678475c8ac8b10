"""Runs the program: in this process for most tests, as a separate process for exit codes and streams."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from typer.testing import CliRunner, Result
from typing_extensions import is_typeddict

from campaign_ops.faces.cli import app
from campaign_ops.faces.cli.commands import COMMANDS
from campaign_ops.faces.shapes import Document
from tests.conftest import World

# Keeps the developer's own terminal and configuration out.
_ENVIRONMENT = {
    "COLUMNS": "400",
    "NO_COLOR": None,
    "FORCE_COLOR": None,
    "TTY_COMPATIBLE": None,
    "CAMPAIGN_OPS_CONFIG": None,
    "DAGSTER_HOME": None,
}
PROGRAM = [sys.executable, "-c", "from campaign_ops.faces.cli import main; main()"]
# Port 1 is reserved and nothing listens there.
AWAY = {"name": "away", "profile": "messenger", "database_url": "postgresql://nobody@127.0.0.1:1/nothing"}
BROKEN = {"name": "broken", "profile": "sms", "database_url": "postgresql://db/app", "queu_url": "redis://q"}


@dataclass(frozen=True)
class Program:
    """The program with a configuration file of its own."""

    config: Path

    def __call__(self, command: str, *words: object) -> Result:
        """Run a command in this process. An exception that it does not handle is raised here."""
        return run(*command.split(), "--config", self.config, *words)

    def json(self, command: str, *words: object) -> dict[str, Any]:
        """The document of a command with ``--json``, after a check of its exit code and keys."""
        result = self(command, "--json", *words)
        document = json.loads(result.stdout)
        assert document["exit_code"] == result.exit_code
        check_shape(document)
        return dict(document)

    def only(self, command: str, *words: object) -> dict[str, Any]:
        """The result of the only platform."""
        (outcome,) = self.json(command, *words)["platforms"]
        assert outcome["error"] is None, outcome["error"]
        return dict(outcome["result"])

    def confirmed(self, command: str, *words: object) -> Result:
        """The result of a manual fix: first tried out, then made with the code that this showed."""
        return confirmed(self(command, *words))

    def made(self, command: str, *words: object) -> dict[str, Any]:
        """The JSON result of a manual fix: first tried out, then made."""
        result = self.only(command, *words)
        (outcome,) = json.loads(run(*shlex.split(result["confirm"])[1:], "--json").stdout)["platforms"]
        assert outcome["error"] is None, outcome["error"]
        return dict(outcome["result"])

    def process(self, command: str, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a separate process."""
        return subprocess.run(
            self.started(command, *words),
            env=environ(environment),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def started(self, command: str, *words: object) -> list[str]:
        """The arguments of a separate process."""
        return [*PROGRAM, *command.split(), "--config", str(self.config), *map(str, words)]


def run(*words: object) -> Result:
    """Run the program without naming a configuration file."""
    result = CliRunner(env=_ENVIRONMENT).invoke(app, list(map(str, words)), prog_name="campaign-ops")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def confirmed(tried: Result) -> Result:
    """Run the command that a fix without its code showed; if it showed none, return its own result."""
    commands = [line for line in tried.stdout.splitlines() if " --confirm " in line]
    return run(*shlex.split(commands[0])[1:]) if commands else tried


def environ(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process: ours, without the variables that would change its output."""
    return {key: value for key, value in os.environ.items() if key not in _ENVIRONMENT} | dict(more)


def entry(world: World, name: str | None = None, **more: Any) -> dict[str, Any]:
    """A world's entry in the configuration file; its journal goes by the name."""
    platform = {"name": name or world.platform.name, "profile": world.platform.profile.name, "database_url": world.url}
    if world.queue_url is not None:
        platform |= {"queue_url": world.queue_url, "queue_prefix": world.queue.prefix}
    return platform | more


def configured(directory: Path, *entries: Mapping[str, Any] | World) -> Program:
    """The program with these platforms in its configuration file."""
    platforms = [entry(one) if isinstance(one, World) else dict(one) for one in entries]
    path = directory / "campaign_ops.yaml"
    path.write_text(yaml.safe_dump({"platforms": platforms}))
    return Program(path)


def check_shape(document: Mapping[str, Any]) -> None:
    """Fail unless a document has exactly the keys and types that docs/cli.md promises."""
    _check(document, Document, "document")
    for outcome in document["platforms"]:
        if outcome["result"] is not None:
            _check(outcome["result"], COMMANDS[document["command"]].shape, "result")


def _check(value: Any, hint: Any, where: str) -> None:
    origin = get_origin(hint)
    if hint in (object, Any):
        return
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        assert isinstance(value, dict), where
        assert set(value) == set(hints), f"{where}: {set(value) ^ set(hints)}"
        for key, kind in hints.items():
            _check(value[key], kind, f"{where}.{key}")
    elif origin is list:
        assert isinstance(value, list), where
        for index, item in enumerate(value):
            _check(item, get_args(hint)[0], f"{where}[{index}]")
    elif origin is dict:
        assert isinstance(value, dict), where
        for key, item in value.items():
            _check(item, get_args(hint)[1], f"{where}.{key}")
    elif origin in (Union, UnionType):
        if value is None:
            assert type(None) in get_args(hint), where
        else:
            (kind,) = [one for one in get_args(hint) if one is not type(None)]
            _check(value, kind, where)
    else:
        # JSON has no other numbers than these; bool is an int in Python, but not a number in JSON.
        kinds = (int, float) if hint is float else (hint,)
        assert isinstance(value, kinds), f"{where}: {value!r} is not a {hint}"
        assert hint is bool or not isinstance(value, bool), where


def one_line(text: str) -> str:
    """The only line of a text."""
    (line,) = text.splitlines()
    return line


def lines_with(text: str, *words: str) -> Sequence[str]:
    """The lines that contain all these words."""
    return [line for line in text.splitlines() if all(word in line for word in words)]
