"""A limit on jobs: what it leaves out is counted, and the next sweep goes on with it."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa

from campaign_ops.core.model import Verdict
from campaign_ops.lab.shop.schema import PlatformShape
from tests.conftest import World, Worlds
from tests.sweep.actors import covered


@pytest.fixture
def world(worlds: Worlds) -> World:
    """Three campaigns of five jobs each, and room for seven."""
    world = worlds.make("sms", policy={"breaker_floor": 100, "max_jobs_per_sweep": 7})
    profile = world.platform.profile
    assert profile.queue is not None
    small = profile.queue.model_copy(update={"batch_size": 2})
    world.platform.profile = profile.model_copy(update={"queue": small})
    assert world.platform.queue is not None
    world.platform.queue.profile = small
    for number in range(3):
        world.app.add_campaign(f"c{number}", pending=10, tenant=f"t{number}")
    return world


def missing(world: World) -> dict[str, int]:
    seen = covered(world)
    left = {f"c{number}": world.app.pending_ids(f"c{number}") for number in range(3)}
    return {label: sum(not seen[one] for one in ids) for label, ids in left.items()}


def test_what_a_limit_cut_off_goes_on_in_the_next_sweep(world: World) -> None:
    report = world.sweep()
    assert "0 campaigns and 3 in part next time: 8 jobs, 16 recipients" in report.repairs[1].detail
    assert sorted(missing(world).values()) == [4, 6, 6]
    report = world.sweep()
    assert "0 campaigns and 1 in part next time: 1 job, 2 recipients" in report.repairs[1].detail
    world.sweep()
    assert missing(world) == {"c0": 0, "c1": 0, "c2": 0}
    assert set(covered(world).values()) == {1}


def test_to_go_on_is_no_attempt_in_vain(world: World) -> None:
    for _ in range(4):
        world.sweep()
    attempts = world.rows("SELECT total, without_progress, left_out FROM campaign_ops.attempt")
    assert Counter(row["without_progress"] for row in attempts) == {1: 3}
    assert Counter(row["left_out"] for row in attempts) == {0: 3}


def test_jobs_that_are_lost_again_wait_for_the_cooldown_though_others_were_left_out(world: World) -> None:
    world.sweep()
    world.queue.remove(world.queue.live_job_ids())
    report = world.sweep()
    assert {item.verdict for item in report.stuck} == {Verdict.COOLDOWN}


def test_without_workers_the_line_says_that_a_campaign_is_in_cooldown(world: World) -> None:
    world.sweep()
    world.queue.remove(world.queue.live_job_ids()[1:])
    (item,) = [item for item in world.sweep().stuck if item.verdict is Verdict.NO_WORKERS and item.kind is None]
    assert "its jobs get time" in item.reason


@pytest.mark.parametrize("column", ["recipient", "campaign"])
def test_an_id_that_no_number_in_a_job_can_hold_is_work_for_a_person_and_no_attempt(
    worlds: Worlds, column: str
) -> None:
    """Measured once: six attempts without a single add, and a sweep that stopped half way for all the others."""
    world = worlds.make("sms", shape=PlatformShape(ids="bigint"), policy={"breaker_floor": 100})
    far, near = (world.app.add_campaign(label, pending=2) for label in ("far", "near"))
    with world.app.engine.begin() as connection:
        if column == "recipient":
            statement = 'UPDATE "CampaignRecipient" SET id = id + 9007199254740991 WHERE "campaignId" = :id'
        else:
            connection.execute(sa.text("SET session_replication_role = replica"))
            connection.execute(
                sa.text('UPDATE "CampaignRecipient" SET "campaignId" = 9007199254740993 WHERE "campaignId" = :id'),
                {"id": far},
            )
            statement = 'UPDATE "Campaign" SET id = 9007199254740993 WHERE id = :id'
        connection.execute(sa.text(statement), {"id": far})
    for _ in range(3):
        report = world.sweep()
    (item,) = [item for item in report.for_person if item.verdict is Verdict.JOBS_LOST]
    assert item.kind is None
    assert "cannot be written as a number into a job" in item.reason
    assert covered(world) == dict.fromkeys(world.app.pending_ids(near), 1)
    attempts = world.rows("SELECT campaign_id FROM campaign_ops.attempt")
    assert [row["campaign_id"] for row in attempts] == [near]
