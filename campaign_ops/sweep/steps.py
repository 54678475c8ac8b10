"""A sweep in steps, each with a look of its own. Faces and Dagster assets call these steps and nothing below.

A step reads what it needs now, does its part, and writes its figures and its history rows in one transaction. Steps
of one run may be calls of one process or of several, so what one step hands to the next goes through the database.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.confirmation import Confirmation, Offer
from campaign_ops.core.errors import Refused
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.report import HealthReport
from campaign_ops.core.sighting import Sighting
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep import act
from campaign_ops.sweep.confirm import confirm_queue, offer_for, orders_of
from campaign_ops.sweep.look import Observation, looking, observe
from campaign_ops.sweep.notes import Notes
from campaign_ops.sweep.orders import Orders
from campaign_ops.sweep.plan import completions_now, judge_again, plan_of, read_queue_state, releases_now
from campaign_ops.sweep.progress import doing
from campaign_ops.sweep.records import (
    plan_record,
    queue_record,
    recipients_record,
    recorded_plan,
    stuck_record,
)
from campaign_ops.sweep.reenqueue import reenqueue
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.seen import Seen, seen_by
from campaign_ops.sweep.tidy import tidy

log = logging.getLogger(__name__)

PLAN_MAX_AGE = timedelta(minutes=15)
"""A plan of another run is acted on for this long; its campaigns are looked at again anyway."""


class Steps:
    """The steps of one sweep. Construct it again for each step or keep it: the journal knows the sweep by ``run_id``.

    Args:
        platform: The platform to sweep.
        run_id: Names the sweep; steps with the same one belong together.
        trigger: What started it: ``schedule``, ``sensor``, ``cli`` …
        actor: The person or program that acts, for the journal.
        confirm: A person's code, with who and why: what it covers may pass the breaker.
        lock_wait_seconds: How long a repair waits for another sweep to end before it gives up.
        coming: Steps that this object is going to make, if it is known: they can share a look, and a record.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        run_id: str,
        trigger: str,
        actor: str,
        confirm: Confirmation | None = None,
        lock_wait_seconds: float = 30,
        coming: Collection[str] = (),
    ) -> None:
        self.platform = platform
        self.run_id = run_id
        self.trigger = trigger
        self.actor = actor
        self.confirm = confirm
        self.lock_wait_seconds = lock_wait_seconds
        self._lock: SweepLock | None = None
        self._notes = Notes(platform, run_id, trigger, actor)
        self._coming = frozenset(coming)
        self._seen: Seen | None = None

    # -- observe -----------------------------------------------------------------------------------------------

    def find_stuck(self) -> list[dict[str, Any]]:
        """Stuck campaigns, the longest untouched first: the rows of ``stuck_campaigns``."""
        if seen := self._see():
            return seen.stuck.rows
        return self._notes.add(stuck_record(observe(self.platform, compare="none")))

    def tally(self) -> list[dict[str, Any]]:
        """Recipients of every stuck campaign by state: the rows of ``recipient_status``."""
        if seen := self._see():
            return seen.recipients.rows
        return self._notes.add(recipients_record(observe(self.platform, compare="none")))

    def read_queue(self) -> QueueState | None:
        """The queue by state: the row of ``queue_state``. An unreadable queue is a result, not an error."""
        if seen := self._see():
            return seen.observation.queue
        queue = read_queue_state(self.platform)
        self._notes.add(queue_record(queue, self._now()))
        return queue

    # -- decide ------------------------------------------------------------------------------------------------

    def make_plan(self) -> Plan:
        """What would be done, to what, and why: the rows of ``repair_plan``."""
        if seen := self._see():
            return seen.plan
        observation = self._observe()
        plan, sightings = self._judge(observation)
        self._notes.add(plan_record(plan, observation), sightings=sightings)
        self._offer(plan)
        return plan

    def _see(self) -> Seen | None:
        """One look for all steps up to the plan, written down by the first of them; None where no plan is coming."""
        if self._seen is None and "repair_plan" in self._coming:
            self._seen = self._plan_from(self._observe())
            if self._seen.is_idle and "campaign_health" in self._coming:
                self._notes.defer()
        return self._seen

    def _plan_from(self, observation: Observation) -> Seen:
        """The plan that a look gives, written down with all that the look has found."""
        plan, sightings = self._judge(observation)
        seen = seen_by(observation, plan)
        self._notes.add(*seen.records, sightings=sightings)
        self._offer(plan)
        return seen

    def _observe(self) -> Observation:
        before = self._notes.author().sweep_id

        def _look() -> Observation:
            with looking(self.platform, before=before) as look:
                look.remember()
                return look.observation

        return self.platform.database.retrying(_look)

    def row_count(self, step: str) -> int | None:
        """The number of rows that this sweep has left in the view of a step, where it is known without asking."""
        if step == "campaign_health":
            return 1
        if self._seen is None:
            return None
        counts = {record.step: len(record.rows) for record in self._seen.records}
        return counts.get(step, 0 if self._seen.is_idle else None)

    def _judge(self, observation: Observation) -> tuple[Plan, Mapping[str, Sighting]]:
        """The plan that a look gives, and what is to be remembered of the queue."""
        before = self._notes.author().sweep_id
        return self.platform.database.run(
            lambda connection: plan_of(self.platform, connection, observation, before=before)
        )

    def load_plan(self) -> Plan:
        """The plan of this run, or the newest of another run that is young enough.

        Raises:
            Refused: There is none.
        """
        minutes = PLAN_MAX_AGE // timedelta(minutes=1)
        return self._recorded(PLAN_MAX_AGE, f"there is no plan of this run and none younger than {minutes} minutes")

    def _recorded(self, max_age: timedelta | None, what: str) -> Plan:
        if self._seen is not None:
            return self._seen.plan
        sweep_id = self._notes.author().sweep_id
        plan = self.platform.database.run(
            lambda connection: recorded_plan(self.platform.sweeps, connection, sweep_id, max_age)
        )
        if plan is None:
            mend = "make repair_plan first, or run the whole reconcile job"
            raise Refused(what, where=self.platform.name, mend=mend)
        return plan

    # -- confirm -----------------------------------------------------------------------------------------------

    def offers(self) -> list[Offer]:
        """The codes that this run shows."""

        def _read(connection: sa.Connection) -> list[Offer]:
            return [offer for offer, _ in self.platform.confirmations.open_offers(connection, self.run_id)]

        return self.platform.database.run(_read, read_only=True)

    def _offer(self, plan: Plan) -> None:
        """Note a code for what waits for a person; a run that was given one shows another only if that fails."""
        if self.confirm is None:
            offer_for(self.platform, plan, self.run_id)

    def _orders(self, plan: Plan, now: Plan, *kinds: RepairKind) -> Orders:
        return orders_of(self.platform, self._notes.author(), self.confirm, plan, now, kinds)

    def _trust(self, *, to_re_enqueue: bool) -> None:
        """Believe the queue as it is from now on: a person has confirmed all repairs that rest on it."""
        if (sightings := self.platform.sightings) is not None:
            self.platform.database.run(lambda connection: sightings.trust(connection, to_re_enqueue=to_re_enqueue))

    # -- act ---------------------------------------------------------------------------------------------------

    def complete(self, plan: Plan | None = None) -> tuple[StepResult, StepResult]:
        """Complete finished campaigns and raise counters that are behind: (completed, recounted)."""
        plan = plan or self.load_plan()
        author = self._notes.writing_author()
        if not plan.of(RepairKind.COMPLETE) and not plan.of(RepairKind.RECOUNT):
            nothing = StepResult(RepairKind.COMPLETE), StepResult(RepairKind.RECOUNT)
            self._notes.add_results(*nothing)
            return nothing
        with self._locked() as lock:
            now = completions_now(self.platform, author, plan)
            orders = self._orders(plan, now, RepairKind.COMPLETE, RepairKind.RECOUNT)
            recounted = act.recount(self.platform, author, orders, lock)
            completed = act.complete(self.platform, author, orders, lock)
        self._notes.add_results(recounted, completed)
        nothing_else_rests_on_the_queue = not now.of(RepairKind.REENQUEUE)
        if completed.confirmed and not completed.held_back and now.emptied and nothing_else_rests_on_the_queue:
            self._trust(to_re_enqueue=False)
        return completed, recounted

    def reenqueue(self, plan: Plan | None = None) -> StepResult:
        """Put lost batches back into the queue."""
        plan = plan or self.load_plan()
        author = self._notes.writing_author()
        if not plan.of(RepairKind.REENQUEUE) and not self._any_intents():
            return self._noted(StepResult(RepairKind.REENQUEUE))

        def _orders(observation: Observation) -> Orders:
            return self._orders(plan, judge_again(self.platform, author, observation), RepairKind.REENQUEUE)

        with self._locked() as lock:
            result = reenqueue(self.platform, author, lock, plan, _orders)
        self._end_reenqueue(result)
        return result

    def _end_reenqueue(self, result: StepResult) -> None:
        self._notes.add_results(result)
        if result.confirmed and not result.held_back:
            self._trust(to_re_enqueue=True)

    def release(self, plan: Plan | None = None) -> StepResult:
        """Release credits that are held for nothing."""
        plan = plan or self.load_plan()
        author = self._notes.writing_author()
        if not plan.of(RepairKind.RELEASE):
            return self._noted(StepResult(RepairKind.RELEASE))
        with self._locked() as lock:
            orders = self._orders(plan, releases_now(self.platform, plan), RepairKind.RELEASE)
            result = act.release(self.platform, author, orders, lock)
        return self._noted(result)

    def _any_intents(self) -> bool:
        """Return whether jobs of earlier sweeps are to be settled."""
        return self.platform.queue is not None and self.platform.database.run(
            self.platform.attempts.has_open, read_only=True
        )

    # -- report ------------------------------------------------------------------------------------------------

    def report(self, plan: Plan | None = None) -> HealthReport:
        """The health report of this sweep, from what the journal says it did; ends the sweep.

        Raises:
            Refused: The sweep has made no plan: it would be the latest sweep, and one without a stuck campaign.
        """
        plan = plan or self._recorded(None, "this run has made no plan, so that it has nothing to report")
        if self.confirm is not None:  # here, since a run of the plan alone changes nothing
            confirm_queue(self.platform, self._notes.author(), self.confirm, plan)
        doing(self.platform.name, "writing the report")
        report, any_suspects = self._notes.end(plan)
        tidy(self.platform, self._notes.author(), any_suspects=any_suspects)
        return report

    # -- lock and notes --------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[SweepLock]:
        if self._lock is not None:
            yield self._lock
            return
        doing(self.platform.name, "waiting for the sweep lock")
        lock = self.platform.lock(wait_seconds=self.lock_wait_seconds)
        with lock.hold():
            self._lock = lock
            try:
                yield lock
            finally:
                self._lock = None

    def _now(self) -> datetime:
        return self.platform.database.run(database_now)

    def _noted(self, result: StepResult) -> StepResult:
        self._notes.add_results(result)
        return result
