"""The result of a repairing step: what it really changed, what it left, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from campaign_ops.core.model import RepairKind
from campaign_ops.journal.journal import Entry


@dataclass(frozen=True, slots=True)
class Failure:
    """One target that could not be repaired, and why."""

    target: str
    error: str


@dataclass
class StepResult:
    """What one kind of repair really changed.

    Attributes:
        kind: The kind of repair.
        planned: Repairs in the plan.
        entries: Journal entries of what was changed.
        repair_ids: Their ids in the journal.
        failures: Targets that could not be repaired.
        held_back: Why nothing was tried, or no more than was done.
        tripped: It was the breaker, which a person may confirm.
        confirmed: A person's code let it pass the breaker.
        away: It was an outage, perhaps over next time.
        jobs: Jobs added to the queue, for as many ``recipients``.
        taken_back: Jobs added and taken out of the queue again: their campaign had changed meanwhile.
        unsure: Why a page of jobs was not added, of the last such page: something came to the queue at every look.
        deferred: Campaigns that a limit left to the next sweep.
        cut: Campaigns of which a limit left a part: ``left_recipients`` in all, in ``left_jobs`` next time.
        settled: Jobs of earlier sweeps that ended before they could confirm them, by their fate.
    """

    kind: RepairKind
    planned: int = 0
    entries: list[Entry] = field(default_factory=list)
    repair_ids: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    held_back: str | None = None
    tripped: bool = False
    confirmed: bool = False
    jobs: int = 0
    recipients: int = 0
    deferred: int = 0
    cut: int = 0
    left_jobs: int = 0
    left_recipients: int = 0
    taken_back: int = 0
    unsure: str = ""
    settled: Mapping[str, int] = field(default_factory=dict)
    away: bool = False

    @property
    def count(self) -> int:
        """Repairs that took effect."""
        return sum(entry.kind is self.kind for entry in self.entries)

    @property
    def left(self) -> int:
        """Planned but not done, because the premise no longer held: another process was there first."""
        return max(self.planned - self.count - len(self.failures) - self.deferred, 0) if not self.held_back else 0

    def amount(self) -> Decimal:
        """Credits released."""
        return sum((Decimal(entry.amount) for entry in self.entries if entry.amount is not None), Decimal(0))
