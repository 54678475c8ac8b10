"""The ``notify`` section of the configuration file: the channels that notifications go to.

A mistake in it stops neither the sweeps nor the other channels: it is kept in `Notify.error`, which ``config``,
``notify`` and the watcher report. Whether apprise understands a URL is examined by `campaign_ops.watch.sending.check`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from campaign_ops.config.explain import validate
from campaign_ops.config.yaml_tree import KeyPath, Problem, Tree, as_error
from campaign_ops.core.causes import Severity
from campaign_ops.core.wording import nearest
from campaign_ops.settings.entry import Section, check_name, check_web_address, words
from campaign_ops.watch.channels import Channel, Notify


def _check_url(secret: SecretStr) -> SecretStr:
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", secret.get_secret_value()):
        raise ValueError("is not a URL of apprise; write for example mailto://user:password@example.com")
    return secret


class ChannelEntry(Section):
    """One channel.

    Attributes:
        name: Its name in messages; its URL is never shown.
        url: The address, as apprise writes it: `slack://…`, `mailto://…`, `pagerduty://…`, `json://…`. A secret: take
            it from the environment.
        severity: The mildest severity that is sent there.
        platforms: The only platforms whose incidents are sent there; all without it.
        tenants: The only owners whose incidents are sent there; all without it. No campaign of another owner is named.
    """

    name: Annotated[str, AfterValidator(check_name), words("1 to 31 lower-case letters, digits and underscores")]
    url: Annotated[SecretStr, AfterValidator(_check_url), words("an apprise URL")]
    severity: Severity = Severity.WARNING
    platforms: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()


class NotifyEntry(Section):
    """The whole section.

    Attributes:
        link: The address that every notification ends with, such as Dagster's page.
        channels: Where notifications go.
    """

    link: Annotated[str, AfterValidator(check_web_address), words("a web address")] | None = None
    channels: Annotated[tuple[ChannelEntry, ...], words("a list of mappings")] = ()


def read_notify(section: Tree, platforms: Sequence[str]) -> Notify:
    """The channels without a mistake, and the mistakes of the others.

    Args:
        section: The section as written, with the environment filled in.
        platforms: The names of all platforms.
    """
    _, problems = validate(NotifyEntry, section)
    channels: dict[str, Channel] = {}
    written = section.get(("channels",))
    for index in range(len(written) if isinstance(written, list) else 0):
        tree = section.sub(("channels", index))
        channel, _ = validate(ChannelEntry, tree)
        if channel is None:
            continue
        if problem := _odd(channel, tree, channels, platforms):
            problems["channels", index] = problem
        else:
            channels[channel.name] = Channel(**dict(channel), where=str(tree.mark(("url",))))
    link = section.get(("link",)) if ("link",) not in problems else None
    error = as_error(problems.values()) if problems else None
    return Notify(channels=tuple(channels.values()), link=str(link or ""), error=error)


def _odd(channel: ChannelEntry, tree: Tree, before: dict[str, Channel], platforms: Sequence[str]) -> Problem | None:
    """Find a mistake in a channel that only the rest of the file shows."""
    if channel.name in before:
        return tree.problem(("name",), "is the name of another channel, too", "every channel needs its own")
    unknown = [name for name in channel.platforms if name not in platforms]
    if unknown:
        path: KeyPath = ("platforms", channel.platforms.index(unknown[0]))
        return tree.problem(path, f"no platform {unknown[0]!r} is configured", nearest(unknown[0], platforms))
    return None
