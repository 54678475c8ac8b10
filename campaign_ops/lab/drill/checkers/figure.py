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
        key: Its name for programs.
        what: What it counts, for people.
        must_be: The required result.
        found: The actual result.
        holds: Whether the requirement is met.
        examples: Violations, one line each.
        informational: It cannot fail.
    """

    key: str
    what: str
    must_be: str
    found: str
    holds: bool
    examples: tuple[str, ...] = ()
    informational: bool = False


def none_of(key: str, what: str, violations: Iterable[str]) -> Figure:
    """A figure that must be 0: it counts the violations and keeps the first of them."""
    lines = list(violations)
    return Figure(key, what, "0", str(len(lines)), not lines, tuple(lines[:EXAMPLES]))


def shown(key: str, what: str, found: str, examples: Sequence[str] = ()) -> Figure:
    """An informational figure."""
    return Figure(key, what, "shown", found, True, tuple(examples[:EXAMPLES]), informational=True)
