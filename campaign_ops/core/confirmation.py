"""Confirmation codes: shown only in the report of a plan or a dry run. Pure, except for random numbers.

A code covers exactly what was shown, or less, and it passes once. Only a person who has read the report knows it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan, PlanItem

VALID_FOR = timedelta(minutes=30)
"""Time to look at the queue before the code expires; the state is compared again anyway."""

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that are easily confused
GROUPS, GROUP = 3, 4

_BY_QUEUE = (RepairKind.REENQUEUE, RepairKind.COMPLETE)  # they rest on a queue that shows no live job

Covers = Mapping[str, Any]
"""The repairs that a code lets pass, as JSON."""
Sizes = Mapping[str, int | str | list[str]]
"""What a manual fix does: numbers, words, ids of recipients."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A person's confirmation: the code, who they are, and why."""

    code: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A code to be shown, when it expires, and the kinds of repair that it lets pass.

    None for a manual fix, and for a code which confirms only that an emptied queue is the right one.
    """

    code: str
    expires_at: datetime
    kinds: tuple[str, ...] = ()


def new_code(what: str, covers: Covers) -> str:
    """Make a code for what it covers: a hash with a secret that is not kept, so that it cannot be computed."""
    content = json.dumps([what, covers], sort_keys=True).encode()
    digest = hashlib.sha256(secrets.token_bytes(32) + content).digest()
    letters = "".join(LETTERS[byte % len(LETTERS)] for byte in digest[: GROUPS * GROUP])
    return "-".join(letters[start : start + GROUP] for start in range(0, len(letters), GROUP))


def covers_of(plan: Plan, kinds: Collection[RepairKind]) -> Covers:
    """The repairs of these kinds in a plan: their targets with their sizes, and the queue that the plan rests on."""
    repairs = {kind.value: {item.target: _size(item) for item in plan.of(kind)} for kind in sorted(kinds)}
    return {"queue": plan.queue, "repairs": repairs}


def covers_of_alarm(plan: Plan) -> Covers:
    """The alarm that a plan rests on, where it holds no repair back: it confirms that this is the queue."""
    return {"queue": plan.queue, "repairs": {}, "alarm": plan.alarm_alone}


def _size(item: PlanItem) -> int | str:
    if item.kind is RepairKind.REENQUEUE:
        return item.missing or 0
    if item.kind is RepairKind.RELEASE:
        return f"{Decimal(item.amount or 0).normalize():f}"
    return item.outcome.value if item.outcome is not None else ""


def beyond(covers: Covers, kind: RepairKind, items: Sequence[PlanItem], queue: str) -> str:
    """In words, how these repairs exceed what a code covers; empty where they do not. Less is fine."""
    confirmed = covers["repairs"].get(kind.value)
    if confirmed is None:
        return "that code was not given for this kind of repair"
    if kind in _BY_QUEUE and queue and covers["queue"] != queue:
        return f"that code was given for {covers['queue']}, and now it is {queue}"
    others = [item for item in items if item.target not in confirmed]
    larger = [item for item in items if item.target in confirmed and not no_more(_size(item), confirmed[item.target])]
    reasons = []
    if others:
        reasons.append(f"{len(others)} of {len(items)} are not in the plan that the code was given for")
    if larger:
        first = larger[0]
        sizes = f"{first.target}: {_size(first)} now, {confirmed[first.target]} then"
        reasons.append(f"{len(larger)} of {len(items)} are more than it was given for ({sizes})")
    return ", ".join(reasons)


def no_more(now: object, confirmed: object) -> bool:
    """Return whether a size is within the confirmed one: numbers and ids may be fewer, words must be the same."""
    if isinstance(now, list) and isinstance(confirmed, list):
        return set(now) <= set(confirmed)
    if isinstance(now, int) and isinstance(confirmed, int):
        return now <= confirmed
    return now == confirmed


def exceeds(now: Sizes, confirmed: Sizes) -> str:
    """In words, how what a manual fix does exceeds or differs from what was confirmed; empty if it does not."""
    return ", ".join(
        f"{name}: {_counted(value)} now, {_counted(confirmed.get(name))} then"
        + (", not the same ones" if isinstance(value, list) else "")
        for name, value in now.items()
        if not no_more(value, confirmed.get(name))
    )


def _counted(size: object) -> object:
    return len(size) if isinstance(size, list) else size
