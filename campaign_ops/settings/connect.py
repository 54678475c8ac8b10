"""From settings to a platform: the one place where its parts are created. They connect on first use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from campaign_ops.bullmq.queue import QueueAddress
from campaign_ops.bullmq.queue_group import open_queue
from campaign_ops.platform import Platform, Sibling
from campaign_ops.postgres.database import Database
from campaign_ops.settings.model import PlatformSettings


def connect(settings: PlatformSettings) -> Platform:
    """Return the platform that the settings describe. Close it after use."""
    queue = None
    if settings.profile.queue is not None and settings.queue_url is not None:
        address = QueueAddress(
            settings.queue_url.get_secret_value(),
            settings.queue_prefix,
            connect_timeout_seconds=settings.timeouts.connect_seconds,
            read_timeout_seconds=settings.timeouts.queue_seconds,
        )
        queue = open_queue(address, settings.profile.queue)
    return Platform(
        settings.name,
        settings.profile,
        settings.policy,
        _database(settings),
        queue,
        settings.contact,
        siblings=partial(_siblings, settings),
    )


def _siblings(settings: PlatformSettings) -> Iterator[Sibling]:
    return (Sibling(other.name, other.profile, partial(_database, other)) for other in settings.others())


def _database(settings: PlatformSettings) -> Database:
    return Database(settings.database_url.get_secret_value(), settings.timeouts)
