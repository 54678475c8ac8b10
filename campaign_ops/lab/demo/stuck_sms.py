"""Platform ``sms``: a shop application with one slow worker, and a campaign for most things that can go wrong."""

from __future__ import annotations

import time

from campaign_ops.lab.demo.platforms import DemoPlatform, create_platform
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.row_writer import RowWriter, hours, minutes
from campaign_ops.lab.shop.worker import WorkerOptions

NORTH, SOUTH, HARBOUR = "shop_north", "shop_south", "shop_harbour"

# Slow enough to be busy with one campaign for the whole demo, so that the jobs behind it stay a backlog.
_SLOW_WORKER = WorkerOptions(name="worker-1", concurrency=1, delay_ms=4000, touch_every=0)


def build_sms(servers: EmbeddedServers) -> DemoPlatform:
    """Build the platform. Its worker is connected and sending the campaign ``progressing``."""
    platform = create_platform(servers, "sms", "sms")
    writer, queue = platform.writer(), platform.queue()
    try:
        # Before any other job exists: it runs a worker that fails every job it takes.
        _jobs_that_failed(platform, writer, queue)
        _progressing(platform, writer, queue)
        worker = platform.worker(servers.work_dir / "workers", _SLOW_WORKER)
        worker.start(wait_seconds=0)
        _settled_by_rows(platform, writer)
        _waiting_behind(platform, writer, queue)
        _lost(platform, writer, queue)
        _healthy(platform, writer, queue)
        _credits(platform, writer)
        _await_busy(queue)
    finally:
        writer.close()
        queue.close()
    return platform


def _jobs_that_failed(platform: DemoPlatform, writer: RowWriter, queue: ShopQueue) -> None:
    campaign = writer.add_campaign(
        "cmp_black_friday_harbour",
        name="Black Friday, shop harbour",
        tenant=HARBOUR,
        updated_ago=minutes(75),
        moved_ago=minutes(80),
        succeeded=40,
        pending=200,
    )
    queue.add(campaign, HARBOUR, writer.pending_ids(campaign), batch_size=100, attempts=2, backoff=None)
    queue.fail_waiting("provider answered 503 Service Unavailable")
    platform.roles["jobs_failed"] = campaign


def _progressing(platform: DemoPlatform, writer: RowWriter, queue: ShopQueue) -> None:
    campaign = writer.add_campaign(
        "cmp_autumn_sale_north",
        name="Autumn sale, shop north",
        updated_ago=minutes(33),
        moved_ago=minutes(1),
        succeeded=240,
        pending=360,
    )
    queue.add(campaign, NORTH, writer.pending_ids(campaign))
    platform.roles["progressing"] = campaign


def _settled_by_rows(platform: DemoPlatform, writer: RowWriter) -> None:
    """Campaigns whose recipient rows alone decide the verdict."""
    roles = platform.roles
    roles["unknown_status"] = writer.add_campaign(
        "cmp_loyalty_survey",
        name="Loyalty survey, shop harbour",
        tenant=HARBOUR,
        updated_ago=hours(6),
        moved_ago=hours(6),
        succeeded=45,
        pending=10,
        words={"bounced": 5},
    )
    roles["empty"] = writer.add_campaign(
        "cmp_vip_preview", name="VIP preview, shop south", tenant=SOUTH, updated_ago=hours(20)
    )
    roles["finished"] = writer.add_campaign(
        "cmp_spring_sale_south",
        name="Spring sale, shop south",
        tenant=SOUTH,
        updated_ago=minutes(52),
        moved_ago=minutes(52),
        succeeded=400,
        failed=12,
    )
    roles["finished_all_failed"] = writer.add_campaign(
        "cmp_sender_name_test",
        name="Sender name test, shop harbour",
        tenant=HARBOUR,
        updated_ago=hours(3),
        moved_ago=hours(3),
        failed=40,
    )
    roles["finished_accepted"] = writer.add_campaign(
        "cmp_back_in_stock",
        name="Back in stock, shop north",
        updated_ago=minutes(24),
        moved_ago=minutes(25),
        succeeded=150,
        accepted=10,
    )


def _waiting_behind(platform: DemoPlatform, writer: RowWriter, queue: ShopQueue) -> None:
    """Campaigns whose jobs wait until the only worker is free."""
    backlog = writer.add_campaign(
        "cmp_newsletter_north", name="Newsletter 44, shop north", updated_ago=minutes(28), pending=500
    )
    queue.add(backlog, NORTH, writer.pending_ids(backlog), batch_size=250)
    prioritized = writer.add_campaign(
        "cmp_flash_sale_south", name="Flash sale, shop south", tenant=SOUTH, updated_ago=minutes(19), pending=200
    )
    queue.add(prioritized, SOUTH, writer.pending_ids(prioritized), batch_size=100, priority=5)
    platform.roles |= {"backlog": backlog, "backlog_prioritized": prioritized}


