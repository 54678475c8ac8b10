"""What a drill is asked for: its seed, length, size and faults. Nothing is started here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Size:
    """How much goes on at the same time.

    Attributes:
        campaign_every_seconds: Time between two new campaigns, on average.
        recipients: Fewest and most recipients of a campaign.
        workers: Workers that are kept alive.
        max_sending: No new campaign while so many are being sent.
    """

    campaign_every_seconds: float
    recipients: tuple[int, int]
    workers: int
    max_sending: int


SIZES: dict[str, Size] = {
    "small": Size(campaign_every_seconds=2.0, recipients=(10, 80), workers=2, max_sending=12),
    "medium": Size(campaign_every_seconds=1.5, recipients=(20, 200), workers=4, max_sending=30),
    "large": Size(campaign_every_seconds=1.0, recipients=(50, 500), workers=8, max_sending=60),
}


@dataclass(frozen=True)
class DrillOptions:
    """One drill. The same options make the same script of events.

    Attributes:
        work_dir: Where servers, logs and results are.
        seed: Everything random comes from it.
        seconds: Length of the time in which faults happen; settling and the audit come after it.
        size: A key of ``SIZES``.
        faults: Names of the faults; None for all that can happen here. What is named has to happen;
            what is named several times happens more often.
        without: Names of those that are left out.
        node: Node workers of bullmq 4, 5 and 6 among the workers.
        dagster: A Dagster process sweeps besides the two plain ones.
        database_url: PostgreSQL to use in place of the embedded one; a database in it that holds nothing.
        redis_url: Redis to use in place of the embedded one; one that holds nothing.
        throw_away: A person has said that the given servers may be thrown away, however they look.
    """

    work_dir: Path
    seed: int
    seconds: float = 120
    size: str = "small"
    faults: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    node: bool = False
    dagster: bool = True
    database_url: str | None = None
    redis_url: str | None = None
    throw_away: bool = False

    @property
    def scale(self) -> Size:
        """What ``size`` stands for."""
        return SIZES[self.size]

    @property
    def command(self) -> str:
        """The command that plays the same script again. Given servers are named without their addresses."""
        words = [f"campaign-ops drill --seed {self.seed} --seconds {self.seconds:.12g} --size {self.size}"]
        words += [f"--fault {name}" for name in self.faults or ()]
        words += [f"--without {name}" for name in self.without]
        given = {
            "--node": self.node,
            "--no-dagster": not self.dagster,
            "--database-url URL --redis-url URL": self.database_url is not None,
            "--throw-away": self.throw_away,
        }
        return " ".join([*words, *(option for option, is_given in given.items() if is_given)])
