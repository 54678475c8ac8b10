"""What a sweep would do, to what, and why: the dry run. Pure, like the verdicts it is made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

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
from campaign_ops.core.verdicts import drift, total_recipients, unsent


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One line of the plan. ``kind`` is None where a sweep does nothing but report."""

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
    """All lines, the breakers that keep whole kinds of repair back, and what speaks against trusting the queue.

    ``more_releases`` reservations could be released too, and are left to the next sweeps. ``queue`` names the queue and
    the Redis process that the plan rests on, and whether it was seen emptied.
    """

    items: tuple[PlanItem, ...]
    sending: int
    breakers: Mapping[RepairKind, Breaker] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    more_releases: int = 0
    queue: str = ""

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


def _no_more(now: PlanItem, planned: PlanItem) -> bool:
    return (now.missing or 0) <= (planned.missing or 0) and Decimal(now.amount or 0) == Decimal(planned.amount or 0)


# Reservations are many to a campaign, and some leak every night; a mass of them is as telling as one of campaigns.
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
        credits_judged: Every questionable reservation with its decision, but for those that are left to later sweeps.
        more_releases: How many are, that could be released.
        sending: All campaigns of the platform in ``sending``.
        held: All reservations that are held; None where they were not counted, being too few to release to matter.
        policy: Thresholds.
        lately: Campaigns that sweeps shortly before have re-enqueued.
        suspicions: What speaks against trusting the queue, in words.
        alarms: What speaks loudly against it.
        given_up: Repairs, by kind and target, that the database refuses each time, with the reason.
        now: The database's clock at the look.
    """
    items: list[PlanItem] = []
    for evidence, decision in judged:
        items.append(campaign_item(evidence, decision, now))
        if decision.recount and decision.action is not Action.COMPLETE:
            if why := given_up.get((RepairKind.RECOUNT, evidence.campaign.id)):
                items[-1] = _for_person(items[-1], f"recount {why}")
            else:
                items.append(_recount_item(evidence, decision))
    items.extend(
        PlanItem(
            kind=RepairKind.RELEASE if decision.release else None,
            target=held.id,
            campaign_id=held.campaign_id,
            tenant=held.tenant,
            name=f"reservation {held.id}",
            reason=decision.reason,
            needs_person=decision.needs_person,
            amount=held.amount,
        )
        for held, decision in credits_judged
    )
    for place, item in enumerate(items):
        if item.kind and (why := given_up.get((item.kind, item.target))):
            items[place] = replace(_for_person(item, f"{item.kind} {why}"), kind=None)
    breakers = _breakers(items, sending, held, more_releases, policy, lately, suspicions, alarms)
    return Plan(tuple(items), sending, breakers, (*alarms, *suspicions), more_releases)


def releases_without_asking(policy: Policy) -> int:
    """Reservations that a sweep may release whatever their share."""
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
        # Rows that are not believed for completing are not believed for counting.
        breakers[RepairKind.RECOUNT] = by_rows
    return breakers


def _for_person(item: PlanItem, why: str) -> PlanItem:
    return replace(item, needs_person=True, reason=f"{item.reason}; {why}")


def campaign_item(evidence: Evidence, decision: Decision, now: datetime) -> PlanItem:
    """The line of one stuck campaign."""
    campaign, coverage = evidence.campaign, evidence.coverage
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
        total=total_recipients(evidence),
        unsent=unsent(evidence),
        stuck_seconds=campaign.untouched_seconds(now),
        drained_per_hour=_drained_per_hour(evidence, now),
        drift=drift(evidence),
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


def share_out(wanted: Sequence[tuple[str, str, int]], budget: int) -> dict[str, int]:
    """Share a budget of jobs fairly between tenants, and give whole campaigns before parts of them.

    Every tenant has an equal share, or what it wants if that is less. Its campaigns are served in the order given, as
    long as they fit into the share as a whole. What is left of the shares then goes to the next campaign of each
    tenant, the one with most left first: the whole campaign, if the budget has so much left and the tenant gets no more
    than half as much again as its share, else what is left of the share.

    Args:
        wanted: (campaign id, tenant, jobs wanted), in the order in which a tenant's campaigns are served.
        budget: Jobs that may be added in all.

    Returns:
        Jobs granted to each campaign; campaigns that get none are absent.
    """
    waiting: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for campaign_id, tenant, jobs in wanted:
        if jobs > 0:
            waiting[tenant].append((campaign_id, jobs))
    shares = _fair_shares({tenant: sum(jobs for _, jobs in queue) for tenant, queue in waiting.items()}, budget)
    unspent = dict(shares)
    granted: dict[str, int] = {}
    for tenant, queue in waiting.items():
        while queue and queue[0][1] <= unspent[tenant]:
            campaign_id, jobs = queue.pop(0)
            granted[campaign_id] = jobs
            unspent[tenant] -= jobs
    spare = sum(unspent.values())
    for tenant in sorted(unspent, key=lambda one: -unspent[one]):
        if waiting[tenant] and spare:
            campaign_id, jobs = waiting[tenant][0]
            whole = jobs <= min(spare, unspent[tenant] + shares[tenant] // 2)
            granted[campaign_id] = jobs if whole else min(spare, unspent[tenant])
            spare -= granted[campaign_id]
    return {campaign_id: jobs for campaign_id, jobs in granted.items() if jobs}


def _fair_shares(wishes: Mapping[str, int], budget: int) -> dict[str, int]:
    """Share a budget so that nobody gets more than they wish, and nobody more than one who still wants, but for a 1."""
    shares: dict[str, int] = {}
    left = max(budget, 0)
    for number, (tenant, wish) in enumerate(sorted(wishes.items(), key=lambda one: one[1])):
        shares[tenant] = min(wish, -(-left // (len(wishes) - number)))
        left -= shares[tenant]
    return shares
