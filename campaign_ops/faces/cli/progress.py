"""What a command is doing, on a terminal, once it takes longer than a person waits without wondering."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from campaign_ops.faces.cli.screen import bar, clean
from campaign_ops.sweep.progress import LOGGER, Doing

QUIET_SECONDS = 2.0


@contextmanager
def working(console: Console, what: str, *, shown: bool) -> Iterator[None]:
    """Show on the console of stderr what is being done, from `QUIET_SECONDS` on and as long as it takes.

    Nothing where it is not ``shown`` or no terminal. What libraries print to stdout goes to stderr meanwhile.
    """
    with redirect_stdout(sys.stderr):
        if shown and console.is_interactive:
            with _shown(console, what):
                yield
        else:
            yield


@contextmanager
def _shown(console: Console, what: str) -> Iterator[None]:
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns = (SpinnerColumn("line"), text, TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    handler = _Line(progress, what)
    log = logging.getLogger(LOGGER)
    level = log.level
    timer = threading.Timer(QUIET_SECONDS, progress.start)
    timer.daemon = True
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if progress.live.is_started:
            progress.stop()
        log.removeHandler(handler)
        log.setLevel(level)


class _Line(logging.Handler):
    """Puts the newest step into the line."""

    def __init__(self, progress: Progress, what: str) -> None:
        super().__init__()
        self._progress = progress
        self._what = clean(what)
        self._task: TaskID = progress.add_task(self._what, total=None)

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, Doing):
            self._progress.update(self._task, description=self._described(record.msg))

    def _described(self, step: Doing) -> str:
        text = f"{self._what}: {step.what}"
        if step.done is None or not step.total:
            return text
        plain = not self._progress.console.encoding.startswith("utf")
        return f"{text} {bar(step.done, step.total, plain=plain)} {step.done:,}/{step.total:,}"
