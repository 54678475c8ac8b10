"""The jobs, workers and provider of the shop's application."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.lab.shop.application import Application
from campaign_ops.lab.shop.provider import Provider, provider_send
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.row_writer import RowWriter
from campaign_ops.lab.shop.worker import Claims, ShopWorker, WorkerOptions
from tests.lab.waiting import wait_until


def quick(name: str = "worker-1", **options: Any) -> WorkerOptions:
    return WorkerOptions(**{"name": name, "delay_ms": 2, **options})


def test_jobs_look_like_the_applications_and_are_found_in_their_states(writer: RowWriter, queue: ShopQueue) -> None:
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
    shop: DemoPlatform, writer: RowWriter, queue: ShopQueue, work_dir: Path
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
    shop: DemoPlatform, writer: RowWriter, queue: ShopQueue, work_dir: Path
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
    killed = shop.worker(work_dir, quick("killed", delay_ms=20, lock_ms=2_000, claims=True))
    killed.start()
    sent = provider.sends()
    wait_until(lambda: provider.sends() > sent + 3)
    killed.kill()
    assert queue.job_ids("active") == [job_id]
    shop.worker(work_dir, quick("next", stalled_ms=300, claims=True)).start()
    wait_until(lambda: not queue.live_job_ids())
    assert provider.double_sends() == {}
    assert len(writer.pending_ids(campaign)) <= 1, "at most the one that the killed worker had claimed"


@pytest.mark.parametrize(
    ("moment", "sent", "written"), [("before_send", 2, 2), ("after_send", 3, 2), ("after_write", 3, 3)]
)
def test_a_worker_can_be_made_to_die_at_each_moment_of_a_send(
    shop: DemoPlatform,
    writer: RowWriter,
    queue: ShopQueue,
    work_dir: Path,
    moment: str,
    sent: int,
    written: int,
) -> None:
    campaign = writer.add_campaign(f"cmp_{moment}", pending=10)
    (job_id,) = queue.add(campaign, "shop_north", writer.pending_ids(campaign))
    doomed = shop.worker(work_dir, quick(die_at=moment, die_after=3, answer_ms=50, claims=True))
    doomed.start()
    wait_until(lambda: doomed.pid is None)
    assert queue.job_ids("active") == [job_id]
    assert (Provider(writer.engine).sends(campaign), 10 - len(writer.pending_ids(campaign))) == (sent, written)
    profile = shop.profile.queue
    assert profile is not None
    with redis.Redis.from_url(queue.url) as client:
        claims = [profile.markers[-1].format(recipient_id=one) for one in writer.recipient_ids(campaign)]
        assert client.exists(*claims) == 3, "the third was claimed in any case"


def test_the_job_of_a_hanging_worker_is_never_found_stalled(
    shop: DemoPlatform, writer: RowWriter, queue: ShopQueue, work_dir: Path
) -> None:
    campaign = writer.add_campaign("cmp_hung", pending=60)
    (job_id,) = queue.add(campaign, "shop_north", writer.pending_ids(campaign))
    provider = Provider(writer.engine)
    hung = shop.worker(work_dir, quick("hung", delay_ms=20, lock_ms=300, claims=True))
    assert not hung.hang(), "it is not at work yet"
    hung.start()
    wait_until(lambda: provider.sends() > 3)
    assert hung.hang()
    shop.worker(work_dir, quick("other", stalled_ms=200, claims=True)).start()
    time.sleep(1)
    before = provider.sends()
    time.sleep(0.5)
    assert (provider.sends(), queue.job_ids("active")) == (before, [job_id])
    hung.stop()
    wait_until(lambda: not writer.pending_ids(campaign))
    with writer.engine.connect() as connection:
        kept = connection.execute(sa.select(provider_send.c.worker, provider_send.c.job_id).distinct()).all()
    assert sorted(map(tuple, kept)) == [("hung", job_id), ("other", job_id)]
    assert provider.double_sends() == {}


class GoneMeanwhile(Application):
    """Between a job's start and the send of its second recipient another process has written that recipient's row."""

    def is_sending(self, campaign: str) -> bool:
        row = self.tables.recipient
        with self.engine.begin() as connection:
            connection.execute(row.update().where(row.c.id == f"{campaign}_r000002").values(status="sent"))
        return super().is_sending(campaign)


class Forgetful(Claims):
    """Redis loses the claim on one recipient right after it was taken, and another worker takes it."""

    def take(self, recipient: str, job_id: str = "") -> str | None:
        claim = super().take(recipient, job_id)
        if recipient.endswith("3"):
            self._client.set(self._claim.format(recipient_id=recipient), "another's")
        return claim


class Job:
    """A job that a worker has taken."""

    id = "1"

    def __init__(self, name: str, data: dict[str, Any]) -> None:
        self.name, self.data = name, data

    async def moveToDelayed(self, timestamp: int, token: str = "") -> None:  # noqa: N802
        raise AssertionError(timestamp, token)


def test_a_worker_checks_the_row_and_its_claim_right_before_it_sends(
    shop: DemoPlatform, writer: RowWriter, queue: ShopQueue
) -> None:
    campaign = writer.add_campaign("cmp_seen", pending=4)
    profile = shop.profile.queue
    assert profile is not None
    provider = Provider(writer.engine)
    with redis.Redis.from_url(queue.url) as client:
        claims = Forgetful(client, profile)

        async def work() -> str:
            worker = ShopWorker(GoneMeanwhile(writer.engine, shop.profile), provider, profile, quick(), claims)
            return await worker.process(Job(profile.job, queue.payload(campaign, "shop_north", ids)), "token")

        ids = writer.recipient_ids(campaign)
        asyncio.run(work())
    with writer.engine.connect() as connection:
        sent = connection.scalars(sa.select(provider_send.c.recipient_id).order_by("id")).all()
    assert sent == [ids[0], ids[3]]
    assert writer.pending_ids(campaign) == [ids[2]]
