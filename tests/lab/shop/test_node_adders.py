"""The application's side that adds jobs with BullMQ's clients for Node, one after the other."""

from __future__ import annotations

import pytest
import redis

from campaign_ops.lab.drill.environment.processes import node_missing
from campaign_ops.lab.drill.worlds import NODE_MAJORS
from campaign_ops.lab.shop.node_adders import NodeAdders
from campaign_ops.lab.shop.queue import ShopQueue

pytestmark = [pytest.mark.node, pytest.mark.slow]


@pytest.mark.skipif(node_missing() is not None, reason="the Node clients are not installed")
def test_jobs_are_added_by_each_client_in_turn_and_a_dead_client_is_replaced(queue: ShopQueue) -> None:
    turns: list[int] = []
    with NodeAdders(queue.url, queue.prefix, NODE_MAJORS) as adders:

        def add(name: str, jobs: list[dict[str, object]]) -> list[str]:
            major, job_ids = adders.add(name, jobs)
            turns.append(major)
            return job_ids

        queue.adder = add  # type: ignore[assignment]
        added = queue.add("c1", "shop_north", ["r1", "r2", "r3"], batch_size=1)
        adders._processes[4].kill()
        added += [queue.add("c1", "shop_north", [f"s{number}"])[0] for number in range(3)]
        assert turns == [4, 5, 6, 4]
        assert [queue.job_data(job_id)["recipientIds"] for job_id in added] == [
            ["r1"],
            ["r2"],
            ["r3"],
            ["s0"],
            ["s1"],
            ["s2"],
        ]
        with pytest.raises(redis.ConnectionError, match="BullMQ 5 for Node"):
            adders.add("a:b", [{"name": "sendBulkSMS", "data": {}, "opts": {}}])
