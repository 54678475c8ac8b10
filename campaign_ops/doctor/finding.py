"""A finding of the doctor: one for each thing that it examined, good or bad."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a finding.

    ``ok``: as it should be; ``note``: worth knowing, no action; ``warning``: works, but needs attention;
    ``error``: a sweep would fail, or decide from false facts.
    """

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing examined.

    Attributes:
        check: The thing examined, as a stable word: ``database``, ``rights``, ``index``, ``queue`` …
        level: Its severity.
        what: The result in plain words, without secrets, drivers' texts or recipients' data.
        mend: The remedy: SQL that is ready to run (statements separated by ``;``), a command in backquotes, or words.
            Empty if there is nothing to do.
    """

    check: str
    level: Level
    what: str
    mend: str = ""
