"""Runs one command on its platforms: settings, connections, errors, JSON, exit code.

What a command does is in the command's own module.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.console import RenderableType

from campaign_ops.core.errors import CampaignOpsError, ConfigurationError
from campaign_ops.core.wording import is_unicode, nearest
from campaign_ops.faces import shapes
from campaign_ops.faces.cli.exit_codes import ExitCode, exit_code_of, gravest
from campaign_ops.faces.cli.progress import working
from campaign_ops.faces.cli.screen import Screen, logging_to_stderr
from campaign_ops.faces.logs import LogFormat, LogFormatOption, without_credentials
from campaign_ops.platform import Platform
from campaign_ops.settings import PlatformSettings, Settings, connect, load_settings
from campaign_ops.tracing import Traces


def _platform_names(context: typer.Context, incomplete: str) -> list[str]:
    """The configured platforms, for a shell that completes; none while the configuration has a mistake."""
    config = context.params.get("config")  # text in typer 0.16, a path in 0.29
    try:
        names = load_settings(Path(config) if config else None).names
    except CampaignOpsError:
        return []
    return [name for name in names if name.startswith(incomplete)]


@dataclass(frozen=True)
class Common:
    """The options of every command."""

    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="PATH",
            help="Configuration file; default: $CAMPAIGN_OPS_CONFIG, then campaign_ops.yaml here or in $DAGSTER_HOME.",
        ),
    ] = None
    platform: Annotated[
        str | None,
        typer.Option(
            "--platform",
            metavar="NAME",
            autocompletion=_platform_names,
            help="Platform to work on; required when several are configured, except by commands that take them all.",
        ),
    ] = None
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text; docs/cli.md describes it.")
    ] = False
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every step to stderr.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Log everything to stderr, with tracebacks.")] = False
    log_format: LogFormatOption = LogFormat.TEXT


@dataclass
class Call:
    """One command on one platform.

    Attributes:
        settings: The platform's settings.
        config: The configuration file named on the command line.
        alone: Whether the platform is the only one of this call: named, or the only one configured.
        plain: Whether stdout takes ASCII only.
        shared: What the platforms of this call share, such as the token that reaches all of them.
    """

    settings: PlatformSettings
    config: Path | None
    alone: bool
    plain: bool
    shared: dict[str, Any]

    @property
    def name(self) -> str:
        """The platform's name."""
        return self.settings.name

    @cached_property
    def platform(self) -> Platform:
        """The platform itself; connects on first use."""
        return connect(self.settings)

    @cached_property
    def run_id(self) -> str:
        """The name of this call in the journal."""
        return f"cli-{uuid4().hex}"

    def command_line(self, *words: object) -> str:
        """A command to run next, on the same platform and configuration file, quoted for a shell."""
        config = ["--config", self.config] if self.config is not None else []
        return shlex.join(map(str, ["campaign-ops", *words, "--platform", self.name, *config]))

    def close(self) -> None:
        """Close the connections, if there are any."""
        if "platform" in self.__dict__:
            self.platform.close()


@dataclass(frozen=True)
class Answer:
    """The answer of a command for one platform: ``result`` as data, ``text`` for a person."""

    result: Mapping[str, Any]
    text: Sequence[RenderableType]
    code: ExitCode = ExitCode.DONE


