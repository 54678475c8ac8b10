"""A platform of the demo: its database and queue, its profile, and the ids of the campaigns that show each verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.provider import Provider
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.queues import open_queue
from campaign_ops.lab.shop.row_writer import PRISMA, PlatformShape, RowWriter, builtin_profile
from campaign_ops.lab.shop.worker import WorkerOptions
from campaign_ops.lab.shop.worker_process import WorkerProcess
from campaign_ops.profile.model import Profile

# Port 1 is reserved and nothing listens there: an unreachable Redis on every machine.
UNREACHABLE_QUEUE_URL = "redis://127.0.0.1:1/0"


@dataclass
class DemoPlatform:
    """One platform.

    Attributes:
        name: Its name in the configuration.
        profile: Its profile.
        database_url: SQLAlchemy URL of its database.
        queue_url: Redis URL of its queue; None if it has no queue.
        queue_prefix: BullMQ's key prefix.
        reference: The profile as written in the configuration: a name, or a mapping with ``extends``.
        thresholds: The configuration's thresholds.
        schedule: Cron expression of Dagster's schedule; None for the default.
        shape: The types of its columns.
        roles: Purpose of a campaign (``jobs_lost``, ``backlog``, …) to its id.
        credits: Purpose of a reservation (``over``, ``held_while_sending``, …) to its id.
        workers: Its running workers.
    """

    name: str
    profile: Profile
    database_url: str
    queue_url: str | None
    queue_prefix: str
    reference: str | Mapping[str, Any]
    thresholds: dict[str, Any] = field(default_factory=dict)
    schedule: str | None = None
    shape: PlatformShape = PRISMA
    roles: dict[str, str] = field(default_factory=dict)
    credits: dict[str, str] = field(default_factory=dict)
    workers: list[WorkerProcess] = field(default_factory=list)

    def writer(self) -> RowWriter:
        """A writer of its rows; the caller closes it."""
        return RowWriter.connect(self.database_url, self.profile, self.shape)

    def queue(self) -> ShopQueue:
        """Its queue; the caller closes it."""
        assert self.queue_url is not None, f"platform {self.name} has no queue"
        assert self.profile.queue is not None
        return open_queue(self.queue_url, self.queue_prefix, self.profile.queue, numeric_ids=self.shape.numeric_ids)

    def worker(self, log_dir: Path, options: WorkerOptions) -> WorkerProcess:
        """A worker of its queue, not yet started, added to ``workers``."""
        process = WorkerProcess(
            self.database_url, self.queue(), self.profile, log_dir, shape=self.shape, options=options
        )
        self.workers.append(process)
        return process

    def stop_workers(self) -> None:
        """Stop its workers, each after its current recipient."""
        while self.workers:
            self.workers.pop().stop()

    def entry(self) -> dict[str, Any]:
        """Its entry in the configuration file."""
        entry: dict[str, Any] = {
            "name": self.name,
            "profile": self.reference if isinstance(self.reference, str) else dict(self.reference),
            "database_url": self.database_url,
        }
        if self.queue_url is not None:
            entry |= {"queue_url": self.queue_url, "queue_prefix": self.queue_prefix}
        if self.schedule is not None:
            entry["schedule"] = self.schedule
        return entry | ({"thresholds": dict(self.thresholds)} if self.thresholds else {})


def changed(profile: Profile, changes: Mapping[str, Any]) -> Profile:
    """Lay changes over a profile, as ``extends`` in a configuration does."""

    def over(old: Any, new: Any) -> Any:
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            return new
        return {**old, **{key: over(old.get(key), value) for key, value in new.items()}}

    return Profile.model_validate(over(profile.model_dump(by_alias=True), changes))


def create_platform(
    servers: EmbeddedServers,
    name: str,
    profile_name: str,
    *,
    queue_url: str | None = None,
    queue_prefix: str = "bull",
    changes: Mapping[str, Any] | None = None,
    shape: PlatformShape = PRISMA,
) -> DemoPlatform:
    """Create an empty platform in its own database, replacing one of the same name from an earlier run.

    Args:
        servers: The servers that hold it.
        name: Name of the platform and of its database.
        profile_name: A built-in profile.
        queue_url: Its Redis, if not the embedded one.
        queue_prefix: BullMQ's key prefix; existing keys under it are deleted.
        changes: What its profile says that the built-in one does not, as in the configuration.
        shape: The types of its columns.
    """
    profile = changed(builtin_profile(profile_name), changes or {})
    reference = {"extends": profile_name, **changes} if changes else profile_name
    servers.postgres.drop_database(name)
    platform = DemoPlatform(
        name=name,
        profile=profile,
        database_url=servers.postgres.create_database(name),
        queue_url=(queue_url or servers.redis.url()) if profile.queue is not None else None,
        queue_prefix=queue_prefix,
        reference=reference,
        shape=shape,
    )
    writer = RowWriter.connect(platform.database_url, profile, shape, create=True)
    Provider.create(writer.engine)
    writer.close()
    if platform.queue_url == servers.redis.url():
        queue = platform.queue()
        queue.clear()
        queue.close()
    return platform


def write_config(path: Path, platforms: Sequence[DemoPlatform]) -> Path:
    """Write the configuration file for these platforms. Returns its path."""
    document = {"platforms": [platform.entry() for platform in platforms]}
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
