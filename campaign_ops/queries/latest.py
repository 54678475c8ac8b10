"""The latest sweep's rows and figures, step by step, from our own tables. The platform itself is not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.core.sighting import Sighting
from campaign_ops.journal import schema
from campaign_ops.journal.finished import FinishedSweep, latest_finished
from campaign_ops.journal.queue_looks import WorkerHealth
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.sweep.rows import queue_of

T = TypeVar("T")

_TABLES = {table.name.removesuffix("_history"): table for table in schema.HISTORIES}


@dataclass(frozen=True)
class Latest:
    """The results of the latest sweeps, read in one transaction."""

    platform: Platform
    connection: sa.Connection
    _steps: dict[str, tuple[int, Mapping[str, Any]] | None] = field(default_factory=dict)

    def _step(self, step: str) -> tuple[int, Mapping[str, Any]] | None:
        """The latest sweep that ran this step and its figures; six checks ask eighteen times."""
        if step not in self._steps:
            self._steps[step] = self.platform.sweeps.latest_step(self.connection, step)
        return self._steps[step]

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        return database_now(self.connection)

    def finished(self) -> FinishedSweep | None:
        """The latest finished sweep; None when no sweep has finished yet."""
        return latest_finished(self.connection, self.platform.profile.tables_key)

    def rows_of(self, step: str, sweep_id: int, *, without: RepairKind | None = None) -> list[Mapping[str, Any]]:
        """The rows that one sweep left of a step; of a plan, without those of one kind if asked."""
        return self.platform.sweeps.history(self.connection, _TABLES[step], sweep_id, without=without)

    def repaired_by(self, sweep_id: int) -> set[tuple[str, str]]:
        """What one sweep repaired: kind and target."""
        return {(row.kind, row.target) for row in self.platform.journal.targets(self.connection, sweep_id)}

    def sightings(self) -> Mapping[str, Sighting]:
        """What is remembered of each queue, by its name; nothing where the platform has none."""
        sightings = self.platform.sightings
        return {} if sightings is None else sightings.last(self.connection)

    def workers(self) -> list[WorkerHealth]:
        """The workers of each queue in figures, as the latest look at it saw them."""
        return self.platform.queue_looks.health(self.connection)

    def rows(self, step: str) -> list[Mapping[str, Any]]:
        """Return the rows of the latest sweep that ran this step."""
        latest = self._step(step)
        return self.platform.sweeps.history(self.connection, _TABLES[step], latest[0]) if latest else []

    def figures(self, step: str) -> Mapping[str, Any]:
        """Return the figures of the latest sweep that ran this step."""
        latest = self._step(step)
        return latest[1] if latest else {}

    def queue_problem(self) -> tuple[str, bool]:
        """Return why the latest sweep could not rely on the queue, or an empty text; and whether it was away."""
        plan = self.figures("repair_plan")
        if plan.get("queue_problem"):
            return plan["queue_problem"], plan.get("queue_away", False)
        queues = [queue_of(row) for row in self.rows("queue_state")]
        return next(((queue.problem, queue.away) for queue in queues if queue.problem), ("", False))

    def repaired(self, kind: RepairKind, *steps: str) -> set[str]:
        """Return the targets that the latest sweep of any of these steps repaired in this way."""
        sweeps = {latest[0] for step in steps if (latest := self._step(step))}
        rows = [row for sweep_id in sorted(sweeps) for row in self.platform.journal.targets(self.connection, sweep_id)]
        return {row.target for row in rows if row.kind == kind}


def ask_latest(platform: Platform, question: Callable[[Latest], T]) -> T:
    """Answer a question from the latest sweeps, in one read-only transaction."""
    return platform.database.run(lambda connection: question(Latest(platform, connection)), read_only=True)


def row_count(platform: Platform, step: str) -> int:
    """Return the number of rows of the latest sweep in the view of a step."""
    return platform.database.run(lambda connection: platform.sweeps.row_count(connection, step), read_only=True)
