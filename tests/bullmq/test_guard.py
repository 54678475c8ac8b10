"""The add itself refuses, inside Redis, what changed between the last look and the add."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from campaign_ops.bullmq import guard as guard_module
from campaign_ops.bullmq.guard import LastLook, OtherQueue, packed
from campaign_ops.bullmq.queue import Guard, LookAgain, Queue, QueueAddress
from campaign_ops.core.errors import Refused
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import PROFILE, a_job, add_by_bullmq, connect, key, payload, put, read

ID = "0898cdef-1111-4222-8333-444455556666"


def test_an_add_passes_while_nothing_new_concerns_its_campaign(queue: Queue, raw: Any, server: EmbeddedRedis) -> None:
    put(raw, "wait", "old", payload("c1", "r9"))
    look = queue.last_look()
    raw.lmove(key("wait"), key("active"), "LEFT", "RIGHT")
    put(raw, "delayed", "theirs", payload("c2", "r3"))
    put(raw, "wait", "mail", '{"to": "somebody"}', name="sendEmail")
    raw.lpush(key("wait"), "0:1712345678901")
    add_by_bullmq(server, [{"name": "sendBulkSMS", "data": {"campaignId": "c3", "recipientIds": []}, "opts": {}}])
    assert queue.add([a_job("ops-1")], Guard(look)) == {"ops-1"}


@pytest.mark.parametrize("state", ["wait", "paused", "active", "prioritized", "delayed", "waiting-children"])
def test_a_campaign_that_got_a_job_in_any_state_gets_none_of_ours(queue: Queue, raw: Any, state: str) -> None:
    look = queue.last_look()
    put(raw, state, "new", payload("c1", "r1"), name="another")
    assert queue.add([a_job("ops-1"), a_job("ops-2", "c2")], Guard(look)) == {"ops-2"}


def test_wake_up_markers_are_not_jobs_and_ids_like_them_are(queue: Queue, raw: Any) -> None:
    look = queue.last_look()
    raw.lpush(key("wait"), "0:0", "0:1712345678901", "0:1712345678901.2")
    put(raw, "wait", "0:17", payload("c1", "r1"))
    put(raw, "delayed", "0:1712345678902", payload("c2", "r1"))
    assert queue.add([a_job(f"ops-{number}", f"c{number}") for number in (1, 2, 3)], Guard(look)) == {"ops-3"}


@pytest.mark.parametrize(
    "data",
    [
        f'{{"campaignId":"{ID.upper()}","recipientIds":["r1"]}}',
        f'{{"campaignId": " {ID} ", "recipientIds": ["r1"]}}',
        f'{{"campaignId":"{{{ID}}}","recipientIds":["r1"]}}',
        f'{{"campaignId":"{ID.replace("-", "")}","recipientIds":["r1"]}}',
        f'{{"campaignId":"urn:uuid:{ID}","recipientIds":["r1"]}}',
        f'{{"batches":[{{"campaignId":"c7"}},{{"campaignId":"{ID}"}}]}}',
    ],
)
def test_an_id_is_recognised_in_every_spelling(queue: Queue, raw: Any, data: str) -> None:
    look = queue.last_look()
    put(raw, "wait", "new", data)
    assert queue.add([a_job("ops-1", ID)], Guard(look)) == frozenset()


def test_an_id_that_is_a_text_like_a_decimal_number_is_recognised(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "shard-1", payload("5.0", "r9"), timestamp="1")
    guard = Guard(queue.last_look(), dated=read(queue, ["5.0"]).dated)
    raw.hset(key("shard-1"), mapping={"data": payload("c9", "r9"), "timestamp": "2"})
    put(raw, "wait", "new", '{"next":["7.00"]}', name="another")
    assert queue.add([a_job("ops-1", "5.0"), a_job("ops-2", "7.00"), a_job("ops-3", "c2")], guard) == {"ops-3"}


@pytest.mark.parametrize(
    "data",
    [
        '{"what":"/campaigns/c1/again"}',
        '{"what":"{\\"campaignId\\": \\"c1\\"}"}',
        '{"what":"again:\\nc1"}',
        '{"campaignId":"c9","next":["c1"]}',
    ],
)
def test_a_job_of_another_name_that_mentions_the_campaign_may_be_about_it(queue: Queue, raw: Any, data: str) -> None:
    look = queue.last_look()
    put(raw, "wait", "new", data, name="another")
    assert queue.add([a_job("ops-1"), a_job("ops-2", "c11")], Guard(look)) == {"ops-2"}


def test_a_job_of_a_harmless_name_leaves_no_doubt(server: EmbeddedRedis, raw: Any) -> None:
    profile = PROFILE.model_copy(update={"harmless_jobs": ("sendReport",)})
    with Queue(QueueAddress(server.url()), profile) as queue:
        look = queue.last_look()
        put(raw, "wait", "new", '{"about": "c1", "recipientIds": ["x"]}', name="sendReport")
        assert queue.add([a_job("ops-1")], Guard(look)) == {"ops-1"}


@pytest.mark.parametrize("value", ["41", "41.0", '"41"', '"0041"', " 41 ", '" 41"'])
def test_a_number_is_recognised_in_every_spelling(queue: Queue, raw: Any, value: str) -> None:
    look = queue.last_look()
    put(raw, "wait", "new", f'{{"campaignId":{value},"recipientIds":[410]}}')
    assert queue.add([a_job("ops-1", "41"), a_job("ops-2", "410")], Guard(look)) == {"ops-2"}


@pytest.mark.parametrize(
    "data",
    [
        "{",
        '{"recipientIds":["r1"]}',
        '{"campaignId":"\\u0063\\u0031"}',
        '{"campaignId":null,"recipientIds":["r1"]}',
        '{"campaignId":" ","recipientIds":["r1"]}',
        '{"campaignId":["c9","c1"],"recipientIds":["r1"]}',
        '{"campaignId":{"id":"c1"},"recipientIds":["r1"]}',
    ],
)
def test_a_new_job_that_cannot_be_understood_stops_every_add(queue: Queue, raw: Any, data: str) -> None:
    look = queue.last_look()
    put(raw, "wait", "new", data)
    with pytest.raises(LookAgain, match="may cover any recipient"):
        queue.add([a_job("ops-1")], Guard(look))
    assert not raw.exists(key("ops-1"))


def test_a_new_job_without_a_name_may_be_any_campaigns(queue: Queue, raw: Any) -> None:
    look = queue.last_look()
    put(raw, "wait", "new", '{"list": 7}')
    raw.hdel(key("new"), "name")
    with pytest.raises(LookAgain, match="may cover any recipient"):
        queue.add([a_job("ops-1")], Guard(look))


def test_a_job_that_came_and_went_is_named_by_the_events(queue: Queue, raw: Any, server: EmbeddedRedis) -> None:
    add_by_bullmq(server, [{"name": "sendBulkSMS", "data": {"campaignId": "c2"}, "opts": {"jobId": "before"}}])
    look = queue.last_look()
    add_by_bullmq(server, [{"name": "sendBulkSMS", "data": {"campaignId": "c1"}, "opts": {"jobId": "short"}}])
    raw.lrem(key("wait"), 1, "short")
    raw.delete(key("short"))
    with pytest.raises(LookAgain, match="short"):
        queue.add([a_job("ops-1")], Guard(look))
    assert queue.add([a_job("ops-1")], Guard(queue.last_look())) == {"ops-1"}


def test_a_harmless_job_that_came_and_went_leaves_no_doubt(server: EmbeddedRedis, raw: Any) -> None:
    """Where such jobs take milliseconds and are removed, one came and went at every look, and nothing was added."""
    profile = PROFILE.model_copy(update={"harmless_jobs": ("sendReport",)})
    with Queue(QueueAddress(server.url()), profile) as queue:
        look = queue.last_look()
        for number, name in enumerate(("sendReport", "sendReport", "another", "sendReport")):
            add_by_bullmq(server, [{"name": name, "data": {}, "opts": {"jobId": "short"}}])
            raw.lrem(key("wait"), 1, "short")
            raw.delete(key("short"))
            guard = Guard(look, ours=["ops-0", "ops-1"])
            if number < 2:
                assert queue.add([a_job(f"ops-{number}")], guard) == {f"ops-{number}"}
                continue
            with pytest.raises(LookAgain, match="short"):
                queue.add([a_job("ops-2")], guard)


def test_an_id_that_is_used_again_for_another_job_is_new(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "c1-0", payload("c1", "r9"), timestamp="1")
    dated = read(queue, ["c1"]).dated
    guard = Guard(queue.last_look(), dated=dated)
    raw.hset(key("c1-0"), mapping={"data": payload("c1", "r1"), "timestamp": "2"})
    assert queue.add([a_job("ops-1"), a_job("ops-2", "c2")], guard) == {"ops-2"}


def test_a_campaign_whose_job_has_ended_since_waits_though_its_id_is_another_campaign_s_now(
    queue: Queue, raw: Any
) -> None:
    put(raw, "wait", "shard-1", payload("c1", "r9"), timestamp="1")
    guard = Guard(queue.last_look(), dated=read(queue, ["c1", "c2"]).dated)
    raw.hset(key("shard-1"), mapping={"data": payload("c2", "r1"), "timestamp": "2"})
    assert queue.add([a_job(f"ops-{number}", f"c{number}") for number in (1, 2, 3)], guard) == {"ops-3"}


def test_an_id_that_is_used_again_for_a_job_that_is_gone_is_looked_at_again(
    queue: Queue, raw: Any, server: EmbeddedRedis
) -> None:
    again = {"name": "sendBulkSMS", "data": {"campaignId": "c1"}, "opts": {"jobId": "shard-1"}}
    put(raw, "wait", "shard-1", payload("c9", "r9"), timestamp="1")
    guard = Guard(queue.last_look(), dated=read(queue, ["c1"]).dated)
    raw.delete(key("wait"), key("shard-1"))
    add_by_bullmq(server, [again])
    raw.lrem(key("wait"), 1, "shard-1")
    raw.delete(key("shard-1"))
    with pytest.raises(LookAgain, match="shard-1"):
        queue.add([a_job("ops-1")], guard)


def test_a_job_that_is_the_one_that_was_read_is_not_new(queue: Queue, raw: Any) -> None:
    put(raw, "wait", "c1-0", payload("c1", "r9"), timestamp="1")
    put(raw, "wait", "mail", "{}", name="sendEmail", timestamp="2")
    guard = Guard(queue.last_look(), dated=read(queue, ["c1"]).dated)
    assert queue.add([a_job("ops-1")], guard) == {"ops-1"}


def test_the_next_job_with_the_deduplication_id_of_an_active_one_is_new(queue: Queue, raw: Any) -> None:
    put(raw, "active", "1", payload("c9", "r9"), deid="a")
    put(raw, "active", "2", payload("c9", "r9"), deid="b")
    aside = {"name": "sendBulkSMS", "data": payload("c1", "r1"), "jid": "17"}
    look, before = queue.last_look(), read(queue, ["c1"])
    raw.hset(key("dn:a"), mapping=aside)
    assert queue.add([a_job("ops-1"), a_job("ops-2", "c2")], Guard(look, dated=before.dated)) == {"ops-2"}
    after = Guard(look, dated=read(queue, ["c1"]).dated, ours=["ops-2"])
    raw.hset(key("dn:a"), "jid", "18")
    assert queue.add([a_job("ops-1")], after) == frozenset()
    raw.hset(key("dn:a"), "jid", "17")
    assert queue.add([a_job("ops-1")], after) == {"ops-1"}


def test_a_job_kept_aside_is_new_though_the_one_it_waits_for_is_already_to_be_tried_again(
    queue: Queue, raw: Any
) -> None:
    put(raw, "active", "1", payload("c9", "r9"), deid="a")
    guard = Guard(queue.last_look(), dated=read(queue, ["c1"]).dated)
    raw.hset(key("dn:a"), mapping={"name": "sendBulkSMS", "data": payload("c1", "r1"), "jid": "17"})
    raw.xadd(key("events"), {"event": "deduplicated", "jobId": "1", "deduplicationId": "a", "deduplicatedJobId": "17"})
    raw.lrem(key("active"), 1, "1")
    raw.zadd(key("delayed"), {"1": 1})
    assert queue.add([a_job("ops-1"), a_job("ops-2", "c2")], guard) == {"ops-2"}


def test_more_new_jobs_than_can_be_judged_inside_redis_stop_the_add(
    queue: Queue, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "MAX_NEW_JOBS", 2)
    look = queue.last_look()
    for number in range(2):
        put(raw, "wait", f"new-{number}", payload("c9", "r9"))
    assert queue.add([a_job("ops-1")], Guard(look)) == {"ops-1"}
    put(raw, "wait", "new-2", payload("c9", "r9"))
    with pytest.raises(LookAgain):
        queue.add([a_job("ops-2")], Guard(look, ours=["ops-1"]))


def test_more_events_than_can_be_read_inside_redis_stop_the_add(
    queue: Queue, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that came and went is named by the events alone: those that were not read may name one."""
    monkeypatch.setattr(guard_module, "EVENTS_LOOKED_AT", 3)
    put(raw, "active", "old", payload("c9", "r9"))
    raw.xadd(key("events"), {"event": "active", "jobId": "old"})
    look = queue.last_look()
    raw.xadd(key("events"), {"event": "progress", "jobId": "old"})
    assert queue.add([a_job("ops-1")], Guard(look)) == {"ops-1"}
    look = queue.last_look()
    for _ in range(3):
        raw.xadd(key("events"), {"event": "progress", "jobId": "old"})
    raw.xadd(key("events"), {"event": "added", "jobId": "short"})
    with pytest.raises(LookAgain):
        queue.add([a_job("ops-2")], Guard(look))


