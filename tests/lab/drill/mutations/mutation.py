"""What a mutation is: one rule of the product left out as a careless programmer would, and the drill that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from campaign_ops.lab.drill.options import SIZES, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One rule that is taken out of the sweepers, and the short drill in which the damage must show.

    Attributes:
        rule: Its number in the design's list of rules.
        what: How it is left out, in one line.
        apply: Takes it out of the process that calls it.
        seen: Keys of figures of which at least one must fail.
        faults: What happens meanwhile. A name may stand several times: it happens more often then.
        seconds: Length of the drill; it ends earlier when the damage is seen.
        settle_seconds: How long the drill waits for quiet, which may never come.
        seed: What the script is drawn from.
        size: How much goes on.
        workers: Fields of `WorkerOptions` in place of the drill's own.
        worker_module: What the workers' processes run; empty for the demo's worker.
    """

    rule: int
    what: str
    apply: Callable[[], None]
    seen: frozenset[str]
    faults: tuple[str, ...]
    seconds: float = 30
    settle_seconds: float = 15
    seed: int = 1
    size: Size = SIZES["small"]
    workers: Mapping[str, Any] = field(default_factory=dict)
    worker_module: str = ""


def put(owner: Any, name: str, value: Any) -> Any:
    """Replace something of the product; returns what was there. What is not there any more is no rule to take out."""
    before = owner.__dict__[name]
    setattr(owner, name, value)
    return before


def slowed(owner: Any, name: str, seconds: float) -> None:
    """Let a function of the product take longer, as over a slow network: that is no mutation, but shows one sooner."""
    function = owner.__dict__[name]

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return function(*arguments, **options)

    setattr(owner, name, slow)
