"""Wording: counts, times and nearest words for a person to read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping

SHOWN = 10
"""Ids that are named; of more, only the number is given."""

HELD_BY, REFUSED_AGAIN = "; held by ", " times, tried again in a day: "
"""In a reason: a person holds the campaign; the database keeps refusing the repair. The next step depends on them."""


def plural(count: object, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def counted(count: int, noun: str) -> str:
    """``1 job``, ``2,000 jobs``."""
    return plural(count if count == 1 else f"{count:,}", noun)


def stuck_and_slow(stuck: int, slow: int) -> str:
    """``3 stuck``, ``3 stuck and 1 slow``: those whose recipients move are slow, not stuck."""
    return f"{stuck} stuck" + (f" and {slow} slow" if slow else "")


def ids(targets: Iterable[str]) -> str:
    """At most ``SHOWN`` ids, and how many more."""
    listed = list(targets)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def cut(text: str, longest: int) -> str:
    """The text, shortened where it is longer than ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def cut_in_the_middle(text: str, longest: int) -> str:
    """The text, without its middle where it is longer than ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[len(text) - longest // 2 :]}"


def duration(seconds: int) -> str:
    """Seconds in the unit that a person would use."""
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 172_800 else f"{seconds // 86_400} d"


def settled_in_words(settled: Mapping[str, int]) -> str:
    """In words, the fate of jobs of a sweep that ended before it could confirm them; empty without any."""
    words = {"added": "added", "taken_back": "taken out again", "not_added": "not added", "unknown": "not known"}
    parts = [f"{plural(settled[key], 'job')} {word}" for key, word in words.items() if settled.get(key)]
    if settled.get("recipients"):
        parts[0] += f" ({plural(settled['recipients'], 'recipient')})"
    return "of an earlier sweep that ended early: " + ", ".join(parts) if parts else ""


def is_unicode(text: str) -> bool:
    """Return whether all its bytes were UTF-8; others are represented by lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def closest(
    word: str, choices: Iterable[str], *, fold: Callable[[str], str] = str.casefold, cutoff: float = 0.6
) -> str | None:
    """The choice most like a word; None if none is. ``fold`` removes differences that do not count."""
    by_folded = {fold(choice): choice for choice in reversed(list(choices))}
    close = difflib.get_close_matches(fold(word), by_folded, n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def nearest(word: str, allowed: Iterable[str], *, or_all: bool = True) -> str:
    """The mend for a word that is not allowed: the nearest allowed word, else all of them (or nothing)."""
    choices = list(allowed)
    if choice := closest(word, choices):
        return f"did you mean {choice}?"
    return f"there are: {', '.join(choices)}" if choices and or_all else ""
