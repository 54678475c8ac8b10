"""The servers of a drill and the platform on them, embedded or external, before workers and sweepers start.

In PostgreSQL the application is the owner, and campaign_ops logs in as role ``drill_ops`` with exactly the documented
grants: the session's user shows which of the two changed a row.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.doctor.grants import grants
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.demo.platforms import DemoPlatform, changed, create_platform
from campaign_ops.lab.drill.environment import external_servers
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.worlds import WORLDS
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.provider import Provider
from campaign_ops.lab.shop.row_writer import PlatformShape, RowWriter
from campaign_ops.postgres.database import Database
from campaign_ops.profile.load import load_profile

PLATFORM = "sms"
BESIDE = "beside"
"""The name of the second platform, in the worlds that have one."""
OPS_ROLE = "drill_ops"
BATCH_SIZE = 20
_DAGSTER = "dagster"
_QUEUE: dict[str, Any] = {
    "batch_size": BATCH_SIZE,
    "options": {"attempts": 3, "backoff": {"type": "exponential", "delay": 500}},
}
_SERVER = {
    # The checkers read in the log which role was denied what.
    "log_line_prefix": "%m [%p] %u@%d %a: ",
    "timezone": "Asia/Kolkata",
    "deadlock_timeout": "200ms",
    # ... and which statements ran longer than ours may.
    "log_min_duration_statement": "4s",
}
_THRESHOLDS: dict[str, Any] = {
    "stuck_after_seconds": 3,
    "alert_after_seconds": 10,
    "cooldown_seconds": 3,
    "breaker_share": 0.5,
    "breaker_floor": 3,
}
_TIMEOUTS: dict[str, Any] = {"connect_seconds": 2, "statement_seconds": 4, "lock_seconds": 1, "queue_seconds": 2}
_SECOND = {"name": "annex", "profile": "messenger"}


@dataclass
class Environment:
    """Servers and a platform, without workers and sweepers.

    Attributes:
        servers: The embedded servers; None with external ones.
        platform: The platform, as its owner sees it.
        ops_url: SQLAlchemy URL of its database over TCP, as role ``drill_ops``.
        dagster_storage: psycopg2 URL of an empty database for Dagster; None for a file.
        beside: The second platform, as its owner sees it; None in worlds without one.
    """

    servers: EmbeddedServers | None
    platform: DemoPlatform
    ops_url: str
    dagster_storage: str | None
    beside: DemoPlatform | None = None

    def write_config(
        self, path: Path, *, second_database_url: str | None = None, channel_url: str | None = None
    ) -> None:
        """Write a configuration: with a platform `annex` if its database URL is passed, with a channel if its URL is.

        With a channel, the first platform is the only one: what the channel receives is compared with its outbox.
        """
        entries = [self.platform.entry() | {"database_url": self.ops_url, "timeouts": _TIMEOUTS}]
        if self.beside is not None and channel_url is None:
            url = sa.make_url(self.ops_url).set(database=self.beside.name).render_as_string(hide_password=False)
            entries.append(self.beside.entry() | {"database_url": url, "timeouts": _TIMEOUTS})
        second = (
            []
            if second_database_url is None
            else [_SECOND | {"timeouts": _TIMEOUTS, "database_url": second_database_url}]
        )
        document: dict[str, Any] = {"platforms": [*entries, *second]}
        if channel_url is not None:
            document["notify"] = {"channels": [{"name": "oncall", "url": channel_url}]}
        # Atomic: another process may be reading it.
        unfinished = path.with_suffix(".new")
        unfinished.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
        unfinished.replace(path)


def check(options: DrillOptions) -> None:
    """Check external servers before anything is created, on them or here.

    Raises:
        ConfigurationError: Only one of the two is named, a URL cannot be parsed, or its role may not create roles.
        Refused: A server looks like production.
        Unavailable: A server cannot be reached.
    """
    if options.database_url is None and options.redis_url is None:
        return
    if options.database_url is None or options.redis_url is None:
        raise ConfigurationError(
            "only one of the two servers is named", mend="give --database-url and --redis-url, or neither"
        )
    database, queue = external_servers.database_url(options.database_url), external_servers.redis_url(options.redis_url)
    external_servers.check_database(database, OPS_ROLE, throw_away=options.throw_away)
    external_servers.check_redis(queue, throw_away=options.throw_away)


def prepare(options: DrillOptions, running: ExitStack) -> Environment:
    """Start the embedded servers, or use the external ones (already checked), and create the platform.

    Cleanup is registered with ``running``.

    Raises:
        Unavailable: A server cannot be reached or did not start.
    """
    if options.database_url is None or options.redis_url is None:
        return _embedded(options, running)
    return _external(options, external_servers.database_url(options.database_url), options.redis_url, running)


def _embedded(options: DrillOptions, running: ExitStack) -> Environment:
    servers = running.enter_context(EmbeddedServers(options.work_dir / "servers", postgres_port=0, settings=_SERVER))
    changes, shape = profile_changes(options.worlds), shape_of(options.worlds)
    platform = create_platform(servers, PLATFORM, PLATFORM, changes=changes, shape=shape)
    platform.thresholds = dict(_THRESHOLDS)
    servers.postgres.drop_database(_DAGSTER)
    servers.postgres.create_database(_DAGSTER)
    _grant_access(platform, options.worlds)
    ops = sa.make_url(servers.postgres.url(PLATFORM, tcp=True)).set(username=OPS_ROLE)
    return Environment(
        servers,
        platform,
        ops.render_as_string(hide_password=False),
        servers.postgres.psycopg2_url(_DAGSTER, tcp=True),
        _beside(servers, options.worlds),
    )


def _beside(servers: EmbeddedServers, worlds: Sequence[str]) -> DemoPlatform | None:
    """The second platform of these worlds. No person confirms its breaker."""
    profile = next((WORLDS[name].beside for name in worlds if WORLDS[name].beside), None)
    if profile is None:
        return None
    changes = {"reservation": reservation_beside()}
    platform = create_platform(servers, BESIDE, profile, changes=changes, shape=shape_of(worlds))
    platform.thresholds = {**_THRESHOLDS, "breaker_share": 1}
    _grant_access(platform, ())
    return platform


def _external(options: DrillOptions, url: str, redis_url: str, running: ExitStack) -> Environment:
    changes, shape = profile_changes(options.worlds), shape_of(options.worlds)
    profile = changed(load_profile(PLATFORM), changes)
    assert profile.queue is not None
    markers = tuple(profile.queue.markers)
    owner = sa.create_engine(url, poolclass=sa.NullPool)

    def clean() -> None:
        external_servers.remove_from_redis(redis_url, external_servers.PREFIX, markers)
        with owner.begin() as connection:
            external_servers.remove_from_database(connection, profile, OPS_ROLE)

    clean()
    running.callback(clean)
    platform = DemoPlatform(
        name=PLATFORM,
        profile=profile,
        database_url=url,
        queue_url=redis_url,
        queue_prefix=external_servers.PREFIX,
        reference={"extends": PLATFORM, **changes},
        thresholds=dict(_THRESHOLDS),
        shape=shape,
    )
    writer = RowWriter.connect(url, profile, shape, create=True)
    Provider.create(writer.engine)
    writer.close()
    _grant_access(platform, options.worlds)
    password = secrets.token_hex(16)
    with owner.begin() as connection:
        external_servers.set_password(connection, OPS_ROLE, password)
    ops = sa.make_url(url).set(username=OPS_ROLE, password=password)
    return Environment(None, platform, ops.render_as_string(hide_password=False), None)


def profile_changes(worlds: Sequence[str]) -> dict[str, Any]:
    """What the platform's profile says that the built-in one does not: small batches, quick retries, its worlds."""
    queue = dict(_QUEUE)
    for name in worlds:
        for key, value in WORLDS[name].queue.items():
            queue[key] = [*queue.get(key, ()), *value] if isinstance(value, list) else value
    return {"queue": queue}


def reservation_beside() -> dict[str, Any]:
    """The reservations in the second platform's profile: those of the first."""
    reservation: dict[str, Any] = load_profile(PLATFORM).model_dump(by_alias=True)["reservation"]
    return reservation


def shape_of(worlds: Sequence[str]) -> PlatformShape:
    """The types of the platform's columns in these worlds."""
    return PlatformShape(**{key: value for name in worlds for key, value in WORLDS[name].shape.items()})


def _grant_access(platform: DemoPlatform, worlds: Sequence[str]) -> None:
    """Create our schema and our role, as documented."""
    database = Database(platform.database_url)
    migrate(database)
    with database.transaction() as connection:
        for statement in grants(platform.profile, OPS_ROLE):
            connection.exec_driver_sql(statement)
        for name in worlds:
            for statement in WORLDS[name].statements(platform.profile, OPS_ROLE):
                connection.exec_driver_sql(statement)
    database.close()
