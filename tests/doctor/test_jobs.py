"""The profile against the jobs in the queue; no sweep adds jobs that differ from the application's."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from campaign_ops.doctor import Level, examine
from campaign_ops.lab.shop.row_writer import PlatformShape, hours
from campaign_ops.profile.queue import QueueProfile
from tests.conftest import World, Worlds
from tests.doctor.bench import complaints, of, run, the


def lay(world: World, state: str, job_id: str, data: dict[str, Any], name: str = "sendBulkSMS", **options: Any) -> None:
    """Put a job into a state, as BullMQ's scripts would."""
    key = world.queue.key
    with redis.Redis.from_url(world.queue.url) as client:
        client.hset(key(job_id), mapping={"name": name, "data": json.dumps(data), "opts": json.dumps(options)})
        if state in {"wait", "active"}:
            client.lpush(key(state), job_id)
        else:
            client.zadd(key(state), {job_id: 1})


def wrong(world: World, **changes: Any) -> None:
    """Continue with a profile that describes the queue in another way."""
    profile = world.platform.profile
    assert profile.queue is not None
    assert world.platform.queue is not None
    described = QueueProfile(**{**profile.queue.model_dump(), **changes})
    world.platform.profile = profile.model_copy(update={"queue": described})
    world.platform.queue.profile = described


def finished_job(world: World, state: str = "completed", name: str = "sendBulkSMS", **fields: Any) -> None:
    """A job of a campaign that is over, in one of the dead states unless told otherwise."""
    campaign = world.app.add_campaign("done", status="sent", succeeded=2)
    with world.app.engine.connect() as connection:
        ids = [row[0] for row in connection.exec_driver_sql('SELECT id FROM "CampaignRecipient"')]
    data = {"campaignId": campaign, "shopId": "shop_north", "recipientIds": ids, **fields}
    lay(world, state, "7", data, name, attempts=5, backoff={"type": "exponential", "delay": 3000})


def test_a_profile_that_describes_the_jobs_earns_no_complaint(sms: World) -> None:
    finished_job(sms)
    found = examine(sms.platform)
    assert [one.check for one in complaints(found)] == ["role"]
    for check in ("queue_jobs", "queue_payload", "queue_batches", "queue_options", "queue_ids"):
        assert the(found, check).level is Level.OK, check


@pytest.mark.parametrize("state", ["completed", "failed", "wait"])
def test_a_name_that_no_job_bears_is_an_error_and_nothing_is_re_enqueued(sms: World, state: str) -> None:
    """Measured before: doctor silent, 250 of 250 recipients doubled."""
    finished_job(sms, state, name="sendSms")
    error = the(examine(sms.platform), "queue_jobs")
    assert error.level is Level.ERROR
    assert "'sendSms' (1)" in error.what
    assert "'sendBulkSMS'" in error.what
    sms.app.add_campaign("lost", pending=4)
    report = sms.sweep()
    assert report.figures()["reenqueued"] == 0
    assert "no job is named 'sendBulkSMS'" in report.trouble[0]
    assert not [one for one in sms.queue.live_job_ids() if one.startswith("ops-")]


def test_keys_that_no_job_carries_are_named_with_those_that_it_does(sms: World) -> None:
    finished_job(sms)
    wrong(sms, payload={"campaign": "{campaign_id}", "shopId": "{tenant}", "recipientIds": "{recipient_ids}"})
    error = the(examine(sms.platform), "queue_jobs")
    assert error.level is Level.ERROR
    assert "carries 'campaign', 'recipientIds'; their keys are 'campaignId', 'shopId', 'recipientIds'" in error.what
    sms.app.add_campaign("lost", pending=4)
    assert sms.sweep().figures()["reenqueued"] == 0
    assert sms.queue.live_job_ids() == []


def test_ids_of_another_kind_than_in_the_application_s_jobs_are_not_added_until_the_profile_says_so(
    worlds: Worlds,
) -> None:
    """A BigInt column whose ids travel as text, which JSON.stringify makes of them in many applications."""
    world = worlds.make("sms", shape=PlatformShape(ids="integer"))
    lay(world, "completed", "7", {"campaignId": "8", "shopId": "shop_north", "recipientIds": ["81", "82"]})
    world.app.add_campaign("1", pending=2)
    error = the(examine(world.platform), "queue_jobs")
    assert "'campaignId' is text in the application's jobs, and would be a number in ours" in error.what
    assert world.sweep().figures()["reenqueued"] == 0
    wrong(world, payload_ids="text")
    world.platform._tables = None
    assert world.sweep().figures()["reenqueued"] == 1
    (job,) = world.queue.live_job_ids()
    with redis.Redis.from_url(world.queue.url) as client:
        data = json.loads(client.hget(world.queue.key(job), "data"))
    assert data["campaignId"] == "1"
    assert all(isinstance(one, str) for one in data["recipientIds"])


