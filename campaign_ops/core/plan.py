"""The plan: what a sweep would do, to what, and why. Pure, like the verdicts that it is made from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from campaign_ops.core.accounting import drift, total_recipients, unsent
from campaign_ops.core.model import (
    Action,
    CreditDecision,
    Decision,
    Evidence,
    Outcome,
    RepairKind,
    Reservation,
    Verdict,
    age,
)
from campaign_ops.core.policy import Breaker, Policy, check_breaker


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One line of the plan. ``kind`` is None where a sweep only reports."""

    kind: RepairKind | None
    target: str
    campaign_id: str | None
    tenant: str
    name: str
    reason: str
    verdict: Verdict | None = None
    needs_person: bool = False
    outcome: Outcome | None = None
    missing: int | None = None
    covered: int | None = None
    marked: int | None = None
    doubled: int | None = None
    total: int | None = None
    unsent: int | None = None
    stuck_seconds: int | None = None
    drained_per_hour: float | None = None
    drift: str = ""
    amount: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All lines, the breakers that hold back whole kinds of repair, and the doubts about the queue.

    ``more_releases`` reservations could be released too, and are left to the next sweeps. ``queue`` names the queue and
    the Redis process that the plan rests on, and the alarms about them; ``emptied`` says that one of these is about the
    queue itself. ``alarm`` says how a queue was emptied, as remembered until a person confirms; empty if none was.
    """

    items: tuple[PlanItem, ...]
    sending: int
    breakers: Mapping[RepairKind, Breaker] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    more_releases: int = 0
    queue: str = ""
    emptied: bool = False
    alarm: str = ""

    def of(self, kind: RepairKind | None) -> list[PlanItem]:
        """The lines of one kind."""
        return [item for item in self.items if item.kind is kind]

    def within(self, planned: Plan, kind: RepairKind) -> list[PlanItem]:
        """The lines of one kind that an earlier plan has too, asking for no more than it did."""
        before = {item.target: item for item in planned.of(kind)}
        return [item for item in self.of(kind) if item.target in before and _no_more(item, before[item.target])]

    def held_back(self, kind: RepairKind) -> Breaker | None:
        """The breaker that forbids this kind of repair until a person confirms it, if one does."""
        breaker = self.breakers.get(kind)
        return breaker if breaker is not None and breaker.tripped else None

    def tripped(self) -> list[RepairKind]:
        """The kinds of repair that a breaker holds back."""
        return [kind for kind in self.breakers if self.held_back(kind) is not None]

    @property
    def alarm_alone(self) -> str:
        """The alarm, where no repair is held back: a person can confirm only that this is the queue."""
        return "" if self.tripped() else self.alarm


def _no_more(now: PlanItem, planned: PlanItem) -> bool:
    return (now.missing or 0) <= (planned.missing or 0) and Decimal(now.amount or 0) == Decimal(planned.amount or 0)


# A campaign has many reservations, and some leak every night; a mass of them says as much as a mass of campaigns.
RELEASES_PER_CAMPAIGN = 10

_KINDS = {Action.COMPLETE: RepairKind.COMPLETE, Action.REENQUEUE: RepairKind.REENQUEUE}


def make_plan(
    judged: Iterable[tuple[Evidence, Decision]],
    credits_judged: Iterable[tuple[Reservation, CreditDecision]],
    *,
    more_releases: int = 0,
    sending: int,
    held: int | None = None,
    policy: Policy,
    lately: Collection[str] = (),
    suspicions: Sequence[str] = (),
    alarms: Sequence[str] = (),
    given_up: Mapping[tuple[RepairKind, str], str] = MappingProxyType({}),
    now: datetime,
) -> Plan:
    """Turn decisions into the lines of a plan and check the breakers.

    Args:
        judged: Every stuck campaign with its verdict.
        credits_judged: Every questionable reservation with its decision, except those left to later sweeps.
        more_releases: The number of those left that could be released.
        sending: All campaigns of the platform in ``sending``.
        held: All held reservations; None where they were not counted: too few would be released to matter.
        policy: Thresholds.
        lately: Campaigns that sweeps shortly before have re-enqueued.
        suspicions: In words, reasons to doubt the queue.
        alarms: Strong ones.
        given_up: Repairs, by kind and target, that the database always refuses, with the reason.
        now: The database's clock at the look.
    """
    items = [item for evidence, decision in judged for item in _items_of(evidence, decision, given_up, now)]
    items += [_reservation_item(reservation, decision) for reservation, decision in credits_judged]
    items = [_unless_given_up(item, given_up) for item in items]
    breakers = _breakers(items, sending, held, more_releases, policy, lately, suspicions, alarms)
    return Plan(tuple(items), sending, breakers, (*alarms, *suspicions), more_releases)


def releases_without_asking(policy: Policy) -> int:
    """The number of reservations that a sweep may release whatever their share."""
    return policy.breaker_floor * RELEASES_PER_CAMPAIGN


def _breakers(
    items: Sequence[PlanItem],
    sending: int,
    held: int | None,
    more_releases: int,
    policy: Policy,
    lately: Collection[str],
    suspicions: Sequence[str],
    alarms: Sequence[str],
) -> dict[RepairKind, Breaker]:
    targets = {kind: [item.target for item in items if item.kind is kind] for kind in RepairKind}
    finished = len(targets[RepairKind.COMPLETE])
    by_rows = check_breaker(policy, "complete", count=finished, of=sending)
    # A queue that is not there shows no live job either, and a campaign with one is not finished.
    complete = check_breaker(policy, "complete", count=finished, of=sending, alarms=alarms)
    reenqueue = check_breaker(
        policy,
        "re-enqueue",
        count=len(targets[RepairKind.REENQUEUE]),
        of=sending,
        lately=len(set(lately).difference(targets[RepairKind.REENQUEUE])),
        suspicions=suspicions,
        alarms=alarms,
    )
    breakers = {RepairKind.COMPLETE: complete, RepairKind.REENQUEUE: reenqueue}
    if held is not None:
        breakers[RepairKind.RELEASE] = check_breaker(
            policy,
            "release",
            count=len(targets[RepairKind.RELEASE]) + more_releases,
            of=held,
            what="held reservations",
            floor=releases_without_asking(policy),
        )
    if by_rows.tripped and targets[RepairKind.RECOUNT]:
        # Rows that are doubted for completing are doubted for counting.
        breakers[RepairKind.RECOUNT] = by_rows
    return breakers


def _items_of(
    evidence: Evidence, decision: Decision, given_up: Mapping[tuple[RepairKind, str], str], now: datetime
) -> Iterator[PlanItem]:
    """The lines of one stuck campaign: its own, and one for counters that are raised without completing it."""
    item = campaign_item(evidence, decision, now)
    if not decision.recount or decision.action is Action.COMPLETE:
        yield item
    elif why := given_up.get((RepairKind.RECOUNT, evidence.campaign.id)):
        yield _for_person(item, f"recount {why}")
    else:
        yield item
        yield _recount_item(evidence, decision)


def _unless_given_up(item: PlanItem, given_up: Mapping[tuple[RepairKind, str], str]) -> PlanItem:
    why = given_up.get((item.kind, item.target)) if item.kind else None
    return replace(_for_person(item, f"{item.kind} {why}"), kind=None) if why else item


def _for_person(item: PlanItem, why: str) -> PlanItem:
    return replace(item, needs_person=True, reason=f"{item.reason}; {why}")


def campaign_item(evidence: Evidence, decision: Decision, now: datetime) -> PlanItem:
    """The line of one stuck campaign."""
    campaign, coverage = evidence.campaign, evidence.coverage
    is_counted = not evidence.uncounted or evidence.tally.rows > 0
    return PlanItem(
        kind=_KINDS.get(decision.action),
        target=campaign.id,
        campaign_id=campaign.id,
        tenant=campaign.tenant,
        name=campaign.name,
        reason=decision.reason,
        verdict=decision.verdict,
        needs_person=decision.needs_person,
        outcome=decision.outcome,
        missing=coverage.missing if coverage else None,
        covered=coverage.covered if coverage else None,
        marked=coverage.marked if coverage else None,
        doubled=coverage.doubled if coverage else None,
        total=total_recipients(evidence) if is_counted else None,
        unsent=unsent(evidence) if is_counted else None,
        stuck_seconds=campaign.untouched_seconds(now),
        drained_per_hour=_drained_per_hour(evidence, now) if is_counted else None,
        drift=drift(evidence) if is_counted else "",
    )


def _drained_per_hour(evidence: Evidence, now: datetime) -> float | None:
    """Unsent recipients that went away per hour since an earlier sweep looked; None without an earlier look."""
    if evidence.pending_before is None or evidence.observed_before_at is None:
        return None
    hours = age(evidence.observed_before_at, now).total_seconds() / 3600
    return max(evidence.pending_before - unsent(evidence), 0) / hours if hours > 0 else None


def _recount_item(evidence: Evidence, decision: Decision) -> PlanItem:
    campaign, raised = evidence.campaign, decision.recount
    assert raised is not None
    assert campaign.counters is not None
    was = campaign.counters
    return PlanItem(
        kind=RepairKind.RECOUNT,
        target=campaign.id,
        campaign_id=campaign.id,
        tenant=campaign.tenant,
        name=campaign.name,
        reason=(
            f"counters behind the rows: sent {was.succeeded} -> {raised.succeeded},"
            f" failed {was.failed} -> {raised.failed}"
        ),
        verdict=decision.verdict,
    )


def _reservation_item(reservation: Reservation, decision: CreditDecision) -> PlanItem:
    return PlanItem(
        kind=RepairKind.RELEASE if decision.release else None,
        target=reservation.id,
        campaign_id=reservation.campaign_id,
        tenant=reservation.tenant,
        name=f"reservation {reservation.id}",
        reason=decision.reason,
        needs_person=decision.needs_person,
        amount=reservation.amount,
    )
