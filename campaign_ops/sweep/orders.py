"""Orders of a repairing step: its targets, within the plan and within the breaker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import Plan, PlanItem
from campaign_ops.sweep.result import StepResult


@dataclass(frozen=True, slots=True)
class Orders:
    """What a repairing step may do: what was planned and what a look of its own says now, whichever is less.

    Attributes:
        planned: The plan that was shown.
        now: What the step's own look gives.
        confirmed: Kinds that may pass the breaker: a person's code covers them.
        refused: Kinds that a person's code does not cover, and why.
    """

    planned: Plan
    now: Plan
    confirmed: frozenset[RepairKind] = frozenset()
    refused: Mapping[RepairKind, str] = field(default_factory=dict)

    def begin(self, kind: RepairKind) -> tuple[StepResult, list[PlanItem]]:
        """The empty result of one kind of repair, and its targets."""
        result = StepResult(kind, planned=len(self.planned.of(kind)))
        return result, self.targets(kind, result)

    def targets(self, kind: RepairKind, result: StepResult) -> list[PlanItem]:
        """The targets of one kind of repair; none where the breaker holds it back, and ``result`` says so."""
        breaker = self.now.held_back(kind) if result.planned else None
        if breaker is not None and kind not in self.confirmed:
            reasons = [str(breaker), *([self.refused[kind]] if kind in self.refused else [])]
            result.held_back, result.tripped = "; not confirmed: ".join(reasons), True
            return []
        result.confirmed = breaker is not None
        return self.now.within(self.planned, kind)
