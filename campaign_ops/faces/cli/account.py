"""What became of every line of a plan: the health report of one sweep, told line by line. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.core.report import HealthReport


class Became(StrEnum):
    """What became of a line."""

    DONE = "done"
    PLANNED = "planned"
    HELD_BACK = "held_back"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the plan, what became of it and why. ``needs_person`` only where the sweep did not mend it."""

    item: PlanItem
    became: Became
    note: str = ""
    needs_person: bool = False


def tell(report: HealthReport) -> list[Told]:
    """Every line of the plan, then the reservations that were released together with their campaigns."""
    told = [_told(report, item) for item in report.plan.items]
    told_of = {one.item.target for one in told if _is_reservation(one.item)}
    return told + [
        Told(PlanItem(RepairKind.RELEASE, target, None, "", f"reservation {target}", _WITH_CAMPAIGN), Became.DONE)
        for target in _released(report)
        if target not in told_of
    ]


_WITH_CAMPAIGN = "released with its campaign, which was completed"


def _told(report: HealthReport, item: PlanItem) -> Told:
    became, note = _fate(report, item)
    return Told(item, became, note, needs_person=item.needs_person and became not in (Became.DONE, Became.PLANNED))


def _fate(report: HealthReport, item: PlanItem) -> tuple[Became, str]:
    if item.kind is None and _is_reservation(item) and item.target in _released(report):
        return Became.DONE, _WITH_CAMPAIGN
    line = next((line for line in report.repairs if line.kind is item.kind), None)
    if line is None:
        return Became.LEFT, ""
    if not report.dry_run and item.target in line.targets:
        return Became.DONE, ""
    failures = dict(line.failures)
    if item.target in failures:
        return Became.FAILED, failures[item.target]
    if line.held_back is not None:
        return Became.HELD_BACK, line.held_back
    if report.dry_run:
        return Became.PLANNED, ""
    return Became.LEFT, "not this time: it changed meanwhile, or its turn comes with the next sweep"


def _is_reservation(item: PlanItem) -> bool:
    return item.verdict is None


def _released(report: HealthReport) -> set[str]:
    """Reservations that the sweep has released, planned or together with their campaigns."""
    lines = [line for line in report.repairs if line.kind is RepairKind.RELEASE and not report.dry_run]
    return {target for line in lines for target in line.targets}


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A kind of repair that was not made, or not to its end. ``by_breaker``: a person may confirm it."""

    kind: RepairKind
    reason: str
    by_breaker: bool


def held_back(report: HealthReport) -> list[HeldBack]:
    """The kinds of repair that were held back, and by what."""
    found = []
    for line in report.repairs:
        if line.held_back is not None:
            breaker = report.plan.breakers.get(line.kind)
            tripped = breaker is not None and breaker.tripped and str(breaker) == line.held_back
            found.append(HeldBack(line.kind, line.held_back, tripped))
    return found
