"""The runbook's manual fixes: one campaign, one reservation or one repair, on a person's word.

Each repeats the premise that a sweep would, and when it does not hold refuses with the numbers; nothing is half done.
The person's name and reason go into the journal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks and why; ``trigger`` and ``run_id`` say through which face."""

    name: str
    reason: str
    run_id: str
    trigger: str = "cli"


@dataclass(frozen=True, slots=True)
class Fix:
    """What a manual fix did, or with ``dry_run`` would do. ``message`` is one line for the person."""

    target: str
    changed: bool
    message: str
    repair_ids: tuple[int, ...] = ()
