"""Asking many platforms from one sensor: so many at a time, so long, and in turn.

One evaluation of a sensor for each of 1,000 platforms every 30 seconds would be all that Dagster's daemon does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from campaign_ops.orchestration.resources import PlatformSource

AT_MOST = 100
"""Platforms that one evaluation asks."""
AT_ONCE = 16
"""A platform whose database hangs holds one of these; its timeouts are short, and the others do not wait for it."""
SECONDS = 20
"""No platform is asked later than this in an evaluation: Dagster ends one after a minute."""
_SAID = 20

R = TypeVar("R")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Round(Generic[R]):
    """Answers by platform, the platforms at which asking failed, and where the next round begins.

    ``after`` is the last platform of the round; None: the next one begins with the first.
    """

    answers: dict[str, R]
    failed: dict[str, str]
    after: str | None


def ask_in_turn(
    sources: Sequence[PlatformSource],
    after: str | None,
    ask: Callable[[PlatformSource], R],
    *,
    at_most: int = AT_MOST,
    seconds: float = SECONDS,
) -> Round[R]:
    """Ask the platforms that follow ``after`` by name, several at once; after the last one comes the first again.

    Args:
        sources: All platforms.
        after: The last platform of the previous round.
        ask: Called in threads. What it raises is a mistake of ours, which must not keep the others from being asked.
        at_most: Platforms of one round.
        seconds: The time after which no further platform is asked.
    """
    ordered = sorted(sources, key=lambda source: (source.settings.name <= (after or ""), source.settings.name))
    chosen, stop_at = ordered[:at_most], time.monotonic() + seconds
    answers: dict[str, R] = {}
    failed: dict[str, str] = {}

    def ask_in_time(source: PlatformSource) -> bool:
        name = source.settings.name
        if in_time := time.monotonic() < stop_at:
            try:
                answers[name] = ask(source)
            except Exception as error:
                log.exception("%s: a sensor failed", name)
                failed[name] = f"failed, see the code server's log: {type(error).__name__}"
        return in_time

    with ThreadPoolExecutor(AT_ONCE) as threads:
        # In order, so that those who were not asked any more are the last.
        asked = [source for source, was in zip(chosen, threads.map(ask_in_time, chosen), strict=True) if was]
    whole = len(asked) == len(sources)
    return Round(answers, failed, None if whole or not asked else asked[-1].settings.name)


def in_words(said: dict[str, str]) -> str:
    """What is said of each platform, in one line; of many platforms the first."""
    lines = [f"{platform}: {what}" for platform, what in sorted(said.items())]
    more = [f"and {len(lines) - _SAID} more"] if len(lines) > _SAID else []
    return "; ".join([*lines[:_SAID], *more]) or "no platform to ask"
