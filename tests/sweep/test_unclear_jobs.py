"""Jobs of other names, other spellings and other shapes: whoever may be in them is not put back a second time."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import redis

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import Verdict
from campaign_ops.core.report import render
from campaign_ops.fixes.ambiguous import send_again, take_as_sent
from campaign_ops.fixes.complete import mark_complete
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from tests.conftest import World, Worlds
from tests.shapes import SHAPES
from tests.sweep.actors import covered, interfering

SARAH = Person("sarah", "a ticket", "run-1")


def put(world: World, name: str, data: Any) -> None:
    """A job that some part of the application has added."""
    world.queue.add_other(name, data)


def test_a_retry_under_another_name_covers_and_the_rest_is_put_back(sms: World) -> None:
    """Measured before: 10 of 10 recipients doubled."""
    for campaign, pending in (("c", 10), ("other", 1)):
        sms.app.add_campaign(campaign, pending=pending)
    ids, others = sms.app.pending_ids("c"), sms.app.pending_ids("other")
    put(sms, "retryBulkSMS", sms.queue.payload("c", "shop_north", ids[:6]))
    sms.queue.add("other", "shop_north", others)
    sms.sweep()
    assert covered(sms) == dict.fromkeys([*ids, *others], 1)


def test_a_job_that_makes_batches_blocks_its_campaign_alone_and_stands_in_the_report(sms: World) -> None:
    for campaign in ("making", "lost"):
        sms.app.add_campaign(campaign, pending=4)
    for _ in range(2):
        put(sms, "makeBatches", {"campaignId": "making"})
    report = sms.sweep()
    verdicts = {item.target: item.verdict for item in report.stuck}
    assert verdicts == {"making": Verdict.UNCLEAR_JOBS, "lost": Verdict.JOBS_LOST}
    assert "2 jobs makeBatches that cannot be understood" in render(report)
    assert [job for job in sms.queue.live_job_ids() if sms.queue.job_data(job)["campaignId"] == "lost"]
    assert len(sms.queue.live_job_ids()) == 3
    with pytest.raises(Refused, match=r"unclear_jobs.*makeBatches \(2\).*harmless_jobs"):
        reenqueue_one(sms.platform, "making", SARAH)


def test_a_job_that_makes_batches_and_comes_after_the_look_keeps_its_campaign_from_being_put_back(sms: World) -> None:
    sms.app.add_campaign("c", pending=4)
    with interfering(sms, before="newcomers", what=lambda: put(sms, "makeBatches", {"data": {"campaign": "c"}})):
        sms.sweep()
    assert len(sms.queue.live_job_ids()) == 1


def test_a_person_cannot_decide_about_marked_recipients_who_may_be_in_an_unclear_job(sms: World) -> None:
    sms.app.add_campaign("c", pending=4)
    sms.queue.mark(sms.app.pending_ids("c"))
    put(sms, "makeBatches", {"campaignId": "c"})
    for decide in (send_again, take_as_sent):
        with pytest.raises(Refused, match="makeBatches"):
            decide(sms.platform, "c", SARAH)
    assert sms.app.pending_ids("c")


def test_a_campaign_that_an_unclear_job_may_be_about_is_not_completed(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=2)
    sms.app.add_campaign("over", succeeded=2)
    put(sms, "retryFailed", {"campaignId": "done"})
    report = sms.sweep()
    assert [(item.target, item.verdict) for item in report.stuck if item.needs_person] == [
        ("done", Verdict.UNCLEAR_JOBS)
    ]
    assert (sms.app.campaign("done")["status"], sms.app.campaign("over")["status"]) == ("sending", "sent")
    with pytest.raises(Refused, match="retryFailed"):
        mark_complete(sms.platform, "done", SARAH)


def test_an_unclear_job_that_comes_after_the_plan_keeps_its_campaign_open(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=2)
    sweep = sms.begin()
    plan = sweep.make_plan()
    put(sms, "retryFailed", {"campaignId": "done"})
    sweep.complete(plan)
    assert sms.app.campaign("done")["status"] == "sending"


def test_jobs_that_the_profile_calls_harmless_block_no_campaign(worlds: Worlds) -> None:
    plain = worlds.make("sms").platform.profile
    assert plain.queue is not None
    queue = plain.queue.model_copy(update={"harmless_jobs": ("refreshStats",)})
    world = worlds.make(plain.model_copy(update={"queue": queue}))
    world.app.add_campaign("c", pending=4)
    put(world, "refreshStats", {"campaignId": "c"})
    world.sweep()
    assert covered(world) == dict.fromkeys(world.app.pending_ids("c"), 1)


def _numbers(one: str) -> list[Any]:
    return [f"{int(one):08}", f" {one} ", float(one), one]


def _uuids(one: str) -> list[Any]:
    return [one.upper(), f"{{{one}}}", UUID(one).hex, f"urn:uuid:{one}"]


@pytest.mark.parametrize(("shape", "spellings"), [("uuid", _uuids), ("integer", _numbers), ("bigint", _numbers)])
def test_ids_in_another_spelling_cover_all_the_same(worlds: Worlds, shape: str, spellings: Any) -> None:
    world = worlds.make("sms", shape=SHAPES[shape])
    campaigns = [world.app.add_campaign(pending=4) for _ in range(4)]
    for number, campaign in enumerate(campaigns):
        ids = world.app.pending_ids(campaign)
        data = {"campaignId": spellings(campaign)[number], "recipientIds": [spellings(one)[number] for one in ids]}
        put(world, "sendBulkSMS", data)
    report = world.sweep()
    assert [item.verdict for item in report.stuck] == [Verdict.NO_WORKERS] * 4
    assert [item.missing for item in report.stuck] == [0] * 4
    assert len(world.queue.live_job_ids()) == 4


@pytest.mark.parametrize(
    ("shape", "recipient"), [("uuid", "r1"), ("integer", 2**31), ("bigint", "9223372036854775808"), ("prisma", " r1")]
)
def test_a_recipient_that_is_no_id_is_doubt_about_its_campaign_and_others_are_put_back(
    worlds: Worlds, shape: str, recipient: Any
) -> None:
    """Measured before: the platform's queue was called unreadable, and no recipient was put back."""
    world = worlds.make("sms", shape=SHAPES[shape])
    odd, lost = world.app.add_campaign(pending=2), world.app.add_campaign(pending=2)
    data = world.queue.payload(odd, "shop_north", world.app.pending_ids(odd))
    put(world, "sendBulkSMS", data | {"recipientIds": [*data["recipientIds"], recipient]})
    report = world.sweep()
    verdicts = {item.target: item.verdict for item in report.stuck}
    assert verdicts == {odd: Verdict.UNCLEAR_JOBS, lost: Verdict.JOBS_LOST}
    assert len(world.queue.live_job_ids()) == 2


