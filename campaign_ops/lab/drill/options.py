"""The options of a drill: seed, length, size, faults. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from campaign_ops.lab.drill.worlds import PLAIN


@dataclass(frozen=True)
class Size:
    """The amount of concurrent load.

    Attributes:
        campaign_every_seconds: Mean time between two new campaigns.
        recipients: Fewest and most recipients of a campaign.
        workers: Workers that are kept alive.
        max_sending: No new campaign is started while this many are sending.
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
    """The options of one drill. The same options make the same script of events.

    Attributes:
        work_dir: The directory of servers, logs and results.
        seed: The source of everything random.
        seconds: How long faults are injected; settling and checks come after it.
        size: A key of ``SIZES``.
        faults: Names of the faults, all of which must be possible; None for all that are possible here. A name that is
            repeated is injected more often.
        without: Names of faults to leave out.
        node: Also run Node workers of BullMQ 4, 5 and 6.
        dagster: Also sweep from a Dagster process.
        watch: Also run the watcher, and a receiver of its notifications.
        gaps: Also act between the statements of a sweep, and make manual fixes beside them.
        database_url: An empty PostgreSQL database to use instead of the embedded server.
        redis_url: An empty Redis to use instead of the embedded server.
        throw_away: The external servers may be thrown away even if they look like production.
        worlds: Names of the platform's worlds, see ``worlds``; the plain platform without any.
    """

    work_dir: Path
    seed: int
    seconds: float = 120
    size: str = "small"
    faults: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    node: bool = False
    dagster: bool = True
    watch: bool = True
    gaps: bool = True
    database_url: str | None = None
    redis_url: str | None = None
    throw_away: bool = False
    worlds: tuple[str, ...] = ()

    @property
    def scale(self) -> Size:
        """The load of ``size``."""
        return SIZES[self.size]

    @property
    def command(self) -> str:
        """The command that replays the same script; URLs are left out, since they may hold passwords."""
        words = [f"campaign-ops drill --seed {self.seed} --seconds {self.seconds:.12g} --size {self.size}"]
        words += [f"--world {name}" for name in self.worlds or (PLAIN,)]
        words += [f"--fault {name}" for name in self.faults or ()]
        words += [f"--without {name}" for name in self.without]
        flags = {
            "--node": self.node,
            "--no-dagster": not self.dagster,
            "--no-watch": not self.watch,
            "--no-gaps": not self.gaps,
            "--database-url URL --redis-url URL": self.database_url is not None,
            "--throw-away": self.throw_away,
        }
        return " ".join([*words, *(flag for flag, is_set in flags.items() if is_set)])
