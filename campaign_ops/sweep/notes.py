"""What a sweep writes down of itself: its row, the figures and the rows of its steps, and its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.plan import Plan
from campaign_ops.core.report import HealthReport
from campaign_ops.core.sighting import Sighting
from campaign_ops.journal.counters import count_sweep
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.sweep.records import STEP_OF, Record, figures_of, health_record
from campaign_ops.sweep.report import report_of
from campaign_ops.sweep.result import StepResult


class Notes:
    """The notes of one sweep, which begin with the first of them.

    Args:
        platform: The platform that is swept.
        run_id: Names the sweep; steps with the same one belong together.
        trigger: What started it.
        actor: The person or program that acts, for the journal.
    """

    def __init__(self, platform: Platform, run_id: str, trigger: str, actor: str) -> None:
        self._platform = platform
        self._run_id, self._trigger, self._actor = run_id, trigger, actor
        self._begun: Author | None = None
        self._may_write = False
        self._deferred: dict[str, Mapping[str, Any]] | None = None

    def author(self) -> Author:
        """The journal's author of this sweep; begins it the first time."""
        if self._begun is None:
            self._begun = self._platform.database.run(
                lambda connection: self._platform.begin(connection, self._run_id, self._trigger, self._actor)
            )
        return self._begun

    def writing_author(self) -> Author:
        """The same, after a check that this role may write what a repair writes."""
        if not self._may_write:
            self._platform.database.run(self._platform.check_writable)
            self._may_write = True
        return self.author()

    def defer(self) -> None:
        """Write the figures of steps that have nothing to do with the report, which is sure to come."""
        self._deferred = {}

    def add(self, *records: Record, sightings: Mapping[str, Sighting] | None = None) -> list[dict[str, Any]]:
        """Write the records of steps, all or nothing; return the rows of the last one."""
        author, log_of_sightings = self.author(), self._platform.sightings

        def _written(connection: sa.Connection) -> None:
            sweeps = self._platform.sweeps
            for record in records:
                sweeps.add_history(connection, record.table, author, record.at, record.rows)
                if record.queues:
                    self._platform.queue_looks.note(connection, record.queues)
            figures = {record.step: record.figures for record in records}
            along = None
            if log_of_sightings is not None and sightings:
                along = log_of_sightings.noting(sightings, records[-1].at)
            sweeps.add_figures(connection, author.sweep_id, figures, along=along)

        self._platform.database.run(_written)
        return records[-1].rows

    def add_results(self, *results: StepResult) -> None:
        """Write the figures of repairing steps; they leave no rows."""
        figures = {STEP_OF[result.kind]: figures_of(result) for result in results}
        if self._deferred is not None and not any(result.planned or result.settled for result in results):
            self._deferred |= figures
            return
        author = self.author()
        self._platform.database.run(
            lambda connection: self._platform.sweeps.add_figures(connection, author.sweep_id, figures)
        )

    def end(self, plan: Plan) -> tuple[HealthReport, bool]:
        """End the sweep with its health report, from what the journal says it did.

        Returns:
            The report, and whether any recipients are known whose message may have gone out.
        """
        author, deferred = self.author(), self._deferred or {}

        def _ended(connection: sa.Connection) -> tuple[HealthReport, bool]:
            sweeps = self._platform.sweeps
            report = report_of(self._platform, connection, author, plan)
            record = health_record(report)
            sweeps.add_history(connection, record.table, author, record.at, record.rows)
            sweeps.add_figures(connection, author.sweep_id, {**deferred, record.step: record.figures})
            sweeps.finish(connection, author.sweep_id)
            count_sweep(connection, sweeps.tables, report.outcome)
            return report, self._platform.ambiguous.has_known(connection)

        return self._platform.database.run(_ended)
