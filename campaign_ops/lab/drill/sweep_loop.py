"""The main loop of the drill's sweeping processes: options, one line of output per sweep, crash on demand."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import sqlalchemy as sa
from pydantic import SecretStr

from campaign_ops.core.errors import CampaignOpsError, ConfigurationError, SweepBusy
from campaign_ops.core.report import HealthReport
from campaign_ops.lab.drill.meeting import OUR_DRIVER, Meeting
from campaign_ops.settings import PlatformSettings, Settings, load_settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweeperOptions:
    """The behaviour of one sweeping process; each field is an option of its command line.

    Attributes:
        config: The deployment's configuration file.
        platform: The platform to sweep.
        name: The process's name in the journal, and in its file ``sweeps-<name>.jsonl``.
        work_dir: The directory of that file.
        database_url: Another URL of the platform's database, such as PgBouncer's; empty for the configured one.
        queue_url: Another URL of its queue; empty for the configured one.
        pause_seconds: Time between two sweeps.
        lock_wait_seconds: How long a sweep waits for the sweep lock.
        clock_skew_seconds: How far this process's clock is ahead.
        die_after_statements: Crash (SIGKILL) at this statement, counted from 1 after the first sweep began: an odd one
            before it reaches the server, an even one after it was executed. 0 for never.
        meet_port: Wait at some statements for the drill, which listens on this port. 0 for none.
    """

    config: str
    platform: str
    name: str
    work_dir: str
    database_url: str = ""
    queue_url: str = ""
    pause_seconds: float = 0.2
    lock_wait_seconds: float = 2.0
    clock_skew_seconds: float = 0.0
    die_after_statements: int = 0
    meet_port: int = 0

    def command_line(self) -> Iterator[str]:
        """The arguments that `read_options` reads."""
        for field_ in fields(self):
            yield f"--{field_.name.replace('_', '-')}={getattr(self, field_.name)}"

    def settings(self) -> Settings:
        """The deployment's configuration, with this process's URLs of the platform."""
        settings = load_settings(Path(self.config))
        return replace(settings, platforms=tuple(map(self._rerouted, settings.platforms)))

    def _rerouted(self, platform: PlatformSettings) -> PlatformSettings:
        if platform.name != self.platform:
            return platform
        if self.database_url:
            platform = replace(platform, database_url=SecretStr(self.database_url))
        return replace(platform, queue_url=SecretStr(self.queue_url)) if self.queue_url else platform


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of one sweep: the report's figures, and what the breaker held back, by kind."""

    figures: Mapping[str, int] = field(default_factory=dict)
    held_back: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, report: HealthReport) -> Self:
        """The result of a sweep that was run in this process."""
        return cls(report.figures(), {line.kind: line.held_back for line in report.repairs if line.held_back})


class SweepFailed(Exception):
    """A sweep failed in another process or thread; ``unexpected``: with an error outside our error tree."""

    def __init__(self, message: str, *, busy: bool = False, unexpected: bool = False) -> None:
        self.busy = busy
        self.unexpected = unexpected
        super().__init__(message)


def read_options(arguments: Sequence[str] | None, description: str | None) -> SweeperOptions:
    """Parse a command line, by default the program's own, and set the process's clock accordingly."""
    parser = argparse.ArgumentParser(description=description)
    for field_ in fields(SweeperOptions):
        flag = "--" + field_.name.replace("_", "-")
        if isinstance(field_.default, (str, float, int)):
            parser.add_argument(flag, type=type(field_.default), default=field_.default)
        else:
            parser.add_argument(flag, required=True)
    options = SweeperOptions(**vars(parser.parse_args(arguments)))
    if options.clock_skew_seconds:
        _set_clock_wrong(options.clock_skew_seconds)
    return options


def sweep_until_stopped(options: SweeperOptions, sweep: Callable[[str], SweepResult]) -> None:
    """Sweep repeatedly until SIGTERM, which does not interrupt the current sweep. Writes one line per sweep.

    Args:
        options: The process's behaviour.
        sweep: Runs one sweep with the run id that it gets.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.die_after_statements:
        _die_at(options.die_after_statements)
    meeting = Meeting()
    with (Path(options.work_dir) / f"sweeps-{options.name}.jsonl").open("a", encoding="utf-8") as lines:
        while not stop.is_set():
            with meeting.during(options.meet_port):
                line = sweep_line(sweep)
            lines.write(json.dumps(line) + "\n")
            lines.flush()
            stop.wait(options.pause_seconds)


def sweep_line(sweep: Callable[[str], SweepResult]) -> dict[str, Any]:
    """Run one sweep, whatever goes wrong in it, and return its line for the file."""
    line: dict[str, Any] = {"run_id": str(uuid4()), "began": _true_time(), "error": None, "unexpected": False}
    result = SweepResult()
    try:
        result = sweep(line["run_id"])
        line["outcome"] = "done"
    except SweepBusy as error:
        line |= {"outcome": "busy", "error": str(error)}
    except CampaignOpsError as error:
        line |= {"outcome": "failed", "error": str(error)}
    except SweepFailed as error:
        line |= {"outcome": "busy" if error.busy else "failed", "error": str(error), "unexpected": error.unexpected}
    except Exception as error:
        # A checker counts it; ending the process here would hide later ones.
        log.exception("unexpected error")
        line |= {"outcome": "failed", "error": f"{type(error).__name__}: {error}", "unexpected": True}
    if line["error"]:
        log.warning("%s: %s", line["outcome"], line["error"])
    repairs = ("completed", "reenqueued", "released", "recounted")
    return line | {
        "ended": _true_time(),
        "stuck": result.figures.get("stuck", 0),
        "repairs": {name: result.figures.get(name, 0) for name in repairs},
        "figures": dict(result.figures),
        "held_back": dict(result.held_back),
    }


# Setting the process's clock wrong does not affect the monotonic clock.
_EPOCH = time.time() - time.monotonic()


def _true_time() -> float:
    """Seconds of the epoch by the machine's clock."""
    return round(_EPOCH + time.monotonic(), 3)


def _set_clock_wrong(seconds: float) -> None:
    try:
        time_machine = importlib.import_module("time_machine")
    except ImportError:
        raise ConfigurationError(
            "time-machine is not installed, and is needed to set a clock wrong",
            mend="install it with: pip install 'campaign_ops[lab]'",
        ) from None
    time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True).start()


def _die_at(statement: int) -> None:
    """Crash at a statement to the platform's database; Dagster's storage uses another driver and is not counted."""
    count = 0

    def before(connection: sa.Connection, *_: Any) -> None:
        nonlocal count
        count += connection.dialect.driver == OUR_DRIVER
        if count == statement and statement % 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(*_: Any) -> None:
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    sa.event.listen(sa.Engine, "after_cursor_execute", after)
