"""The parts of a platform work in whatever order they are used."""

from __future__ import annotations

from campaign_ops.lab.shop.row_writer import PlatformShape
from tests.conftest import Worlds


def test_a_queue_read_before_the_tables_knows_the_types_of_their_ids(worlds: Worlds) -> None:
    """Until the tables were read, ids were compared as text: a UUID in capitals was no campaign's."""
    world = worlds.make("sms", shape=PlatformShape(ids="uuid"))
    campaign = world.app.add_campaign("live", pending=2)
    world.queue.add(campaign.upper(), "shop_north", world.app.pending_ids("live"))
    queue = world.again().queue
    assert queue is not None
    jobs = list(queue.live_jobs(queue.snapshot(), [campaign]))
    assert [job.campaign_id for job in jobs] == [campaign]
