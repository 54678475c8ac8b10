"""The doctor's findings about a queue and its Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from campaign_ops.bullmq.queue import Queue, QueueAddress, ServerFacts
from campaign_ops.core.policy import Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.doctor import Finding, Level
from campaign_ops.doctor.queue import depth, queue, redis_version
from campaign_ops.lab.servers.embedded import EmbeddedRedis
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database
from campaign_ops.profile.load import load_profile
from tests.bullmq.kit import PROFILE, connect, contents, key, payload, put, until, workers
from tests.doctor.bench import complaints, the

NOWHERE = "postgresql+psycopg://nobody@/nothing?host=/nowhere"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared: EmbeddedRedis) -> Iterator[Any]:
    """A client of a server that has only the meta key of one queue, as its application leaves it."""
    with connect(shared) as client:
        client.flushall()
        client.hset(key("meta"), mapping={"version": "bullmq:5.81.5"})
        yield client


def looked_at(server: EmbeddedRedis, url: str | None = None, *, prefix: str = "bull") -> list[Finding]:
    profile = load_profile("sms")
    with Queue(QueueAddress(url or server.url(), prefix, read_timeout_seconds=2), PROFILE) as it:
        return list(queue(Platform("sms", profile, Policy(), Database(NOWHERE), it)))


def test_jobs_that_are_kept_aside_are_mentioned(shared: EmbeddedRedis, redis: Any) -> None:
    """They are in no state, so that the doctor said "no job is live" while one waited for its turn."""
    put(redis, "active", "7", payload("c1"))
    redis.hset(key("7"), "deid", "c1")
    redis.hset(key("dn:c1"), mapping={"name": "sendBulkSMS", "data": "{}"})
    found = the(looked_at(shared), "queue_aside")
    assert found.level is Level.NOTE
    assert found.what.startswith("1 job kept aside")


def test_a_queue_as_it_should_be_earns_no_complaint(shared: EmbeddedRedis, redis: Any, tmp_path: Path) -> None:
    with workers(shared, 2, tmp_path):
        until(lambda: the(looked_at(shared), "queue_workers").level is Level.OK)
        findings = looked_at(shared)
    assert {one.level for one in findings} == {Level.OK}
    assert [one.check for one in findings] == [
        "queue",
        "queue_rights",
        "queue_server",
        "queue_role",
        "queue_eviction",
        "queue_name",
        "queue_library",
        "queue_markers",
        "queue_paused",
        "queue_workers",
        "queue_depth",
    ]


def test_looking_at_a_queue_changes_nothing(shared: EmbeddedRedis, redis: Any) -> None:
    put(redis, "wait", "1", payload("c1", "r1"))
    before = contents(shared)
    looked_at(shared)
    looked_at(shared, prefix="elsewhere")
    assert contents(shared) == before


def test_waiting_jobs_without_a_worker_are_a_warning(shared: EmbeddedRedis, redis: Any) -> None:
    assert the(looked_at(shared), "queue_workers").level is Level.NOTE
    put(redis, "delayed", "1", payload("c1", "r1"))
    (found,) = complaints(looked_at(shared))
    assert (found.check, found.level) == ("queue_workers", Level.WARNING)


def test_a_paused_queue_is_a_warning(shared: EmbeddedRedis, redis: Any) -> None:
    redis.hset(key("meta"), "paused", "1")
    (found,) = complaints(looked_at(shared))
    assert found.check == "queue_paused"
    assert "resume" in found.mend


@pytest.mark.parametrize("version", ["bullmq:99.1.0", "bullmq-pro:7.10.1"])
def test_a_queue_that_is_only_looked_at_says_why(shared: EmbeddedRedis, redis: Any, version: str) -> None:
    redis.hset(key("meta"), "version", version)
    (found,) = complaints(looked_at(shared))
    assert found.check == "queue_library"
    assert "only read" in found.what


def test_a_wrong_prefix_is_answered_with_the_right_one(shared: EmbeddedRedis, redis: Any) -> None:
    redis.hset("{app}:sms-send:meta", "version", "bullmq:5.81.5")
    redis.hset("bull:other-queue:meta", "version", "bullmq:5.81.5")
    (found,) = complaints(looked_at(shared, prefix="Bull"))
    assert (found.check, found.level) == ("queue_name", Level.ERROR)
    assert "under bull, {app}" in found.what
    assert found.mend == 'set queue_prefix: "bull"'
    assert the(looked_at(shared, prefix="{app}"), "queue_name").level is Level.OK


def test_a_queue_that_was_never_used_is_a_warning(shared: EmbeddedRedis, redis: Any) -> None:
    redis.flushall()
    (found,) = complaints(looked_at(shared))
    assert (found.check, found.level) == ("queue_name", Level.WARNING)


def test_a_redis_that_is_away_is_one_error_in_plain_words(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        server.kill()
        (found,) = looked_at(server)
    assert (found.check, found.level) == ("queue", Level.ERROR)
    assert found.what == f"Redis 127.0.0.1:{server.port}/0, queue bull:sms-send: nothing listens there"
    assert "queue_url" in found.mend


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://no.such.host.invalid:1/0", "host name is not known"),
        ("unix:///nowhere/redis.sock", "no such socket"),
    ],
)
def test_each_way_of_not_being_reachable_is_told_apart(shared: EmbeddedRedis, url: str, words: str) -> None:
    (found,) = looked_at(shared, url)
    assert words in found.what


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that a test may configure differently."""
    with EmbeddedRedis(tmp_path) as server, connect(server) as client:
        client.hset(key("meta"), "version", "bullmq:5.81.5")
        yield server


