"""One watched application, ready to be read and repaired: the aggregate of its parts, which connect on first use.

The parts may be used in any order. The queue asks the platform for id types and tenants whenever it needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa

from campaign_ops.bullmq.queue import Queue
from campaign_ops.core.errors import PermissionMissing, ProfileMismatch
from campaign_ops.core.ids import JobIds
from campaign_ops.core.policy import Policy
from campaign_ops.journal import binding
from campaign_ops.journal.ambiguous import AmbiguousLog
from campaign_ops.journal.attempts import AttemptLog
from campaign_ops.journal.audit import AuditLog
from campaign_ops.journal.binding import Answers, Claim
from campaign_ops.journal.confirmations import ConfirmationLog
from campaign_ops.journal.idempotency import IdempotencyLog
from campaign_ops.journal.incidents import IncidentLog
from campaign_ops.journal.journal import Journal
from campaign_ops.journal.migrations import check_current, migrate
from campaign_ops.journal.outbox import Outbox
from campaign_ops.journal.queue_looks import QueueLooks
from campaign_ops.journal.refusals import Refusals
from campaign_ops.journal.sightings import SightingLog
from campaign_ops.journal.sweeps import Author, SweepLog
from campaign_ops.journal.tokens import TokenLog
from campaign_ops.postgres import campaigns
from campaign_ops.postgres.catalog import Catalog, read_catalog, table_oid
from campaign_ops.postgres.database import Database, SweepLock, same_database
from campaign_ops.postgres.identity import database_id
from campaign_ops.postgres.tables import PlatformTables, tables_of
from campaign_ops.profile.model import Profile

T = TypeVar("T")


@dataclass(frozen=True)
class Sibling:
    """Another platform of the same configuration: its name, its profile, and how to reach its database."""

    name: str
    profile: Profile
    connect: Callable[[], Database]


@dataclass
class Platform:
    """The parts of one platform. ``queue`` is None where the platform sends in process."""

    name: str
    profile: Profile
    policy: Policy
    database: Database
    queue: Queue | None
    contact: str | None = None
    siblings: Callable[[], Iterable[Sibling]] = tuple
    _tables: PlatformTables | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.queue is not None:
            self.queue.facts = self

    @property
    def sweeps(self) -> SweepLog:
        """Its sweeps, their figures and histories."""
        return SweepLog(self.name, self.profile.tables_key)

    @property
    def journal(self) -> Journal:
        """Its repairs."""
        return Journal(self.name, self.profile.tables_key)

    @property
    def attempts(self) -> AttemptLog:
        """The attempts at each of its campaigns."""
        return AttemptLog(self.profile.tables_key)

    @property
    def sightings(self) -> SightingLog | None:
        """The last look at each of its queues; None if it has none."""
        return SightingLog(self.profile.tables_key) if self.queue is not None else None

    @property
    def queue_looks(self) -> QueueLooks:
        """The latest look at each of its queues, and at their workers."""
        return QueueLooks(self.profile.tables_key)

    @property
    def ambiguous(self) -> AmbiguousLog:
        """Its recipients that the provider may already have, until a person decides or their rows change."""
        return AmbiguousLog(self.profile.tables_key)

    @property
    def refusals(self) -> Refusals:
        """Its repairs that the database refuses each time."""
        return Refusals(self.profile.tables_key)

    @property
    def confirmations(self) -> ConfirmationLog:
        """The confirmation codes that were shown for it."""
        return ConfirmationLog(self.profile.tables_key)

    @property
    def incidents(self) -> IncidentLog:
        """What needs a person on it."""
        return IncidentLog(self.name, self.profile.tables_key)

    @property
    def outbox(self) -> Outbox:
        """The notifications of its incidents."""
        return Outbox(self.profile.tables_key)

    @property
    def tokens(self) -> TokenLog:
        """The tokens that reach it over HTTP."""
        return TokenLog(self.profile.tables_key)

    @property
    def idempotency(self) -> IdempotencyLog:
        """The requests for changes to it that came with an idempotency key."""
        return IdempotencyLog(self.profile.tables_key)

    @property
    def audit(self) -> AuditLog:
        """The attempts to change it over HTTP."""
        return AuditLog(self.profile.tables_key)

    def tables(self, connection: sa.Connection) -> PlatformTables:
        """The platform's tables, checked against the catalog the first time.

        Raises:
            ProfileMismatch: The profile does not fit the database.
            PermissionMissing: Policies may hide rows from our role.
        """
        if self._tables is None:
            catalog = read_catalog(connection, self.profile, self.database.where)
            catalog.check_rows_are_visible(self.database.where)
            self._tables = tables_of(self.profile, catalog)
        return self._tables

    def readable_tables(self, connection: sa.Connection) -> PlatformTables | None:
        """The tables; None where the profile does not fit them now, or they may not be read."""
        try:
            return self.tables(connection)
        except (ProfileMismatch, PermissionMissing):
            return None

    def own_tenant(self, connection: sa.Connection, tenant: str) -> str:
        """A tenant's id as the campaign table spells it; as it is where that table cannot be read now."""
        tables = self.readable_tables(connection)
        return tenant if tables is None else tables.own_tenant(tenant)

    def database_id(self, connection: sa.Connection) -> str | None:
        """Which database this is, and which history of it; see `postgres.identity`."""
        return database_id(connection, self.tables(connection))

    def lock(self, *, wait_seconds: float) -> SweepLock:
        """The sweep lock of these tables, whatever name a deployment gives the platform."""
        return SweepLock(self.database, self.name, key=self.profile.tables_key, wait_seconds=wait_seconds)

    def begin(self, connection: sa.Connection, run_id: str, trigger: str, actor: str) -> Author:
        """Begin a sweep, or a manual fix, in the journal; later steps of the same run join the first.

        Raises:
            StateSchemaError: Our own schema is missing or of another revision.
            Refused: The campaign table is another configuration's: see `binding`.
        """
        check_current(connection, self.database.where)
        catalog = self.tables(connection).catalog
        claim = self.claim(catalog)
        premise = binding.holds(claim)
        author = self.sweeps.begin(connection, run_id, trigger, actor, premise=premise)
        if author is None:
            binding.bind(connection, claim, self.answers(connection, catalog))
            author = self.sweeps.begin(connection, run_id, trigger, actor)
        assert author is not None
        return author

    def claim(self, catalog: Catalog) -> Claim:
        """Return the queues and the Redis that this configuration binds the campaign table to."""
        queue = self.queue
        return Claim(
            platform=self.name,
            tables=self.profile.tables_key,
            table_oid=catalog.campaign_oid,
            redis=queue.address.endpoint if queue is not None else None,
            queues=sorted(f"{queue.address.prefix}:{name}" for name in (queue.profile.name, *queue.profile.also))
            if queue is not None
            else (),
        )

    def migrate(self) -> tuple[str | None, str]:
        """Create our own schema, or bring it up to date; return its revision before (None without one) and after.

        Records from before revision 0002, under the platform's name, move to its campaign table.
        """
        revisions = migrate(self.database)
        by_name = binding.by_name(self.name)
        self.database.run(lambda connection: binding.rekey(connection, by_name, self.profile.tables_key))
        return revisions

    def answers(self, connection: sa.Connection, catalog: Catalog) -> Answers:
        """Return the answers for `binding` when another configuration seems to have used the campaign table."""
        return Answers(
            table_oid=lambda key: table_oid(connection, key),
            is_same_redis=lambda: self._is_redis_of_last_sweep(connection),
            is_watched_as=lambda name: any(
                sibling.name == name and self.shares_table_with(sibling, catalog) for sibling in self.siblings()
            ),
        )

    def shares_table_with(self, other: Sibling, catalog: Catalog) -> bool:
        """Return whether another platform has the same campaign table, according to the databases themselves.

        Raises:
            DatabaseUnavailable: One of the two databases cannot be reached.
        """
        with closing(other.connect()) as database:
            if not same_database(self.database, database):
                return False
            with database.transaction(read_only=True) as connection:
                return table_oid(connection, other.profile.tables_key) == catalog.campaign_oid

    def job_ids(self) -> JobIds:
        """How ids in a job's payload are compared with the database's, and written; from the catalog the first time.

        Raises:
            DatabaseUnavailable: The catalog was not read yet, and cannot be.
            ProfileMismatch: The profile does not fit the database.
        """
        tables = self._tables or self.database.run(self.tables, read_only=True)
        return tables.catalog.job_ids(self.profile)

    def sending_tenants(self) -> list[str]:
        """Return the tenants with a campaign that is being sent, read again at each call."""

        def _read(connection: sa.Connection) -> list[str]:
            return [
                tenant for tenant in connection.scalars(campaigns.sending_tenants(self.tables(connection))) if tenant
            ]

        return self.database.run(_read, read_only=True)

    def _is_redis_of_last_sweep(self, connection: sa.Connection) -> bool:
        """Return whether the queue's Redis, under another address, is the process that the last sweep read."""
        if self.queue is None or self.sightings is None:
            return False
        known = {sighting.server_id for sighting in self.sightings.last(connection).values()}
        return self.queue.server().server_id in known - {None}

    def on_state(self, work: Callable[[sa.Connection], T], *, read_only: bool = False) -> T:
        """Run ``work`` on our own tables, in a transaction with the retries of `Database.retrying`.

        Raises:
            StateSchemaError: Our own schema is missing or of another revision.
        """

        def _checked(connection: sa.Connection) -> T:
            check_current(connection, self.database.where)
            return work(connection)

        return self.database.run(_checked, read_only=read_only)

    def check_writable(self, connection: sa.Connection) -> None:
        """Raise PermissionMissing unless the role may update every column that repairs write."""
        missing = self.tables(connection).catalog.not_writable(self.profile)
        if missing:
            raise PermissionMissing(
                f"this role may not update {', '.join(missing)}; nothing was changed",
                where=self.database.where,
                mend="run `campaign-ops doctor` for the exact GRANT",
            )

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
        if self.queue is not None:
            self.queue.close()
