"""The printed Redis rights are exactly those that a sweep needs, or only reading for a user that plans."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from campaign_ops.core.report import render
from campaign_ops.doctor import Level, examine, redis_acl
from campaign_ops.fixes.ambiguous import send_again
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.undo import undo
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile
from campaign_ops.sweep import dry_run
from tests.conftest import World, Worlds
from tests.doctor.bench import the

ME = Person("me", "tests", "run")


@pytest.fixture
def admin(worlds: Worlds) -> Iterator[Any]:
    with redis.Redis.from_url(worlds.servers.redis.url(), decode_responses=True) as client:
        yield client
        client.acl_deluser("ops")


def least(worlds: Worlds, admin: Any, profile: Profile, *, read_only: bool = False) -> World:
    """A platform whose Redis user has exactly the printed rights."""
    port = worlds.servers.redis.port
    world = worlds.make(profile, queue_url=f"redis://ops:secret@127.0.0.1:{port}/0")
    assert profile.queue is not None
    command = redis_acl(profile.queue, world.queue.prefix, "ops", read_only=read_only)
    assert admin.execute_command(*shlex.split(command.replace("PASSWORD", "secret"))) == "OK"
    return world


def with_options(**options: Any) -> Profile:
    """The profile of an application whose jobs have these options, too."""
    profile = load_profile("sms")
    assert profile.queue is not None
    queue = profile.queue.model_copy(update={"options": {**profile.queue.options, **options}})
    return profile.model_copy(update={"queue": queue})


@pytest.mark.parametrize("options", [{}, {"priority": 7}, {"delay": 60_000}], ids=["plain", "priority", "delay"])
def test_a_sweep_its_undo_and_fixes_need_no_other_rights_than_those_that_are_printed(
    worlds: Worlds, admin: Any, options: dict[str, Any]
) -> None:
    world = least(worlds, admin, with_options(**options))
    world.app.add_campaign("finished", succeeded=3)
    world.app.add_campaign("lost", pending=4)
    world.app.add_campaign("half", pending=6)
    world.queue.add("half", "shop_north", world.app.pending_ids("half")[:2])
    world.app.add_campaign("marked", pending=2)
    world.queue.mark(world.app.pending_ids("marked"))
    assert the(examine(world.platform), "queue_rights").level is Level.OK
    assert the(examine(world.platform), "queue_markers").level is Level.OK
    figures = world.sweep().figures()
    assert (figures["completed"], figures["reenqueued"]) == (1, 2)
    ours = [one for one in world.queue.live_job_ids() if one.startswith("ops-")]
    assert len(ours) == 2
    (lost,) = world.rows("SELECT id FROM campaign_ops.repair WHERE kind = 'reenqueue' AND target = 'lost'")
    undo(world.platform, lost["id"], ME)
    assert {world.queue.campaign_of(one) for one in world.queue.live_job_ids()} == {"half"}
    send_again(world.platform, "marked", ME)
    assert {world.queue.campaign_of(one) for one in world.queue.live_job_ids()} == {"half", "marked"}


def test_the_printed_rights_reach_no_other_queue_and_no_other_command(worlds: Worlds, admin: Any) -> None:
    world = least(worlds, admin, load_profile("sms"))
    with redis.Redis.from_url(world.queue_url or "", decode_responses=True) as client:
        for words in (
            ["GET", "session:1"],
            ["LLEN", "bull:other:wait"],
            ["FLUSHALL"],
            ["KEYS", "*"],
            ["CONFIG", "GET", "*"],
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)


def test_a_user_that_only_reads_may_plan_and_nothing_else(worlds: Worlds, admin: Any) -> None:
    world = least(worlds, admin, load_profile("sms"), read_only=True)
    world.app.add_campaign("lost", pending=4)
    world.app.add_campaign("marked", pending=2)
    world.queue.mark(world.app.pending_ids("marked"))
    verdicts = {item.target: item.verdict for item in dry_run(world.platform).plan.items}
    assert verdicts == {"lost": "jobs_lost", "marked": "ambiguous"}
    report = world.sweep()
    assert report.figures()["reenqueued"] == 0
    assert "the Redis user may not do this" in " ".join(report.trouble)
    assert world.queue.live_job_ids() == []


def test_missing_info_is_reported_with_what_goes_unnoticed(worlds: Worlds, admin: Any) -> None:
    """Measured before: the detection of a restart was lost without a word."""
    world = least(worlds, admin, load_profile("sms"))
    assert admin.execute_command("ACL", "SETUSER", "ops", "-info", "-client") == "OK"
    finding = the(examine(world.platform), "queue_rights")
    assert finding.level is Level.WARNING
    assert "INFO: a restarted or replaced Redis" in finding.what
    assert finding.mend.endswith("+info +client|list")
    world.app.add_campaign("lost", pending=4)
    report = world.sweep()
    assert report.figures()["reenqueued"] == 1
    assert "a restart or replacement is not noticed" in render(report)
