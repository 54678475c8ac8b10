"""A budget of jobs is shared fairly between tenants, and whole campaigns come first."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_ops.core.fair_share import share_out


def test_a_small_tenant_is_served_beside_a_large_one() -> None:
    assert share_out([("big", "a", 1000), ("small", "b", 2)], 10) == {"big": 8, "small": 2}


def test_a_tenant_s_own_campaigns_are_served_in_the_order_given() -> None:
    assert share_out([("first", "a", 3), ("second", "a", 3)], 4) == {"first": 3, "second": 1}


def test_whole_campaigns_come_before_parts_of_many() -> None:
    """Measured once: of 14 campaigns of as many tenants, each got a part."""
    granted = share_out([(f"c{number}", f"t{number}", 150) for number in range(14)], 2000)
    assert sorted(granted.values()) == [50, *[150] * 13]


def test_no_tenant_s_whole_campaign_takes_the_share_of_another() -> None:
    assert share_out([("one", "a", 2000), ("two", "b", 2000)], 2000) == {"one": 1000, "two": 1000}


def test_of_tenants_with_as_much_left_the_one_that_wants_least_is_served_first() -> None:
    """So that its campaign may be served whole from what the others leave."""
    for wanted in permutations([("c60", "a", 60), ("c30", "b", 30), ("c10", "c", 10)]):
        assert share_out(wanted, 24) == {"c10": 10, "c30": 8, "c60": 6}


def test_a_giant_waits_behind_the_campaigns_that_fit_and_gets_the_rest() -> None:
    """The longest stuck campaign wanted 5,000 jobs: for three sweeps its tenant's others got nothing."""
    wanted = [("giant", "a", 5000), ("small", "a", 10), ("middle", "a", 600), ("last", "a", 20)]
    assert share_out(wanted, 2000) == {"small": 10, "middle": 600, "last": 20, "giant": 1370}


def test_campaigns_that_fit_leave_half_of_the_share_to_a_giant() -> None:
    wanted = [("giant", "a", 5000), *((f"c{number}", "a", 300) for number in range(9))]
    assert share_out(wanted, 2000) == {"c0": 300, "c1": 300, "c2": 300, "giant": 1100}


def test_no_campaign_waits_behind_a_giant_for_more_than_its_turn() -> None:
    wanted = [("giant", "a", 5000), ("large", "a", 1500), ("small", "a", 10)]
    assert share_out(wanted, 2000) == {"large": 1500, "small": 10, "giant": 490}


def test_nothing_is_granted_without_a_budget_or_a_wish() -> None:
    assert share_out([("one", "a", 5)], 0) == {}
    assert share_out([("one", "a", 5)], -5) == {}
    assert share_out([("one", "a", 0)], 5) == {}
    assert share_out([], 5) == {}


wishes = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12)), max_size=10).map(
    lambda pairs: [(f"c{number}", tenant, jobs) for number, (tenant, jobs) in enumerate(pairs)]
)


@settings(max_examples=200, deadline=None)
@given(wishes, st.integers(-3, 60))
def test_a_budget_is_spent_fairly_wholly_and_never_exceeded(wanted: list[tuple[str, str, int]], budget: int) -> None:
    granted = share_out(wanted, budget)
    wish = {campaign: jobs for campaign, _, jobs in wanted}
    assert all(0 < jobs <= wish[campaign] for campaign, jobs in granted.items())
    assert sum(granted.values()) == max(min(budget, sum(wish.values())), 0)
    got: dict[str, int] = defaultdict(int)
    asked: dict[str, int] = defaultdict(int)
    for campaign, tenant, jobs in wanted:
        got[tenant] += granted.get(campaign, 0)
        asked[tenant] += jobs
    fair = dict.fromkeys(asked, 0)
    for _ in range(max(budget, 0)):  # a job at a time to whoever has least and still wants
        hungry = [tenant for tenant in asked if fair[tenant] < asked[tenant]]
        if hungry:
            fair[min(hungry, key=lambda tenant: fair[tenant])] += 1
    assert all(got[tenant] <= (fair[tenant] + 1) * 1.5 for tenant in asked)
    assert all(got[tenant] == asked[tenant] for tenant in asked if asked[tenant] < min(fair.values(), default=0))


@settings(max_examples=100, deadline=None)
@given(wishes, st.integers(0, 60))
def test_within_a_tenant_no_campaign_is_begun_before_the_one_ahead_is_served_unless_one_of_them_is_a_giant(
    wanted: list[tuple[str, str, int]], budget: int
) -> None:
    granted = share_out(wanted, budget)
    for tenant in "abcd":
        mine = [(granted.get(campaign, 0), jobs) for campaign, owner, jobs in wanted if owner == tenant and jobs]
        share = sum(jobs for jobs, _ in mine)  # or one less, or half as much again
        small = [(jobs, wish) for jobs, wish in mine if wish < share * 2 / 3]
        large = [(jobs, wish) for jobs, wish in mine if wish > share + 1]
        for alike in (small, large):
            assert all(ahead == wish or next_ == 0 for (ahead, wish), (next_, _) in pairwise(alike))
