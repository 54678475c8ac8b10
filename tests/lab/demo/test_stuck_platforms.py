"""The demo's stuck platforms get the verdicts that they are built for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from campaign_ops.core.model import Verdict
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.lab.demo.stuck_platforms import build_messenger, build_sms_platforms, write_config
from campaign_ops.lab.demo.stuck_queues import build_paused
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.settings.connect import connect
from campaign_ops.settings.load import load_settings
from campaign_ops.sweep import Sweep


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedServers, list[DemoPlatform]]]:
    with EmbeddedServers(tmp_path_factory.mktemp("stage"), settings={"timezone": "Europe/Athens"}) as servers:
        platforms = [*build_sms_platforms(servers), build_messenger(servers)]
        yield servers, platforms
        for platform in platforms:
            platform.stop_workers()


@pytest.fixture
def platforms(stage: tuple[EmbeddedServers, list[DemoPlatform]]) -> list[DemoPlatform]:
    return stage[1]


def portrait(platform: DemoPlatform) -> list[Any]:
    """Everything that the demo's report shows, except times."""
    writer = platform.writer()
    rows = sorted((row["id"], row["name"], row["status"], writer.tally(row["id"])) for row in writer.campaigns())
    writer.close()
    return [platform.name, rows, platform.roles, platform.credits]


def test_the_only_worker_is_sending_one_campaign_and_others_wait_or_are_lost(
    platforms: list[DemoPlatform],
) -> None:
    main = platforms[0]
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
    writer.close()
    queue.close()


# Roles whose verdict has another name. The last two get theirs from past attempts that are created later.
OTHERWISE = {
    "all_failed": "finished",
    "backlog_prioritized": "backlog",
    "counters_ahead": "stalled",
    "counters_behind": "stalled",
    "finished_accepted": "finished",
    "finished_all_failed": "finished",
    "finished_by_counters": "finished",
    "finished_by_its_rows": "queue_unreadable",
    "finished_by_rows": "finished",
    "jobs_doomed": "backlog",
    "resend": "stalled",
    "partly_lost": "jobs_lost",
    "cooldown": "jobs_lost",
    "quarantined": "jobs_lost",
}
LEFT_ALONE = {"healthy", "draft", "scheduled", "paused", "cancelled", "sent"}


def test_every_campaign_gets_the_verdict_it_was_built_for(platforms: list[DemoPlatform], work_dir: Path) -> None:
    settings = load_settings(write_config(work_dir / "campaign_ops.yaml", platforms))
    assert settings.names == ("sms", "sms_paused", "sms_idle", "sms_outage", "sms_inline", "messenger")
    shown: set[str] = set()
    for demo, one in zip(platforms, settings.platforms, strict=True):
        platform = connect(one)
        migrate(platform.database)
        plan = Sweep(platform, run_id="look", trigger="test", actor="tests").make_plan()
        platform.close()
        verdicts = {item.target: item.verdict for item in plan.items if item.verdict is not None}
        expected = {demo.roles[role]: OTHERWISE.get(role, role) for role in demo.roles if role not in LEFT_ALONE}
        assert verdicts == expected
        assert not any(breaker.tripped for breaker in plan.breakers.values())
        released = {item.target for item in plan.items if item.kind == "release"}
        let_go = {"over", "cancelled", "expired", "old", "campaign_gone"}
        assert released == {target for role, target in demo.credits.items() if role in let_go}
        shown |= set(expected.values())
    assert shown | {"cooldown", "quarantined", "impossible_date", "uncounted"} == set(Verdict)


def test_a_platform_built_again_is_identical(stage: tuple[EmbeddedServers, list[DemoPlatform]]) -> None:
    servers, (_, paused, *_, messenger) = stage
    before = portrait(paused), portrait(messenger)
    assert (portrait(build_paused(servers)), portrait(build_messenger(servers))) == before
    queue = paused.queue()
    assert (len(queue.live_job_ids()), queue.workers()) == (3, [])
    queue.close()
