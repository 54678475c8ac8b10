"""Ctrl-C and SIGTERM: how they end a command, and with which exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130
TERMINATED = 143
STOPPED = {INTERRUPTED: "interrupted", TERMINATED: "terminated (SIGTERM)"}


class Terminated(KeyboardInterrupt):
    """SIGTERM. A `KeyboardInterrupt`, since psycopg cancels the statement that runs for that exception only."""


def stop_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does: statement cancelled, transactions rolled back, lock given back.

    Without a handler the process dies where it is, and PostgreSQL goes on with the statement until it times out; as the
    first process of a container it ignores the signal.
    """
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise Terminated


def stop_code(stop: KeyboardInterrupt) -> int:
    """The exit code of a command that was stopped."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


@contextmanager
def while_loading() -> Iterator[None]:
    """Import modules; a signal ends the process with one line. Before, the first tenth of a second had a traceback.

    Python hides it in a RuntimeError where it comes while a class is being made.
    """
    try:
        yield
    except BaseException as error:
        stop = error if isinstance(error, KeyboardInterrupt) else error.__cause__
        if not isinstance(stop, KeyboardInterrupt):
            raise
        code = stop_code(stop)
        sys.stderr.write(f"error: {STOPPED[code]}; nothing was done\n")
        raise SystemExit(code) from None
