"""A campaign is over only when nobody will work on it any more: neither a live job nor a transaction under way."""

from __future__ import annotations

from typing import Any

import pytest

from campaign_ops.core.errors import QueueUnavailable, Refused
from campaign_ops.core.model import RepairKind, Verdict
from campaign_ops.core.report import HealthReport
from campaign_ops.sweep.manual import Person, mark_complete
from tests.conftest import World, Worlds
from tests.sweep.actors import meddling

OPERATOR = Person("the operator", "ticket 42", "manual-run")
AN_HOUR = 3_600_000


def verdict(report: HealthReport, campaign: str) -> str:
    return next(item.verdict.value for item in report.stuck if item.target == campaign and item.verdict)


def recipients(world: World, campaign: str) -> list[str]:
    return [row["id"] for row in world.rows('SELECT id FROM "CampaignRecipient" WHERE "campaignId" = :id', id=campaign)]


def all_failed_and_retried(world: World, **options: Any) -> str:
    """Every row failed, and the application's own retry waits in the queue for its time."""
    world.app.add_campaign("retried", failed=5)
    world.app.add_reservation("hold", campaign="retried", amount=5)
    (job,) = world.queue.add("retried", "shop_north", recipients(world, "retried"), **options)
    return job


@pytest.mark.parametrize("options", [{"delay": AN_HOUR}, {"priority": 3}, {}], ids=["delayed", "prioritized", "wait"])
def test_a_campaign_whose_failed_recipients_a_live_job_lists_is_not_over(sms: World, options: dict[str, int]) -> None:
    """It was completed as failed and its credits released; the job then sent to all of them."""
    all_failed_and_retried(sms, **options)
    before = sms.app.fingerprint()
    report = sms.sweep()
    assert sms.app.fingerprint() == before
    assert verdict(report, "retried") == Verdict.NO_WORKERS
    assert "no worker" in next(item.reason for item in report.for_person)


def test_it_is_over_when_the_job_is(sms: World) -> None:
    job = all_failed_and_retried(sms, delay=AN_HOUR)
    sms.sweep()
    sms.queue.remove([job])
    sms.sweep()
    assert sms.app.campaign("retried")["status"] == "failed"
    assert sms.app.reservation("hold")["status"] == "released"


def test_a_job_that_comes_between_plan_and_repair_keeps_the_campaign_open(sms: World) -> None:
    sms.app.add_campaign("retried", failed=5)
    sms.app.add_campaign("over", failed=5)
    sweep = sms.begin()
    plan = sweep.make_plan()
    assert {item.target for item in plan.of(RepairKind.COMPLETE)} == {"retried", "over"}
    sms.queue.add("retried", "shop_north", recipients(sms, "retried"), delay=AN_HOUR)
    completed, _ = sweep.complete(plan)
    assert completed.count == 1
    assert completed.left == 1
    assert sms.app.campaign("retried")["status"] == "sending"
    assert sms.app.campaign("over")["status"] == "failed"


def test_a_job_that_comes_while_the_queue_is_read_keeps_the_campaign_open(sms: World) -> None:
    """The look reads job after job: what was added meanwhile stands in none of its pages."""
    sms.app.add_campaign("retried", failed=5)
    ids = recipients(sms, "retried")
    sweep = sms.begin()
    plan = sweep.make_plan()
    with meddling(sms, after="live_jobs", what=lambda: sms.queue.add("retried", "shop_north", ids, delay=AN_HOUR)):
        sweep.complete(plan)
    assert sms.app.campaign("retried")["status"] == "sending"


@pytest.mark.parametrize("policy", ["complete", "fail"])
def test_an_empty_campaign_with_a_live_job_is_left_open_whatever_the_policy(worlds: Worlds, policy: str) -> None:
    """Its recipients may be on their way."""
    world = worlds.make("sms", policy={"empty_campaigns": policy})
    world.app.add_campaign("filling")
    world.queue.add("filling", "shop_north", ["r1"])
    world.sweep()
    assert world.app.campaign("filling")["status"] == "sending"


@pytest.mark.parametrize("campaign", [{"failed": 3}, {"succeeded": 3}, {"accepted": 3}], ids=str)
def test_nothing_is_completed_while_the_queue_cannot_be_read(worlds: Worlds, campaign: dict[str, Any]) -> None:
    world = worlds.make("sms", queue_url="redis://127.0.0.1:1/0")
    world.app.add_campaign("done", **campaign)
    before = world.app.fingerprint()
    report = world.sweep()
    assert world.app.fingerprint() == before
    assert verdict(report, "done") == Verdict.QUEUE_UNREADABLE


def test_nothing_is_completed_when_the_queue_goes_away_between_plan_and_repair(sms: World) -> None:
    sms.app.add_campaign("done", failed=3)
    sweep = sms.begin()
    plan = sweep.make_plan()

    def goes_away() -> None:
        raise QueueUnavailable("Redis went away")

    with meddling(sms, before="newcomers", what=goes_away):
        completed, _ = sweep.complete(plan)
    assert completed.held_back == "Redis went away"
    assert completed.failures == []
    assert sms.app.campaign("done")["status"] == "sending"


@pytest.mark.parametrize("dry_run", [True, False])
def test_mark_complete_refuses_while_a_live_job_lists_the_campaign_and_names_it(sms: World, dry_run: bool) -> None:
    job = all_failed_and_retried(sms, delay=AN_HOUR)
    before = sms.app.fingerprint()
    with pytest.raises(Refused, match=f"nothing is pending, but 1 live job may still send: {job}"):
        mark_complete(sms.platform, "retried", OPERATOR, dry_run=dry_run)
    assert sms.app.fingerprint() == before


def test_mark_complete_refuses_while_the_queue_cannot_be_read(worlds: Worlds) -> None:
    world = worlds.make("sms", queue_url="redis://127.0.0.1:1/0")
    world.app.add_campaign("done", failed=3)
    with pytest.raises(QueueUnavailable):
        mark_complete(world.platform, "done", OPERATOR)
    assert world.app.campaign("done")["status"] == "sending"
