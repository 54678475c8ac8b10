"""The channels that notifications go to, and the rules by which each gets an incident."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pydantic import SecretStr

from campaign_ops.core.causes import Severity
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.incidents import Incident, What, loudest_severity
from campaign_ops.core.notices import Message, message


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One place that notifications go to. Its URL is a secret and shown nowhere.

    Attributes:
        name: What people call it; the outbox keeps it.
        url: What apprise sends to.
        severity: The mildest that is sent there.
        platforms: The only platforms; empty for all.
        tenants: The only owners; empty for all. A channel with tenants gets no incident that concerns none of them,
            and no campaign of another owner is named there.
        where: File, line and key of its URL, for messages.
    """

    name: str
    url: SecretStr
    severity: Severity = Severity.WARNING
    platforms: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    where: str = ""

    def wants(self, platform: str, incident: Incident) -> bool:
        """Return whether an incident of a platform is for this channel."""
        return (
            loudest_severity(incident).rank >= self.severity.rank
            and (not self.platforms or platform in self.platforms)
            and (not self.tenants or not set(self.tenants).isdisjoint(incident.tenants))
        )


@dataclass(frozen=True, kw_only=True)
class Notify:
    """The sound channels, the address that a text links to, and the mistakes in the other channels.

    ``where`` is the place of the channels in the configuration file, for messages.
    """

    channels: tuple[Channel, ...] = ()
    link: str = ""
    error: ConfigurationError | None = None
    where: str = ""

    def about(self, platform: str) -> Notify:
        """The same with the channels that get incidents of a platform."""
        wanted = tuple(channel for channel in self.channels if not channel.platforms or platform in channel.platforms)
        return replace(self, channels=wanted)

    def messages(
        self, platform: str, incident: Incident, what: What, *, by: str = "", told: Collection[str] = ()
    ) -> Sequence[tuple[str, Message]]:
        """The message for each channel that wants the incident or was ``told`` of it, with the channel's name."""
        return [
            (channel.name, message(platform, incident, what, link=self.link, tenants=channel.tenants, by=by))
            for channel in self.channels
            if channel.name in told or channel.wants(platform, incident)
        ]

    def of_owners(self, platform: str, incident: Incident, told: Collection[str]) -> Notify:
        """The same with the channels of owners whom the incident concerns and who were not told of it."""
        wanting = (channel for channel in self.channels if channel.tenants and channel.wants(platform, incident))
        return replace(self, channels=tuple(channel for channel in wanting if channel.name not in told))
