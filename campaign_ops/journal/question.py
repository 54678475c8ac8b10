"""One statement that asks for every reason to do more than to record a sweep, and for what its report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.policy import Policy
from campaign_ops.journal import migrations
from campaign_ops.journal.ambiguous import AmbiguousLog
from campaign_ops.journal.attempts import AttemptLog
from campaign_ops.journal.bulk import as_json
from campaign_ops.journal.journal import Journal
from campaign_ops.journal.sightings import SightingLog
from campaign_ops.journal.sweeps import SweepLog
from campaign_ops.postgres import campaigns, identity, reservations
from campaign_ops.postgres.tables import PlatformTables


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one platform.

    Attributes:
        sweeps, journal, attempts, ambiguous: Its records.
        sightings: Of its queue; None without one.
        policy: Its thresholds.
        tenants: The most tenants whose held credits are listed.
    """

    sweeps: SweepLog
    journal: Journal
    attempts: AttemptLog
    ambiguous: AmbiguousLog
    sightings: SightingLog | None
    policy: Policy
    tenants: int

    def ask(self, connection: sa.Connection, tables: PlatformTables, run_id: str) -> sa.Row[Any]:
        """Return ``at, revision, sending, is_work, beside, sightings, held, repairs, before``.

        ``is_work``: something is stuck, open, questionable or known of this run. ``sightings``, ``held``, ``repairs``
        and ``before`` are lists of documents; the first two None where the platform has no queue, no reservations.
        """
        sending, held = campaigns.sending_count(tables).subquery(), reservations.held_as_text(tables)
        beside: sa.ColumnElement[Any] = sa.null()
        sightings: sa.ColumnElement[Any] = sa.null()
        if self.sightings is not None:
            beside, sightings = identity.database_id_if_allowed(connection, tables), as_json(self.sightings.known())
        question = sa.select(
            sa.func.now().label("at"),
            migrations.revision().label("revision"),
            sending.c.sending,
            sa.or_(
                campaigns.any_stuck(tables),
                self.attempts.any_open(),
                self.ambiguous.any_known(),
                reservations.any_questionable(tables),
                self.sweeps.is_known(sa.literal(run_id)),
            ).label("is_work"),
            beside.label("beside"),
            sightings.label("sightings"),
            (as_json(held) if held is not None else sa.null()).label("held"),
            as_json(self.journal.counts(hours=24)).label("repairs"),
            as_json(self.sweeps.newest("campaign_health")).label("before"),
        )
        binds = {
            "stuck_after_seconds": self.policy.stuck_after_seconds,
            "max_age": self.policy.reservation_max_age_seconds,
            "limit": self.tenants,
        }
        return connection.execute(question, binds).one()
