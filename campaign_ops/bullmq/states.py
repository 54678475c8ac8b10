"""The states of a BullMQ job and the Redis keys that hold them.

Observed with Node's bullmq 4.18, 5.81 and 6.7 and the Python client 3.4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LISTS = ("wait", "paused", "active")
SORTED_SETS = ("prioritized", "delayed", "waiting-children")
LIVE = LISTS + SORTED_SETS
DEAD = ("failed", "completed")

OWN_ID_PREFIX = "ops-"
"""Every id of our own jobs begins with this."""

# BullMQ 4 wakes its workers by `0:0` in `wait`, or by a moment in milliseconds: of more than 200 jobs for the same one,
# with a fraction. Ids of schedulers contain colons too, and so may an application's own, as of batch and campaign
# (`0:17`, by Python's client): they are jobs.
_MARKER = re.compile(r"0:(?:0|\d{13}(?:\.\d+)?)")


def is_marker(member: str) -> bool:
    """Return whether a member of `wait`, `paused` or `active` is a wake-up marker of BullMQ 4, not a job."""
    return member.startswith("0:") and _MARKER.fullmatch(member) is not None


def kept_aside(deduplication_id: str) -> str:
    """Return the id under whose key BullMQ keeps the next job until one with this deduplication id ends.

    With the option `keepLastIfActive` a job that comes while that one is active is in no state until it ends (5.81 and
    6.7), also while it is in `delayed` or `wait` again: it failed and is to be tried again, or it stalled.
    """
    return f"dn:{deduplication_id}"


def may_come_again(job_id: str) -> bool:
    """Return whether the application may give this id to another job: not one that BullMQ counted, or our own."""
    return not (job_id.isdigit() or job_id.startswith((OWN_ID_PREFIX, "repeat:")))


def state_by_id(ids: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the state of each live job by its id, from the ids in each of ``LIVE``, in that order."""
    return {
        job_id: state
        for state, of_state in zip(LIVE, ids, strict=True)
        for job_id in of_state
        if state in SORTED_SETS or not is_marker(job_id)
    }
