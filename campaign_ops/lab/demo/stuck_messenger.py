"""Platform ``messenger``: sends in process, keeps counters on the campaign, writes a row only after sending."""

from __future__ import annotations

from campaign_ops.core.model import Counters
from campaign_ops.lab.demo.platforms import DemoPlatform, create_platform
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.row_writer import RowWriter, hours, minutes

LUMEN, ATLAS = "org_lumen", "org_atlas"


def build_messenger(servers: EmbeddedServers) -> DemoPlatform:
    """Build the platform, with rows and counters that agree, disagree, or are both empty."""
    platform = create_platform(servers, "messenger", "messenger")
    writer = platform.writer()
    try:
        _finished(platform, writer)
        _unfinished(platform, writer)
        _healthy(platform, writer)
    finally:
        writer.close()
    return platform


def _finished(platform: DemoPlatform, writer: RowWriter) -> None:
    roles = platform.roles
    roles["finished"] = writer.add_campaign(
        "cmp_test_6", name="test 6", tenant=LUMEN, updated_ago=minutes(16), moved_ago=minutes(16), succeeded=50
    )
    # The counter of the last batch was never written.
    roles["finished_by_rows"] = writer.add_campaign(
        "cmp_product_launch",
        name="Product launch",
        tenant=LUMEN,
        started_ago=minutes(70),
        updated_ago=minutes(55),
        moved_ago=minutes(55),
        succeeded=118,
        failed=2,
        counters=Counters(total=120, succeeded=100, failed=2),
    )
    # Contacts were deleted, and their rows with them: the counters are higher.
    roles["finished_by_counters"] = writer.add_campaign(
        "cmp_beta_invites",
        name="Beta invites",
        tenant=ATLAS,
        started_ago=hours(5),
        updated_ago=hours(4),
        moved_ago=hours(4),
        succeeded=50,
        failed=2,
        counters=Counters(total=80, succeeded=78, failed=2),
    )
    roles["all_failed"] = writer.add_campaign(
        "cmp_expired_token",
        name="Expired page token",
        tenant=ATLAS,
        updated_ago=hours(9),
        moved_ago=hours(9),
        failed=40,
    )


def _unfinished(platform: DemoPlatform, writer: RowWriter) -> None:
    roles = platform.roles
    roles["stalled"] = writer.add_campaign(
        "cmp_city_marathon",
        name="City marathon",
        tenant=LUMEN,
        started_ago=hours(2),
        updated_ago=minutes(80),
        moved_ago=minutes(80),
        succeeded=120,
        counters=Counters(total=300, succeeded=120, failed=0),
    )
    roles["counters_behind"] = writer.add_campaign(
        "cmp_museum_night",
        name="Museum night",
        tenant=ATLAS,
        started_ago=hours(2),
        updated_ago=hours(1),
        moved_ago=hours(1),
        succeeded=60,
        counters=Counters(total=200, succeeded=40, failed=0),
    )
    roles["counters_ahead"] = writer.add_campaign(
        "cmp_jazz_festival",
        name="Jazz festival",
        tenant=ATLAS,
        started_ago=hours(3),
        updated_ago=hours(2),
        moved_ago=hours(2),
        succeeded=100,
        counters=Counters(total=200, succeeded=150, failed=0),
    )
    # Some failed recipients were tried again: the counters count every try, the rows each recipient once.
    roles["disputed"] = writer.add_campaign(
        "cmp_ferry_timetable",
        name="Ferry timetable",
        tenant=ATLAS,
        started_ago=hours(4),
        updated_ago=hours(3),
        moved_ago=hours(3),
        succeeded=45,
        failed=5,
        counters=Counters(total=80, succeeded=45, failed=35),
    )
    # A resend that stopped at once: the rows are from the first run.
    roles["resend"] = writer.add_campaign(
        "cmp_harvest_fair",
        name="Harvest fair",
        tenant=LUMEN,
        started_ago=minutes(20),
        updated_ago=minutes(20),
        moved_ago=hours(72),
        succeeded=40,
        counters=Counters(total=40, succeeded=0, failed=0),
    )
    roles["empty"] = writer.add_campaign("cmp_no_audience", name="No audience", tenant=LUMEN, updated_ago=hours(30))
    roles["progressing"] = writer.add_campaign(
        "cmp_quiz_week",
        name="Quiz week",
        tenant=LUMEN,
        started_ago=minutes(50),
        updated_ago=minutes(21),
        moved_ago=minutes(1),
        succeeded=140,
        counters=Counters(total=400, succeeded=140, failed=0),
    )
    roles["unknown_status"] = writer.add_campaign(
        "cmp_reader_poll",
        name="Reader poll",
        tenant=ATLAS,
        updated_ago=hours(2),
        moved_ago=hours(2),
        succeeded=30,
        words={"BLOCKED": 4},
        counters=Counters(total=40, succeeded=30, failed=0),
    )


def _healthy(platform: DemoPlatform, writer: RowWriter) -> None:
    for number in range(1, 4):
        writer.add_campaign(
            f"cmp_morning_brief_{number}",
            name=f"Morning brief {number}",
            tenant=LUMEN,
            started_ago=minutes(6),
            updated_ago=minutes(number),
            moved_ago=minutes(number),
            succeeded=20 * number,
            counters=Counters(total=90, succeeded=20 * number, failed=0),
        )
    platform.roles["healthy"] = writer.id("cmp_morning_brief_1")
    writer.add_campaign(
        "cmp_welcome", name="Welcome", status="COMPLETED", completed_ago=hours(70), updated_ago=hours(70), succeeded=60
    )
    for status in ("DRAFT", "SCHEDULED", "PAUSED", "CANCELLED"):
        counters = Counters(total=75, succeeded=0, failed=0)
        writer.add_campaign(f"cmp_{status.lower()}", name=f"Idea ({status.lower()})", status=status, counters=counters)
