"""The jobs that a reading of the queue yields, by the state they were read in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LiveJob:
    """A job that is not over. ``taken``: a worker has taken it at least once.

    ``queue`` names its queue, where the platform has several.
    """

    id: str
    state: str
    campaign_id: str
    recipient_ids: tuple[str, ...]
    taken: bool = field(default=False, compare=False)
    queue: str = ""


@dataclass(frozen=True)
class FailedJob:
    """A job that ran out of attempts."""

    id: str
    campaign_id: str
    recipient_ids: tuple[str, ...]


@dataclass(frozen=True)
class CompletedJob:
    """A job that a worker has completed and that the queue keeps, whatever its name."""

    id: str
    campaign_id: str
    recipient_ids: tuple[str, ...]
