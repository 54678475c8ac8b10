"""What became of every line of a plan: the health report of one sweep, told line by line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.report import HealthReport, RepairLine


class Became(StrEnum):
    """What became of a line."""

    DONE = "done"
    PLANNED = "planned"
    HELD_BACK = "held_back"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the plan, what became of it and why.

    ``needs_person`` also of one that was re-enqueued: that connects no worker and clears no marker.
    """

    item: PlanItem
    became: Became
    note: str = ""
    needs_person: bool = False


_WITH_CAMPAIGN = "released with its campaign, which was completed"


def tell(report: HealthReport) -> list[Told]:
    """Every line of the plan, then the reservations that were released together with their campaigns."""
    repairs = {line.kind: _Repair(line, dry_run=report.dry_run) for line in report.repairs}
    told = [_told(repairs, item) for item in report.plan.items]
    planned = {item.target for item in report.plan.items if _is_reservation(item)}
    release = repairs.get(RepairKind.RELEASE)
    return told + [
        Told(PlanItem(RepairKind.RELEASE, target, None, "", f"reservation {target}", _WITH_CAMPAIGN), Became.DONE)
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

    def fate(self, target: str) -> tuple[Became, str]:
        """What became of one target that this repair was planned for, and why."""
        if target in self.done:
            return Became.DONE, ""
        if target in self.failures:
            return Became.FAILED, self.failures[target]
        if self.held_back is not None:
            return Became.HELD_BACK, self.held_back
        if self.dry_run:
            return Became.PLANNED, ""
        return Became.LEFT, "not this time: it changed meanwhile, or its turn comes with the next sweep"


def _told(repairs: Mapping[RepairKind, _Repair], item: PlanItem) -> Told:
    if item.kind is not None and item.kind in repairs:
        return Told(item, *repairs[item.kind].fate(item.target), needs_person=item.needs_person)
    release = repairs.get(RepairKind.RELEASE)
    if _is_reservation(item) and release is not None and item.target in release.done:
        return Told(item, Became.DONE, _WITH_CAMPAIGN)
    return Told(item, Became.LEFT, needs_person=item.needs_person)


def _is_reservation(item: PlanItem) -> bool:
    return item.verdict is None


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A kind of repair that was not made, or not to its end. ``by_breaker``: a person may confirm it."""

    kind: RepairKind
    reason: str
    by_breaker: bool


def held_back(report: HealthReport) -> list[HeldBack]:
    """The kinds of repair that were held back, and by what."""
    return [HeldBack(line.kind, line.held_back, line.tripped) for line in report.repairs if line.held_back is not None]
