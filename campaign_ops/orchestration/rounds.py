"""Asking many platforms from one sensor: so many at a time, so long, and in turn.

One evaluation of a sensor for each of 1,000 platforms every 30 seconds would be all that Dagster's daemon does.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Round(Generic[R]):
    """Answers by platform, and where the next round begins; None: with the first platform."""

    answers: dict[str, R]
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
        ask: Called in threads; raises nothing.
        at_most: Platforms of one round.
        seconds: The time after which no further platform is asked.
    """
    ordered = sorted(sources, key=lambda source: (source.settings.name <= (after or ""), source.settings.name))
    chosen, stop_at = ordered[:at_most], time.monotonic() + seconds

    def ask_in_time(source: PlatformSource) -> tuple[PlatformSource, R] | None:
        return (source, ask(source)) if time.monotonic() < stop_at else None

    with ThreadPoolExecutor(AT_ONCE) as threads:
        # In order, so that those who were not asked any more are the last.
        answers = {asked[0].settings.name: asked[1] for asked in threads.map(ask_in_time, chosen) if asked}
    whole = len(answers) == len(sources)
    return Round(answers, None if whole or not answers else [*answers][-1])


def in_words(said: dict[str, str]) -> str:
    """What is said of each platform, in one line; of many platforms the first."""
    lines = [f"{platform}: {what}" for platform, what in said.items()]
    more = [f"and {len(lines) - _SAID} more"] if len(lines) > _SAID else []
    return "; ".join([*lines[:_SAID], *more]) or "no platform to ask"
