"""Prints for a person: answers to stdout; errors, logs and progress to stderr. Decides nothing.

Names and texts are foreign data: everything is printed without markup, and control characters as escapes.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from campaign_ops.core.errors import CampaignOpsError
from campaign_ops.faces.logs import JsonFormatter, LogFormat, without_credentials
from campaign_ops.sweep.progress import LOGGER as PROGRESS

# Characters that a terminal acts on: C0, DEL and C1, Unicode line ends and direction marks; and undecodable bytes.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# The width where stdout is not a terminal: nothing is wrapped, so that grep and awk see whole lines.
_UNWRAPPED = 10_000
BAR_CELLS = 20
GAP = 2  # cells between two columns
NARROWEST = 40  # cells that a column of prose needs at least


def clean(value: object) -> str:
    """Text that is safe on a terminal: control and direction characters as escapes such as ``\\x1b``."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), str(value))


def clean_lines(text: str) -> str:
    """Text of several lines, each made safe by `clean`."""
    return "\n".join(map(clean, text.split("\n")))


def line(text: str, style: str = "") -> Text:
    """One line, made safe by `clean`."""
    return Text(clean(text), style=style)


@dataclass(frozen=True)
class Rows:
    """Rows of cells, of which the last is the long one: beside the others where it fits, else below them.

    Nothing is cut, and only the last cell is wrapped, so that ids can be copied.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    indent: int = 2

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print as columns or stacked, depending on the width."""
        most = options.max_width
        rows = [[clean(cell) for cell in row] for row in self.rows]
        *widths, last = [max(map(cell_len, column)) for column in zip(self.head, *rows, strict=True)]
        before = self.indent + sum(widths) + GAP * len(widths)
        in_columns = most - before >= min(last, NARROWEST)
        if in_columns and any(self.head):
            for text in self._columns(console, self.head, widths, most):
                yield from (Segment(text, Style(bold=True)), Segment.line())
        for row in rows:
            lines = self._columns(console, row, widths, most) if in_columns else self._stacked(console, row, most)
            for text in lines:
                yield from (Segment(text), Segment.line())

    def _columns(self, console: Console, row: Sequence[str], widths: Sequence[int], most: int) -> Iterator[str]:
        *cells, last = row
        padded = [set_cell_size(cell, width + GAP) for cell, width in zip(cells, widths, strict=True)]
        start = " " * self.indent + "".join(padded)
        first, *more = wrapped(console, last, most - cell_len(start))
        yield f"{start}{first}".rstrip()
        yield from (" " * cell_len(start) + text for text in more)

    def _stacked(self, console: Console, row: Sequence[str], most: int) -> Iterator[str]:
        *cells, last = row
        for indent, text in ((self.indent, "  ".join(filter(None, cells))), (self.indent + 4, last)):
            if text:
                yield from (" " * indent + piece for piece in wrapped(console, text, most - indent))


def wrapped(console: Console, text: str, width: int) -> list[str]:
    """Pieces of at most ``width`` cells, broken between words where possible."""
    if cell_len(text) <= width:
        return [text]
    pieces = Text(text).wrap(console, max(width, 1), overflow="fold")
    return [piece.plain.rstrip() for piece in pieces]


def bar(done: int, total: int, *, plain: bool = False) -> str:
    """A progress bar of fixed width; full only at ``total``, empty only at 0."""
    full, empty = ("#", ".") if plain else ("█", "░")
    cells = BAR_CELLS * done // total if total else 0
    cells = 1 if done > 0 and cells == 0 else cells
    return full * cells + empty * (BAR_CELLS - cells)


@contextmanager
def _stdout_checked() -> Iterator[None]:
    """Raise one of our errors where stdout cannot be written, as on a full disk; a closed pipe ends the program."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise CampaignOpsError(what, where="stdout", mend="what was done stands") from None


class Screen:
    """Stdout and stderr as they are when it is created; ``errors`` is the console of stderr."""

    def __init__(self, log_format: LogFormat = LogFormat.TEXT) -> None:
        self._json = JsonFormatter() if log_format is LogFormat.JSON else None
        self._out = sys.stdout or io.StringIO()  # None where the caller has closed it
        width = shutil.get_terminal_size((_UNWRAPPED, 24)).columns
        self._console = Console(file=self._out, width=width, markup=False, highlight=False, emoji=False)
        self.errors = Console(
            file=sys.stderr or io.StringIO(), markup=False, highlight=False, emoji=False, soft_wrap=True
        )

    @property
    def plain(self) -> bool:
        """Whether stdout takes ASCII only."""
        return not self._console.encoding.startswith("utf")

    @property
    def indent(self) -> int | None:
        """Indentation of a document; None, one line, beside logs of which each line is an object."""
        return 2 if self._json is None else None

    def show(self, renderables: Sequence[RenderableType]) -> None:
        """Print to stdout. A plain string is not wrapped here, so that it can be copied; the terminal wraps it."""
        with _stdout_checked(), self._console.capture() as captured:
            for renderable in renderables:
                self._console.print(renderable, soft_wrap=isinstance(renderable, str))
        text = captured.get()
        if not self._console.is_terminal:
            text = "\n".join(row.rstrip() for row in text.split("\n"))
        self.write(text)

    def write(self, text: str) -> None:
        """Print to stdout as it is.

        Raises:
            CampaignOpsError: It cannot be written.
        """
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        with _stdout_checked():
            self._out.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._out.flush()

    def error(self, message: str) -> None:
        """Print one line to stderr."""
        self._complain(logging.ERROR, message, Text.assemble(("error: ", "bold red"), clean(message)))

    def traceback(self, text: str) -> None:
        """Print a traceback to stderr."""
        self._complain(logging.DEBUG, text, Text(clean_lines(without_credentials(text))))

    def _complain(self, level: int, message: str, text: Text) -> None:
        if self._json is None:
            self.errors.print(text)
        else:
            record = logging.LogRecord("campaign_ops", level, "", 0, "%s", (message,), None)
            self.errors.file.write(f"{self._json.format(record)}\n")


class _LogFormatter(logging.Formatter):
    """One safe line per record; tracebacks only on request."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        bare = copy(record)
        bare.exc_info = bare.exc_text = bare.stack_info = None
        text = clean(without_credentials(super().format(bare)))
        if not self._tracebacks or record.exc_info is None:
            return text
        return f"{text}\n{clean_lines(without_credentials(self.formatException(record.exc_info)))}"


@contextmanager
def logging_to_stderr(*, verbose: bool, debug: bool, log_format: LogFormat = LogFormat.TEXT) -> Iterator[None]:
    """Send log records to stderr: warnings always, INFO with ``verbose``, everything with ``debug``."""
    ours = logging.getLogger("campaign_ops")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else _LogFormatter(tracebacks=debug))
    handler.addFilter(lambda record: verbose or debug or record.name != PROGRESS)
    level_before = ours.level
    ours.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    logging.getLogger(PROGRESS).setLevel(logging.DEBUG if verbose else logging.NOTSET)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        ours.setLevel(level_before)
