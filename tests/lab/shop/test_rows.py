"""The shop's rows, with any names, types and time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from campaign_ops.core.model import Counters
from campaign_ops.lab.demo.platforms import create_platform
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.row_writer import PlatformShape, RowWriter, hours, minutes, redis_fingerprint
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile

RENAMED = {
    "schema": "messaging app",
    "campaign": {"table": "campaigns", "tenant": "shop_id", "updated_at": "updated_at"},
    "recipient": {"table": "campaign_recipients", "campaign_id": "campaign_id", "activity": ["sent_at", "failed_at"]},
    "reservation": {"table": "credit_holds", "campaign_id": "campaign_id", "expires_at": None},
}


def renamed(profile: Profile) -> Profile:
    """The same platform in snake_case, in a schema whose name needs quotes."""
    document = profile.model_dump(by_alias=True)
    for part, names in RENAMED.items():
        document[part] = {**document[part], **names} if isinstance(names, dict) else names
    return Profile.model_validate(document)


@pytest.fixture
def url(servers: EmbeddedServers, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"demo_{abs(hash(request.node.nodeid))}"
    yield servers.postgres.create_database(name)
    servers.postgres.drop_database(name)


@pytest.mark.parametrize(
    "shape",
    [
        PlatformShape(),
        PlatformShape(ids="uuid", statuses="enum", timestamps="aware", extra_words=("bounced",)),
        PlatformShape(ids="integer", amounts="numeric"),
        PlatformShape(ids="bigint", statuses="enum", extra_words=("bounced",)),
    ],
    ids=lambda shape: f"{shape.ids}-{shape.statuses}-{shape.timestamps}",
)
@pytest.mark.parametrize("kind", ["sms", "renamed", "messenger"])
def test_rows_are_read_as_written_with_any_names_and_types(url: str, kind: str, shape: PlatformShape) -> None:
    profile = load_profile("messenger" if kind == "messenger" else "sms")
    profile = renamed(profile) if kind == "renamed" else profile
    writer = RowWriter.connect(url, profile, shape, create=True)
    words = profile.recipient.words
    given = writer.add_campaign("cmp_a", name="A", pending=3, accepted=2, succeeded=4, failed=1, words={"bounced": 1})
    assert writer.id("cmp_a") == given == writer.campaign(given)["id"]
    tally = {words.pending[0]: 5, words.succeeded[0]: 4, words.failed[0]: 1, "bounced": 1}
    assert writer.tally("cmp_a") == tally
    assert len(writer.pending_ids(given)) == 3
    assert writer.move_recipients("cmp_a", "succeeded", 2) == 2
    writer.add_recipients("cmp_a", pending=1)
    assert len(set(writer.recipient_ids("cmp_a"))) == 12
    assert len(writer.pending_ids("cmp_a")) == 2
    if profile.campaign.counters:
        assert [writer.campaign("cmp_a")[key] for key in ("total", "succeeded", "failed")] == [11, 6, 1]
    if profile.reservation:
        writer.add_reservation("res_a", campaign="cmp_a", amount=7, expires_in=-hours(1))
        (held,) = writer.reservations("cmp_a")
        assert (held["id"], held["tenant"], held["amount"]) == (writer.id("res_a"), "shop_north", 7)
    writer.set_campaign("cmp_a", status=profile.campaign.words.done, updated_ago=hours(3))
    assert writer.remove_campaigns(hours(2)) == [given]
    assert not any(writer.fingerprint().values())
    writer.close()


@pytest.mark.parametrize("timestamps", ["naive", "aware"])
def test_ages_are_right_in_utc_in_any_time_zone_of_the_server(url: str, timestamps: Any) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        name = sa.make_url(url).database
        connection.execute(sa.text(f"ALTER DATABASE {name} SET timezone = 'America/St_Johns'"))
    engine.dispose()
    writer = RowWriter.connect(url, load_profile("sms"), PlatformShape(timestamps=timestamps), create=True)
    writer.add_campaign("cmp_a", updated_ago=minutes(40), succeeded=3, moved_ago=minutes(10))
    moments = [recipient["sentAt"] for recipient in writer.recipients("cmp_a")]
    ages = [
        (datetime.now(UTC) - moment).total_seconds() for moment in (writer.campaign("cmp_a")["updated_at"], *moments)
    ]
    assert ages == pytest.approx([2400, 600.2, 600.1, 600], abs=5)
    assert moments == sorted(moments)
    writer.close()


def test_one_changed_value_changes_the_fingerprint_and_reading_does_not(url: str, servers: EmbeddedServers) -> None:
    writer = RowWriter.connect(url, load_profile("sms"), create=True)
    writer.add_campaign("cmp_a", pending=2)
    before = writer.fingerprint()
    writer.campaign("cmp_a")
    assert writer.fingerprint() == before
    writer.move_recipients("cmp_a", "accepted", 1)
    assert writer.fingerprint() != before
    writer.close()
    with redis.Redis.from_url(servers.redis.url(7)) as client:
        client.hset("fp:hash", mapping={str(number): "x" * 70 for number in range(9)})
        client.zadd("fp:zset", {"a": 1, "b": 2})
        client.xadd("fp:stream", {"event": "added"})
        found = redis_fingerprint(servers.redis.url(7), "fp:*")
        for number in range(9):
            client.hget("fp:hash", str(number))
        assert redis_fingerprint(servers.redis.url(7), "fp:*") == found
        client.zadd("fp:zset", {"b": 3})
        changed = redis_fingerprint(servers.redis.url(7), "fp:*")
        assert [key for key in found if found[key] != changed[key]] == ["fp:zset"]
        client.flushdb()


def test_counters_may_disagree_with_the_rows(servers: EmbeddedServers) -> None:
    platform = create_platform(servers, "demo_messenger", "messenger")
    writer = platform.writer()
    writer.add_campaign("cmp_a", succeeded=5, counters=Counters(total=9, succeeded=7, failed=1))
    row = writer.campaign("cmp_a")
    assert ((row["total"], row["succeeded"], row["failed"]), writer.tally("cmp_a")) == ((9, 7, 1), {"SENT": 5})
    writer.close()
