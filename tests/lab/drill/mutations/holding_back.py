"""Planted faults of what holds a sweep back: cooldown, lock, breaker, confirmation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaign_ops.core import verdicts
from campaign_ops.core.model import Evidence, Verdict
from campaign_ops.core.plan import Plan
from campaign_ops.core.policy import Policy
from campaign_ops.journal.journal import Journal
from campaign_ops.postgres.database import SweepLock
from campaign_ops.sweep import confirm, plan, steps
from campaign_ops.sweep.orders import Orders
from tests.lab.drill.mutations.mutation import Planted, put


def _no_cooldown() -> None:
    def held_back(evidence: Evidence, policy: Policy, _now: object) -> Verdict | None:
        in_vain = verdicts.attempts_without_progress(evidence) >= policy.max_attempts
        return Verdict.QUARANTINED if in_vain else None

    put(verdicts, "_held_back", held_back)


def _judged_on_the_plan() -> None:
    def as_planned(platform: Any, author: Any, confirmation: Any, planned: Plan, now: Plan, kinds: Any) -> Orders:
        orders = ask(platform, author, confirmation, planned, planned, kinds)
        return Orders(planned, _Unjudged(now, planned), orders.confirmed, orders.refused)

    ask = put(steps, "orders_of", as_planned)


class _Unjudged(Plan):
    """The lines of one plan with the breakers of another."""

    def __init__(self, lines: Plan, judged: Plan) -> None:
        super().__init__(lines.items, lines.sending, judged.breakers)


PLANTED: Mapping[str, Planted] = {
    "no_cooldown": Planted(rule=7, what="a re-enqueued campaign is not left alone for a while", apply=_no_cooldown),
    "lock_never_checked": Planted(
        rule=10,
        what="whether the sweep lock is still held is never asked",
        apply=lambda: put(SweepLock, "check", lambda _lock: None),
    ),
    "judged_on_the_plan": Planted(
        rule=16, what="the breaker is judged on the plan, not on the look that is acted on", apply=_judged_on_the_plan
    ),
    "more_than_planned": Planted(
        rule=16,
        what="a step does what its own look says, planned or not",
        apply=lambda: put(Plan, "within", lambda now, _planned, kind: now.of(kind)),
    ),
    "alarms_forgotten": Planted(
        rule=12,
        what="that the queue was emptied is no alarm",
        apply=lambda: put(plan, "all_alarms", lambda *_, **__: []),
    ),
    "suspicions_forgotten": Planted(
        rule=12,
        what="that Redis was restarted is no suspicion",
        apply=lambda: put(plan, "all_suspicions", lambda *_: []),
    ),
    "lately_not_counted": Planted(
        rule=12,
        what="sweeps that follow each other may do together what one may not",
        apply=lambda: put(Journal, "reenqueued_lately", lambda *_, **__: set()),
    ),
    "any_code_passes": Planted(
        rule=16,
        what="a person's code lets more pass than it was given for",
        apply=lambda: put(confirm, "beyond", lambda *_: ""),
    ),
}
