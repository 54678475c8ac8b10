"""What was tried for each campaign: attempts, the jobs that each intended, and the holds that people put on it.

Apart from the journal because these rows decide: a fresh intent counts as coverage, a hold forbids, attempts give up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.model import Attempts
from campaign_ops.platform import state
from campaign_ops.platform.journal import texts


class AttemptLog:
    """The attempts of one platform. Takes an open connection everywhere, as the journal does."""

    def __init__(self, platform: str) -> None:
        self.platform = platform

    def of(self, connection: sa.Connection, campaign_ids: Collection[str]) -> dict[str, Attempts]:
        """How often each campaign was re-enqueued and whether a person holds it."""
        table = state.attempt
        query = sa.select(table).where(
            table.c.platform == self.platform, table.c.campaign_id == sa.any_(texts(campaign_ids))
        )
        return {
            row.campaign_id: Attempts(
                row.total, row.without_progress, row.last_at, row.pending_at_last, row.held_by, row.held_reason
            )
            for row in connection.execute(query)
        }

    def begin(
        self, connection: sa.Connection, campaign_id: str, *, expected: Attempts, pending: int, without_progress: int
    ) -> int | None:
        """Count one more attempt, if nobody else did meanwhile; its number, or None.

        It is in vain until shown otherwise only once its first job is in the queue: see `added`.
        """
        table = state.attempt
        statement = insert(table).values(
            platform=self.platform,
            campaign_id=campaign_id,
            total=1,
            without_progress=0,
            last_at=sa.func.now(),
            pending_at_last=pending,
        )
        statement = statement.on_conflict_do_update(
            index_elements=["platform", "campaign_id"],
            set_={
                "total": table.c.total + 1,
                "without_progress": without_progress,
                "last_at": sa.func.now(),
                "pending_at_last": pending,
            },
            where=sa.and_(table.c.total == expected.total, table.c.held_by.is_(None)),
        )
        number: int | None = connection.scalar(statement.returning(table.c.total))
        return number

    def added(self, connection: sa.Connection, campaign_ids: Collection[str]) -> None:
        """Note that a job of the attempt under way really is in the queue."""
        table = state.attempt
        connection.execute(
            sa.update(table)
            .where(table.c.platform == self.platform, table.c.campaign_id == sa.any_(texts(campaign_ids)))
            .values(without_progress=table.c.without_progress + 1)
        )

    def add_intents(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write down what is about to be added to the queue."""
        connection.execute(sa.insert(state.intent), [{"platform": self.platform, **row} for row in rows])

    def unconfirmed_campaigns(self, connection: sa.Connection, job_ids: Collection[str]) -> set[str]:
        """Campaigns of these jobs of whose attempt no job was confirmed before."""
        intent, other = state.intent, state.intent.alias("other")
        confirmed = sa.exists().where(other.c.repair_id == intent.c.repair_id, other.c.added_at.is_not(None))
        query = sa.select(intent.c.campaign_id).where(
            intent.c.job_id == sa.any_(texts(job_ids)), intent.c.added_at.is_(None), sa.not_(confirmed)
        )
        return set(connection.scalars(query))

    def confirm_intents(self, connection: sa.Connection, job_ids: Collection[str]) -> int:
        """Note that these jobs really are in the queue; how many were not noted before."""
        intent = state.intent
        statement = (
            sa.update(intent)
            .where(intent.c.job_id == sa.any_(texts(job_ids)), intent.c.added_at.is_(None))
            .values(added_at=sa.func.clock_timestamp())
        )
        return connection.execute(statement).rowcount

    def open_intents(self, connection: sa.Connection, *, limit: int = 10_000) -> list[str]:
        """Jobs of the last day that were intended and never confirmed, newest first."""
        intent = state.intent
        recent = intent.c.intended_at > sa.func.now() - sa.func.make_interval(0, 0, 0, 1)
        query = (
            sa.select(intent.c.job_id)
            .where(intent.c.platform == self.platform, intent.c.added_at.is_(None), recent)
            .order_by(intent.c.intended_at.desc())
            .limit(limit)
        )
        return list(connection.scalars(query))

    def job_ids(self, connection: sa.Connection, repair_id: int) -> list[str]:
        """The jobs of one re-enqueue."""
        query = sa.select(state.intent.c.job_id).where(state.intent.c.repair_id == repair_id)
        return list(connection.scalars(query.order_by(state.intent.c.batch)))

    def jobs_of_attempt(self, connection: sa.Connection, campaign_id: str, attempt: int) -> list[str]:
        """The jobs that one attempt really put into the queue."""
        intent, repair = state.intent.c, state.repair.c
        mine = sa.select(repair.id).where(repair.platform == self.platform, repair.campaign_id == campaign_id)
        query = sa.select(intent.job_id).where(intent.repair_id.in_(mine), intent.attempt == attempt)
        return list(connection.scalars(query.where(intent.added_at.is_not(None))))

    def hold(self, connection: sa.Connection, campaign_id: str, by: str, reason: str) -> None:
        """Keep sweeps from repairing this campaign until a person lets it go."""
        statement = insert(state.attempt).values(
            platform=self.platform, campaign_id=campaign_id, held_by=by, held_reason=reason
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["platform", "campaign_id"], set_={"held_by": by, "held_reason": reason}
            )
        )

    def let_go(self, connection: sa.Connection, campaign_id: str) -> bool:
        """Take a hold or a quarantine away, but not the cooldown; whether there was one."""
        table = state.attempt
        statement = (
            sa.update(table)
            .where(table.c.platform == self.platform, table.c.campaign_id == campaign_id)
            .where(sa.or_(table.c.held_by.is_not(None), table.c.without_progress > 0))
            .values(held_by=None, held_reason=None, without_progress=0)
        )
        return connection.execute(statement).rowcount > 0

    def held(self, connection: sa.Connection, campaign_ids: Collection[str]) -> set[str]:
        """Those of the given campaigns that a person holds."""
        table = state.attempt.c
        query = sa.select(table.campaign_id).where(
            table.platform == self.platform,
            table.held_by.is_not(None),
            table.campaign_id == sa.any_(texts(campaign_ids)),
        )
        return set(connection.scalars(query))
