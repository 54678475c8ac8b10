"""The sweeper's side of a gap: at some of its statements a sweep waits until the drill has acted there.

What happens between two statements is decided by the drill (`gaps`); this only tells it which rows the sweep works on,
and what it is about to do.
"""

from __future__ import annotations

import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

OUR_DRIVER = "psycopg"
_GAPS_OF_A_SWEEP = (0, 1, 1, 2)
"""At most so many gaps, drawn for each sweep. Without a bound, each sweep was disturbed eight times: half of them lost
a connection, and none repaired anything in 160 s."""
_SHARE, _SHARE_THAT_MATTERS, _SHARE_BEFORE_A_WRITE = 0.005, 0.05, 0.3
"""Of all statements; of locks, writes and looks right before a write; of those while a sweep is about to write."""
_MATTERS = re.compile(r"FOR (NO KEY )?(UPDATE|SHARE)|UPDATE|intent|pg_locks|SELECT 1$")
ADDING, ENDING = "adding", "ending"
"""What a sweep is about to do: add jobs that it journals or has journaled, or end campaigns that it holds locked."""
_ADDS = re.compile(r"INSERT INTO \S*intent")
_HAS_ADDED = re.compile(r"UPDATE \S*intent")
_ENDS = re.compile(r"FOR NO KEY UPDATE|^UPDATE")
_LONGEST_SECONDS = 30.0


class Meeting:
    """Meets the drill at some statements of a thread's sweeps to the platform's database."""

    def __init__(self) -> None:
        self._rng = random.Random()
        self._port = self._left = self._thread = 0
        self._ids: list[str] = []
        self._about_to = ""
        sa.event.listen(sa.Engine, "before_cursor_execute", self._before)

    @contextmanager
    def during(self, port: int) -> Iterator[None]:
        """Meet the drill, which listens on this port (0 for none), during a sweep of this thread in the block."""
        self._port, self._thread = port, threading.get_ident()
        self._left = self._rng.choice(_GAPS_OF_A_SWEEP) if port else 0
        try:
            yield
        finally:
            self._left = 0

    def end(self) -> None:
        """Meet the drill no more. Idempotent."""
        if sa.event.contains(sa.Engine, "before_cursor_execute", self._before):
            sa.event.remove(sa.Engine, "before_cursor_execute", self._before)

    def _before(self, connection: sa.Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if connection.dialect.driver != OUR_DRIVER or threading.get_ident() != self._thread:
            return
        if isinstance(parameters, Mapping) and isinstance(parameters.get("ids"), list):
            self._ids = [str(key) for key in parameters["ids"]]
        self._about_to = _about_to(statement, self._about_to)
        matters = _SHARE_THAT_MATTERS if _MATTERS.search(statement) else _SHARE
        if self._left and self._rng.random() < (_SHARE_BEFORE_A_WRITE if self._about_to else matters):
            self._left -= 1
            _meet(self._port, {"ids": self._ids[:20], "about_to": self._about_to})


def _about_to(statement: str, before: str) -> str:
    """What a sweep is about to do at a statement: it adds jobs at some time after it has journaled them."""
    if _ADDS.search(statement) or (before == ADDING and not _HAS_ADDED.search(statement)):
        return ADDING
    return ENDING if _ENDS.search(statement) else ""


def _meet(port: int, gap: Mapping[str, Any]) -> None:
    """Describe the gap, and sleep for as long as the answer says. Nothing if the drill is over."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_LONGEST_SECONDS) as meeting:
            meeting.sendall(json.dumps(gap).encode() + b"\n")
            with meeting.makefile() as answer:
                seconds = float(answer.readline() or 0)
    except (OSError, ValueError):
        return
    time.sleep(seconds)
