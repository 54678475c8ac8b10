"""Log lines for a process that runs for months: plain text, or one JSON object a line for collectors."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*(?=@)|(?<=password=)[^\s&]+")


def without_credentials(text: str) -> str:
    """Text without the user and password of any URL or connection string in it."""
    return _CREDENTIALS.sub("***", text)


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        metavar="FORMAT",
        help=f"How lines on stderr look: {', '.join(LogFormat)}.",
        case_sensitive=False,
    ),
]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at``, ``level``, ``logger``, ``message`` and, for an error, ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line. Everything outside ASCII is escaped, and a line end never appears in it."""
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_credentials(record.getMessage()),
        }
        if record.exc_info:
            entry["traceback"] = without_credentials(self.formatException(record.exc_info))
        return json.dumps(entry)


class TextFormatter(logging.Formatter):
    """A line for people, with a traceback below it for an error, without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        return without_credentials(super().format(record))


def log_to_stderr(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send the program's own log to stderr, in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter())
    else:
        formatter = TextFormatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = lambda seconds: datetime.fromtimestamp(seconds or 0, UTC).timetuple()
        handler.setFormatter(formatter)
    ours = logging.getLogger("campaign_ops")
    ours.handlers = [handler]
    ours.setLevel(level)
    ours.propagate = False
