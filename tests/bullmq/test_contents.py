"""Many jobs are read without other campaigns' recipient ids, and mean the same as when they are read whole."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from campaign_ops.bullmq import contents
from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import PROFILE, connect, payload, put

CAMPAIGNS = ("c1", "c2")
_texts = st.sampled_from(["c1", "C1", " c2", "c9", "r1", "]", "[", "{", '"', "\\", '"recipientIds":[', "é", "", "c1]"])
_scalars = st.one_of(_texts, st.integers(0, 9), st.floats(allow_nan=True), st.none(), st.booleans())
_keys = st.sampled_from(["campaignId", "recipientIds", "shopId", "batches", "more", 'a"b', "recipientIds\\"])
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=6,
)
_batches = st.fixed_dictionaries(
    {"campaignId": _scalars, "recipientIds": st.lists(_scalars, max_size=3) | _values},
    optional={"shopId": _values, "more": _values},
)


def _written(document: object, dense: bool, ascii_only: bool, damage: tuple[int, str] | None) -> str:
    separators = (",", ":") if dense else (", ", ": ")
    text = json.dumps(document, separators=separators, ensure_ascii=ascii_only)
    if damage is not None:
        place, instead = damage
        text = text[:place] + instead + text[place + 1 :]
    return text


_payloads = st.builds(
    _written,
    st.one_of(_batches, st.dictionaries(_keys, _values, max_size=4), _values),
    st.booleans(),
    st.booleans(),
    st.none() | st.tuples(st.integers(0, 60), st.sampled_from(["", "]", "[", '"', ",", "\\"])),
)


def _understood(queue: Queue) -> Any:
    snapshot = queue.snapshot()
    reading = queue.live_jobs(snapshot, CAMPAIGNS)
    jobs = {(job.id, job.campaign_id, job.recipient_ids, job.taken) for job in reading}
    return jobs, reading.result.state, reading.result.unclear, reading.result.dated, reading.result.finished


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([("sendBulkSMS", '{"campaignId":"c9","recipientIds":[{"campaignId":"c1","id":"r1"}]}')])
@example([("sendBulkSMS", '{"campaignId":"c9","recipientIds":["r1"],"more":[{"campaignId":"c1"}]}')])
@example([("sendBulkSMS", '{"campaignId":"c9","recipientIds":["]"],"campaignId":"c1"}')])
@example([("sendBulkSMS", '{"campaignId":"c9","recipientIds":["r1"],"recipientIds":[["r2"]]}')])
@example([("sendBulkSMS", '{"campaignId":"c9","recipientIds":["\\"],","r1"],"campaignId":"c1"}')])
@example([("sendEmail", '{"more":{"recipientIds":["r1"]},"recipientIds":["r2"]}')])
@given(st.lists(st.tuples(st.sampled_from(["sendBulkSMS", "sendEmail"]), _payloads), min_size=1, max_size=12))
def test_a_job_says_the_same_with_and_without_others_recipients(
    queue: Queue, raw: Any, jobs: list[tuple[str, str]]
) -> None:
    assume(not any(_broken_only_inside_the_list(data) for _, data in jobs))
    raw.flushall()
    for number, (name, data) in enumerate(jobs):
        put(raw, "wait", f"job-{number}", data, name=name)
    whole = _understood(queue)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "CUT_FROM", 0)
        assert _understood(queue) == whole


def test_only_an_error_inside_the_list_itself_is_not_seen(
    queue: Queue, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "CUT_FROM", 0)
    put(raw, "wait", "1", '{"campaignId":"c9","recipientIds":["r1" "r2"]}')
    assert _understood(queue)[2] == {}, "no worker can parse it, and its campaign is named"
    put(raw, "wait", "2", '{"campaignId":"c1","recipientIds":["r1" "r2"]}')
    put(raw, "wait", "3", '{"campaignId":"c9","recipientIds":["r1","r2"]')
    assert _understood(queue)[2] == {campaign: {"sendBulkSMS": 2} for campaign in CAMPAIGNS}


def test_of_many_jobs_only_the_recipients_of_the_wanted_campaigns_are_fetched(
    queue: Queue, server: EmbeddedRedis, raw: Any
) -> None:
    ids = [f"recipient-{number:015}" for number in range(500)]
    for number in range(400):
        put(raw, "wait", f"job-{number}", payload("c1" if number < 10 else "c9", *ids))
    snapshot = queue.snapshot()
    before = raw.info("stats")["total_net_output_bytes"]
    jobs = list(queue.live_jobs(snapshot, CAMPAIGNS))
    fetched = raw.info("stats")["total_net_output_bytes"] - before
    assert [len(job.recipient_ids) for job in jobs] == [500] * 10
    assert fetched < 2 * 10 * len(payload("c1", *ids)), "390 payloads of others are 5 MB"


def test_a_user_who_may_run_no_script_reads_every_job_whole(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        for number in range(contents.CUT_FROM + 1):
            put(client, "wait", f"job-{number}", payload("c1" if number % 2 else "c9", f"r{number}"))
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~*", "+@all", "-eval")
    with Queue(QueueAddress(own_server.url().replace("redis://", "redis://ops:pw@")), PROFILE) as queue:
        jobs = list(queue.live_jobs(queue.snapshot(), CAMPAIGNS))
    assert len(jobs) == contents.CUT_FROM // 2


def _broken_only_inside_the_list(data: str) -> bool:
    return not _is_json(data) and _is_json(re.sub(r'("recipientIds"\s*:\s*\[)[^\]]*', r"\1", data, count=1))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