def test_a_recipient_id_longer_than_the_column_belongs_to_no_row_and_stops_nothing(worlds: Worlds) -> None:
    """PostgreSQL refuses to copy it into a column of its type, and with it all others that the queue covers."""
    world = worlds.make("sms")
    world.app.add_campaign("c", pending=4)
    with world.app.engine.begin() as connection:
        connection.exec_driver_sql('ALTER TABLE "CampaignRecipient" ALTER id TYPE varchar(30)')
    ids = world.app.pending_ids("c")
    put(world, "sendBulkSMS", world.queue.payload("c", "shop_north", [*ids[:2], "x" * 40]))
    world.sweep()
    assert covered(world) == dict.fromkeys([*ids, "x" * 40], 1)


@pytest.mark.parametrize("campaign", [None, "", True, {"id": "c"}])
def test_a_job_that_does_not_say_its_campaign_may_be_any_campaigns(sms: World, campaign: Any) -> None:
    sms.app.add_campaign("c", pending=4)
    put(sms, "retryBulkSMS", {"campaignId": campaign, "recipientIds": sms.app.pending_ids("c")})
    assert [item.verdict for item in sms.sweep().stuck] == [Verdict.UNCLEAR_JOBS]
    assert len(sms.queue.live_job_ids()) == 1


def test_a_queue_of_bull_is_only_looked_at(sms: World) -> None:
    """Its keys as Bull 3 and 4 write them when the jobs are done and removed: everybody looks lost."""
    sms.app.add_campaign("c", pending=4)
    sms.queue.clear()
    with redis.Redis.from_url(sms.queue.url) as client:
        client.set(sms.queue.key("id"), 5)
        client.set(sms.queue.key("stalled-check"), "1795559288385")
        report = sms.confirmed_sweep()
        assert sorted(client.keys(sms.queue.key("*"))) == [
            sms.queue.key(part).encode() for part in ("id", "stalled-check")
        ]
    (item,) = report.stuck
    assert item.verdict is Verdict.QUEUE_UNREADABLE
    assert "belongs to Bull" in item.reason
    with pytest.raises(Refused, match="belongs to Bull"):
        reenqueue_one(sms.platform, "c", SARAH)
