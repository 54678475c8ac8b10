"""Fair shares of a budget of jobs between tenants. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from math import ceil


def share_out(wanted: Sequence[tuple[str, str, int]], budget: int) -> dict[str, int]:
    """Share a budget of jobs fairly between tenants, whole campaigns before parts of them.

    Every tenant has an equal share, or what it wants if that is less. First, each tenant's campaigns are served whole
    and in order, as long as they fit into its share. Then one more campaign of each tenant is served from what the
    shares have left, the tenant with most left first: whole, if all the shares together have so much left and the
    tenant gets at most half as much again as its share; else in part, from what its own share has left.

    Args:
        wanted: (campaign id, tenant, jobs wanted), in the order in which a tenant's campaigns are served.
        budget: Jobs that may be added in all.

    Returns:
        Jobs granted to each campaign; campaigns that get none are absent.
    """
    queues: dict[str, deque[tuple[str, int]]] = defaultdict(deque)
    for campaign_id, tenant, jobs in wanted:
        if jobs > 0:
            queues[tenant].append((campaign_id, jobs))
    shares = _fair_shares({tenant: sum(jobs for _, jobs in queue) for tenant, queue in queues.items()}, budget)
    granted: dict[str, int] = {}

    left = dict(shares)
    for tenant, queue in queues.items():
        while queue and queue[0][1] <= left[tenant]:
            campaign_id, jobs = queue.popleft()
            granted[campaign_id] = jobs
            left[tenant] -= jobs

    spare = sum(left.values())
    for tenant in sorted(left, key=left.__getitem__, reverse=True):
        if queues[tenant]:
            campaign_id, jobs = queues[tenant][0]
            fits = jobs <= min(spare, left[tenant] + shares[tenant] // 2)
            granted[campaign_id] = jobs if fits else min(spare, left[tenant])
            spare -= granted[campaign_id]
    return {campaign_id: jobs for campaign_id, jobs in granted.items() if jobs}


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
