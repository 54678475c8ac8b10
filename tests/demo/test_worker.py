"""The demo application's jobs, worker and provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from campaign_ops.demo.jobs import DemoQueue
from campaign_ops.demo.platforms import DemoPlatform
from campaign_ops.demo.provider import Provider
from campaign_ops.demo.tables import PlatformWriter
from campaign_ops.demo.worker import WorkerOptions
from tests.demo.waiting import wait_until


def quick(name: str = "worker-1", **options: Any) -> WorkerOptions:
    return WorkerOptions(**{"name": name, "delay_ms": 2, **options})


def test_jobs_look_like_the_applications_and_are_found_in_their_states(
    writer: PlatformWriter, queue: DemoQueue
) -> None:
    campaign = writer.add_campaign("cmp_a", tenant="shop_south", pending=5)
    ids = writer.pending_ids(campaign)
    first, second, third = queue.add(campaign, "shop_south", ids, batch_size=2, attempts=2, backoff=None)
    assert queue.job_data(third) == {"campaignId": campaign, "shopId": "shop_south", "recipientIds": ids[4:]}
    assert queue.campaign_of(first) == campaign
    prioritized = queue.add(campaign, "shop_south", ids[:1], priority=3, job_ids=["early"])
    assert (queue.job_ids("wait"), queue.job_ids("prioritized")) == ([third, second, first], prioritized)
    assert queue.remove([first, "early", "never-was"]) == 2
    queue.fail_waiting("out of credit")
    assert sorted(queue.job_ids("failed")) == [second, third]
    assert queue.live_job_ids() == []


def test_a_worker_sends_to_each_recipient_once_and_completes_the_campaign(
    shop: DemoPlatform, writer: PlatformWriter, queue: DemoQueue, work_dir: Path
) -> None:
    campaign = writer.add_campaign("cmp_a", pending=40, succeeded=3, accepted=2)
    writer.add_reservation("res_a", campaign=campaign)
    cancelled = writer.add_campaign("cmp_b", status="cancelled", pending=4)
    forgotten = writer.add_campaign("cmp_c", pending=2)
    # The same recipients in two jobs, one after the other: the rows protect them.
    queue.add(campaign, "shop_north", writer.recipient_ids(campaign))
    queue.add(campaign, "shop_north", writer.recipient_ids(campaign), batch_size=20)
    queue.add(cancelled, "shop_north", writer.recipient_ids(cancelled))
    shop.worker(work_dir, quick(reject_share=0.1)).start()
    assert queue.workers() == ["worker-1"]
    wait_until(lambda: not queue.live_job_ids())
    shop.stop_workers()
    provider = Provider(writer.engine)
    assert provider.sends() == provider.sends(campaign) == 40
    assert provider.double_sends() == {}
    assert provider.last_campaign("worker-1") == campaign
    tally = writer.tally(campaign)
    assert tally.keys() == {"pending", "sent", "failed"}
    assert tally["pending"] == 2, "those that the provider had accepted before"
    assert (writer.campaign(campaign)["status"], writer.campaign(cancelled)["status"]) == ("sent", "cancelled")
    assert writer.reservation("res_a")["status"] == "released"
    queue.add(forgotten, "shop_north", writer.recipient_ids(forgotten))
    shop.worker(work_dir, quick("worker-2", forget_completion=1)).start()
    wait_until(lambda: not queue.live_job_ids())
    assert (writer.tally(forgotten), writer.campaign(forgotten)["status"]) == ({"sent": 2}, "sending")


def test_a_stopped_worker_hands_its_job_back_and_a_killed_ones_job_is_found_stalled(
    shop: DemoPlatform, writer: PlatformWriter, queue: DemoQueue, work_dir: Path
) -> None:
    campaign = writer.add_campaign("cmp_a", pending=100)
    (job_id,) = queue.add(campaign, "shop_north", writer.pending_ids(campaign))
    provider = Provider(writer.engine)
    stopped = shop.worker(work_dir, quick("stopped", delay_ms=20))
    stopped.start()
    wait_until(lambda: provider.sends() > 3)
    stopped.stop()
    assert queue.job_ids("active") == []
    assert queue.live_job_ids() == [job_id]
    assert len(writer.pending_ids(campaign)) == 100 - provider.sends(), "the recipient in hand was written"
    killed = shop.worker(work_dir, quick("killed", delay_ms=20, lock_ms=400, claims=True))
    killed.start()
    sent = provider.sends()
    wait_until(lambda: provider.sends() > sent + 3)
    killed.kill()
    assert queue.job_ids("active") == [job_id]
    shop.worker(work_dir, quick("next", stalled_ms=300, claims=True)).start()
    wait_until(lambda: not queue.live_job_ids())
    assert provider.double_sends() == {}
    assert len(writer.pending_ids(campaign)) <= 1, "at most the one that the killed worker had claimed"
