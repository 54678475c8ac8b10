"""Fair shares of a budget of jobs between tenants. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, takewhile
from math import ceil
from typing import TypeAlias

_Wish: TypeAlias = tuple[str, int]
"""A campaign, and the jobs that it wants."""


def share_out(wanted: Sequence[tuple[str, str, int]], budget: int) -> dict[str, int]:
    """Share a budget of jobs fairly between tenants, whole campaigns before parts of them.

    Every tenant has an equal share, or what it wants if that is less. First, each tenant's campaigns are served whole
    and in order, as long as they fit into its share. Then one more campaign of each tenant is served from what the
    shares have left, the tenant with most left first: whole, if all the shares together have so much left and the
    tenant gets at most half as much again as its share; else in part, from what its own share has left.

    A campaign that wants more than its tenant's share comes behind those that fit. They leave it half of the share,
    unless the first of them needs more than the other half.

    Args:
        wanted: (campaign id, tenant, jobs wanted), in the order in which a tenant's campaigns are served.
        budget: Jobs that may be added in all.

    Returns:
        Jobs granted to each campaign; campaigns that get none are absent.
    """
    wishes: dict[str, list[_Wish]] = defaultdict(list)
    for campaign_id, tenant, jobs in wanted:
        if jobs > 0:
            wishes[tenant].append((campaign_id, jobs))
    shares = _fair_shares({tenant: sum(jobs for _, jobs in own) for tenant, own in wishes.items()}, budget)
    granted: dict[str, int] = {}
    left: dict[str, int] = {}
    in_part: dict[str, _Wish] = {}
    for tenant, share in shares.items():
        whole, rest = _served_whole(wishes[tenant], share)
        granted.update(whole)
        left[tenant] = share - sum(jobs for _, jobs in whole)
        if rest:
            in_part[tenant] = rest[0]

    spare = sum(left.values())
    for tenant in sorted(in_part, key=left.__getitem__, reverse=True):
        campaign_id, jobs = in_part[tenant]
        fits = jobs <= min(spare, left[tenant] + shares[tenant] // 2)
        granted[campaign_id] = jobs if fits else min(spare, left[tenant])
        spare -= granted[campaign_id]
    return {campaign_id: jobs for campaign_id, jobs in granted.items() if jobs}


def _served_whole(wishes: Sequence[_Wish], share: int) -> tuple[Sequence[_Wish], Sequence[_Wish]]:
    """Return a tenant's campaigns that are served whole, and the others in the order of their turn."""
    fitting = [wish for wish in wishes if wish[1] <= share]
    giants = [wish for wish in wishes if wish[1] > share]
    half = share - share // 2
    halved = bool(giants and fitting) and fitting[0][1] <= half
    room = half if halved else share
    totals = accumulate(jobs for _, jobs in fitting)
    count = sum(1 for _ in takewhile(lambda total: total <= room, totals))
    rest = fitting[count:]
    return fitting[:count], [*giants, *rest] if halved else [*rest, *giants]


def _fair_shares(wishes: Mapping[str, int], budget: int) -> dict[str, int]:
    """Share a budget so that no tenant gets more than it wishes, and at most 1 more than one that wishes for more."""
    shares: dict[str, int] = {}
    left = max(budget, 0)
    tenants_left = len(wishes)
    for tenant, wish in sorted(wishes.items(), key=lambda entry: entry[1]):
        equal_part = ceil(left / tenants_left)
        shares[tenant] = min(wish, equal_part)
        left -= shares[tenant]
        tenants_left -= 1
    return shares
