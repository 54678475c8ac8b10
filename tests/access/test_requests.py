"""Idempotency keys: one request, one effect, one answer. And the audit of attempts."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from campaign_ops.access import (
    Beginning,
    Begun,
    Finished,
    InProgress,
    Mismatch,
    abandon,
    audit,
    audits,
    begin,
    finish,
)
from campaign_ops.journal.audit import KEPT_ROWS
from tests.conftest import World
from tests.doctor.bench import least


def started(world: World, ago: str, key: str = "key") -> None:
    set_back = f"UPDATE campaign_ops.idempotency SET started_at = now() - interval '{ago}'"
    world.rows(f"{set_back} WHERE key = :key RETURNING key", key=key)


def keys(world: World) -> list[str]:
    return [row["key"] for row in world.rows("SELECT key FROM campaign_ops.idempotency ORDER BY key")]


def test_a_request_that_is_sent_again_gets_the_first_answer(sms: World) -> None:
    body = {"success": True, "campaign": {"id": "c1", "counts": [1, 2]}}
    assert begin(sms.platform, "key", "t1", "hash") == Begun()
    finish(sms.platform, "key", 200, body)
    assert begin(sms.platform, "key", "t1", "hash") == Finished(200, body)
    finish(sms.platform, "key", 500, None)
    assert begin(sms.platform, "key", "t1", "hash") == Finished(200, body)


@pytest.mark.parametrize(("token_id", "request_hash"), [("t2", "hash"), ("t1", "other")])
def test_a_key_is_for_one_request_of_one_token(sms: World, token_id: str, request_hash: str) -> None:
    begin(sms.platform, "key", "t1", "hash")
    assert begin(sms.platform, "key", token_id, request_hash) == Mismatch()
    finish(sms.platform, "key", 200, {})
    assert begin(sms.platform, "key", token_id, request_hash) == Mismatch()
    assert begin(sms.platform, "another key", token_id, request_hash) == Begun()


def test_a_request_without_an_answer_is_in_progress_and_later_begins_again(sms: World) -> None:
    """Its process has died, or its database went away: the key was refused as in progress for a day."""
    begin(sms.platform, "key", "t1", "hash")
    assert isinstance(begin(sms.platform, "key", "t1", "hash"), InProgress)
    started(sms, "601 seconds")
    assert begin(sms.platform, "key", "t1", "other") == Mismatch()
    assert begin(sms.platform, "key", "t2", "hash") == Mismatch()
    assert begin(sms.platform, "key", "t1", "hash") == Begun()
    assert isinstance(begin(sms.platform, "key", "t1", "hash"), InProgress), "one at a time"


def test_an_answer_stays_the_answer_however_old_it_is(sms: World) -> None:
    begin(sms.platform, "key", "t1", "hash")
    finish(sms.platform, "key", 200, {})
    started(sms, "601 seconds")
    assert begin(sms.platform, "key", "t1", "hash") == Finished(200, {})


def test_a_request_that_did_nothing_may_be_sent_again(sms: World) -> None:
    begin(sms.platform, "key", "t1", "hash")
    abandon(sms.platform, "key")
    assert begin(sms.platform, "key", "t1", "hash") == Begun()
    finish(sms.platform, "key", 200, {})
    abandon(sms.platform, "key")
    assert begin(sms.platform, "key", "t1", "hash") == Finished(200, {})


def test_of_many_that_send_the_same_request_at_once_one_begins(sms: World) -> None:
    answers: list[Beginning] = []
    together = threading.Barrier(4)

    def send() -> None:
        together.wait(10)
        answers.append(begin(sms.platform, "key", "t1", "hash"))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(answer).__name__ for answer in answers) == ["Begun", "InProgress", "InProgress", "InProgress"]


def test_a_key_waits_for_another_transaction_that_claims_it(sms: World) -> None:
    """Without the wait, both would see no row and both would carry the request out."""
    log, answers = sms.platform.idempotency, list[Beginning]()
    with sms.platform.database.transaction() as connection:
        assert log.begin(connection, "key", "t1", "hash") == Begun()
        other = threading.Thread(target=lambda: answers.append(begin(sms.platform, "key", "t1", "hash")))
        other.start()
        other.join(0.3)
        assert answers == []
    other.join()
    assert [type(answer) for answer in answers] == [InProgress]


def test_keys_of_another_campaign_table_do_not_count(sms: World) -> None:
    begin(sms.platform, "key", "t1", "hash")
    sms.rows("UPDATE campaign_ops.idempotency SET tables = 'other.Campaign' RETURNING key")
    assert begin(sms.platform, "key", "t1", "hash") == Begun()


def test_a_sweep_forgets_answers_of_more_than_a_day_ago(sms: World) -> None:
    begin(sms.platform, "old", "t1", "hash")
    started(sms, "26 hours", "old")
    begin(sms.platform, "new", "t1", "hash")
    started(sms, "24 hours", "new")
    sms.sweep()
    assert keys(sms) == ["new"]


# -- the audit ------------------------------------------------------------------------------------------------------


def attempt(world: World, **values: Any) -> None:
    known: dict[str, Any] = {
        "token_id": "t1",
        "actor": "deploy",
        "address": "192.0.2.1",
        "method": "POST",
        "path": "/api/campaigns/c1/mark-complete",
        "status": 200,
    }
    audit(world.platform, **known | values)


def test_accepted_and_refused_attempts_are_recorded(sms: World) -> None:
    attempt(sms, why="TICKET-1")
    attempt(sms, token_id=None, actor="", status=401, why="no token")
    second, first = audits(sms.platform)
    assert (first.token_id, first.actor, first.status, first.why) == ("t1", "deploy", 200, "TICKET-1")
    assert (first.address, first.method, first.path) == ("192.0.2.1", "POST", "/api/campaigns/c1/mark-complete")
    assert (second.token_id, second.actor, second.status, second.why) == (None, "", 401, "no token")
    assert second.at >= first.at
    assert audits(sms.platform, 1) == [second]


def test_whatever_a_stranger_sends_is_recorded_within_bounds(sms: World) -> None:
    attempt(sms, path="/api/\0\ud800" + "x" * 10_000, token_id="\0", why="'; DROP TABLE campaign_ops.audit; --")
    (entry,) = audits(sms.platform)
    assert entry.path.startswith("/api/\\x00\\ud800x")
    assert len(entry.path) < 520
    assert entry.token_id == "\\x00"
    assert entry.why == "'; DROP TABLE campaign_ops.audit; --"


def test_a_sweep_forgets_old_attempts_and_all_but_the_latest(sms: World) -> None:
    attempt(sms, why="old")
    sms.rows("UPDATE campaign_ops.audit SET at = now() - interval '91 days' RETURNING id")
    attempt(sms, why="of another table")
    sms.rows("UPDATE campaign_ops.audit SET tables = 'other.Campaign' WHERE why = 'of another table' RETURNING id")
    attempt(sms, why="too many")
    columns = "tables, token_id, actor, address, method, path, status, why"
    copied = "tables, token_id, actor, address, method, path, status, 'kept'"
    sms.rows(
        f"INSERT INTO campaign_ops.audit ({columns}) SELECT {copied} FROM campaign_ops.audit, generate_series(1, :many)"
        " WHERE why = 'too many' RETURNING id",
        many=KEPT_ROWS,
    )
    sms.sweep()
    counts = sms.rows("SELECT why, count(*) AS rows FROM campaign_ops.audit GROUP BY why ORDER BY why")
    assert counts == [{"why": "kept", "rows": KEPT_ROWS}, {"why": "of another table", "rows": 1}]


def test_the_rights_that_the_doctor_prints_are_enough_for_requests(sms: World) -> None:
    least(sms)
    begin(sms.platform, "key", "t1", "hash")
    finish(sms.platform, "key", 200, {})
    begin(sms.platform, "nothing", "t1", "hash")
    abandon(sms.platform, "nothing")
    attempt(sms)
    started(sms, "26 hours")
    sms.sweep()
    assert keys(sms) == []
    assert len(audits(sms.platform)) == 1
