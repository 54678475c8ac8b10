"""The command line of the drill: ``campaign-ops drill``.

Loaded only when the command is called; servers, workers and checkers are loaded only when a drill really runs.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.wording import nearest
from campaign_ops.faces.cli.exit_codes import ExitCode
from campaign_ops.faces.cli.stopping import INTERRUPTED
from campaign_ops.lab.drill.options import SIZES, DrillOptions
from campaign_ops.lab.drill.work_dir import unused_work_dir
from campaign_ops.lab.drill.worlds import PLAIN, WORLDS
from campaign_ops.lab.drill.worlds import chosen as chosen_worlds

_WIDTH = 120  # when the output is not a terminal: the scoreboard fits
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 110},
)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise ConfigurationError(f"{text!r} is not a length", where="--seconds", mend="write 120, 120s, 2m or 0.5h")
    return float(match[1]) * _UNITS[match[2]]


@app.command()
def drill(
    *,
    length: Annotated[
        str,
        typer.Option(
            "--seconds",
            "--length",
            metavar="SECONDS",
            help="How long faults are injected, such as 120, 2m or 0.5h; settling and checks come after it.",
        ),
    ] = "120",
    seed: Annotated[
        str | None,
        typer.Option("--seed", metavar="SEED", help="Source of everything random; drawn and printed if not given."),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(
            "--replay",
            metavar="SEED",
            help="Replay the script of that seed (the same as --seed, with the same other options): the same faults"
            " planned at the same times, with the same random numbers. Their effect depends on how the operating"
            " system schedules the processes.",
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="|".join(SIZES), help="Number of workers and campaigns, and size of campaigns.")
    ] = "small",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            "--accident",
            metavar="NAME",
            help="Inject only this fault, and fail if it is not possible; repeatable.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="NAME", help="Do not inject this fault; repeatable."),
    ] = None,
    list_faults: Annotated[
        bool, typer.Option("--list-faults", "--list-accidents", help="List all faults and exit.")
    ] = False,
    world: Annotated[
        list[str] | None,
        typer.Option(
            "--world",
            metavar="NAME",
            help="Run this kind of platform: one of --list-worlds, or plain; repeatable. By default the seed draws"
            " which ones, if any.",
        ),
    ] = None,
    list_worlds: Annotated[bool, typer.Option("--list-worlds", help="List all worlds and exit.")] = False,
    node: Annotated[bool, typer.Option("--node", help="Also run workers of BullMQ 4, 5 and 6 for Node.")] = False,
    no_dagster: Annotated[
        bool, typer.Option("--no-dagster", help="Sweep from two plain processes only, without Dagster.")
    ] = False,
    no_gaps: Annotated[
        bool, typer.Option("--no-gaps", help="Do nothing between the statements of sweeps, and no fix beside them.")
    ] = False,
    no_watch: Annotated[
        bool, typer.Option("--no-watch", help="Run no watcher; its faults and figures are left out.")
    ] = False,
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", metavar="URL", help="An empty throw-away PostgreSQL database to use."),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option("--redis-url", metavar="URL", help="An empty throw-away Redis to use."),
    ] = None,
    throw_away: Annotated[
        bool,
        typer.Option("--throw-away", help="Use those servers even if they look like production."),
    ] = False,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", metavar="PATH", help="Directory for logs and results; default: .drill/<seed>."),
    ] = None,
    json_to: Annotated[
        str | None,
        typer.Option("--json", metavar="PATH", help="Also write the scoreboard as JSON to this file; - is stdout."),
    ] = None,
) -> None:
    """Inject faults into the whole system on throw-away servers, check the result, and print a scoreboard.

    Workers send, campaigns come and go, sweeps run from three processes, and all of it is killed, restarted, locked and
    cut off. Exits with 0 if every figure of the scoreboard holds, with 1 if one does not or a server is unavailable,
    with 2 if the options cannot be met, with 3 if an external server looks like production, and with 130 if it was
    interrupted.
    """
    console = Console(highlight=False, stderr=json_to == "-")
    if not console.is_terminal:
        console.width = _WIDTH
    try:
        if list_faults:
            _list_faults(console)
            return
        if list_worlds:
            _list_worlds(console)
            return
        chosen = _seed(seed, replay)
        _check_names(fault or [], without or [])
        _check_size(size)
        options = DrillOptions(
            work_dir=(work_dir or unused_work_dir(chosen)).resolve(),
            seed=chosen,
            seconds=_seconds(length),
            size=size,
            faults=tuple(dict.fromkeys(fault)) if fault else None,
            without=tuple(dict.fromkeys(without or ())),
            node=node,
            dagster=not no_dagster,
            watch=not no_watch,
            gaps=not no_gaps,
            database_url=database_url,
            redis_url=redis_url,
            throw_away=throw_away,
            worlds=chosen_worlds(world or (), chosen, node=node, embedded=database_url is None and redis_url is None),
        )
        _check_json(json_to, options.work_dir)
        code = _run(options, console, json_to)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(code)


def _run(options: DrillOptions, console: Console, json_to: str | None) -> int:
    from campaign_ops.lab.servers.processes import orderly_end  # noqa: PLC0415 - needs what may not be installed

    stop = threading.Event()
    with orderly_end(stop):
        importlib.import_module("matplotlib")  # fail now rather than at the end
        from campaign_ops.lab.drill.drill import run_drill  # noqa: PLC0415 - loads the servers

        board = run_drill(options, console, stop)
    console.print(board.table())
    document = json.dumps(board.to_json(), indent=2) + "\n"
    if json_to == "-":
        sys.stdout.write(document)
    elif json_to is not None:
        Path(json_to).write_text(document, encoding="utf-8")
    if board.cut_short:
        return INTERRUPTED
    return ExitCode.DONE if board.holds else ExitCode.FAILED


def _seed(seed: str | None, replay: str | None) -> int:
    texts = {option: text for option, text in (("--seed", seed), ("--replay", replay)) if text is not None}
    for option, text in texts.items():
        if re.fullmatch(r"-?[0-9]{1,18}", text) is None:
            raise ConfigurationError(f"{text!r} is not a seed", where=option, mend="write a whole number, such as 7")
    seeds = {int(text) for text in texts.values()}
    if len(seeds) > 1:
        raise ConfigurationError("--seed and --replay name different seeds", mend="give one of them")
    return seeds.pop() if seeds else secrets.randbelow(1_000_000)


def _check_size(size: str) -> None:
    if size not in SIZES:
        raise ConfigurationError(f"there is no size {size!r}", where="--size", mend=nearest(size, SIZES))


def _check_json(json_to: str | None, work_dir: Path) -> None:
    """Fail now rather than at the end if the file cannot be written. The work directory will exist by then."""
    if json_to is None or json_to == "-" or Path(json_to).resolve().parent == work_dir:
        return
    path = Path(json_to)
    try:
        if not json_to or path.is_dir():
            problem = "is not a file"
        elif not path.parent.is_dir():
            problem = f"cannot be written: there is no directory {path.parent}"
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            problem = "cannot be written"
        else:
            return
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
    raise ConfigurationError(f"{json_to!r} {problem}", where="--json", mend="name a writable file, or -")


def _check_names(fault: Sequence[str], without: Sequence[str]) -> None:
    from campaign_ops.lab.drill.faults import FAULTS  # noqa: PLC0415 - as above

    for option, names in (("--fault", fault), ("--without", without)):
        for name in names:
            if name not in FAULTS:
                raise ConfigurationError(f"there is no fault {name!r}", where=option, mend=nearest(name, FAULTS))
    if both := sorted({*fault} & {*without}):
        raise ConfigurationError(f"--fault and --without both name {', '.join(both)}", mend="name it in one of them")
    if not fault and not FAULTS.keys() - {*without}:
        raise ConfigurationError("no fault is left", where="--without", mend="exclude fewer faults")


def _list_faults(console: Console) -> None:
    from campaign_ops.lab.drill.faults import FAULTS  # noqa: PLC0415 - as above

    width = max(map(len, FAULTS))
    for name, kind in FAULTS.items():
        needs = f" (needs: {', '.join(sorted(kind.needs))})" if kind.needs else ""
        console.print(f"{name:{width}}  {kind.title}{needs}", markup=False, soft_wrap=True)


def _list_worlds(console: Console) -> None:
    width = max(map(len, WORLDS))
    console.print(f"{PLAIN:{width}}  the shop as its migrations make it: text ids, one queue", markup=False)
    for name, world in WORLDS.items():
        console.print(f"{name:{width}}  {world.what}", markup=False, soft_wrap=True)
