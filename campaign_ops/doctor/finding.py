"""What the doctor says: one finding for each thing examined, good or bad."""

from __future__ import annotations

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