def test_what_is_sent_to_redis_is_what_concerns_the_jobs() -> None:
    dated = {"a": ("c-1", "5"), "7": ("c2", "6"), "shard": ("c2", "8"), "mail": (None, None)}
    other = OtherQueue("bull:other:", LastLook({"b": "wait"}, event="2-0"), {"b": ("c-1", "9")})
    guard = Guard(LastLook({"a": "wait"}, 5.5, "1-0"), ["ops-1"], dated, "r1", 10, [other])
    profile = PROFILE.model_copy(update={"further_jobs": ("retry",), "harmless_jobs": ("report",)})
    assert json.loads(packed(guard, ["c-1"], profile)) == {
        "known": ["a", "ops-1"],
        "dated": [["a", "5", "c1"], ["shard", "8", "c2"], ["mail", "", ""]],
        "event": "1-0",
        "others": [
            {
                "prefix": "bull:other:",
                "known": ["b", "ops-1"],
                "dated": [["b", "9", "c1"]],
                "event": "2-0",
            }
        ],
        "server": "r1",
        "deadline": 15.5,
        "sends": {"sendBulkSMS": True, "retry": True},
        "harmless": {"report": True},
        "mentions": [["%f[%w]c[^%w]*1%f[%W]", "c1"]],
        "campaign_key": "campaignid",
        "recipients_key": "recipientids",
    }
    unknown = json.loads(packed(Guard(LastLook({})), ["007", "ü"], profile))
    assert (unknown["server"], unknown["deadline"], unknown["event"]) == ("", -1, "")
    assert unknown["mentions"] == [["%f[%w]0*007%f[%W]", "7"], ["", ""]]
    assert json.loads(packed(None, ["c1"], profile)) == {}


