"""What the program gets from the configuration: frozen values, secrets wrapped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from campaign_ops.core.console import Console
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.policy import Policy
from campaign_ops.core.wording import nearest
from campaign_ops.postgres.database import Timeouts
from campaign_ops.profile.model import Profile
from campaign_ops.watch.channels import Notify

DEFAULT_QUEUE_PREFIX = "bull"
DEFAULT_SCHEDULE = "*/10 * * * *"
# A sensor that takes a minute is cut off by Dagster, a scrape of Prometheus after ten seconds.
HURRY = Timeouts(connect_seconds=3, statement_seconds=10, lock_seconds=2, queue_seconds=5)


@dataclass(frozen=True, kw_only=True)
class PlatformSettings:
    """All that is set for one platform.

    ``database_url`` is a SQLAlchemy URL with the ``postgresql+psycopg`` driver; ``queue_url`` is None exactly where
    the profile has no queue; ``schedule`` is a cron expression in UTC; ``notify`` has the channels
    that want to hear of this platform; ``console`` is the operator's console, where one is configured. ``others``
    returns the other sound platforms of the same file.
    """

    name: str
    profile: Profile
    database_url: SecretStr
    queue_url: SecretStr | None = None
    queue_prefix: str = DEFAULT_QUEUE_PREFIX
    contact: str | None = None
    policy: Policy = field(default_factory=Policy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    schedule: str = DEFAULT_SCHEDULE
    notify: Notify = field(default_factory=Notify, repr=False, compare=False)
    console: Console | None = field(default=None, compare=False)
    others: Callable[[], Iterable[PlatformSettings]] = field(default=tuple, repr=False, compare=False)

    def in_a_hurry(self) -> PlatformSettings:
        """The same platform with timeouts of a few seconds: for sensors and scrapes, which are cut off themselves."""
        pairs = zip(astuple(self.timeouts), astuple(HURRY), strict=True)
        return replace(self, timeouts=Timeouts(*(min(own, short) for own, short in pairs)))


@dataclass(frozen=True)
class BrokenPlatform:
    """A platform whose entry holds mistakes: all of them, one to a line, in ``error``.

    ``name`` is fit to be a platform's: ``platforms_<index>`` where the written one is missing, not fit or taken.
    """

    name: str
    error: ConfigurationError


@dataclass(frozen=True)
class Settings:
    """The whole configuration file, read once. No two platforms, broken ones included, have the same name."""

    path: Path
    platforms: tuple[PlatformSettings, ...]
    broken: tuple[BrokenPlatform, ...] = ()
    notify: Notify = field(default_factory=Notify)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all platforms, sound ones first."""
        return (*(platform.name for platform in self.platforms), *(broken.name for broken in self.broken))

    def only(self, names: Collection[str] | None) -> Settings:
        """The platforms with these names; None means all."""
        if names is None:
            return self
        platforms = tuple(platform for platform in self.platforms if platform.name in names)
        return replace(self, platforms=platforms, broken=tuple(each for each in self.broken if each.name in names))

    def find(self, name: str) -> PlatformSettings | None:
        """The platform called ``name``; None where there is none or its entry is broken."""
        return next((platform for platform in self.platforms if platform.name == name), None)

    def platform(self, name: str | None = None) -> PlatformSettings:
        """The platform called ``name``; None means the only one.

        Raises:
            ConfigurationError: No such platform, more than one to choose from, or its entry is broken.
        """
        if name is None:
            if len(self.names) != 1:
                raise ConfigurationError(
                    "several platforms are configured", mend=f"name one of {', '.join(self.names)}"
                )
            name = self.names[0]
        if (platform := self.find(name)) is not None:
            return platform
        for broken in self.broken:
            if broken.name == name:
                raise broken.error.with_traceback(None)
        raise ConfigurationError(f"no platform {name!r} is configured", mend=nearest(name, self.names))
