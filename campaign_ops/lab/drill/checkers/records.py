"""The stores, the ledger and the files of a drill as plain values. Checks nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Protocol

from campaign_ops.core.policy import Policy
from campaign_ops.lab.drill.checkers.incident_records import Watching
from campaign_ops.lab.drill.checkers.rows import Names, Raw
from campaign_ops.lab.drill.ledger import Change, Excuse, Journaled, Ledger, Mark, Move, Suspicion
from campaign_ops.lab.drill.queue_watcher import Watched
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.worker import KEPT_JOBS
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Timeouts
from campaign_ops.profile.model import Profile

SURELY_KEPT = KEPT_JOBS * 3 // 4
ROW_REPAIRS = ("complete", "release", "recount")


class Checkable(Protocol):
    """The parts of a rig that checkers read."""

    @property
    def work_dir(self) -> Path:
        """The directory with the queue watcher's and the sweepers' files."""

    @property
    def ledger(self) -> Ledger:
        """The installed ledger."""

    @property
    def servers(self) -> EmbeddedServers | None:
        """The embedded servers; None with external ones."""

    def connect(self) -> Platform:
        """The platform as campaign_ops sees it; the caller closes it."""


@dataclass(frozen=True)
class Stores:
    """The sources that are read.

    Attributes:
        ledger: The ledger, with the owner's engine and the profile.
        platform: The platform's name in our own tables.
        policy: The platform's thresholds.
        timeouts: The platform's timeouts.
        work_dir: The directory with the queue watcher's and the sweepers' files.
        server_log: PostgreSQL's log; None if it cannot be read.
        log_from: Offset in the log at which to begin, in bytes.
    """

    ledger: Ledger
    platform: str
    policy: Policy
    timeouts: Timeouts
    work_dir: Path
    server_log: Path | None = None
    log_from: int = 0


def stores_of(rig: Checkable) -> Stores:
    """The stores of a rig."""
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
        """The name used in violations."""
        return f"repair {self.id} ({self.kind} of {self.target})"


@dataclass(frozen=True, slots=True)
class Intent:
    """One job that we intended to add: when it was confirmed in the queue, or why it counts as not added."""

    job_id: str
    repair_id: int
    campaign_id: str
    recipients: int
    intended_at: datetime
    added_at: datetime | None
    closed_as: str | None = None


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One row of our sweep table. ``planned``: not a manual fix. ``held_back``: kinds that its breaker held back."""

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
    """One send in the provider's own table."""

    campaign_id: str
    recipient_id: str
    worker: str
    job_id: str | None
    at: datetime
    accepted: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """A marker that a worker has set before it sent; ``until`` is when it expired or the application deleted it."""

    job_id: str
    at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class SweepLine:
    """One line of a sweeping process's file; times are seconds since 1970.

    ``unexpected``: the sweep ended in an error outside our error tree.
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
    """A statement of ours that PostgreSQL logged because of its duration."""

    seconds: float
    line: str


@dataclass(frozen=True)
class Records:
    """Everything that the figures are computed from. The files were read before the database.

    ``facts``: of the platform's tables, how many ``foreign_keys`` they have, and how many have ``row_security``.
    ``carried``: the recipients of each job of ours, as far as it was seen in the queue or sent; ``moves``, ``claims``
    and ``suspicions`` are by recipient, in order.
    """

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
    facts: Mapping[str, int]
    sent_again: Mapping[str, Sequence[Send]]
    sends: int
    carried: Mapping[str, frozenset[str]]
    moves: Mapping[str, Sequence[Move]]
    claims: Mapping[str, Sequence[Claim]]
    suspicions: Mapping[str, Sequence[Suspicion]]
    never_sent: Sequence[tuple[str, str]]
    rows: Mapping[str, Mapping[str, Raw]]
    watched: Watched
    sweep_lines: Sequence[SweepLine]
    watching: Watching
    denied: Sequence[str] | None
    slow: Sequence[SlowStatement] | None
    names: Names = field(repr=False)

    @property
    def profile(self) -> Profile:
        """The platform's profile."""
        return self.stores.ledger.profile

    @property
    def policy(self) -> Policy:
        """The platform's thresholds."""
        return self.stores.policy

    def is_ours(self, change: Change) -> bool:
        """Return whether campaign_ops made this change."""
        return change.role == self.stores.ledger.ops_role

    def label(self, campaign: str) -> str:
        """The name with which the drill made a campaign; its id where it is gone."""
        return self.names.text("campaign", self.rows["campaign"].get(campaign), "name") or campaign

    def of(self, relation: str) -> Iterator[Change]:
        """The changes of one relation, in order."""
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
        """The plan of each sweep."""
        found: dict[int, list[PlanRow]] = defaultdict(list)
        for row in self.plan:
            found[row.sweep_id].append(row)
        return found

    @cached_property
    def completed_with(self) -> Mapping[tuple[str | None, str], Sequence[tuple[datetime, str]]]:
        """By campaign and recipient, the completed jobs that list both and that the queue must have kept up to now."""
        jobs: dict[tuple[str | None, str], list[tuple[datetime, str]]] = defaultdict(list)
        for job in self.watched.completed[-SURELY_KEPT:]:
            for recipient_id in job.recipient_ids:
                jobs[job.campaign_id, recipient_id].append((datetime.fromtimestamp(job.at, UTC), job.job_id))
        return jobs

    def planned_at(self, sweep_id: int) -> datetime | None:
        """When the sweep observed what its plan is based on; None for a manual fix."""
        rows = self.plan_of.get(sweep_id)
        return rows[0].observed_at if rows else None

    def by_sweeps(self, *kinds: str) -> list[Repair]:
        """Repairs of these kinds made by sweeps, not by people."""
        return [repair for repair in self.repairs if repair.kind in kinds and self.sweeps[repair.sweep_id].planned]

    def marked(self, kind: str) -> list[Mark]:
        """Marks of one kind, in order."""
        return [mark for mark in self.marks if mark.kind == kind]
