"""What a sweep is doing, for a person who waits: log records of a logger of its own, below the level of the others.

Dagster keeps every record of level INFO as an event of the run; these are not worth that.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

LOGGER = "campaign_ops.progress"
_log = logging.getLogger(LOGGER)


@dataclass(frozen=True, slots=True)
class Doing:
    """One step of a platform, and how far it is, where that is known."""

    platform: str
    what: str
    done: int | None = None
    total: int | None = None

    def __str__(self) -> str:
        """One line."""
        so_far = "" if self.total is None else f" ({self.done:,} of {self.total:,})"
        return f"{self.platform}: {self.what}{so_far}"


def doing(platform: str, what: str, done: int | None = None, total: int | None = None) -> None:
    """Say what happens now; of a whole, also how much is done."""
    _log.debug(Doing(platform, what, done, total))
