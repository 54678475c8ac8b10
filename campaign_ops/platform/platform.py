"""One watched application, ready to be read and repaired: its parts, connected to nothing until they are used."""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa

from campaign_ops.core.errors import PermissionMissing
from campaign_ops.core.policy import Policy
from campaign_ops.platform.ambiguous import AmbiguousLog
from campaign_ops.platform.attempts import AttemptLog
from campaign_ops.platform.catalog import read_catalog
from campaign_ops.platform.confirmations import ConfirmationLog
from campaign_ops.platform.database import Database, SweepLock
from campaign_ops.platform.journal import Journal
from campaign_ops.platform.profile import Profile
from campaign_ops.platform.queue import Queue
from campaign_ops.platform.refusals import Refusals
from campaign_ops.platform.sightings import SightingLog
from campaign_ops.platform.tables import PlatformTables


@dataclass
class Platform:
    """The parts of one platform. ``queue`` is None where the platform sends in process."""

    name: str
    profile: Profile
    policy: Policy
    database: Database
    queue: Queue | None
    contact: str | None = None
    _tables: PlatformTables | None = field(default=None, repr=False)

    @property
    def journal(self) -> Journal:
        """Our record of this platform."""
        return Journal(self.name)

    @property
    def attempts(self) -> AttemptLog:
        """What was tried for each of its campaigns."""
        return AttemptLog(self.name)

    @property
    def sightings(self) -> SightingLog | None:
        """What was last seen of its queue; None where it has none."""
        return SightingLog(self.attempts.platform, self.queue.profile.name) if self.queue is not None else None

    @property
    def ambiguous(self) -> AmbiguousLog:
        """Its recipients that the provider may have, until a person decides or their rows move."""
        return AmbiguousLog(self.attempts.platform)

    @property
    def refusals(self) -> Refusals:
        """Which of its repairs the database refuses each time."""
        return Refusals(self.name)

    @property
    def confirmations(self) -> ConfirmationLog:
        """The codes that were shown for it."""
        return ConfirmationLog(self.attempts.platform)

    def tables(self, connection: sa.Connection) -> PlatformTables:
        """The platform's tables, checked against the catalog the first time.

        Raises:
            ProfileMismatch: The profile does not fit the database.
            PermissionMissing: Policies may hide rows from our role.
        """
        if self._tables is None:
            catalog = read_catalog(connection, self.profile, self.database.where)
            catalog.check_rows_are_visible(self.database.where)
            self._tables = PlatformTables(self.profile, catalog)
            if self.queue is not None:
                self.queue.numeric_ids = catalog.numeric_ids(self.profile)
                self.queue.ids = catalog.job_ids(self.profile)
        return self._tables

    def lock(self, *, wait_seconds: float) -> SweepLock:
        """The sweep lock of these tables, whatever name a deployment gives the platform."""
        key = f"{self.profile.db_schema}.{self.profile.campaign.table}"
        return SweepLock(self.database, self.name, key=key, wait_seconds=wait_seconds)

    def check_writable(self, connection: sa.Connection) -> None:
        """Raise PermissionMissing unless the role may update every column that a repair writes."""
        missing = self.tables(connection).catalog.not_writable(self.profile)
        if missing:
            raise PermissionMissing(
                f"this role may not update {', '.join(missing)}; nothing was changed",
                where=self.database.where,
                mend="run `campaign-ops doctor` for the exact GRANT",
            )

    def close(self) -> None:
        """Let go of connections."""
        self.database.close()
        if self.queue is not None:
            self.queue.close()
