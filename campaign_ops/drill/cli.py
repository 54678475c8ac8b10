"""The command line of the drill: ``campaign-ops drill``, ``python -m campaign_ops.drill``, ``make drill``.

Loaded only when the command is called; what a drill runs on is loaded only when one really runs.
"""

from __future__ import annotations

import importlib
import json
import re
import secrets
import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign_ops.core.errors import CampaignOpsError, ConfigurationError
from campaign_ops.drill.options import DrillOptions
from campaign_ops.faces.cli.exit_codes import ExitCode, exit_code_of
from campaign_ops.platform.explain import nearest

INTERRUPTED = 130
_WIDTH = 120  # of what is read later: the scoreboard fits
_MARKER = "drill.json"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 110},
)


class SizeChoice(StrEnum):
    """The sizes that there are."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise ConfigurationError(f"{text!r} is no length", where="--seconds", mend="write 120, 120s, 2m or 0.5h")
    return float(found[1]) * _UNITS[found[2]]


@app.command()
def drill(
    *,
    length: Annotated[
        str,
        typer.Option(
            "--seconds",
            "--length",
            metavar="SECONDS",
            help="How long accidents happen, such as 120, 2m or 0.5h; settling and the audit come after it.",
        ),
    ] = "120",
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="SEED", help="Where all chance comes from; drawn, and printed, unless given."),
    ] = None,
    replay: Annotated[
        int | None,
        typer.Option(
            "--replay",
            metavar="SEED",
            help="The run of that seed again (the same as --seed, with the same other options): the accidents, their"
            " order, times and choices are the same, while the operating system schedules processes as it likes.",
        ),
    ] = None,
    size: Annotated[
        SizeChoice, typer.Option(metavar="small|medium|large", help="How many workers and campaigns, and how large.")
    ] = SizeChoice.SMALL,
    accident: Annotated[
        list[str] | None,
        typer.Option("--accident", metavar="NAME", help="Only this accident; may be given several times."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="NAME", help="Not this accident; may be given several times."),
    ] = None,
    list_accidents: Annotated[
        bool, typer.Option("--list-accidents", help="Show every accident by its name, and exit.")
    ] = False,
    node: Annotated[bool, typer.Option("--node", help="Workers of bullmq 4, 5 and 6 for Node, too.")] = False,
    no_dagster: Annotated[
        bool, typer.Option("--no-dagster", help="Without the Dagster process that sweeps besides the two others.")
    ] = False,
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", metavar="URL", help="An empty, throw-away PostgreSQL in place of the embedded."),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option("--redis-url", metavar="URL", help="An empty, throw-away Redis in place of the embedded one."),
    ] = None,
    throw_away: Annotated[
        bool,
        typer.Option("--throw-away", help="The given servers may be thrown away, even if they look like production."),
    ] = False,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", metavar="PATH", help="Logs and results; .drill/<seed> here unless given."),
    ] = None,
    json_to: Annotated[
        str | None,
        typer.Option("--json", metavar="PATH", help="Write the scoreboard as JSON there, too; - is stdout."),
    ] = None,
) -> None:
    """Run the accidents that operators fear, on servers to throw away, and print a scoreboard.

    Workers send, campaigns come and go, sweeps run from three processes, and all of it is killed, restarted, locked,
    lied to and cut off. Exits with 0 when every figure of the scoreboard holds, with 1 when one does not.
    """
    console = Console(highlight=False, stderr=json_to == "-")
    if not console.is_terminal:
        console.width = _WIDTH
    try:
        if list_accidents:
            _list_accidents(console)
            return
        seed = _one_seed(seed, replay)
        options = DrillOptions(
            work_dir=_fresh((work_dir or Path(".drill") / str(seed)).resolve(), seed),
            seed=seed,
            seconds=_seconds(length),
            size=size.value,
            accidents=_chosen(accident or [], without or []),
            node=node,
            dagster=not no_dagster,
            database_url=database_url,
            redis_url=redis_url,
            throw_away=throw_away,
        )
        code = _run(options, console, json_to)
    except ModuleNotFoundError as error:
        _complain(
            ConfigurationError(
                f"the drill needs {error.name}, which is not installed",
                mend="install it with: pip install 'campaign_ops[demo]'",
            )
        )
        raise typer.Exit(ExitCode.SET_UP) from None
    except CampaignOpsError as error:
        _complain(error)
        raise typer.Exit(exit_code_of(error)) from None
    raise typer.Exit(code)


def _complain(error: CampaignOpsError) -> None:
    Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)


def _run(options: DrillOptions, console: Console, json_to: str | None) -> int:
    importlib.import_module("matplotlib")  # not to find out at the end that the picture cannot be drawn
    from campaign_ops.drill.run import drill as run_drill  # noqa: PLC0415 - brings in the servers and the rest

    board = run_drill(options, console)
    console.print(board.table())
    document = json.dumps(board.to_json(), indent=2) + "\n"
    if json_to == "-":
        sys.stdout.write(document)
    elif json_to is not None:
        Path(json_to).write_text(document, encoding="utf-8")
    if board.cut_short:
        return INTERRUPTED
    return ExitCode.DONE if board.holds else ExitCode.FAILED


def _one_seed(seed: int | None, replay: int | None) -> int:
    if seed is not None and replay is not None and seed != replay:
        raise ConfigurationError("--seed and --replay name two seeds", mend="give one of them")
    given = seed if seed is not None else replay
    return given if given is not None else secrets.randbelow(1_000_000)


def _chosen(accident: Sequence[str], without: Sequence[str]) -> tuple[str, ...] | None:
    """The names of the accidents that are wanted; None for all."""
    from campaign_ops.drill.accidents import ACCIDENTS  # noqa: PLC0415 - as above

    for option, names in (("--accident", accident), ("--without", without)):
        for name in names:
            if name not in ACCIDENTS:
                raise ConfigurationError(f"there is no accident {name!r}", where=option, mend=nearest(name, ACCIDENTS))
    if not accident and not without:
        return None
    return tuple(name for name in ACCIDENTS if (not accident or name in accident) and name not in without)


def _list_accidents(console: Console) -> None:
    from campaign_ops.drill.accidents import ACCIDENTS  # noqa: PLC0415 - as above

    width = max(map(len, ACCIDENTS))
    for name, kind in ACCIDENTS.items():
        needs = f" (needs: {', '.join(sorted(kind.needs))})" if kind.needs else ""
        console.print(f"{name:{width}}  {kind.title}{needs}", markup=False, soft_wrap=True)


def _fresh(directory: Path, seed: int) -> Path:
    """An empty directory; what an earlier drill left there is removed, and nothing else.

    Raises:
        ConfigurationError: There is something in it that no drill has made.
    """
    if directory.exists() and any(directory.iterdir()):
        if not (directory / _MARKER).exists():
            raise ConfigurationError(
                "the directory is not empty, and no drill has made it", where=str(directory), mend="name another one"
            )
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _MARKER).write_text(json.dumps({"seed": seed}) + "\n", encoding="utf-8")
    return directory


def main(arguments: Sequence[str] | None = None, prog_name: str = "campaign-ops drill") -> None:
    """Run the command line; exits with its code."""
    app(args=list(arguments) if arguments is not None else None, prog_name=prog_name)
