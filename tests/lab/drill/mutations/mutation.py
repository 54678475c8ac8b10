"""A planted fault: one rule of the product removed, as a careless programmer would; some have a drill to show it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from campaign_ops.lab.drill.options import SIZES, Size

OFTEN = ("lose_completion",) * 12
"""A campaign for sweeps to complete each 2 s in a drill of 30 s: at one each 6 s the damage showed after up to 28 s."""


UNSLOWED = "CAMPAIGN_OPS_UNSLOWED"
"""Environment variable of a process in which `slowed` does nothing: a random drill must see a fault at normal speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One rule that is removed from the product.

    Attributes:
        rule: Its number in the design's list of rules.
        what: How it is removed, in one line.
        apply: Removes it from the calling process.
    """

    rule: int
    what: str
    apply: Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation(Planted):
    """A planted fault of the sweepers, and the short drill in which the damage must show.

    Attributes:
        seen: Keys of figures of which at least one must fail.
        faults: Faults of the drill. A name that is repeated is injected more often.
        seconds: Length of the drill; it ends earlier when the damage is found.
        settle_seconds: How long the drill waits for quiet, which may never come.
        seed: The script's seed.
        size: The amount of load.
        workers: Fields of `WorkerOptions` that replace the drill's own.
        worker_module: The module of the workers' processes; empty for the shop's worker.
    """

    seen: frozenset[str]
    faults: tuple[str, ...]
    seconds: float = 30
    settle_seconds: float = 15
    seed: int = 1
    size: Size = SIZES["small"]
    workers: Mapping[str, Any] = field(default_factory=dict)
    worker_module: str = ""


def put(owner: Any, name: str, value: Any) -> Any:
    """Replace an attribute of the product, which must exist. Returns the original."""
    before = owner.__dict__[name]
    setattr(owner, name, value)
    return before


def slowed(owner: Any, name: str, seconds: float) -> None:
    """Slow a function of the product down, as a slow network does: not a mutation, but it shows one sooner."""
    function = owner.__dict__[name]

    def slow(*arguments: Any, **options: Any) -> Any:
        wait(seconds)
        return function(*arguments, **options)

    setattr(owner, name, slow)


def wait(seconds: float) -> None:
    """Sleep, as part of a slowed function."""
    if not os.environ.get(UNSLOWED):
        time.sleep(seconds)


def without(text: str, part: str, instead: str = "") -> str:
    """A script of the product without a part, which must exist exactly once."""
    assert text.count(part) == 1, f"{text.count(part)} times in the script: {part}"
    return text.replace(part, instead)
