"""How counts and times are said to a person."""

from __future__ import annotations

from collections.abc import Mapping


def plural(count: object, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: int) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 172_800 else f"{seconds // 86_400} d"


def settled_in_words(settled: Mapping[str, int]) -> str:
    """What became of the jobs of a sweep that ended before it could confirm them; empty without any."""
    words = {"added": "added", "taken_back": "taken out again", "not_added": "not added", "unknown": "not known"}
    parts = [f"{plural(settled[key], 'job')} {word}" for key, word in words.items() if settled.get(key)]
    if settled.get("recipients"):
        parts[0] += f" ({plural(settled['recipients'], 'recipient')})"
    return "of an earlier sweep that ended early: " + ", ".join(parts) if parts else ""


def is_unicode(text: str) -> bool:
    """Whether no byte of it was something else than UTF-8; such bytes stand as lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
