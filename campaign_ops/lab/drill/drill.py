"""Runs a whole drill: start, script, settling, checks, undo trial, scoreboard."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from campaign_ops.lab.drill import queue_watcher
from campaign_ops.lab.drill.at_work import AtWork
from campaign_ops.lab.drill.checkers import (
    WATCHED,
    check_all,
    check_so_far,
    read,
    stores_of,
    waiting_for_a_person,
)
from campaign_ops.lab.drill.checkers.counters import check_beside, of_platform_beside
from campaign_ops.lab.drill.checkers.worlds import met
from campaign_ops.lab.drill.environment.rig import Rig
from campaign_ops.lab.drill.execution import AWAY, CARE_EVERY_SECONDS, Execution
from campaign_ops.lab.drill.gaps import Gaps
from campaign_ops.lab.drill.on_call import OnCall
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.scoreboard import Scoreboard
from campaign_ops.lab.drill.script import feasible_script
from campaign_ops.lab.drill.settling import settle
from campaign_ops.lab.drill.timeline import timeline
from campaign_ops.lab.drill.undo_trial import undo_trial
from campaign_ops.lab.drill.worlds import WORLDS
from campaign_ops.lab.servers.processes import ChildProcess, our_path

Say = Callable[[str], None]
_CALM_SHARE = 0.3
"""Of a drill's seconds, the time after its faults in which only people and gaps disturb the sweeps."""


def run_drill(
    options: DrillOptions,
    console: Console,
    stop: threading.Event | None = None,
    *,
    make_rig: Callable[[DrillOptions, Say, threading.Event], Rig] = Rig,
    enough: Callable[[Rig], bool] | None = None,
) -> Scoreboard:
    """Run a whole drill, and write ``scoreboard.json`` and ``timeline.png`` into its work directory.

    Args:
        options: The drill's options.
        console: Receives the log, line by line.
        stop: When it is set, the drill ends in order, and the scoreboard says that it was cut short.
        make_rig: Makes the rig.
        enough: Called every few seconds; when it returns true, the drill ends and checks what is known so far.

    Raises:
        ConfigurationError, Refused, Unavailable: A fault or a server that the options ask for is not available.
        KeyboardInterrupt: ``stop`` was set before the script began; everything is cleaned up.
    """
    feasible_script(options, lambda fault: fault.impossible(options))  # to fail before anything is started
    began = datetime.now(UTC)
    stop = stop or threading.Event()

    def say(line: str) -> None:
        seconds = (datetime.now(UTC) - began).total_seconds()
        console.print(f"[dim]{seconds:6.1f} s[/dim]  {escape(line)}", highlight=False, soft_wrap=True)

    with make_rig(options, say, stop) as rig, _logging_to(rig.work_dir / "drill.log"):
        rig.say(f"seed {options.seed}, {options.seconds:.0f} s, {options.size}; everything is in {rig.work_dir}")
        for name in options.worlds:
            rig.say(f"world {name}: {WORLDS[name].what}")
        execution = Execution(rig, stop, enough)
        script = execution.script()
        with _watcher(rig), OnCall(rig) as person, ExitStack() as beside_sweeps:
            gaps = beside_sweeps.enter_context(Gaps(rig)) if options.gaps else None
            rig.start_all()
            people = beside_sweeps.enter_context(AtWork(rig)) if options.gaps else None
            execution.play(script)
            execution.end_all()
            _go_on(execution, options.seconds * _CALM_SHARE)
            beside_sweeps.close()
            rig.say(f"between the statements of sweeps: {gaps}; fixes by people: {people}")
            rig.restore()
            if not stop.is_set() and not execution.satisfied:
                settle(rig, stop)
            rig.say("stopping workers, sweepers and Dagster")
            person.leave()
            rig.stop_all()
            board = _check(execution, began)
        _keep(rig, board)
    return board


def _go_on(execution: Execution, seconds: float) -> None:
    """Let sweeps repair for a while without a fault: what happens between their statements is then felt most."""
    rig, until = execution.rig, time.monotonic() + seconds
    while rig.meet_port and time.monotonic() < until and not execution.satisfied:
        if execution.stop.wait(CARE_EVERY_SECONDS):
            return
        rig.keep_alive()
        if execution.enough is not None:
            with suppress(*AWAY):
                execution.satisfied = execution.enough(rig)


def _check(execution: Execution, began: datetime) -> Scoreboard:
    """Check while the queue watcher is still running. The undo trial comes last: it changes the stores."""
    rig = execution.rig
    cut_short = execution.stop.is_set() or execution.satisfied
    rig.say("checking the stores, the ledger and the queue watcher's samples")
    figures = check_so_far(rig) if cut_short else check_all(rig)
    beside = None if rig.beside is None else read(stores_of(rig.beside))
    if beside is not None:
        figures += check_beside(beside, at_the_end=not cut_short)
    if not cut_short:
        figures += met(read(stores_of(rig)), rig.options, beside)
    waiting, samples = waiting_for_a_person(rig), timeline(rig, began)
    if not cut_short:
        rig.say("undo trial: undoing every repair that can be undone")
        figures += undo_trial(rig)
        figures += of_platform_beside(undo_trial(rig.beside)) if rig.beside is not None else ()
    return Scoreboard(
        options=rig.options,
        began=began,
        seconds=(datetime.now(UTC) - began).total_seconds(),
        figures=figures,
        waiting=waiting,
        samples=samples,
        marks=rig.ledger.marks(),
        skipped=execution.skipped,
        cut_short=cut_short,
    )


def _keep(rig: Rig, board: Scoreboard) -> None:
    """Write it into the work directory, as JSON and as a picture."""
    path = rig.work_dir / "scoreboard.json"
    path.write_text(json.dumps(board.to_json(), indent=2) + "\n", encoding="utf-8")
    board.draw(rig.work_dir / "timeline.png")
    rig.say(f"{path.name} and timeline.png are in {rig.work_dir}")


@contextmanager
def _watcher(rig: Rig) -> Iterator[None]:
    """Run the queue watcher until the end."""
    child = ChildProcess(
        "watcher",
        queue_watcher.command(rig.queue, rig.work_dir / WATCHED),
        log_path=rig.work_dir / "watcher.log",
        environment=our_path(),
    )
    child.start()
    try:
        yield
    finally:
        child.stop()


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send what campaign_ops logs in this process to a file instead of the console."""
    handler, logger = logging.FileHandler(path, encoding="utf-8"), logging.getLogger("campaign_ops")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
        handler.close()
