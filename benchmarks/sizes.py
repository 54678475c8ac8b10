"""How much data is measured on, and what is wrong with it. Numbers only; ``dataset`` loads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from math import ceil
from typing import TypeVar

T = TypeVar("T")

BATCH = 500
"""Recipients per job, as the application's own jobs carry them."""


class Kind(StrEnum):
    """The state of a campaign."""

    FINISHED = "finished"
    COVERED = "covered"
    LOST = "lost"
    HALF = "half"
    LIVE = "live"
    RESTING = "resting"


# Of ten stuck campaigns: the finished hold credits, the covered wait their turn, the lost have no jobs anywhere; of the
# last kind one half waits in jobs and the other is lost.
MIXED = (Kind.FINISHED,) * 2 + (Kind.COVERED,) * 3 + (Kind.LOST,) * 4 + (Kind.HALF,)


@dataclass(frozen=True, slots=True)
class CampaignSpec:
    """One campaign to load.

    The first ``sent`` recipients were sent to, the next ``queued`` are in live jobs, the others are pending in no job.
    """

    id: str
    kind: Kind
    recipients: int
    sent: int
    queued: int

    @property
    def jobs(self) -> int:
        """Its live jobs."""
        return ceil(self.queued / BATCH)

    def recipient_ids(self, first: int, last: int) -> list[str]:
        """Ids of its recipients from number ``first`` to ``last``, both included."""
        return [f"{self.id}{number:010d}" for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is loaded.

    Attributes:
        stuck: Stuck campaigns, of each kind of ``mix`` in turn.
        recipients: Recipients of every campaign.
        jobs: Live jobs in all; those beyond the stuck campaigns' own belong to campaigns that were touched just now.
        resting: Campaigns that are over, all their recipients sent to; one in twenty still holds its credits.
        mix: See `MIXED`.
    """

    stuck: int
    recipients: int
    jobs: int
    resting: int = 0
    mix: tuple[Kind, ...] = MIXED

    def __str__(self) -> str:
        """The size in words."""
        more = f" + {self.resting:,} over" if self.resting else ""
        return f"{self.stuck:,} x {self.recipients:,}{more}, {self.jobs:,} jobs"

    @property
    def stuck_recipients(self) -> int:
        """Recipients of all stuck campaigns."""
        return self.stuck * self.recipients

    @property
    def others(self) -> int:
        """Campaigns that are not stuck."""
        return sum(1 for _ in self.campaigns()) - self.stuck

    @property
    def all_recipients(self) -> int:
        """Recipients of all campaigns."""
        return sum(campaign.recipients for campaign in self.campaigns())

    def scaled_down(self) -> Size:
        """A small size of the same kind: a twentieth of everything, but a few of each."""
        return replace(
            self,
            stuck=min(self.stuck, max(10, self.stuck // 20)),
            recipients=min(self.recipients, max(20, self.recipients // 20)),
            jobs=min(self.jobs, max(10, self.jobs // 20)),
            resting=self.resting // 20,
        )

    def campaigns(self) -> Iterator[CampaignSpec]:
        """All campaigns."""
        jobs = 0
        for number in range(self.stuck):
            campaign = self._spec(number, self.mix[number % len(self.mix)])
            jobs += campaign.jobs
            yield campaign
        number = self.stuck
        while jobs < self.jobs:
            campaign = self._spec(number, Kind.LIVE, at_most=(self.jobs - jobs) * BATCH)
            jobs += campaign.jobs
            number += 1
            yield campaign
        for over in range(number, number + self.resting):
            yield self._spec(over, Kind.RESTING)

    def _spec(self, number: int, kind: Kind, at_most: int = 0) -> CampaignSpec:
        every, half = self.recipients, self.recipients // 2
        sent, queued = {
            Kind.FINISHED: (every, 0),
            Kind.COVERED: (half, every - half),
            Kind.LOST: (half, 0),
            Kind.HALF: (0, half),
            Kind.LIVE: (max(0, every - at_most), min(every, at_most)),
            Kind.RESTING: (every, 0),
        }[kind]
        return CampaignSpec(
            f"cmbench{number:08d}", kind, every, sent, queued
        )  # 25 characters with a recipient's number, as a cuid has


ANCHORS = {
    "small": Size(50, 1_000, 200),
    "middle": Size(200, 2_000, 1_000),
    "large": Size(500, 2_000, 5_000),
}
TINY = Size(20, 100, 30)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items."""
    iterator = iter(items)
    while page := list(islice(iterator, size)):
        yield page