def test_our_own_jobs_are_not_new(queue: Queue) -> None:
    look = queue.last_look()
    assert queue.add([a_job("ops-1")], Guard(look)) == {"ops-1"}
    assert queue.add([a_job("ops-2")], Guard(look, ours={"ops-1"})) == {"ops-2"}
    assert queue.add([a_job("ops-3")], Guard(look)) == frozenset()


def test_nothing_is_added_to_another_redis_process(queue: Queue, raw: Any) -> None:
    look, server_id = queue.last_look(), queue.state().server_id
    with pytest.raises(Refused, match="restarted or replaced"):
        queue.add([a_job("ops-1")], Guard(look, server_id="another"))
    assert queue.add([a_job("ops-1")], Guard(look, server_id=server_id)) == {"ops-1"}


def test_a_look_grows_too_old_by_the_clock_of_redis(queue: Queue, raw: Any) -> None:
    look = queue.last_look()
    assert look.at is not None
    with pytest.raises(LookAgain, match="the last look at it is too old"):
        queue.add([a_job("ops-1")], Guard(replace(look, at=look.at - 11), max_seconds=10))
    assert queue.add([a_job("ops-1")], Guard(look, max_seconds=10)) == {"ops-1"}


def test_nothing_is_added_to_a_queue_paused_at_the_last_moment(queue: Queue, raw: Any) -> None:
    add = queue._writer.add

    def paused_before(*arguments: Any) -> Any:
        raw.hset(key("meta"), "paused", "1")
        return add(*arguments)

    queue._writer.add = paused_before  # type: ignore[method-assign, assignment]
    with pytest.raises(Refused, match="paused"):
        queue.add([a_job("ops-1")], Guard(queue.last_look()))
    assert not raw.exists(key("ops-1"))


