"""What the figures are made from: the stores, the ledger and the files of a drill, as plain values. Judges nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Protocol

from campaign_ops.core.policy import Policy
from campaign_ops.lab.drill.checkers.rows import Names, Raw
from campaign_ops.lab.drill.ledger import Change, Excuse, Journaled, Ledger, Mark
from campaign_ops.lab.drill.queue_watcher import Watched
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Timeouts
from campaign_ops.profile.model import Profile

ROW_REPAIRS = ("complete", "release", "recount")


class Checkable(Protocol):
    """What the audit needs of whatever a drill runs on."""

    @property
    def work_dir(self) -> Path:
        """Holds the watcher's and the sweepers' files."""

    @property
    def ledger(self) -> Ledger:
        """Its ledger, installed."""

    @property
    def servers(self) -> EmbeddedServers | None:
        """The embedded servers; None with given ones."""

    def connect(self) -> Platform:
        """Our own view of the platform; the caller closes it."""


@dataclass(frozen=True)
class Stores:
    """Where everything stands that is read.

    Attributes:
        ledger: The ledger, with the owner's engine and the profile.
        platform: The platform's name in our own tables.
        policy: Its thresholds.
        timeouts: Its bounds.
        work_dir: Holds the watcher's and the sweepers' files.
        server_log: PostgreSQL's log; None where it cannot be read.
        log_from: Where in it to begin, in bytes.
    """

    ledger: Ledger
    platform: str
    policy: Policy
    timeouts: Timeouts
    work_dir: Path
    server_log: Path | None = None
    log_from: int = 0


def stores_of(rig: Checkable) -> Stores:
    """The stores of a stand."""
    platform = rig.connect()
    platform.close()
    log = rig.servers.postgres.work_dir / "postgres.log" if rig.servers is not None else None
    timeouts = platform.database.timeouts
    return Stores(rig.ledger, platform.name, platform.policy, timeouts, rig.work_dir, log)


@dataclass(frozen=True, slots=True)
class Repair:
    """One row of our journal."""

    id: int
    sweep_id: int
    at: datetime
    kind: str
    campaign_id: str | None
    target: str
    tenant: str | None
    amount: Decimal | None
    before: Raw
    after: Raw
    parent_id: int | None
    undone_by: int | None

    def __str__(self) -> str:
        """As a line of damage names it."""
        return f"repair {self.id} ({self.kind} of {self.target})"


@dataclass(frozen=True, slots=True)
class Intent:
    """One job that we meant to add; ``added_at`` when we saw it in the queue."""

    job_id: str
    repair_id: int
    campaign_id: str
    recipients: int
    intended_at: datetime
    added_at: datetime | None


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One sweep in our own tables; ``planned`` tells it from a manual fix, ``held_back`` what its breaker kept back."""

    id: int
    run_id: str
    started_at: datetime
    finished_at: datetime | None
    planned: bool
    held_back: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One line of a sweep's plan."""

    sweep_id: int
    observed_at: datetime
    campaign_id: str | None
    target: str
    verdict: str | None
    reason: str
    needs_person: bool
    unsent: int | None


@dataclass(frozen=True, slots=True)
class Send:
    """One send, as the provider has it."""

    campaign_id: str
    recipient_id: str
    worker: str
    job_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class SweepLine:
    """What a sweeping process wrote about one sweep; times are seconds since 1970.

    ``unexpected``: it ended in an error that is not of our tree.
    """

    sweeper: str
    run_id: str
    began: float
    ended: float
    outcome: str
    error: str
    unexpected: bool


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """A statement of ours that PostgreSQL found worth a line because of its length."""

    seconds: float
    line: str


@dataclass(frozen=True)
class Records:
    """Everything that the figures are made from. The files were read before the database."""

    stores: Stores
    now: datetime
    changes: Sequence[Change]
    journaled: Mapping[int, Journaled]
    repairs: Sequence[Repair]
    intents: Sequence[Intent]
    sweeps: Mapping[int, SweepRow]
    plan: Sequence[PlanRow]
    marks: Sequence[Mark]
    excuses: Sequence[Excuse]
    sent_again: Mapping[str, Sequence[Send]]
    sends: int
    never_sent: Sequence[tuple[str, str]]
    rows: Mapping[str, Mapping[str, Raw]]
    watched: Watched
    sweep_lines: Sequence[SweepLine]
    denied: Sequence[str] | None
    slow: Sequence[SlowStatement] | None
    names: Names = field(repr=False)

    @property
    def profile(self) -> Profile:
        """How the platform's tables are named."""
        return self.stores.ledger.profile

    @property
    def policy(self) -> Policy:
        """Its thresholds."""
        return self.stores.policy

    def is_ours(self, change: Change) -> bool:
        """Whether something of ours made this change."""
        return change.role == self.stores.ledger.ops_role

    def of(self, relation: str) -> Iterator[Change]:
        """Changes of campaigns, or of reservations."""
        return (change for change in self.changes if change.relation == relation)

    @cached_property
    def campaign_changes(self) -> Mapping[str, Sequence[Change]]:
        """Changes of each campaign, in order."""
        found: dict[str, list[Change]] = defaultdict(list)
        for change in self.of("campaign"):
            found[change.key].append(change)
        return found

    @cached_property
    def change_of(self) -> Mapping[tuple[int, str, str], Sequence[Change]]:
        """Our changes by transaction, relation and row."""
        found: dict[tuple[int, str, str], list[Change]] = defaultdict(list)
        for change in self.changes:
            if self.is_ours(change):
                found[change.txid, change.relation, change.key].append(change)
        return found

    @cached_property
    def intents_of(self) -> Mapping[int, Sequence[Intent]]:
        """The intended jobs of each re-enqueue."""
        found: dict[int, list[Intent]] = defaultdict(list)
        for intent in self.intents:
            found[intent.repair_id].append(intent)
        return found

    @cached_property
    def plan_of(self) -> Mapping[int, Sequence[PlanRow]]:
        """Each sweep's plan."""
        found: dict[int, list[PlanRow]] = defaultdict(list)
        for row in self.plan:
            found[row.sweep_id].append(row)
        return found

    def planned_at(self, sweep_id: int) -> datetime | None:
        """When a sweep looked at what its plan says; None for a manual fix."""
        rows = self.plan_of.get(sweep_id)
        return rows[0].observed_at if rows else None

    def by_sweeps(self, *kinds: str) -> list[Repair]:
        """Repairs of these kinds that sweeps made, not people."""
        return [one for one in self.repairs if one.kind in kinds and self.sweeps[one.sweep_id].planned]

    def marked(self, kind: str) -> list[Mark]:
        """Marks of one kind, in order."""
        return [mark for mark in self.marks if mark.kind == kind]
