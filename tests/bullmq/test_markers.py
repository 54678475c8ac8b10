"""Markers are found alike whether each is asked for or all are listed, and a user who may not read them learns so."""

from __future__ import annotations

from typing import Any

import pytest

from campaign_ops.bullmq import markers
from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from tests.bullmq.kit import PROFILE, connect

MANY = [f"r{number}" for number in range(3_000)]
ODD = ["a*", "a[b]", "a?", "a\\b", "é", "", " ", "{x}", "a:b", "r1:r2"]


def calls(raw: Any, command: str) -> int:
    return int(raw.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


@pytest.mark.parametrize(
    "marker", ["sms:sent:{recipient_id}", "{recipient_id}:sent[*]?", "s\\{recipient_id}", "{recipient_id}"]
)
def test_a_listed_marker_is_the_one_that_was_asked_for(server: EmbeddedRedis, raw: Any, marker: str) -> None:
    profile = PROFILE.model_copy(update={"markers": (marker, "other:{recipient_id}")})
    marked = {*ODD[::2], "r7", "r2999"}
    for recipient in marked:
        raw.set(marker.replace("{recipient_id}", recipient), "1")
    raw.set("other:r8", "1")
    raw.set("sms:sent-not:r9", "1")
    with Queue(QueueAddress(server.url()), profile) as queue:
        raw.config_resetstat()
        listed = queue.marked([*MANY, *ODD])
        assert calls(raw, "exists") == 1, "the probe"
        asked = frozenset().union(*(queue.marked([recipient]) for recipient in [*ODD, "r7", "r8", "r9", "r2999"]))
    assert listed == asked == marked | {"r8"}


def test_in_a_large_database_each_marker_is_asked_for(queue: Queue, raw: Any) -> None:
    raw.mset({f"cache:{number}": "1" for number in range(4_000)})
    raw.set("sms:sent:campaignRecipient:r5", "1")
    raw.config_resetstat()
    assert queue.marked(MANY) == {"r5"}
    assert calls(raw, "scan") == 0


@pytest.mark.parametrize("refused", ["-dbsize", "-scan", "-info"])
def test_a_user_who_may_not_list_asks(own_server: EmbeddedRedis, refused: str) -> None:
    with connect(own_server) as client:
        client.set("sms:send-claim:r5", "1")
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~*", "+@all", refused)
        with Queue(QueueAddress(own_server.url().replace("redis://", "redis://ops:pw@")), PROFILE) as queue:
            assert queue.marked(MANY) == {"r5"}
        assert calls(client, "exists") > 1


def test_a_user_who_may_not_read_markers_is_not_answered_that_there_are_none(own_server: EmbeddedRedis) -> None:
    with connect(own_server) as client:
        client.set("sms:send-claim:r5", "1")
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~bull:*", "~sms:sent:*", "+@all")
    with (
        Queue(QueueAddress(own_server.url().replace("redis://", "redis://ops:pw@")), PROFILE) as queue,
        pytest.raises(QueueUnavailable),
    ):
        queue.marked(MANY)


def test_markers_that_are_listed_while_others_come_and_go_are_complete(queue: Queue, raw: Any) -> None:
    """SCAN goes on over a table that grows and shrinks between its round trips."""
    raw.mset({f"sms:send-claim:r{number}": "1" for number in range(1_000)})
    scan = queue._client.scan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markers, "KEYS_LISTED_PER_TRIP", 200)

        def disturbed(*arguments: Any, **options: Any) -> Any:
            raw.mset({f"cache:{number}": "1" for number in range(5_000)})
            answer = scan(*arguments, **options)
            raw.delete(*(f"cache:{number}" for number in range(5_000)))
            return answer

        patch.setattr(queue._client, "scan", disturbed)
        assert queue.marked(MANY) == {f"r{number}" for number in range(1_000)}