def _lost(platform: DemoPlatform, writer: RowWriter, queue: ShopQueue) -> None:
    """Campaigns with recipients that no job covers."""
    roles = platform.roles
    roles["jobs_lost"] = writer.add_campaign(
        "cmp_black_friday_north",
        name="Black Friday, shop north",
        updated_ago=minutes(95),
        moved_ago=minutes(96),
        succeeded=300,
        pending=500,
    )
    partly = writer.add_campaign(
        "cmp_cyber_monday_south", name="Cyber Monday, shop south", tenant=SOUTH, updated_ago=minutes(41), pending=300
    )
    queue.add(partly, SOUTH, writer.pending_ids(partly)[:100], batch_size=100)
    doomed = writer.add_campaign(
        "cmp_price_drop_harbour", name="Price drop, shop harbour", tenant=HARBOUR, updated_ago=hours(2), pending=120
    )
    for job_id in queue.add(doomed, HARBOUR, writer.pending_ids(doomed)):
        queue.doom(job_id)
    ambiguous = writer.add_campaign(
        "cmp_order_updates",
        name="Order updates, shop north",
        updated_ago=hours(1.5),
        moved_ago=hours(1.5),
        succeeded=60,
        pending=25,
    )
    queue.mark(writer.pending_ids(ambiguous))
    roles |= {"partly_lost": partly, "jobs_doomed": doomed, "ambiguous": ambiguous}
    roles["cooldown"] = writer.add_campaign(
        "cmp_winter_coats_south", name="Winter coats, shop south", tenant=SOUTH, updated_ago=minutes(37), pending=150
    )
    roles["quarantined"] = writer.add_campaign(
        "cmp_old_numbers",
        name="Win-back of old numbers, shop harbour",
        tenant=HARBOUR,
        updated_ago=hours(4),
        pending=90,
    )
    queue.leave_orphan("evicted-job")


def _healthy(platform: DemoPlatform, writer: RowWriter, queue: ShopQueue) -> None:
    """Campaigns that a sweep must leave alone."""
    young = [("cmp_daily_deal", "Daily deal", NORTH, 2), ("cmp_store_opening", "Store opening", SOUTH, 4)]
    young += [("cmp_fish_market", "Fish market", HARBOUR, 7), ("cmp_last_chance", "Last chance", NORTH, 11)]
    for label, name, tenant, age in young:
        campaign = writer.add_campaign(label, name=name, tenant=tenant, updated_ago=minutes(age), pending=80)
        queue.add(campaign, tenant, writer.pending_ids(campaign))
    platform.roles["healthy"] = writer.id(young[0][0])
    for number, tenant in enumerate((NORTH, SOUTH, HARBOUR, NORTH), start=40):
        writer.add_campaign(
            f"cmp_newsletter_{number}",
            name=f"Newsletter {number}",
            tenant=tenant,
            status="sent",
            updated_ago=hours(24 * 7 * (44 - number)),
            moved_ago=hours(24 * 7 * (44 - number)),
            succeeded=95,
            failed=5,
        )
    idle = {"cmp_new_year": "draft", "cmp_gift_guide": "scheduled", "cmp_summer_teaser": "paused"}
    for label, status in idle.items():
        campaign = writer.add_campaign(label, name=label[4:].replace("_", " ").capitalize(), status=status, pending=60)
        platform.roles[status] = campaign
    platform.roles["cancelled"] = writer.add_campaign(
        "cmp_wrong_link", name="Wrong link", status="cancelled", updated_ago=hours(50), succeeded=20, pending=40
    )
    platform.roles["sent"] = writer.id("cmp_newsletter_43")


def _credits(platform: DemoPlatform, writer: RowWriter) -> None:
    roles, holds = platform.roles, platform.credits
    # To be released: nothing will be sent any more, or a campaign that is not sending has held them for too long.
    holds["over"] = writer.add_reservation("res_newsletter_43", campaign=roles["sent"], amount=100)
    holds["cancelled"] = writer.add_reservation("res_wrong_link", campaign=roles["cancelled"], amount=40)
    holds["expired"] = writer.add_reservation(
        "res_summer_teaser", campaign=roles["paused"], amount=60, created_ago=hours(30), expires_in=-hours(6)
    )
    holds["old"] = writer.add_reservation("res_new_year", campaign=roles["draft"], amount=60, created_ago=hours(60))
    holds["campaign_gone"] = writer.add_reservation(
        "res_deleted", campaign="cmp_deleted", tenant=SOUTH, amount=25, created_ago=hours(40), expires_in=-hours(16)
    )
    # Two on one campaign: both are released with its completion.
    holds["two_first"] = writer.add_reservation("res_spring_sale_1", campaign=roles["finished"], amount=400)
    holds["two_second"] = writer.add_reservation("res_spring_sale_2", campaign=roles["finished"], amount=12)
    # To be kept: the campaign is still sending. The second has expired all the same, which is reported to a person.
    holds["held_while_sending"] = writer.add_reservation(
        "res_newsletter_44", campaign=roles["backlog"], amount=500, expires_in=hours(20)
    )
    holds["expired_while_sending"] = writer.add_reservation(
        "res_black_friday_north", campaign=roles["jobs_lost"], amount=800, created_ago=hours(26), expires_in=-hours(2)
    )
    holds["young"] = writer.add_reservation(
        "res_gift_guide", campaign=roles["scheduled"], amount=60, created_ago=hours(5), expires_in=hours(43)
    )
    holds["released"] = writer.add_reservation(
        "res_newsletter_40",
        campaign="cmp_newsletter_40",
        status="released",
        created_ago=hours(700),
        released_ago=hours(699),
    )


def _await_busy(queue: ShopQueue, timeout_seconds: float = 15) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not queue.job_ids("active"):
        if time.monotonic() > deadline:
            msg = f"no worker took a job within {timeout_seconds} s"
            raise TimeoutError(msg)
        time.sleep(0.05)
