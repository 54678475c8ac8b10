"""Runs a drill from its first moment to its scoreboard: the script, the people, the settling, the audit."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.markup import escape

from campaign_ops.lab.drill import watcher
from campaign_ops.lab.drill.checkers import WATCHED, audit, damage_so_far, waiting_for_a_person
from campaign_ops.lab.drill.environment.rig import Stand
from campaign_ops.lab.drill.execution import AWAY, CARE_EVERY_SECONDS, Performance
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.person import OnCall
from campaign_ops.lab.drill.scoreboard import Scoreboard
from campaign_ops.lab.drill.script import what_can_happen
from campaign_ops.lab.drill.timeline import timeline
from campaign_ops.lab.drill.undoing import undo_trial
from campaign_ops.lab.drill.workload import PAUSED
from campaign_ops.lab.servers.processes import ChildProcess, our_path

Say = Callable[[str], None]

WHOLE_SWEEPS = 3
"""Sweeps that begin after the faults, at least, before anything is judged."""

_SETTLE_SECONDS = 120.0


def drill(
    options: DrillOptions,
    console: Console,
    stop: threading.Event | None = None,
    *,
    make_stand: Callable[[DrillOptions, Say, threading.Event], Stand] = Stand,
    enough: Callable[[Stand], bool] | None = None,
) -> Scoreboard:
    """Run a whole drill; ``scoreboard.json`` and ``timeline.png`` are in its work directory then.

    Args:
        options: What is wanted.
        console: Where its story goes, line by line.
        stop: Once it is set the drill ends in order, and the scoreboard says that it was cut short.
        make_stand: Makes the stand.
        enough: Asked every few seconds; once it is true, nothing more happens and what is known is judged.

    Raises:
        ConfigurationError, Refused, Unavailable: Not all that is wanted can happen, or the servers could not be had.
        KeyboardInterrupt: It was to stop before anything had happened; nothing is left of it.
    """
    what_can_happen(options, lambda fault: fault.impossible(options))  # to complain before anything is started
    began = datetime.now(UTC)
    stop = stop or threading.Event()

    def say(line: str) -> None:
        seconds = (datetime.now(UTC) - began).total_seconds()
        console.print(f"[dim]{seconds:6.1f} s[/dim]  {escape(line)}", highlight=False, soft_wrap=True)

    with make_stand(options, say, stop) as stand, _logging_to(stand.work_dir / "drill.log"):
        stand.say(f"seed {options.seed}, {options.seconds:.0f} s, {options.size}; everything is in {stand.work_dir}")
        performance = Performance(stand, stop, enough)
        script = performance.script()
        with _watcher(stand), OnCall(stand) as person:
            stand.staff()
            performance.play(script)
            performance.end_all()
            if not stop.is_set() and not performance.satisfied:
                _settle(stand, stop)
            stand.say("everybody stops: workers, sweepers, Dagster")
            person.leave()
            stand.send_home()
            board = _judge(performance, began)
        _keep(stand, board)
    return board


def _settle(stand: Stand, stop: threading.Event) -> None:
    """Until nothing is left to be done but what waits for a person, and three whole sweeps have passed."""
    began, deadline = time.time(), time.monotonic() + _SETTLE_SECONDS
    while not stop.wait(CARE_EVERY_SECONDS):
        stand.keep_alive()
        with suppress(*AWAY):
            if _quiet(stand) and _whole_sweeps(stand, began) >= WHOLE_SWEEPS:
                stand.say(f"quiet, {_whole_sweeps(stand, began)} whole sweeps after the last fault")
                return
        if time.monotonic() > deadline:
            stand.say(f"not quiet after {_SETTLE_SECONDS:.0f} s; it is judged as it stands")
            return


def _judge(performance: Performance, began: datetime) -> Scoreboard:
    """Everything that is known, while the watcher still watches. The undo trial comes last: it changes the stores."""
    stand = performance.stand
    cut_short = performance.stop.is_set() or performance.satisfied
    stand.say("the audit reads the stores, the ledger and what the watcher saw")
    figures = damage_so_far(stand) if cut_short else audit(stand)
    waiting, samples = waiting_for_a_person(stand), timeline(stand, began)
    if not cut_short:
        stand.say("undo trial: every repair that can be taken back is")
        figures += undo_trial(stand)
    return Scoreboard(
        options=stand.options,
        began=began,
        seconds=(datetime.now(UTC) - began).total_seconds(),
        figures=figures,
        waiting=waiting,
        samples=samples,
        marks=stand.ledger.marks(),
        skipped=performance.skipped,
        cut_short=cut_short,
    )


def _keep(stand: Stand, board: Scoreboard) -> None:
    """Leave it in the work directory, as JSON and as a picture."""
    path = stand.work_dir / "scoreboard.json"
    path.write_text(json.dumps(board.to_json(), indent=2) + "\n", encoding="utf-8")
    board.draw(stand.work_dir / "timeline.png")
    stand.say(f"{path.name} and timeline.png are in {stand.work_dir}")


@contextmanager
def _watcher(stand: Stand) -> Iterator[None]:
    """The one who looks at the queue, at work until the end."""
    child = ChildProcess(
        "watcher",
        watcher.command(stand.queue, stand.work_dir / WATCHED),
        log_path=stand.work_dir / "watcher.log",
        environment=our_path(),
    )
    child.start()
    try:
        yield
    finally:
        child.stop()


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """What the person's sweeps log is no part of the story."""
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


def _quiet(stand: Stand) -> bool:
    """Whether every campaign is over, or waits for a person in the newest plan."""
    if stand.writer.campaigns(PAUSED):
        return False
    sending = {row["id"] for row in stand.writer.campaigns(stand.profile.campaign.words.sending)}
    plan = sa.text("SELECT target FROM campaign_ops.repair_plan WHERE needs_person")
    with stand.owner.connect() as connection:
        return sending <= set(connection.scalars(plan))


def _whole_sweeps(stand: Stand, since: float) -> int:
    """Sweeps that began after a moment (seconds of the epoch) and came to their end, by their own lines."""
    files = stand.work_dir.glob("sweeps-*.jsonl")
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return sum(row["outcome"] == "done" and row["began"] > since for row in rows)