def test_an_eviction_policy_that_loses_jobs_is_mended_as_it_says(own: EmbeddedRedis) -> None:
    with connect(own) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        (found,) = complaints(looked_at(own))
        assert (found.check, found.level) == ("queue_eviction", Level.WARNING)
        command = found.mend.partition(",")[0].removeprefix("redis-cli ")
        client.execute_command(*command.split())
    assert complaints(looked_at(own)) == []


def test_a_replica_is_an_error(own: EmbeddedRedis) -> None:
    with connect(own) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    (found,) = complaints(looked_at(own))
    assert (found.check, found.level) == ("queue_role", Level.ERROR)


def test_a_refused_password_is_reported_and_stays_secret(own: EmbeddedRedis) -> None:
    with connect(own) as client:
        client.config_set("requirepass", "right-secret")
    for url in (own.url(), own.url().replace("//", "//:wrong-secret@")):
        (found,) = looked_at(own, url)
        assert "does not let us in" in found.what
        assert "secret" not in found.what + found.mend
        assert "(" not in found.what


def test_a_server_that_hides_facts_is_reported_with_the_consequences(own: EmbeddedRedis) -> None:
    with connect(own) as client:
        client.execute_command(
            *("ACL", "SETUSER", "ops", "on", ">pw", "~bull:sms-send:*", "~sms:*", "+@all", "-@dangerous", "-@admin")
        )
    findings = looked_at(own, own.url().replace("//", "//ops:pw@"))
    noted = [one.check for one in findings if one.level is not Level.OK]
    assert noted == ["queue_rights", "queue_server", "queue_eviction", "queue_workers"]
    assert [one.check for one in complaints(findings)] == ["queue_rights"]


def test_markers_that_may_not_be_read_are_an_error_with_the_patterns_to_allow(own: EmbeddedRedis) -> None:
    with connect(own) as client:
        client.execute_command("ACL", "SETUSER", "ops", "on", ">pw", "~bull:*", "+@all")
        url = own.url().replace("//", "//ops:pw@")
        (found,) = complaints(looked_at(own, url))
        assert (found.check, found.level) == ("queue_markers", Level.ERROR)
        client.execute_command(*found.mend.removeprefix("redis-cli ").replace("<user in queue_url>", "ops").split())
    assert complaints(looked_at(own, url)) == []


@pytest.mark.parametrize(
    ("waiting", "level", "words"),
    [
        (10, Level.OK, "10 jobs are waiting"),
        (11, Level.WARNING, "more than 10"),
        (20, Level.WARNING, "nothing is re-enqueued"),
    ],
)
def test_depth_is_held_against_the_limits(waiting: int, level: Level, words: str) -> None:
    found = depth(
        QueueState("q", {"wait": waiting - 1, "prioritized": 1}), Policy(backlog_limit=10, max_queue_depth=20)
    )
    assert found.level is level
    assert words in found.what


@pytest.mark.parametrize(
    ("told", "level"),
    [("6.2.14", Level.OK), ("7.4.1", Level.OK), ("10.0.0", Level.OK), ("6.0.16", Level.WARNING), (None, Level.NOTE)],
)
def test_an_old_redis_is_a_warning(told: str | None, level: Level) -> None:
    assert redis_version(ServerFacts(told, "master", "noeviction", "id")).level is level


def test_jobs_without_the_meta_key_are_reported_as_an_emptied_queue(shared: EmbeddedRedis, redis: Any) -> None:
    """The doctor reported that the queue exists, and the plan that it does not."""
    put(redis, "wait", "1", payload("c1", "r1"))
    redis.delete(key("meta"))
    found = the(looked_at(shared), "queue_name")
    assert found.level is Level.WARNING
    assert "takes the queue for emptied" in found.what
