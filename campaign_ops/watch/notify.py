"""Sends what waits in a platform's outbox: claim, send, mark, one message after the other.

Of several processes that do so at once, one claims each message. A channel that does not answer loses nothing, and
delays the other channels by one try.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import sqlalchemy as sa

from campaign_ops.core.incidents import What
from campaign_ops.core.notices import Message, folded, portions
from campaign_ops.journal.migrations import check_current
from campaign_ops.journal.outbox import Waiting
from campaign_ops.platform import Platform
from campaign_ops.watch.channels import Channel
from campaign_ops.watch.incidents import WATCH
from campaign_ops.watch.sending import send

log = logging.getLogger(__name__)
_MAYBE_TWICE = "This may have come before: an earlier try ended without an answer."


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of sending and of retrying. Units are in the names.

    Attributes:
        messages_an_hour: To one channel about one platform; what is more comes folded into one message.
        first_retry_seconds: The wait after the first failure; it doubles with each.
        longest_retry_seconds: The longest such wait.
        give_up_seconds: The age at which a notification that could not be sent is given up.
        at_most: Messages of one call, so that a watcher goes on with its work.
        at_most_seconds: No message is begun later in a call: a channel may take 30 s for each.
    """

    messages_an_hour: int = 30
    first_retry_seconds: float = 30
    longest_retry_seconds: float = 900
    give_up_seconds: float = 21_600
    at_most: int = 100
    at_most_seconds: float = 60


@dataclass
class Delivered:
    """The result of one call: messages sent, the reason of each channel that failed, notifications given up."""

    sent: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    gave_up: int = 0


@dataclass(frozen=True, slots=True)
class _Claim:
    channel: Channel
    notifications: Sequence[Waiting]

    @property
    def ids(self) -> list[int]:
        return [notification.id for notification in self.notifications]

    @property
    def message(self) -> Message:
        messages = [notification.message for notification in self.notifications]
        message = messages[0] if len(messages) == 1 else folded(self.channel.name, messages)
        unsure = any(notification.unsure for notification in self.notifications)
        return replace(message, body=f"{message.body}\n{_MAYBE_TWICE}") if unsure else message


_LIMITS = Limits()


def send_due(platform: Platform, channels: Sequence[Channel], *, limits: Limits = _LIMITS) -> Delivered:
    """Send what is due, the oldest of a channel first; the channel with the fewest messages of the last hour is next.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
        Unavailable: The database went away. What was sent and could not be marked is sent once more.
    """
    delivered, stop_at = Delivered(), time.monotonic() + limits.at_most_seconds
    delivered.gave_up = platform.database.run(lambda connection: _give_up(platform, connection, limits))
    while delivered.sent + len(delivered.failed) < limits.at_most:
        open_channels = {channel.name: channel for channel in channels if channel.name not in delivered.failed}
        if not _send_next(platform, open_channels, limits, delivered) or time.monotonic() >= stop_at:
            break
    return delivered


def _send_next(platform: Platform, channels: Mapping[str, Channel], limits: Limits, delivered: Delivered) -> bool:
    """Send the next message; return whether there was one."""
    claim = platform.database.run(lambda connection: _claim(platform, connection, channels, limits))
    if claim is None:
        return False
    problem = send(claim.channel, claim.message)
    platform.database.run(lambda connection: _settle(platform, connection, claim, problem, limits))
    if problem:
        log.warning("%s: channel %s: %s", platform.name, claim.channel.name, problem)
        delivered.failed[claim.channel.name] = problem
    else:
        delivered.sent += 1
    return True


def _claim(
    platform: Platform, connection: sa.Connection, channels: Mapping[str, Channel], limits: Limits
) -> _Claim | None:
    """Claim the notifications of the next message."""
    outbox = platform.outbox
    now = outbox.lock(connection)
    due = outbox.due(connection, now, channels, limit=1_000)
    sent = outbox.sent_since(connection, now - timedelta(hours=1)) if due else {}
    names = dict.fromkeys(waiting.channel for waiting in due)
    for name in sorted(names, key=lambda name: sent.get(name, 0)):  # one that is slow keeps no other waiting
        free = limits.messages_an_hour - sent.get(name, 0)
        for portion in portions([waiting for waiting in due if waiting.channel == name], free):
            outbox.claim(connection, [waiting.id for waiting in portion], now)
            return _Claim(channels[name], portion)
    return None


def _settle(platform: Platform, connection: sa.Connection, claim: _Claim, problem: str, limits: Limits) -> None:
    if not problem:
        platform.outbox.sent(connection, claim.ids)
        return
    tries = max(notification.attempts for notification in claim.notifications)  # before this one
    wait = min(limits.first_retry_seconds * 2**tries, limits.longest_retry_seconds)
    platform.outbox.failed(connection, claim.ids, problem, timedelta(seconds=wait))


def _give_up(platform: Platform, connection: sa.Connection, limits: Limits) -> int:
    """Give up the notifications that are too old, with an event in their incidents."""
    check_current(connection, platform.database.where)
    outbox, incidents = platform.outbox, platform.incidents
    now = outbox.lock(connection)
    old = outbox.older_than(connection, now, now - timedelta(seconds=limits.give_up_seconds))
    for waiting in old:
        outbox.give_up(connection, waiting.id)
        incident = incidents.find(connection, waiting.incident_id)
        if incident is not None:
            why = waiting.last_error or "no process of this configuration has such a channel"
            reason = f"channel {waiting.channel}: {why}"
            incidents.note(connection, waiting.incident_id, What.GAVE_UP, incident, actor=WATCH, reason=reason)
    return len(old)
