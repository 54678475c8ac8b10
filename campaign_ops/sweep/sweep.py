"""One sweep over one platform, step by step. Every face and every Dagster asset calls these steps and nothing below.

A step reads what it needs now, does its part, and writes its figures and its history rows in one transaction. Steps
of one run may be calls of one process or of several, so what one hands to the next goes through the database.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.confirmation import Confirmation, Offer
from campaign_ops.core.errors import QueueUnavailable, Refused, StatementRejected, Unavailable
from campaign_ops.core.model import QueueState, RepairKind
from campaign_ops.core.plan import Plan
from campaign_ops.core.policy import Breaker
from campaign_ops.core.report import HealthReport, render
from campaign_ops.core.sighting import Sighting
from campaign_ops.journal import schema
from campaign_ops.journal.counters import count_sweep
from campaign_ops.journal.sweeps import Author
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep import act
from campaign_ops.sweep.confirm import offer_for, orders_of
from campaign_ops.sweep.credits import releases_of
from campaign_ops.sweep.look import Look, Observation, looking, observe
from campaign_ops.sweep.orders import Orders
from campaign_ops.sweep.records import (
    STEP_OF,
    Record,
    figures_of,
    planned,
    queue_read,
    recipients_counted,
    stuck_found,
)
from campaign_ops.sweep.reenqueue import reenqueue
from campaign_ops.sweep.report import alarms_now, plan_of, read_queue_state, report_of
from campaign_ops.sweep.result import StepResult
from campaign_ops.sweep.rows import plan_item
from campaign_ops.sweep.settle import settle_intents

log = logging.getLogger(__name__)

PLAN_MAX_AGE = timedelta(minutes=15)
"""A plan of another run is acted on for this long; its campaigns are looked at again anyway."""


class Sweep:
    """One sweep. Construct it anew for each step or keep it for all of them: the journal knows it by ``run_id``.

    Args:
        platform: What to sweep.
        run_id: Names the sweep; steps with the same one belong together.
        trigger: What started it: ``schedule``, ``sensor``, ``cli`` …
        actor: Who or what acts, for the journal.
        confirm: A person's code, with who and why: what it covers may pass the breaker.
        lock_wait_seconds: How long a repair waits for another sweep to end before it gives up.
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
    ) -> None:
        self.platform = platform
        self.run_id = run_id
        self.trigger = trigger
        self.actor = actor
        self.confirm = confirm
        self.lock_wait_seconds = lock_wait_seconds
        self._lock: SweepLock | None = None
        self._begun: Author | None = None
        self._may_write = False
        self._whole = False
        # Figures of steps that had nothing to do: written with the report.
        self._idle: dict[str, Mapping[str, Any]] = {}
        # What `run` found of earlier sweeps' jobs, until the step that reports it.
        self._settled: Mapping[str, int] = {}

    # -- observe -----------------------------------------------------------------------------------------------

    def find_stuck(self) -> list[dict[str, Any]]:
        """Stuck campaigns, the longest untouched first: the rows of ``stuck_campaigns``."""
        return self._write(stuck_found(observe(self.platform, coverage=False)))

    def tally(self) -> list[dict[str, Any]]:
        """Recipients of every stuck campaign by state: the rows of ``recipient_status``."""
        return self._write(recipients_counted(observe(self.platform, coverage=False)))

    def read_queue(self) -> QueueState | None:
        """The queue by state: the row of ``queue_state``. An unreadable queue is a result, not an error."""
        queue = read_queue_state(self.platform)
        self._write(queue_read(queue, self._now()))
        return queue

    # -- decide ------------------------------------------------------------------------------------------------

    def make_plan(self) -> Plan:
        """What would be done, to what, and why: the rows of ``repair_plan``."""
        before = self._author().sweep_id

        def _look() -> Observation:
            with looking(self.platform, before=before) as look:
                look.remember()
                return look.observation

        seen = self.platform.database.retrying(_look)
        plan, sighting = self._judge(seen)
        self._write(planned(plan, seen), sighting=sighting)
        self._offer(plan)
        return plan

    def _offer(self, plan: Plan) -> None:
        """Note a code for what the breakers hold back; a run that was given one shows another only if that fails."""
        if self.confirm is None:
            offer_for(self.platform, plan, self.run_id)

    def offers(self) -> list[Offer]:
        """The codes that this run shows."""

        def _read(connection: sa.Connection) -> list[Offer]:
            return [offer for offer, _ in self.platform.confirmations.open_offers(connection, self.run_id)]

        return self.platform.database.run(_read, read_only=True)

    def _orders(self, plan: Plan, now: Plan, *kinds: RepairKind) -> Orders:
        return orders_of(self.platform, self._author(), self.confirm, plan, now, kinds)

    def _judge(self, seen: Observation) -> tuple[Plan, Mapping[str, Sighting]]:
        """The plan that a look gives, and what is to be remembered of the queue."""
        author = self._author()
        return self.platform.database.run(
            lambda connection: plan_of(self.platform, connection, seen, before=author.sweep_id)
        )

    def _judge_again(self, seen: Observation) -> Plan:
        """What a look of a repairing step gives, credits aside; the queue is remembered as it was seen."""
        author, sightings = self._author(), self.platform.sightings

        def _judged(connection: sa.Connection) -> Plan:
            plan, seen_now = plan_of(self.platform, connection, seen, before=author.sweep_id, of_credits=False)
            if sightings is not None and seen.queue is not None and (noting := sightings.noting(seen_now)) is not None:
                connection.execute(noting)
            return plan

        return self.platform.database.run(_judged)

    def _completions_now(self, plan: Plan) -> Plan:
        """What would be completed and recounted now; the queue is read whole only where something holds that back."""
        if not plan.of(RepairKind.COMPLETE) and not plan.of(RepairKind.RECOUNT):
            return plan
        before = self._author().sweep_id
        now = self._judge_again(observe(self.platform, before=before, coverage=False))
        held_back = any(one.held_back(RepairKind.COMPLETE) for one in (plan, now))
        if self.platform.queue is not None and (held_back or alarms_now(self.platform)):
            now = self._judge_again(observe(self.platform, before=before))
        return now

    def _releases_now(self, plan: Plan) -> Plan:
        """Which of the planned reservations would be released now, and whether that is a mass."""
        items = plan.of(RepairKind.RELEASE)
        if not items:
            return plan
        targets = {item.target for item in items}
        return self.platform.database.run(lambda connection: releases_of(self.platform, connection, targets))

    # -- act ---------------------------------------------------------------------------------------------------

    def complete(self, plan: Plan | None = None) -> tuple[StepResult, StepResult]:
        """Complete finished campaigns and raise counters that are behind: (completed, recounted)."""
        plan = plan or self.load_plan()
        author = self._writing_author()
        with self._locked() as lock:
            orders = self._orders(plan, self._completions_now(plan), RepairKind.COMPLETE, RepairKind.RECOUNT)
            recounted = act.recount(self.platform, author, orders, lock)
            completed = act.complete(self.platform, author, orders, lock)
        self._note_done(recounted, completed)
        if (
            RepairKind.COMPLETE in orders.confirmed
            and not completed.held_back
            and not orders.now.of(RepairKind.REENQUEUE)
        ):
            self._trust()  # nothing else of this look rests on the queue
        return completed, recounted

    def reenqueue(self, plan: Plan | None = None, look: Look | None = None) -> StepResult:
        """Put lost batches back into the queue; from the plan's own look, while that is going on."""
        plan = plan or self.load_plan()
        author = self._writing_author()
        with self._locked() as lock:
            confirmed = False

            def _orders(seen: Observation | None) -> Orders:
                nonlocal confirmed
                now = plan if seen is None else self._judge_again(seen)
                orders = self._orders(plan, now, RepairKind.REENQUEUE)
                confirmed = RepairKind.REENQUEUE in orders.confirmed
                return orders

            result = reenqueue(self.platform, author, plan, lock, orders=_orders, look=look)
        result.settled = result.settled or self._settled
        self._note_done(result)
        if confirmed and not result.held_back:
            self._trust()
        return result

    def _trust(self) -> None:
        """Believe the queue as it is from now on: a person has confirmed all repairs that rest on it."""
        if self.platform.sightings is not None:
            self.platform.database.run(self.platform.sightings.trust)

    def release(self, plan: Plan | None = None) -> StepResult:
        """Release credits that are held for nothing."""
        plan = plan or self.load_plan()
        author = self._writing_author()
        with self._locked() as lock:
            orders = self._orders(plan, self._releases_now(plan), RepairKind.RELEASE)
            result = act.release(self.platform, author, orders, lock)
        self._note_done(result)
        return result

    # -- report ------------------------------------------------------------------------------------------------

    def report(self, plan: Plan | None = None) -> HealthReport:
        """The health report of this sweep, from what the journal says it did; ends the sweep."""
        plan = plan or self.load_plan()
        author = self._author()

        def _write(connection: sa.Connection) -> HealthReport:
            sweeps = self.platform.sweeps
            report = report_of(self.platform, connection, author, plan)
            figures = report.figures()
            rows = [{"report": {"figures": figures, "trouble": report.trouble}, "markdown": render(report)}]
            sweeps.add_history(connection, schema.campaign_health, author, report.at, rows)
            stored = {**figures, **report.credit_figures()}
            sweeps.add_figures(connection, author.sweep_id, {**self._idle, "campaign_health": stored})
            sweeps.finish(connection, author.sweep_id)
            count_sweep(connection, sweeps.tables, report.outcome)
            return report

        report = self.platform.database.run(_write)
        self._idle = {}
        self._prune()
        return report

    def run(self) -> HealthReport:
        """All steps, under one lock, from one look.

        Raises:
            SweepBusy: Another sweep of this platform is under way; nothing was done.
        """
        with self._locked():
            self._whole = True
            author = self._writing_author()
            settled = self._settle()
            with ExitStack() as open_look:
                look = self.platform.database.retrying(
                    lambda: open_look.enter_context(looking(self.platform, before=author.sweep_id))
                )
                look.remember()
                seen = look.observation
                plan, sighting = self._judge(seen)
                self._write(
                    stuck_found(seen),
                    recipients_counted(seen),
                    queue_read(seen.queue, seen.at),
                    planned(plan, seen),
                    sighting=sighting,
                )
                self._offer(plan)
                if settled:
                    self.reenqueue(plan, look)
                self._let_go(open_look)
            if not settled:
                self.reenqueue(plan)
            self.complete(plan)
            self.release(plan)
            return self.report(plan)

    def _settle(self) -> bool:
        """Whether intents of an earlier sweep could be settled, so that its attempts are counted."""
        try:
            self._settled = settle_intents(self.platform)
        except QueueUnavailable:
            return False
        return True

    def _let_go(self, look: ExitStack) -> None:
        """End a look. It has nothing to commit: what becomes of its connection is no matter any more."""
        try:
            look.close()
        except (StatementRejected, Unavailable) as error:
            log.warning("%s: the look did not end in order: %s", self.platform.name, error)

    def _prune(self) -> None:
        """Forget old rows, apart from the sweep's own writing: if it fails, the next sweep tries again."""
        days = self.platform.policy.history_days
        try:
            with self.platform.database.transaction() as connection:
                self.platform.sweeps.prune(connection, days)
                self.platform.queue_looks.prune(connection)
                self.platform.incidents.prune(connection, days)
                self.platform.outbox.prune(connection, days)
                self.platform.ambiguous.forget_moved(connection, self.platform.tables(connection))
        except (StatementRejected, Unavailable) as error:
            log.warning("%s: old rows were not pruned: %s", self.platform.name, error)

    # -- parts -------------------------------------------------------------------------------------------------

    def load_plan(self) -> Plan:
        """The plan of this run, or the newest of another run that is young enough.

        Raises:
            Refused: There is none.
        """

        author = self._author()

        def _load(connection: sa.Connection) -> Plan | None:
            sweeps = self.platform.sweeps
            found = sweeps.latest_step(connection, "repair_plan", sweep_id=author.sweep_id) or sweeps.latest_step(
                connection, "repair_plan", younger_than=PLAN_MAX_AGE
            )
            if found is None:
                return None
            sweep_id, figures = found
            rows = sweeps.history(connection, schema.repair_plan, sweep_id)
            breakers = {
                RepairKind(kind): Breaker(True, tuple(reasons)) for kind, reasons in figures["breakers"].items()
            }
            items, doubts = tuple(map(plan_item, rows)), tuple(figures["doubts"])
            return Plan(items, figures["sending"], breakers, doubts, figures.get("more_releases", 0))

        plan = self.platform.database.run(_load)
        if plan is None:
            minutes = PLAN_MAX_AGE // timedelta(minutes=1)
            raise Refused(
                f"there is no plan of this run and none younger than {minutes} minutes",
                where=self.platform.name,
                mend="make repair_plan first, or run the whole reconcile job",
            )
        return plan

    @contextmanager
    def _locked(self) -> Iterator[SweepLock]:
        if self._lock is not None:
            yield self._lock
            return
        lock = self.platform.lock(wait_seconds=self.lock_wait_seconds)
        with lock.hold():
            self._lock = lock
            try:
                yield lock
            finally:
                self._lock = None

    def _author(self) -> Author:
        """The journal's author of this sweep; begins it the first time."""
        if self._begun is None:
            self._begun = self.platform.database.run(
                lambda connection: self.platform.begin(connection, self.run_id, self.trigger, self.actor)
            )
        return self._begun

    def _writing_author(self) -> Author:
        """The same, once it is sure that this role may write what a repair writes."""
        if not self._may_write:
            self.platform.database.run(self.platform.check_writable)
            self._may_write = True
        return self._author()

    def _now(self) -> datetime:
        return self.platform.database.run(database_now)

    def _write(self, *records: Record, sighting: Mapping[str, Sighting] | None = None) -> list[dict[str, Any]]:
        """Write what steps found, all of it or nothing; the last one's rows."""
        author, sightings = self._author(), self.platform.sightings

        def _written(connection: sa.Connection) -> None:
            sweeps = self.platform.sweeps
            for record in records:
                sweeps.add_history(connection, record.table, author, record.at, record.rows)
                if record.queues:
                    self.platform.queue_looks.note(connection, record.queues)
            figures = {record.step: record.figures for record in records}
            along = sightings.noting(sighting) if sightings is not None and sighting else None
            sweeps.add_figures(connection, author.sweep_id, figures, along=along)

        self.platform.database.run(_written)
        return records[-1].rows

    def _note_done(self, *results: StepResult) -> None:
        """Add what repairing steps changed: at once, or within a whole sweep that had nothing to do, in the end."""
        figures: dict[str, Mapping[str, Any]] = {STEP_OF[result.kind]: figures_of(result) for result in results}
        if self._whole and not any(result.planned or result.settled for result in results):
            self._idle |= figures
        else:
            self._note(figures)

    def _note(self, figures: Mapping[str, Mapping[str, Any]]) -> None:
        """Add figures of steps that leave no rows."""
        author = self._author()
        self.platform.database.run(
            lambda connection: self.platform.sweeps.add_figures(connection, author.sweep_id, figures)
        )
