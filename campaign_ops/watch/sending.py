"""Sends one message to one channel, by apprise. The only module that reads a channel's URL, and it shows none of it.

apprise takes 1.4 s to load, so it is loaded when a URL is examined or used, never with the configuration.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from campaign_ops.core.causes import Severity
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.notices import Message
from campaign_ops.watch.channels import Channel, Notify

if TYPE_CHECKING:
    import apprise

TIMEOUT_SECONDS = 30.0

# apprise logs hosts and users as warnings, and whole URLs at debug level; so does urllib3.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False
logging.getLogger("urllib3").setLevel(logging.WARNING)


def check(notify: Notify) -> ConfigurationError | None:
    """Return the mistakes in the configuration of the channels, including URLs that apprise does not understand.

    Returns:
        One error with a line for each mistake, without any part of a URL; None where there is none.
    """
    lines = [str(notify.error)] if notify.error is not None else []
    lines += [f"{channel.where}: {_NOT_UNDERSTOOD}" for channel in notify.channels if _target(channel) is None]
    return ConfigurationError("\n".join(lines)) if lines else None


def send(channel: Channel, message: Message, *, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """Send a message.

    Args:
        channel: The channel.
        message: The message.
        timeout_seconds: The time that the channel may take.

    Returns:
        Empty text once the channel has accepted it, else why it has not, without any part of the URL.
    """
    target = _target(channel)
    if target is None:
        return _NOT_UNDERSTOOD
    import apprise  # noqa: PLC0415 - see above

    kinds = {Severity.INFO: apprise.NotifyType.INFO, Severity.WARNING: apprise.NotifyType.WARNING}
    kind = apprise.NotifyType.SUCCESS if message.over else kinds.get(message.severity, apprise.NotifyType.FAILURE)
    try:
        result = target.notify(
            message.body,
            title=message.subject,
            notify_type=kind,
            body_format=apprise.NotifyFormat.TEXT,
            timeout=timeout_seconds,
        )
    except Exception as error:  # noqa: BLE001 - it promises not to raise; its plugins are many
        return f"apprise failed ({type(error).__name__})"
    if result:
        return ""
    if result.status is apprise.AppriseResultStatus.TIMEOUT:
        return f"no answer within {timeout_seconds:g} s"
    return _reason(entry.message for entry in result.logs())


_NOT_UNDERSTOOD = "is not a URL that apprise understands; its documentation lists them by service"


def _target(channel: Channel) -> apprise.Apprise | None:
    """The channel as apprise has it; None where it does not understand the URL."""
    import apprise  # noqa: PLC0415 - see above

    target = apprise.Apprise()
    if not target.add(channel.url.get_secret_value()):
        return None
    for server in target:
        # By default apprise waits 4 s for an answer, and a message that was taken would be sent again.
        if "socket_read_timeout" not in vars(server):
            server.socket_read_timeout = TIMEOUT_SECONDS
    return target


def _reason(messages: Iterable[str]) -> str:
    """Put the reason in apprise's log into our words: its text may hold a part of the URL."""
    text = " ".join(messages)
    if code := re.search(r"\berror=(\d{3})\b", text):
        return f"the server answered {code[1]}"
    if re.search(r"onnection|ocket|SMTP", text):
        return "the server could not be reached, or broke the connection off"
    return "the service did not accept it"
