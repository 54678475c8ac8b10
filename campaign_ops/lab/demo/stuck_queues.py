"""Small SMS platforms, each with one problem of its whole queue."""

from __future__ import annotations

from campaign_ops.lab.demo.platforms import UNREACHABLE_QUEUE_URL, DemoPlatform, create_platform
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.row_writer import hours, minutes


def build_paused(servers: EmbeddedServers) -> DemoPlatform:
    """``sms_paused``: a person paused the queue and did not resume it."""
    platform = create_platform(servers, "sms_paused", "sms", queue_prefix="bull-paused")
    _add_campaign(platform, "queue_paused", "cmp_night_offer", "Night offer", 120)
    _enqueue(platform, "queue_paused")
    queue = platform.queue()
    queue.pause()
    queue.close()
    return platform


def build_idle(servers: EmbeddedServers) -> DemoPlatform:
    """``sms_idle``: jobs wait, but no worker is connected. One job would only create a campaign's batches."""
    platform = create_platform(servers, "sms_idle", "sms", queue_prefix="bull-idle")
    _add_campaign(platform, "no_workers", "cmp_harvest_fair", "Harvest fair", 150)
    _enqueue(platform, "no_workers")
    _add_campaign(platform, "unclear_jobs", "cmp_apple_week", "Apple week", 80)
    queue = platform.queue()
    queue.add_other("makeBatches", {"campaignId": platform.roles["unclear_jobs"]})
    queue.close()
    return platform


def build_outage(servers: EmbeddedServers) -> DemoPlatform:
    """``sms_outage``: Redis is unreachable. Even a campaign finished by its rows is not completed: a job may wait."""
    platform = create_platform(servers, "sms_outage", "sms", queue_url=UNREACHABLE_QUEUE_URL)
    _add_campaign(platform, "queue_unreadable", "cmp_ski_opening", "Ski opening", 110)
    writer = platform.writer()
    platform.roles["finished_by_its_rows"] = writer.add_campaign(
        "cmp_book_fair", name="Book fair", updated_ago=hours(1), moved_ago=hours(1), succeeded=70, failed=2
    )
    platform.credits["held_in_an_outage"] = writer.add_reservation("res_book_fair", campaign="cmp_book_fair", amount=72)
    writer.close()
    return platform


def build_inline(servers: EmbeddedServers) -> DemoPlatform:
    """``sms_inline``: an application that sends in process, and its process has ended."""
    platform = create_platform(servers, "sms_inline", "sms", changes={"queue": None})
    _add_campaign(platform, "stalled", "cmp_village_fete", "Village fete", 90)
    return platform


def _add_campaign(platform: DemoPlatform, role: str, label: str, name: str, pending: int) -> None:
    writer = platform.writer()
    platform.roles[role] = writer.add_campaign(
        label, name=name, updated_ago=minutes(45), moved_ago=minutes(46), succeeded=30, pending=pending
    )
    platform.credits[f"held_while_sending_{role}"] = writer.add_reservation(
        label.replace("cmp_", "res_"), campaign=label, amount=pending + 30, expires_in=hours(23)
    )
    writer.close()


def _enqueue(platform: DemoPlatform, role: str) -> None:
    writer, queue = platform.writer(), platform.queue()
    campaign = platform.roles[role]
    queue.add(campaign, writer.campaign(campaign)["tenant"], writer.pending_ids(campaign), batch_size=50)
    queue.close()
    writer.close()
