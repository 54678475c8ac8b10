"""One line of the scoreboard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EXAMPLES = 5
"""Examples of damage that are kept."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the scoreboard.

    Attributes:
        key: What programs call it.
        what: What it counts, as a person reads it.
        must_be: What must be found.
        found: What was found.
        holds: Whether it is so.
        examples: Culprits, a line each.
        shown_only: It cannot fail: it is only told.
    """

    key: str
    what: str
    must_be: str
    found: str
    holds: bool
    examples: tuple[str, ...] = ()
    shown_only: bool = False


def none_of(key: str, what: str, culprits: Iterable[str]) -> Figure:
    """A figure that must be 0: it counts the culprits, and keeps the first of them."""
    found = list(culprits)
    return Figure(key, what, "0", str(len(found)), not found, tuple(found[:EXAMPLES]))


def shown(key: str, what: str, found: str, examples: Sequence[str] = ()) -> Figure:
    """A figure that is only told."""
    return Figure(key, what, "shown", found, True, tuple(examples[:EXAMPLES]), shown_only=True)