def test_without_the_rights_for_info_clock_and_events_new_jobs_are_still_seen(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        rights = ("+@all", "-@dangerous", "-time", "-xrange", "-xrevrange")
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~bull:*", *rights)
        with Queue(QueueAddress(own_server.url().replace("//", "//ops:pw@")), PROFILE) as queue:
            look = queue.last_look()
            assert (look.at, look.event) == (None, None)
            put(client, "wait", "new", payload("c1", "r1"))
            assert queue.add([a_job("ops-1"), a_job("ops-2", "c2")], Guard(look, server_id="x")) == {"ops-2"}


@pytest.mark.parametrize("options", [{"priority": 3}, {"delay": 60_000}, {"lifo": True}])
def test_the_profile_s_options_choose_bullmq_s_own_script(server: EmbeddedRedis, raw: Any, options: Any) -> None:
    with Queue(QueueAddress(server.url()), PROFILE.model_copy(update={"options": options})) as queue:
        look = queue.last_look()
        assert queue.add([a_job("ops-1"), a_job("ops-2", "c2")], Guard(look)) == {"ops-1", "ops-2"}
        counts = queue.state().counts
    state = next((one for name, one in (("priority", "prioritized"), ("delay", "delayed")) if name in options), "wait")
    assert counts[state] == 2
