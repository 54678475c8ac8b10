"""What is read of a platform: names to quote, ids and moments of every type, clocks far from UTC."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg as dialect

from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.core.model import Counters
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.postgres import campaigns, completion, cover, recipients, reservations
from campaign_ops.postgres.clock import database_now
from tests.postgres.ground import MAX_AGE, Ground, seconds_since


def test_stuck_is_what_is_sending_and_untouched_for_longer_whatever_the_server_s_time_zone(ground: Ground) -> None:
    ground.app.add_campaign("stuck", updated_ago=minutes(16))
    ground.app.add_campaign("lately", updated_ago=minutes(14))
    ground.app.add_campaign("ahead", updated_ago=-hours(3))
    for status in (*ground.platform.profile.campaign.words.all_over, *ground.platform.profile.campaign.words.idle):
        ground.app.add_campaign(f"is {status}", status=status, updated_ago=hours(9))
    (row,) = ground.do(campaigns.stuck(ground.tables, first=True), stuck_after_seconds=900, limit=10)
    assert row["id"] == ground.app.id("stuck")
    assert row["status"] == ground.platform.profile.campaign.words.sending
    assert 959 < seconds_since(row["updated_at"]) < 1020
    assert ground.ids(campaigns.sending_count(ground.tables)) == ["3"]


def test_untouched_for_exactly_that_long_is_not_yet_longer(ground: Ground) -> None:
    ground.app.add_campaign("one")
    ground.app.add_reservation(campaign="one", created_ago=hours(48))
    with ground.begin() as connection:
        now = database_now(connection)
        untouched = (now - ground.app.campaign("one")["updated_at"]).total_seconds()
        held_for = (now - ground.app.reservations("one")[0]["created_at"]).total_seconds()
        for less, found in ((0, 0), (0.001, 1)):
            stuck, old = campaigns.stuck_among(ground.tables), reservations.questionable
            binds = {"ids": [ground.app.id("one")], "stuck_after_seconds": untouched - less}
            assert len(connection.execute(stuck, binds).all()) == found
            late = connection.execute(old(ground.tables), {"max_age": held_for - less})
            assert len(late.all()) == found


def test_moments_are_compared_rightly_in_a_session_of_any_time_zone(ground: Ground) -> None:
    ground.app.add_campaign("stuck", updated_ago=minutes(16), succeeded=1)
    ground.app.add_campaign("lately", updated_ago=minutes(14))
    for zone in ("Pacific/Kiritimati", "America/New_York"):
        with ground.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL timezone = '{zone}'")
            stuck = campaigns.stuck(ground.tables, first=True)
            rows = connection.execute(stuck, {"stuck_after_seconds": 900, "limit": 9}).all()
            assert [row.id for row in rows] == [ground.app.id("stuck")]
            assert rows[0].updated_at == ground.app.campaign("stuck")["updated_at"]
    with ground.begin() as connection:
        connection.exec_driver_sql("SET LOCAL timezone = 'Asia/Kolkata'")
        connection.execute(completion.complete(ground.tables), ground.observed("stuck"))
    assert abs(seconds_since(ground.app.campaign("stuck")["updated_at"])) < 60


def test_pages_of_stuck_campaigns_follow_each_other_also_across_equal_moments(ground: Ground) -> None:
    labels = [f"c{number}" for number in range(7)]
    for label in labels:
        ground.app.add_campaign(label)
    same = ground.app.tables.campaign.update().values(updated_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the same in both
    with ground.app.engine.begin() as connection:
        connection.execute(same.where(ground.app.tables.campaign.c.name.in_(labels[:5])))
    found: list[dict[str, Any]] = []
    after: dict[str, Any] = {}
    while page := ground.do(campaigns.stuck(ground.tables, first=not after), stuck_after_seconds=900, limit=2, **after):
        found += page
        after = {"after_at": page[-1]["updated_at"], "after_id": page[-1]["id"]}
    assert sorted(row["name"] for row in found) == labels
    assert [row["updated_at"] for row in found] == sorted(row["updated_at"] for row in found)


def test_only_those_of_the_asked_for_that_are_stuck_are_given_back(ground: Ground) -> None:
    wanted = [ground.app.add_campaign("stuck"), ground.app.add_campaign("lately", updated_ago=minutes(1))]
    ground.app.add_campaign("not asked for")
    assert ground.ids(campaigns.stuck_among(ground.tables), ids=wanted, stuck_after_seconds=900) == wanted[:1]
    assert ground.ids(campaigns.stuck_among(ground.tables), ids=[], stuck_after_seconds=900) == []


def test_a_campaign_is_read_whole_and_in_utc(counting: Ground) -> None:
    counting.app.add_campaign("one", name='O\'Brien "50 %"', started_ago=hours(2), counters=Counters(9, 4, 1))
    (row,) = counting.do(campaigns.by_id(counting.tables), ids=[counting.app.id("one")])
    mine = counting.app.campaign("one")
    assert (row["name"], row["tenant"], row["status"]) == (mine["name"], mine["tenant"], mine["status"])
    assert (row["total"], row["succeeded"], row["failed"]) == (9, 4, 1)
    assert (row["updated_at"], row["started_at"]) == (mine["updated_at"], mine["started_at"])
    assert seconds_since(row["started_at"]) == pytest.approx(7200, abs=60)


def test_recipients_are_counted_by_word_and_by_what_the_provider_has(ground: Ground) -> None:
    ground.app.add_campaign("one", pending=3, accepted=2, succeeded=4, failed=1, moved_ago=minutes(7))
    ground.app.add_campaign("other", pending=5)
    words = ground.platform.profile.recipient.words
    rows = ground.do(recipients.tallies(ground.tables), ids=[ground.app.id("one")])
    assert {(row["status"], row["accepted"]): row["number"] for row in rows} == {
        (words.pending[0], False): 3,
        (words.pending[0], True): 2,
        (words.succeeded[0], True): 4,
        (words.failed[0], False): 1,
    }
    assert max(seconds_since(row["last_activity"]) for row in rows if row["last_activity"]) < 7 * 60 + 60
    assert min(seconds_since(row["last_activity"]) for row in rows if row["last_activity"]) > 7 * 60 - 60


def test_the_last_of_a_recipient_s_own_moments_counts(ground: Ground) -> None:
    ground.app.add_campaign("one", succeeded=1, moved_ago=hours(3))
    recipient = ground.app.tables.recipient
    delivered = recipient.c[ground.platform.profile.recipient.activity[1]]
    with ground.app.engine.begin() as connection:
        connection.execute(recipient.update().values({delivered: ground.app._ago(minutes(5))}))
    (row,) = ground.do(recipients.tallies(ground.tables), ids=[ground.app.id("one")])
    assert seconds_since(row["last_activity"]) == pytest.approx(300, abs=60)


def test_who_waits_in_no_job_is_cut_into_batches_and_read_again(ground: Ground) -> None:
    ground.app.add_campaign("one", pending=6, accepted=1, succeeded=2)
    ground.app.add_campaign("other", pending=2)
    ids, others = ground.app.pending_ids("one"), ground.app.pending_ids("other")
    accepted = set(ground.app.recipient_ids("one")) - set(ids)
    asked = [ground.app.id("one"), ground.app.id("other")]
    with ground.begin() as connection:
        cover.create(connection, ground.tables)
        cover.load(connection, [ids[0], ids[1], *accepted])
        assert not cover.any_doubled(connection)
        cover.load(connection, [ids[0]])
        assert cover.any_doubled(connection)
        cuts = cover.fill_batches(connection, ground.tables, asked, size=3, listed=4)
        assert {cut.campaign_id: cut.missing for cut in cuts} == {asked[0]: 4, asked[1]: 2}
        prints = {cut.campaign_id: cut.fingerprint for cut in cuts}
        assert [prints[one][0] for one in asked] == [6, 2]
        assert cover.fingerprints(connection, ground.tables, asked) == prints
        assert cover.doubled(connection, ground.tables, asked) == {asked[0]: 1}
        found = {(one.campaign_id, one.number): one.recipient_ids for one in cover.batches(connection, size=3)}
        one, rest, other = (asked[0], 0), (asked[0], 1), (asked[1], 0)
        assert {key: len(batch) for key, batch in found.items()} == {one: 3, rest: 1, other: 2}
        assert set(found[other]) == set(others)
        assert {*found[one], *found[rest]} == set(ids[2:])
        sent = found[one][0]
        _call_sent(ground, sent)
        moved = cover.fingerprints(connection, ground.tables, asked)
        assert moved[asked[0]] not in (prints[asked[0]], (6, prints[asked[0]][1]), (5, prints[asked[0]][1]))
        assert moved[asked[1]] == prints[asked[1]]
        assert {batch.number: batch.recipient_ids for batch in cover.as_cut(connection, [one])} == {0: found[one]}
        again = {
            (batch.campaign_id, batch.number): set(batch.recipient_ids)
            for batch in cover.read_again(connection, ground.tables, [one, other])
        }
        assert again == {one: set(found[one]) - {sent}, other: set(others)}
        cover.load(connection, others, cover.MARKED)
        assert [one.recipient_id for one in cover.marked(connection, limit=1)] == [
            min(others, key=lambda one: (len(one), one))
        ]


@pytest.mark.parametrize("listed", [2, cover.LISTED_AS_SET + 1])
def test_a_campaign_of_many_batches_is_cut_without_a_gap(sms_ground: Ground, listed: int) -> None:
    """A long array is cut twice, first into arrays of 40 batches; beside many live jobs the recipients are joined."""
    campaign = sms_ground.app.add_campaign("one", pending=201)
    covered, *missing = sms_ground.app.pending_ids("one")
    with sms_ground.begin() as connection:
        cover.create(connection, sms_ground.tables)
        cover.load(connection, [covered, covered])
        (cut,) = cover.fill_batches(connection, sms_ground.tables, [campaign], size=2, listed=listed)
        assert (cut.fingerprint[0], cut.missing) == (201, 200)
        batches = list(cover.batches(connection, size=2))
    assert [batch.number for batch in batches] == list(range(100))
    assert {len(batch.recipient_ids) for batch in batches} == {2}
    assert sorted(one for batch in batches for one in batch.recipient_ids) == sorted(missing)


def _call_sent(ground: Ground, recipient_id: str) -> None:
    table, word = ground.app.tables.recipient, ground.platform.profile.recipient.words.succeeded[0]
    with ground.app.engine.begin() as connection:
        its = table.c.id == sa.bindparam("its", recipient_id, type_=table.c.id.type)
        connection.execute(table.update().where(its).values({table.c.status: word}))


def test_ids_reach_the_cover_whatever_is_in_them(sms_ground: Ground) -> None:
    odd = ["tab\there", "back\\slash", "\\.", "line\nend", "carriage\rreturn", "plain", "\\N", "ü 🎄"]
    with sms_ground.begin() as connection:
        cover.create(connection, sms_ground.tables)
        cover.load(connection, odd, cover.MARKED)
        assert set(connection.scalars(sa.text(f"SELECT recipient_id FROM {cover.MARKED}"))) == set(odd)


def test_covering_leaves_no_table_behind_and_cannot_write_another(ground: Ground) -> None:
    campaign = ground.app.add_campaign("one")
    for _ in range(2):
        with ground.begin() as connection:
            cover.create(connection, ground.tables)
            binds = {"ids": [campaign], "updated_ats": [datetime.now(UTC)]}
            with pytest.raises(sa.exc.DBAPIError), connection.begin_nested():
                connection.execute(completion.complete(ground.tables), binds)


def test_a_job_whose_ids_are_of_another_kind_makes_the_queue_unreadable(typed: Ground) -> None:
    """It is unknown which recipients it covers. It was once read as covering none, and all of them were sent again."""
    with typed.begin() as connection:
        cover.create(connection, typed.tables)
        with pytest.raises(QueueUnavailable):
            cover.load(connection, ["12x"])


def test_credits_are_summed_by_tenant_and_by_whether_they_are_being_used(ground: Ground) -> None:
    ground.app.add_campaign("sending", tenant="a")
    ground.app.add_campaign("over", tenant="a", status=ground.platform.profile.campaign.words.done)
    ground.app.add_reservation(campaign="sending", amount=30)
    ground.app.add_reservation(campaign="over", amount=12)
    ground.app.add_reservation(campaign="nowhere", amount=5, tenant="b")
    released = ground.tables.profile.reservation
    assert released is not None
    ground.app.add_reservation(campaign="over", amount=999, status=released.words.released)
    rows = ground.do(reservations.held_totals(ground.tables), limit=10)
    assert [(row["tenant"], row["reservations"], row["held"], row["held_sending"]) for row in rows] == [
        ("a", 2, 42, 30),
        ("b", 1, 5, 0),
    ]
    assert len(ground.do(reservations.held_totals(ground.tables), limit=1)) == 1
    assert [row["tenant"] for row in ground.do(reservations.held_totals(ground.tables, ["b", "x"]), limit=10)] == ["b"]
    if isinstance(ground.tables.reservations.c.amount.type, sa.Numeric):
        change = ground.app.tables.reservation
        assert change is not None
        with ground.app.engine.begin() as connection:
            connection.execute(change.update().values(amount=sa.cast("NaN", sa.Numeric)))
        rows = ground.do(reservations.held_totals(ground.tables), limit=10)
        assert {(row["held"], row["held_sending"], row["held_by_all"]) for row in rows} == {(0, 0, 0)}


def test_campaigns_whose_every_reservation_says_a_strange_word_are_named_with_the_words(ground: Ground) -> None:
    for label in ("strange", "mixed", "another"):
        ground.app.add_campaign(label)
        ground.app.add_reservation(f"of {label}", campaign=label)
    reservation = ground.app.tables.reservation
    assert reservation is not None
    ground.set_word(reservation, "odd")
    ground.app.add_reservation("known", campaign="mixed")
    asked = [ground.app.id("strange"), ground.app.id("mixed")]
    rows = ground.do(reservations.strange_holds(ground.tables), ids=asked)
    assert [(row["campaign_id"], row["words"]) for row in rows] == [(asked[0], ["odd"])]


def test_reservations_to_look_at_are_those_that_are_late_or_whose_campaign_is_not_sending(ground: Ground) -> None:
    words = ground.platform.profile.campaign.words
    ground.app.add_campaign("sending")
    ground.app.add_campaign("over", status=words.done)
    ground.app.add_campaign("idle", status=words.idle[0])
    ground.app.add_reservation("fine", campaign="sending", expires_in=hours(1))
    wanted = {
        ground.app.add_reservation("expired", campaign="sending", expires_in=-minutes(1)),
        ground.app.add_reservation("old", campaign="sending", created_ago=hours(49)),
        ground.app.add_reservation("over", campaign="over"),
        ground.app.add_reservation("idle", campaign="idle"),
        ground.app.add_reservation("gone", campaign="nowhere"),
        ground.app.add_reservation("without a campaign", campaign=None),
    }
    found = ground.do(reservations.questionable(ground.tables), max_age=MAX_AGE)
    assert len(found) == len(wanted)
    assert {row["id"] for row in found} == wanted
    expired = next(row for row in found if row["id"] == ground.app.id("expired"))
    assert 30 < seconds_since(expired["expires_at"]) < 120


def test_a_reservation_is_read_with_the_status_of_its_campaign(ground: Ground) -> None:
    ground.app.add_campaign("over", tenant="a", status=ground.platform.profile.campaign.words.over[0])
    ids = [ground.app.add_reservation("r1", campaign="over", amount=7), ground.app.add_reservation("r2", campaign=None)]
    first, second = sorted(ground.do(reservations.by_id(ground.tables), ids=ids), key=lambda row: ids.index(row["id"]))
    assert (first["campaign_status"], first["tenant"], float(first["amount"])) == (
        ground.platform.profile.campaign.words.over[0],
        "a",
        7.0,
    )
    assert (second["campaign_id"], second["campaign_status"], second["expires_at"]) == (None, None, None)


@pytest.mark.parametrize("text", ["", "x", "1.5", "nul\0byte", "'; DROP TABLE", "9" * 30, "-1", "٣", "0x10", "ü"])
def test_a_person_s_text_is_an_id_or_is_not_but_never_an_error(ground: Ground, text: str) -> None:
    ground.app.add_campaign("one")
    table = ground.tables.campaign
    if ground.tables.may_be_id(table, text):
        assert ground.do(campaigns.by_id(ground.tables), ids=[text]) == []


def test_an_id_may_be_an_id(ground: Ground) -> None:
    assert ground.tables.may_be_id(ground.tables.campaign, ground.app.add_campaign("one"))


STATEMENTS = (campaigns, completion, recipients, reservations)


def every_statement(module: ModuleType, ground: Ground) -> Iterator[sa.ClauseElement]:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ != module.__name__ or name.startswith("_"):
            continue
        wanted = inspect.signature(function).parameters
        if next(iter(wanted), "") != "tables" or (name == "recount" and "succeeded" not in ground.tables.campaign.c):
            continue
        for first in (True, False) if "first" in wanted else (None,):
            made = function(ground.tables) if first is None else function(ground.tables, first=first)
            yield from made if isinstance(made, list) else [made]


def test_no_statement_reads_or_writes_a_phone_number_or_a_text(ground: Ground) -> None:
    made = [one for module in STATEMENTS for one in every_statement(module, ground)]
    assert len(made) > 30
    for one in made:
        text = str(one.compile(dialect=dialect.dialect()))  # type: ignore[no-untyped-call]
        assert "phone" not in text
        assert "message" not in text.replace("MessageId", "").replace('"Message"', "")
        assert "*" not in re.sub(r"count\(\*\)|SELECT \* \s*FROM campaign_ops_cover", "", text)


def test_every_moment_comes_out_aware(ground: Ground) -> None:
    ground.app.add_campaign("one", succeeded=1)
    ground.app.add_reservation(campaign="one", expires_in=timedelta(hours=1))
    rows = ground.do(campaigns.by_id(ground.tables), ids=[ground.app.id("one")])
    rows += ground.do(completion.lock_observed(ground.tables), **ground.observed("one"))
    rows += ground.do(reservations.lock_holds_of_campaigns(ground.tables), ids=[ground.app.id("one")])
    moments = [value for row in rows for value in row.values() if isinstance(value, datetime)]
    texts = [row[key] for row in rows for key in ("updated_at", "updated_at_exact") if isinstance(row.get(key), str)]
    assert len(texts) >= 2
    moments += map(datetime.fromisoformat, texts)
    assert all(moment.tzinfo is not None and moment.utcoffset() == timedelta(0) for moment in moments)
