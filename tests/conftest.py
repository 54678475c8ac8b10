"""Real servers for every test: PostgreSQL and Redis per test process, an empty database and a queue prefix per test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.errors import DatabaseUnavailable
from campaign_ops.core.policy import Policy
from campaign_ops.core.report import HealthReport
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.row_writer import RowWriter
from campaign_ops.lab.shop.schema import PRISMA, PlatformShape
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile
from campaign_ops.sweep import Sweep, dry_run
from campaign_ops.sweep.confirm import confirmation

if TYPE_CHECKING:
    from tests.collector import Collector

pytest_plugins = ["tests.deadline", "tests.in_memory"]
_numbers = itertools.count(1)
_names_in_use: set[str] = set()
TEMPLATES_OF_PARENT: dict[tuple[str, bool], str] = {}
"""Those that a process has made for its children, which share its servers."""


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@dataclass
class Templates:
    """Databases to be copied: to migrate one, and to create an application's tables, takes longer than copying.

    Copies have the same oids, too, so that statements on their tables are made and compiled once.
    """

    servers: EmbeddedServers
    made: dict[tuple[str, bool], str] = field(default_factory=dict)

    def of(self, profile: str, *, migrated: bool = True) -> str:
        """One with the tables of a platform of this built-in profile; with our schema if ``migrated``."""
        if (profile, migrated) not in self.made:
            name = f"template_{profile}{'_migrated' if migrated else ''}"
            url = self.servers.postgres.create_database(name, self.migrated() if migrated else None)
            RowWriter.connect(url, load_profile(profile), create=True).close()
            self.made[profile, migrated] = name
        return self.made[profile, migrated]

    def migrated(self) -> str:
        """One with our schema alone."""
        if ("", True) not in self.made:
            database = Database(self.servers.postgres.create_database("template_migrated"))
            migrate(database)
            database.close()
            self.made["", True] = "template_migrated"
        return self.made["", True]


@pytest.fixture(scope="session")
def templates(servers: EmbeddedServers) -> Templates:
    return Templates(servers, dict(TEMPLATES_OF_PARENT))


@dataclass
class World:
    """One platform in a database of its own: the application's side (``app``, ``jobs``) and ours (``platform``)."""

    platform: Platform
    app: RowWriter
    jobs: ShopQueue | None
    url: str
    queue_url: str | None
    created: list[Platform] = field(default_factory=list)

    @property
    def queue(self) -> ShopQueue:
        assert self.jobs is not None
        return self.jobs

    def sweep(self, **options: Any) -> HealthReport:
        """A whole sweep, as the command line makes it."""
        return self.begin(**options).run()

    def begin(self, **options: Any) -> Sweep:
        defaults: dict[str, Any] = {"run_id": uuid4().hex, "trigger": "test", "actor": "tests", "lock_wait_seconds": 5}
        return Sweep(self.platform, **{**defaults, **options})

    def confirmed_sweep(self, **options: Any) -> HealthReport:
        """A whole sweep by a person who confirms what a fresh plan shows to be held back."""
        code = confirmation(dry_run(self.platform, run_id=uuid4().hex), "ann", "a test")
        return self.sweep(confirm=code, **options)

    def again(self, **policy: Any) -> Platform:
        """The same platform as another process has it, with other thresholds if given."""
        known = self.platform
        queue = None
        if self.queue_url is not None and known.profile.queue is not None:
            queue = Queue(QueueAddress(self.queue_url, self.queue.prefix), known.profile.queue)
        fresh = Platform(known.name, known.profile, Policy(**policy), Database(self.url), queue)
        self.created.append(fresh)
        return fresh

    def close(self) -> None:
        for platform in (self.platform, *self.created):
            platform.close()
        self.app.close()
        if self.jobs is not None:
            self.jobs.close()

    def rows(self, query: str, **binds: Any) -> list[dict[str, Any]]:
        """Rows of our own tables."""
        import sqlalchemy as sa

        with self.platform.database.transaction() as connection:
            return [dict(row) for row in connection.execute(sa.text(query), binds).mappings()]


@dataclass
class Worlds:
    """Creates platforms, and closes after the test what they opened."""

    servers: EmbeddedServers
    templates: Templates
    created: list[World] = field(default_factory=list)

    def make(
        self,
        profile: str | Profile = "sms",
        *,
        shape: PlatformShape = PRISMA,
        policy: dict[str, Any] | None = None,
        timezone: str | None = None,
        queue_url: str | None = None,
        migrated: bool = True,
    ) -> World:
        number = next(_numbers)
        chosen = load_profile(profile) if isinstance(profile, str) else profile
        name = _free_name()
        has_tables = isinstance(profile, str) and shape == PRISMA
        template = self.templates.migrated() if migrated else None
        if has_tables:
            template = self.templates.of(chosen.name, migrated=migrated)
        url = self.servers.postgres.create_database(name, template)
        if timezone is not None:
            _set_timezone(url, name, timezone)
        app = RowWriter.connect(url, chosen, shape, create=not has_tables)
        database = Database(url, Timeouts(statement_seconds=30, lock_seconds=1))
        queue, jobs, where = None, None, None
        if chosen.queue is not None:
            where = queue_url or self.servers.redis.url()
            prefix = f"bull{number}"
            queue = Queue(QueueAddress(where, prefix), chosen.queue)
            jobs = ShopQueue(self.servers.redis.url(), prefix, chosen.queue, numeric_ids=shape.numeric_ids)
            jobs.open()
        platform = Platform("sms" if chosen.queue else "messenger", chosen, Policy(**(policy or {})), database, queue)
        world = World(platform, app, jobs, url, where)
        self.created.append(world)
        return world

    def close(self) -> None:
        while self.created:
            self.drop(self.created[-1])

    def drop(self, world: World) -> None:
        """Close a world before its test ends; the next one takes its database's name."""
        self.created = [other for other in self.created if other is not world]
        world.close()
        # 9 MB each: with a thousand of them left, the servers' end took more than a minute.
        with suppress(DatabaseUnavailable):  # a prepared transaction, for one, keeps its database
            name = world.url.partition("?")[0].rpartition("/")[2]
            self.servers.postgres.drop_database(name)
            _names_in_use.discard(name)


def _free_name() -> str:
    """A database's name that no other has now: what was compiled for an address is used by the next test."""
    name = next(name for name in (f"world_{number}" for number in itertools.count(1)) if name not in _names_in_use)
    _names_in_use.add(name)
    return name


def _set_timezone(url: str, database: str, timezone: str) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {database} SET timezone = '{timezone}'"))
    engine.dispose()


@pytest.fixture
def worlds(servers: EmbeddedServers, templates: Templates) -> Iterator[Worlds]:
    with redis.Redis.from_url(servers.redis.url()) as client:
        client.flushall()  # markers have no prefix: another test's would mark recipients with the same id
    created = Worlds(servers, templates)
    yield created
    created.close()


@pytest.fixture
def sms(worlds: Worlds) -> World:
    return worlds.make("sms")


@pytest.fixture
def messenger(worlds: Worlds) -> World:
    return worlds.make("messenger")


@pytest.fixture
def collector() -> Iterator[Collector]:
    from tests.collector import collecting  # here: `make lowest` is without the extra `otel`

    with collecting() as collector:
        yield collector


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    return tmp_path
