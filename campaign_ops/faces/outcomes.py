"""How each line of a plan ended: the health report of one sweep, line by line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.report import HealthReport, RepairLine


class Ending(StrEnum):
    """How a line ended."""

    DONE = "done"
    PLANNED = "planned"
    HELD_BACK = "held_back"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the plan, how it ended and why.

    ``needs_person`` also for a campaign that was re-enqueued: that connects no worker and clears no marker.
    """

    item: PlanItem
    ending: Ending
    note: str = ""
    needs_person: bool = False


_WITH_CAMPAIGN = "released with its campaign, which was completed"


def outcomes_of(report: HealthReport) -> list[Outcome]:
    """Every line of the plan, then the reservations that were released together with their campaigns."""
    repairs = {line.kind: _Repair(line, dry_run=report.dry_run) for line in report.repairs}
    planned = {item.target for item in report.plan.items if _is_reservation(item)}
    release = repairs.get(RepairKind.RELEASE)
    return [_outcome(repairs, item) for item in report.plan.items] + [
        Outcome(PlanItem(RepairKind.RELEASE, target, None, "", f"reservation {target}", _WITH_CAMPAIGN), Ending.DONE)
        for target in (release.done if release else {})
        if target not in planned
    ]


class _Repair:
    """What one kind of repair did, by target. (A dry run lists as targets what it would do.)"""

    def __init__(self, line: RepairLine, *, dry_run: bool) -> None:
        self.done = {} if dry_run else dict.fromkeys(line.targets)
        self.failures = dict(line.failures)
        self.held_back = line.held_back
        self.dry_run = dry_run

    def ending_of(self, target: str) -> tuple[Ending, str]:
        """How the repair of one planned target ended, and why."""
        if target in self.done:
            return Ending.DONE, ""
        if target in self.failures:
            return Ending.FAILED, self.failures[target]
        if self.held_back is not None:
            return Ending.HELD_BACK, self.held_back
        if self.dry_run:
            return Ending.PLANNED, ""
        return Ending.LEFT, "not this time: it has changed meanwhile, or is left to the next sweep"


def _outcome(repairs: Mapping[RepairKind, _Repair], item: PlanItem) -> Outcome:
    if item.kind is not None and item.kind in repairs:
        return Outcome(item, *repairs[item.kind].ending_of(item.target), needs_person=item.needs_person)
    release = repairs.get(RepairKind.RELEASE)
    if _is_reservation(item) and release is not None and item.target in release.done:
        return Outcome(item, Ending.DONE, _WITH_CAMPAIGN)
    return Outcome(item, Ending.LEFT, needs_person=item.needs_person)


def _is_reservation(item: PlanItem) -> bool:
    return item.verdict is None


NOT_USED = "was not used: no breaker held anything back"
"""Of a code. One that was mistyped was ignored in silence."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A kind of repair that was not made, or not completely. ``by_breaker``: a person may confirm it."""

    kind: RepairKind
    reason: str
    by_breaker: bool


def held_back(report: HealthReport) -> list[HeldBack]:
    """The kinds of repair that were held back, each with the reason."""
    return [HeldBack(line.kind, line.held_back, line.tripped) for line in report.repairs if line.held_back is not None]