def gravest_of(outcomes: Sequence[shapes.PlatformOutcome]) -> ExitCode:
    """The exit code of several platforms."""
    return gravest(ExitCode(outcome["exit_code"]) for outcome in outcomes)


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: As it is typed.
        section: Where the help lists it.
        function: Called once per platform, with a `Call` and the command's own options.
        several: Whether it takes all platforms when none is named.
        shape: The typed dictionary of its result.
        examples: Command lines, for the help.
        together: Makes the text from the outcomes of all platforms, where it is not one platform after the other.
        exit_code: Makes the exit code from the outcomes of all platforms, where it is not the gravest.
    """

    name: str
    section: str
    function: Callable[..., Answer]
    several: bool
    shape: type
    examples: Sequence[str]
    together: Callable[[Sequence[shapes.PlatformOutcome]], str] | None = None
    exit_code: Callable[[Sequence[shapes.PlatformOutcome]], ExitCode] = gravest_of


@dataclass
class Run:
    """One call of the program. ``printed``: whether anything has been written to stdout; ``shared``: see `Call`."""

    command: Command
    common: Common
    screen: Screen = field(init=False)
    printed: bool = False
    shared: dict[str, Any] = field(default_factory=dict)
    traces: Traces = field(init=False)

    def __post_init__(self) -> None:
        self.screen = Screen(self.common.log_format)

    def execute(self, values: Mapping[str, Any]) -> ExitCode:
        """Run the command on its platforms, print the answers, and return the exit code."""
        common = self.common
        with logging_to_stderr(verbose=common.verbose, debug=common.debug, log_format=common.log_format):
            try:
                _check_unicode(values)
                settings = load_settings(self.common.config)
                names = self._names(settings)
            except Exception as error:  # noqa: BLE001 - whatever it was, a person gets one line and no traceback
                self._complain(error)
                return self._finish(exit_code_of(error), failure_of(error), [])
            self.traces = Traces()
            with closing(self.traces):
                outcomes = [self._outcome(settings, name, values, alone=len(names) == 1) for name in names]
            code = self.command.exit_code(outcomes)
            forgiven = values.get("lenient") and code in (ExitCode.BUSY, ExitCode.PERSON)
            return self._finish(ExitCode.DONE if forgiven else code, None, outcomes)

    def _names(self, settings: Settings) -> tuple[str, ...]:
        """The platforms of this call."""
        wanted, names = self.common.platform, settings.names
        if wanted is None:
            if self.command.several or len(names) == 1:
                return names
            mend = f"name one of {', '.join(names)}"
            raise ConfigurationError("several platforms are configured", where="--platform", mend=mend)
        if wanted not in names:
            what = f"no platform {wanted!r} is configured"
            raise ConfigurationError(what, where="--platform", mend=nearest(wanted, names))
        return (wanted,)

    def _outcome(
        self, settings: Settings, name: str, values: Mapping[str, Any], *, alone: bool
    ) -> shapes.PlatformOutcome:
        """The outcome of one platform, and its trace: an error there does not stop the others."""
        with self.traces.command(self.command.name, name) as ended:
            outcome = self._attempt(settings, name, values, alone=alone)
            ended(outcome["exit_code"])
            return outcome

    def _attempt(
        self, settings: Settings, name: str, values: Mapping[str, Any], *, alone: bool
    ) -> shapes.PlatformOutcome:
        failure, result = None, None
        try:
            answer = self._answer(settings, name, values, alone=alone)
            code, result = answer.code, answer.result
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, a person gets one line and no traceback
            self._complain(error, "" if alone else name)
            failure, code = failure_of(error), exit_code_of(error)
        return {"platform": name, "exit_code": code.value, "error": failure, "result": result}

    def _answer(self, settings: Settings, name: str, values: Mapping[str, Any], *, alone: bool) -> Answer:
        call = Call(settings.platform(name), self.common.config, alone, self.screen.plain, self.shared)
        common = self.common
        silent = common.json or common.verbose or common.debug or common.log_format is LogFormat.JSON
        with closing(call), working(self.screen.errors, f"{name}: {self.command.name}", shown=not silent):
            answer = self.command.function(call, **values)
        if not self.common.json:
            gap = [""] if self.printed and len(answer.text) > 1 else []
            self.screen.show([*gap, *answer.text])
            self.printed = True
        return answer

    def _complain(self, error: Exception, platform: str = "") -> None:
        text = str(error if isinstance(error, CampaignOpsError) else unexpected(error))
        # Only a configuration file has several mistakes, one per line; elsewhere a newline is part of foreign text.
        for message in text.split("\n") if isinstance(error, ConfigurationError) else [text]:
            named = not platform or message.startswith(f"{platform}: ")
            self.screen.error(message if named else f"{platform}: {message}")
        if self.common.debug:
            self.screen.traceback("".join(traceback.format_exception(error)))

    def _finish(
        self, code: ExitCode, failure: shapes.Failure | None, outcomes: list[shapes.PlatformOutcome]
    ) -> ExitCode:
        if self.common.json:
            document: shapes.Document = {
                "command": self.command.name,
                "exit_code": code.value,
                "error": failure,
                "platforms": outcomes,
            }
            # Escaped to ASCII: a terminal executes nothing in it, and every encoding can print it.
            self.screen.write(json.dumps(document, indent=self.screen.indent) + "\n")
        elif self.command.together is not None and failure is None:
            self.screen.write(self.command.together(outcomes))
        return code


def _check_unicode(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and not is_unicode(text) for text in texts):
            where = name.replace("_", "-")
            raise ConfigurationError("is not UTF-8 text", where=where, mend="type it again in a UTF-8 terminal")


def failure_of(error: Exception) -> shapes.Failure:
    """An error as data."""
    if isinstance(error, CampaignOpsError):
        return {"kind": type(error).__name__, "where": error.where, "what": error.what, "mend": error.mend}
    return failure_of(unexpected(error)) | {"kind": "Unexpected"}


def unexpected(error: Exception) -> CampaignOpsError:
    """An error outside our tree, in one line without credentials."""
    what = without_credentials(" ".join(f"{type(error).__name__}: {error}".split()))
    return CampaignOpsError(what, where="unexpected", mend="--debug shows the traceback")


def operator() -> str:
    """The user name that the operating system gives this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"  # a user of a container without a name