def test_the_payload_is_compared_key_by_key(sms: World) -> None:
    finished_job(sms, source="api", segment=3, shopId=["shop_north"])
    wrong(
        sms,
        payload={
            "campaignId": "{campaign_id}",
            "shopId": "{tenant}",
            "recipientIds": "{recipient_ids}",
            "source": "ops",
            "retry": True,
        },
    )
    said = " | ".join(one.what for one in of(examine(sms.platform), "queue_payload"))
    assert "every job carries 'segment', and ours would not" in said
    assert "no job carries 'retry', and ours would" in said
    assert "'shopId' is a list of texts in a job, and would be text in ours" in said
    assert "'source' is never 'ops' in a job" in said


def test_options_and_batches_unlike_the_application_s_are_warned_of(sms: World) -> None:
    for number in range(2):
        data = {"campaignId": "gone", "shopId": "s", "recipientIds": ["r1", "r2"]}
        lay(sms, "completed", str(number), data, attempts=3, priority=10)
    found = examine(sms.platform)
    options = " | ".join(one.what for one in of(found, "queue_options"))
    assert "attempts 3; ours would have 5" in options
    assert "priority 10; ours would have 0" in options
    assert "backoff None; ours would have {'type': 'exponential', 'delay': 3000}" in options
    assert "at most 2 recipients; queue.batch_size is 500" in the(found, "queue_batches").what
    assert [one.level for one in of(found, "queue_ids")] == [Level.WARNING, Level.WARNING]


def test_our_own_jobs_and_jobs_of_other_kinds_prove_nothing(sms: World) -> None:
    lay(sms, "failed", "ops-c1-a1-b0-1", {"campaignId": "c1", "recipientIds": ["r1"]}, name="wrongBefore")
    lay(sms, "failed", "9", {"url": "https://hook"}, name="webhook")
    error = the(examine(sms.platform), "queue_jobs")
    assert "none of 1 sampled jobs is named 'sendBulkSMS'; there are 'webhook' (1), with the keys 'url'" in error.what
    sms.app.add_campaign("lost", pending=4)
    assert sms.sweep().figures()["reenqueued"] == 1


def test_a_wrong_word_for_held_credits_is_an_error_and_completes_nothing(sms: World) -> None:
    """Measured before: doctor silent, campaigns completed, credits locked for ever, "nothing needs a person"."""
    profile = sms.platform.profile
    assert profile.reservation is not None
    campaign = sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_reservation("hold", campaign=campaign, amount=30)
    sms.app.add_campaign("without", succeeded=1)
    words = profile.reservation.words.model_copy(update={"held": "reserved"})
    reservation = profile.reservation.model_copy(update={"words": words})
    sms.platform.profile = profile.model_copy(update={"reservation": reservation})
    error = next(one for one in of(examine(sms.platform), "words") if "CreditReservation" in one.what)
    assert error.level is Level.ERROR
    assert "does not know active" in error.what
    assert "no row has 'reserved'" in error.what
    report = sms.sweep()
    assert [item.target for item in report.for_person] == ["finished"]
    assert "its reservations say 'active'" in report.for_person[0].reason
    assert sms.app.campaign("finished")["status"] == "sending"
    assert sms.app.campaign("without")["status"] == "sent"


def test_further_words_of_reservations_are_warned_of_until_the_profile_names_them(sms: World) -> None:
    campaign = sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_reservation("hold", campaign=campaign)
    sms.app.add_reservation("old", campaign=campaign, created_ago=hours(90))
    run(sms, "UPDATE \"CreditReservation\" SET status = 'expired' WHERE id = 'old'")
    (warning,) = of(examine(sms.platform), "words")
    assert (warning.level, "does not know expired" in warning.what) == (Level.WARNING, True)
    profile = sms.platform.profile
    assert profile.reservation is not None
    words = profile.reservation.words.model_copy(update={"over": ("expired",)})
    reservation = profile.reservation.model_copy(update={"words": words})
    sms.platform.profile = profile.model_copy(update={"reservation": reservation})
    assert of(examine(sms.platform), "words") == []
    sms.sweep()
    assert sms.app.reservation("hold")["status"] == "released"


def test_words_of_campaigns_none_of_which_is_known_are_an_error(sms: World) -> None:
    profile = sms.platform.profile
    sms.app.add_campaign("one", pending=1)
    words = profile.campaign.words.model_copy(update={"sending": "SENDING", "done": "SENT", "failed": None})
    campaign = profile.campaign.model_copy(update={"words": words})
    sms.platform.profile = profile.model_copy(update={"campaign": campaign})
    (error,) = of(examine(sms.platform), "words")
    assert (error.level, "sending" in error.what) == (Level.ERROR, True)
