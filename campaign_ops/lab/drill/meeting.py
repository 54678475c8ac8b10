"""The sweeper's side of a gap: at some of its statements a sweep waits until the drill has acted there.

What happens between two statements is decided by the drill (`gaps`); this only tells it which rows the sweep works on,
and what it is about to do.
"""

from __future__ import annotations

import json
import random
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

OUR_DRIVER = "psycopg"
SHARE = 0.08
"""Of all statements; of those that matter six times as many: locks, writes, and the looks right before a write."""
_MATTERS = re.compile(r"FOR (NO KEY )?(UPDATE|SHARE)|UPDATE|intent|pg_locks|SELECT 1$")
ADDING, ENDING = "adding", "ending"
"""What a sweep is about to do: add jobs that it journals or has journaled, or end campaigns that it holds locked."""
_ADDS = re.compile(r"INSERT INTO \S*intent")
_HAS_ADDED = re.compile(r"UPDATE \S*intent")
_ENDS = re.compile(r"FOR NO KEY UPDATE|^UPDATE")
_LONGEST_SECONDS = 30.0


def meet_at(port: int) -> None:
    """Meet the drill, which listens on this port of this machine, at some statements to the platform's database."""
    rng = random.Random()
    ids: list[str] = []
    about_to = ""

    def before(connection: sa.Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        nonlocal about_to
        if connection.dialect.driver != OUR_DRIVER:
            return
        if isinstance(parameters, Mapping) and isinstance(parameters.get("ids"), list):
            ids[:] = parameters["ids"]
        about_to = _about_to(statement, about_to)
        if rng.random() < SHARE * (6 if about_to or _MATTERS.search(statement) else 1):
            _meet(port, {"ids": [str(key) for key in ids[:20]], "about_to": about_to})

    sa.event.listen(sa.Engine, "before_cursor_execute", before)


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
