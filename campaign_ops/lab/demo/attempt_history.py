"""Creates the past re-enqueues that two verdicts need, through the product's own manual fix."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.platform import Platform

_PERSON = Person("the demo", "jobs were re-enqueued and lost again", "earlier")


def make_attempt_history(demo: DemoPlatform, platform: Platform) -> None:
    """Re-enqueue one campaign just now, another ``max_attempts`` times an hour ago; lose their jobs each time."""
    eager = replace(platform, policy=replace(platform.policy, cooldown_seconds=0))
    if "quarantined" in demo.roles:
        for _ in range(platform.policy.max_attempts):
            _reenqueue_and_lose(demo, eager, demo.roles["quarantined"])
        _let_time_pass(eager, demo.roles["quarantined"])
    if "cooldown" in demo.roles:
        _reenqueue_and_lose(demo, eager, demo.roles["cooldown"])


def _reenqueue_and_lose(demo: DemoPlatform, platform: Platform, campaign: str) -> None:
    queue = demo.queue()
    before = set(queue.live_job_ids())
    reenqueue_one(platform, campaign, _PERSON)
    queue.remove([job_id for job_id in queue.live_job_ids() if job_id not in before])
    queue.close()


def _let_time_pass(platform: Platform, campaign: str) -> None:
    with platform.database.transaction() as connection:
        connection.execute(
            sa.text("UPDATE campaign_ops.attempt SET last_at = last_at - interval '1 hour' WHERE campaign_id = :id"),
            {"id": campaign},
        )
