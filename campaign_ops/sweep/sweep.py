"""The whole sweep: all steps of one run in one call, under one lock, from one look."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from campaign_ops.core.errors import CampaignOpsError, QueueUnavailable, StatementRejected, Unavailable
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.core.report import HealthReport
from campaign_ops.sweep.look import Look, looking
from campaign_ops.sweep.quiet import quiet_sweep
from campaign_ops.sweep.records import STEP_OF, figures_of, plan_record, queue_record, recipients_record, stuck_record
from campaign_ops.sweep.reenqueue import reenqueue_from
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.settle import settle_intents
from campaign_ops.sweep.steps import Steps

log = logging.getLogger(__name__)


class Sweep(Steps):
    """One sweep over one platform: `run` makes all of it, or each step is called by itself."""

    _idle: dict[str, Mapping[str, Any]] | None = None
    """Within `run`, figures of steps that had nothing to do: written with the report, to save a statement each."""

    def run(self) -> HealthReport:
        """All steps.

        Raises:
            SweepBusy: Another sweep of this platform is under way; nothing was done.
        """
        quiet = self._quiet()
        return quiet if quiet is not None else self._whole()

    def _quiet(self) -> HealthReport | None:
        """The sweep, if nothing is to be done; after an error, `_whole` tries, which retries or says why."""
        if self.confirm is not None:
            return None
        is_locked = False
        try:
            with self._locked() as lock:
                is_locked = True
                # The transaction began before the wait: its clock is late.
                quiet = None if lock.waited else quiet_sweep(self.platform, lock, self.run_id, self.trigger, self.actor)
        except CampaignOpsError as error:
            if not is_locked:
                raise
            log.info("%s: not swept in one go: %s", self.platform.name, error)
            return None
        if quiet is None:
            return None
        if quiet.is_first_of_hour:
            self._prune()
        return quiet.report

    def _whole(self) -> HealthReport:
        """All steps, each where it has something to do."""
        with self._locked():
            self._idle = {}
            author = self._writing_author()
            settled = self._settle()
            with ExitStack() as open_look:
                look = self.platform.database.retrying(
                    lambda: open_look.enter_context(looking(self.platform, before=author.sweep_id))
                )
                plan = self._plan_from(look)
                if settled is not None:
                    self._reenqueue_from(look, plan, settled)
                self._close(open_look)
            if settled is None:
                self.reenqueue(plan)
            self.complete(plan)
            self.release(plan)
            idle, self._idle = self._idle, None
            return self._end(plan, idle)

    def _settle(self) -> dict[str, int] | None:
        """Settle the intents of earlier sweeps, so that their attempts count; None if the queue is away."""
        try:
            return settle_intents(self.platform)
        except QueueUnavailable:
            return None

    def _plan_from(self, look: Look) -> Plan:
        """The plan that a look gives, written down with all that the look has found."""
        look.remember()
        observation = look.observation
        plan, sightings = self._judge(observation)
        self._write(
            stuck_record(observation),
            recipients_record(observation),
            queue_record(observation.queue, observation.at),
            plan_record(plan, observation),
            sightings=sightings,
        )
        self._offer(plan)
        return plan

    def _reenqueue_from(self, look: Look, plan: Plan, settled: Mapping[str, int]) -> None:
        """Put lost batches back into the queue, from the very look that the plan was made from."""
        author = self._writing_author()
        with self._locked() as lock:
            orders = self._orders(plan, plan, RepairKind.REENQUEUE)
            result = reenqueue_from(look, author, lock, orders)
        result.settled = settled
        self._end_reenqueue(result)

    def _close(self, look: ExitStack) -> None:
        """End a look. It has nothing to commit: errors on close are logged and ignored."""
        try:
            look.close()
        except (StatementRejected, Unavailable) as error:
            log.warning("%s: the look did not end in order: %s", self.platform.name, error)

    def _note_results(self, *results: StepResult) -> None:
        if self._idle is None or any(result.planned or result.settled for result in results):
            super()._note_results(*results)
        else:
            self._idle |= {STEP_OF[result.kind]: figures_of(result) for result in results}
