"""The stuck platforms that the demo shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis
import yaml

from campaign_ops.demo.platforms import DemoPlatform
from campaign_ops.demo.scenario import build_messenger, build_sms, write_config
from campaign_ops.demo.scenario_queues import build_paused
from campaign_ops.demo.servers import EmbeddedServers


def portrait(platforms: list[DemoPlatform]) -> list[Any]:
    """All that a reader of the demo's report could see, but the clock."""
    seen: list[Any] = []
    for platform in platforms:
        writer = platform.writer()
        rows = [(row["id"], row["name"], row["status"], writer.tally(row["id"])) for row in writer.campaigns()]
        seen.append((platform.name, rows, platform.roles, platform.credits))
        writer.close()
    return seen


def test_the_scenario_shows_every_trouble_and_is_the_same_every_time(servers: EmbeddedServers, work_dir: Path) -> None:
    platforms = [*build_sms(servers), build_messenger(servers)]
    first = portrait(platforms)
    assert [platform.name for platform in platforms] == [
        "sms", "sms_paused", "sms_idle", "sms_outage", "sms_inline", "messenger"
    ]  # fmt: skip
    assert 3_000 < sum(sum(tally.values()) for _, rows, _, _ in first for *_, tally in rows) < 7_000
    main, paused, idle, _, inline, _ = platforms
    writer, queue = main.writer(), main.queue()
    covered = {
        recipient for job_id in queue.live_job_ids() for recipient in queue.job_data(job_id).get("recipientIds", [])
    }

    def uncovered(role: str) -> int:
        return len(set(writer.pending_ids(main.roles[role])) - covered)

    (active,) = queue.job_ids("active")
    assert queue.campaign_of(active) == main.roles["progressing"]
    assert queue.workers() == ["worker-1"]
    assert [uncovered(role) for role in ("backlog", "backlog_prioritized", "progressing", "healthy")] == [0, 0, 0, 0]
    assert [uncovered(role) for role in ("jobs_lost", "partly_lost", "jobs_failed")] == [500, 200, 200]
    assert [uncovered(role) for role in ("cooldown", "quarantined", "ambiguous")] == [150, 90, 25]
    assert [queue.campaign_of(job_id) for job_id in queue.job_ids("failed")] == [main.roles["jobs_failed"]] * 2
    assert len(writer.reservations(main.roles["finished"])) == 2
    writer.close()
    queue.close()
    for platform, paused_flag in ((paused, b"1"), (idle, None)):
        assert platform.queue_url is not None
        with redis.Redis.from_url(platform.queue_url) as client:
            assert client.hget(f"{platform.queue_prefix}:sms-send:meta", "paused") == paused_flag
        other = platform.queue()
        assert (len(other.live_job_ids()), other.workers()) == (3, [])
        other.close()
    config = yaml.safe_load(write_config(work_dir / "campaign_ops.yaml", platforms).read_text())
    assert [entry["name"] for entry in config["platforms"]] == [platform.name for platform in platforms]
    assert config["platforms"][4]["profile"] == {"extends": "sms", "queue": None}
    assert inline.queue_url is None
    for platform in platforms:
        platform.stop_workers()
    again = [build_paused(servers), build_messenger(servers)]
    assert portrait(again) == [first[1], first[5]]
