"""The whole sweep: all steps of one run in one call, under one lock, from one look."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack

from campaign_ops.core.errors import CampaignOpsError, QueueUnavailable, StatementRejected, Unavailable
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.core.report import HealthReport
from campaign_ops.sweep.look import Look, looking
from campaign_ops.sweep.quiet import quiet_sweep
from campaign_ops.sweep.reenqueue import reenqueue_from
from campaign_ops.sweep.settle import settle_intents
from campaign_ops.sweep.steps import Steps
from campaign_ops.sweep.tidy import tidy

log = logging.getLogger(__name__)


class Sweep(Steps):
    """One sweep over one platform: `run` makes all of it, or each step is called by itself."""

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
        report, author = quiet
        tidy(self.platform, author, any_suspects=False)
        return report

    def _whole(self) -> HealthReport:
        """All steps, each where it has something to do."""
        with self._locked():
            self._notes.defer()
            author = self._notes.writing_author()
            settled = self._settle()
            with ExitStack() as open_look:
                look = self.platform.database.retrying(
                    lambda: open_look.enter_context(looking(self.platform, before=author.sweep_id))
                )
                look.remember()
                plan = self._plan_from(look.observation).plan
                if settled is not None:
                    self._reenqueue_from(look, plan, settled)
                self._close(open_look)
            if settled is None:
                self.reenqueue(plan)
            self.complete(plan)
            self.release(plan)
            return self.report(plan)

    def _settle(self) -> dict[str, int] | None:
        """Settle the intents of earlier sweeps, so that their attempts count; None if the queue is away."""
        try:
            return settle_intents(self.platform)
        except QueueUnavailable:
            return None

    def _reenqueue_from(self, look: Look, plan: Plan, settled: Mapping[str, int]) -> None:
        """Put lost batches back into the queue, from the very look that the plan was made from."""
        author = self._notes.writing_author()
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
