"""What the doctor says: one finding for each thing examined, good or bad."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters.

    ``ok`` as it should be; ``note`` worth knowing, nothing to do; ``warning`` works, but see to it; ``error`` a sweep
    would fail, or decide on what is not so.
    """

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def exit_code(self) -> int:
        """0 for ok and note, 1 for warning, 2 for error."""
        return {Level.WARNING: 1, Level.ERROR: 2}.get(self, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing examined.

    Attributes:
        check: What was examined, a word that stays the same: ``database``, ``rights``, ``index``, ``queue`` …
        level: How much it matters.
        what: What was found, in plain words. Never a secret, never a driver's text, never a recipient's data.
        mend: What to do. SQL where SQL mends it, ready to run (several statements are separated by ``;``); a command
            in backquotes; else words. Empty where there is nothing to do.
    """

    check: str
    level: Level
    what: str
    mend: str = ""


def worst(findings: Iterable[Finding]) -> int:
    """Exit code of the worst finding: 0 nothing but ok and notes, 1 warnings, 2 errors."""
    return max((finding.level.exit_code for finding in findings), default=0)
