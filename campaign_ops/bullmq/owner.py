"""The library that owns a queue, recognised by the keys it writes. An unknown one is observed only."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from campaign_ops.bullmq.payload import named

KNOWN_MAJORS = (4, 5, 6)
_PRO_KEYS = ("groups", "groups:limit", "groups:max", "groups:paused", "groups:metas")
# Bull's, and what BullMQ wrote before version 4. Observed with Bull 3.29 and 4.16.
_OLD_KEYS = ("meta-paused", "priority")
_VERSION = re.compile(r"([\w-]+):(\d+)\.")
BULL = (
    "the queue belongs to Bull, the library before BullMQ, or to BullMQ before version 4: it is only observed, since"
    " they do not handle what is added by BullMQ's rules"
)


class Owner(NamedTuple):
    """The library that writes a queue, by the queue's own keys.

    ``version`` is None where it writes none, as Python's client and Bull do. ``old``: there are keys only Bull writes.
    """

    version: str | None
    paused: bool
    exists: bool
    jobs_added: int
    pro: bool
    old: bool

    def problem(self, role: str | None) -> str | None:
        """Return why the queue may only be observed, or None. ``role`` is what the server reports as its own."""
        if role in {"slave", "replica"}:
            return "this Redis is a replica: its data may be old"
        if self.pro or (self.version or "").startswith("bullmq-pro"):
            return "BullMQ Pro: jobs in groups stand in no list that can be read here"
        if self.old:
            return BULL
        known = _VERSION.match(self.version or "")
        if self.version and (not known or known[1] != "bullmq" or int(known[2]) not in KNOWN_MAJORS):
            majors = ", ".join(map(str, KNOWN_MAJORS))
            return f"the queue belongs to {self.version}; only BullMQ {majors} is known well enough to be acted on"
        return None


def ask_owner(pipe: Any, key: Callable[[str], str]) -> None:
    """Add to a pipeline the questions about the owner; `read_owner` takes the answers."""
    pipe.hmget(key("meta"), "version", "paused", "opts.maxLenEvents")
    pipe.get(key("id"))
    pipe.exists(key("events"))
    pipe.exists(key("meta"))
    pipe.exists(*map(key, _PRO_KEYS))
    pipe.exists(*map(key, _OLD_KEYS))


def read_owner(answers: Sequence[Any]) -> Owner:
    """Return the owner from the answers.

    BullMQ and its Python client write `meta` when they open a queue and `events` with every job. Bull counts its jobs
    in `id` as they do, and writes neither, except for the flag `paused` in `meta`.
    """
    (version, paused, max_events), counter, has_events, has_meta, pro, old_keys = answers
    old = old_keys or (counter is not None and not (has_events or version or max_events))
    return Owner(
        version and named(version),  # it is written into our tables, whatever a client has written there
        paused=paused is not None,
        exists=bool(has_meta or old),
        jobs_added=int(counter) if counter and counter.isdecimal() else 0,
        pro=bool(pro),
        old=bool(old),
    )


def is_bulls_job(job_id: str, options: str | None) -> bool:
    """Return whether Bull made this job. It writes the time into the options; BullMQ does so for repeated jobs only.

    This recognises a queue of Bull's into which BullMQ has written as well.
    """
    return '"timestamp":' in (options or "") and not job_id.startswith("repeat:")
