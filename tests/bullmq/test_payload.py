"""The content of a job with regard to the wanted campaigns: recipients, doubt, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from campaign_ops.bullmq.payload import Content, PayloadReader
from campaign_ops.core.ids import JobIds, id_type
from tests.bullmq.kit import PROFILE

WANTED = ("c1", "c2")
UUID = "0a1b2c3d-0000-4000-8000-00000000000f"
SENDS = "sendBulkSMS"
EVERYBODY = frozenset(WANTED)


def said(data: object, name: str = "retryBulkSMS", *, wanted: tuple[str, ...] = WANTED, kind: str = "text") -> Content:
    text = data if isinstance(data, str) else json.dumps(data)
    return PayloadReader(PROFILE, JobIds(id_type(kind), id_type(kind)), wanted).read(name, text)


def doubt(*campaign_ids: str) -> Content:
    return Content(doubt=frozenset(campaign_ids))


def a_batch(campaign: object, *recipients: object, **more: object) -> dict[str, object]:
    return {"campaignId": campaign, "recipientIds": recipients, **more}


@pytest.mark.parametrize("name", [SENDS, "retryBulkSMS", "", "__default__"])
def test_a_job_with_the_payload_s_keys_covers_under_any_name(name: str) -> None:
    assert said(a_batch("c1", "r1", "r2", shopId="s", text="for c2"), name) == Content("c1", ("r1", "r2"))
    assert said(a_batch("c9", "r1", shopId="s"), name) == Content()


@pytest.mark.parametrize(
    "data",
    [
        "{}",
        "",
        "no JSON",
        {"to": "+41791234567", "text": "c10 is not c1x"},
        {"shopId": "c1"},
        {"payload": a_batch("c9", "r1")},
        {"batches": [a_batch("c8", "r1"), a_batch("c9", "r2")]},
        {"campaignId": "c9"},
        {"campaignId": "c9", "recipientIds": "all"},
        {"campaignId": "c9", "batches": [{"recipientIds": ["r1"]}]},
    ],
)
def test_a_job_of_another_name_without_a_wanted_campaign_is_harmless(data: object) -> None:
    assert said(data) == Content()


@pytest.mark.parametrize(
    "data",
    [
        {"campaignId": "c1"},
        {"campaignId": "c1", "recipientIds": None},
        {"campaignId": "c1", "recipientIds": ["r1", None]},
        {"campaignId": "c1", "recipientIds": ["r1 "]},
        {"campaignId": "c1", "recipientIds": [{"id": "r1"}]},
        {"payload": a_batch("c1", "r1")},
        {"json": {"payload": a_batch("c1", "r1")}, "meta": {}},
        {"payload": json.dumps(a_batch("c1", "r1"))},
        json.dumps(json.dumps(a_batch("c1", "r1"))),
        [a_batch("c9", "r2"), a_batch("c1", "r1")],
        a_batch("c9", "r2", more=[a_batch("c1", "r1")]),
        {"campaignId": ["c1", "c9"]},
        {"campaign": "c1"},
        {"campaign": {"id": "c1"}},
        {"byCampaign": {"c1": ["r1"]}},
        {"path": "/campaigns/c1/send"},
        {"campaignId": "c1", "secret": "\ud83d"},
        '{campaignId: "c1", broken',
        a_batch(" c1", "r1"),
        a_batch("C1", "r1"),
        {"campaignId": "C1 "},
    ],
)
def test_a_job_of_another_name_that_mentions_a_campaign_is_doubt_about_it(data: object) -> None:
    assert said(data) == doubt("c1")


@pytest.mark.parametrize(
    "data",
    [
        a_batch(None, "r1"),
        a_batch("", "r1"),
        a_batch({"id": "c9"}, "r1"),
        a_batch(True, "r1"),
        {"campaignId": None},
        {"recipientIds": ["r1"]},
        {"payload": {"recipientIds": ["r1"]}},
        {"payload": a_batch(None, "r1")},
    ],
)
def test_a_job_without_a_campaign_may_be_about_any(data: object) -> None:
    assert said(data) == doubt(*WANTED)


@pytest.mark.parametrize("data", ["", "{", "null", "[]", '"c9"', {"campaignId": "c1"}, {"data": a_batch("c9", "r1")}])
def test_a_job_of_ours_that_cannot_be_read_may_belong_to_any_campaign(data: object) -> None:
    assert said(data, SENDS) == doubt(*WANTED)


def test_a_batch_with_a_second_one_inside_covers_the_first_and_leaves_the_second_in_doubt() -> None:
    data = a_batch("c1", "r1", more=[a_batch("c2", "r2")])
    assert said(data, SENDS) == Content("c1", ("r1",), frozenset({"c2"}))


def test_the_profile_names_further_jobs_that_send_and_jobs_that_never_do() -> None:
    profile = PROFILE.model_copy(update={"further_jobs": ("retry",), "harmless_jobs": ("refreshStats",)})
    reader = PayloadReader(profile, JobIds(), WANTED)
    assert reader.read("retry", "{") == doubt(*WANTED)
    assert reader.read("refreshStats", '{"campaignId": "c1"}') == Content()
    assert reader.read("refreshStats", json.dumps(a_batch("c1", "r1"))) == Content("c1", ("r1",)), "it carries them"


@pytest.mark.parametrize("spelled", [UUID.upper(), f"{{{UUID}}}", UUID.replace("-", ""), f"urn:uuid:{UUID}"])
def test_a_uuid_is_the_same_in_any_spelling(spelled: str) -> None:
    assert said(a_batch(spelled, spelled), SENDS, wanted=(UUID,), kind="uuid") == Content(UUID, (UUID,))
    for mention in ({"id": spelled}, {"path": f"/campaigns/{spelled}/send"}, f"broken {spelled}"):
        assert said(mention, wanted=(UUID,), kind="uuid") == doubt(UUID)


def test_a_malformed_uuid_may_be_any_campaign_and_among_recipients_is_doubt_about_its_own() -> None:
    assert said(a_batch("c1", UUID), SENDS, wanted=(UUID,), kind="uuid") == doubt(UUID)
    other = UUID.replace("f", "e")
    wanted = (UUID, other)
    assert said(a_batch(UUID, "r1"), SENDS, wanted=wanted, kind="uuid") == doubt(UUID)


@pytest.mark.parametrize("spelled", [898, "898", "0898", " 898 ", 898.0])
def test_a_number_is_the_same_in_any_spelling(spelled: Any) -> None:
    assert said(a_batch(spelled, spelled), SENDS, wanted=("898",), kind="int8") == Content("898", ("898",))
    assert said({"campaign": {"id": spelled}}, wanted=("898",), kind="int8") == doubt("898")


def test_a_number_in_a_text_is_a_campaign_only_where_it_says_so() -> None:
    for harmless in ({"text": "898 francs off"}, {"at": "0898-01-01"}, {"shopId": 898}, {"to": "+41898"}):
        assert said(harmless, wanted=("898",), kind="int4") == Content()
    for mention in ({"key": "campaign:898"}, {"path": "/campaigns/898"}, '{"campaignId": 898, broken'):
        assert said(mention, wanted=("898",), kind="int4") == doubt("898")


def test_a_search_finds_each_of_many_ids_and_never_part_of_a_longer_one() -> None:
    wanted = tuple(f"camp-{number}" for number in range(1_000))
    assert said({"path": "to/camp-17/and/camp-999"}, wanted=wanted) == doubt("camp-17", "camp-999")
    assert said({"path": "to/camp-1000"}, wanted=wanted) == Content()
    assert said({"odd": "<—>"}, wanted=("—",)) == doubt("—")
