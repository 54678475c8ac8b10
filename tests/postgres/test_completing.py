"""Completing, recounting and the locks before them: every premise stands in the write itself."""

from __future__ import annotations

import threading
import time
from itertools import product
from typing import Any

import pytest

from campaign_ops.core.model import Action, Counters, Outcome, Verdict
from campaign_ops.core.verdicts import decide
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.platform import Platform
from campaign_ops.postgres import completion
from campaign_ops.sweep.look import observe
from tests.postgres.conftest import COUNTING, Grounds
from tests.postgres.ground import Ground, seconds_since


def complete(ground: Ground, *labels: str, empty: Outcome | None = None, **changed: Any) -> list[str]:
    binds = {**ground.observed(*labels), **changed}
    return ground.ids(completion.complete(ground.tables, empty), **binds)


def test_a_finished_campaign_gets_the_word_the_moment_and_nothing_else(ground: Ground) -> None:
    words = ground.platform.profile.campaign.words
    ground.app.add_campaign("done", succeeded=2, failed=1, counters=Counters(3, 2, 1))
    ground.app.add_campaign("failed", failed=3)
    ground.app.add_campaign("accepted", accepted=1, failed=2)
    before = {label: ground.app.campaign(label) for label in ("done", "failed", "accepted")}
    assert set(complete(ground, *before)) == {ground.app.id(label) for label in before}
    after = {label: ground.app.campaign(label) for label in before}
    assert [row["status"] for row in after.values()] == [words.done, words.failed, words.done]
    for label, row in after.items():
        assert abs(seconds_since(row["updated_at"])) < 60
        if "completed_at" in row:
            assert abs(seconds_since(row["completed_at"])) < 60
        touched = {"status", "updated_at", "completed_at"}
        assert {key: row[key] for key in row.keys() - touched} == {
            key: value for key, value in before[label].items() if key not in touched
        }


@pytest.mark.parametrize("open_", ["pending", "unknown", "null", "unknown, with the provider's id"])
def test_one_open_recipient_keeps_a_campaign_from_being_completed_in_the_write_itself(
    ground: Ground, open_: str
) -> None:
    """A verdict is minutes old when it is written; what was judged must be true then."""
    ground.app.add_campaign("one", succeeded=2)
    accepted = "provider" in open_
    ground.app.add_recipients("one", pending=not accepted, accepted=accepted)
    if open_ != "pending":
        recipient = ground.app.tables.recipient
        waiting = recipient.c.status == ground.platform.profile.recipient.words.pending[0]
        ground.set_word(recipient, None if open_ == "null" else "odd", waiting)
    assert complete(ground, "one") == []
    assert ground.app.campaign("one")["status"] == ground.platform.profile.campaign.words.sending


def test_a_campaign_that_is_not_as_it_was_observed_is_left_alone(ground: Ground) -> None:
    for label in ("touched", "cancelled", "gone"):
        ground.app.add_campaign(label, succeeded=1)
    binds = ground.observed("touched", "cancelled", "gone")
    seen = {label: ground.app.campaign(label) for label in ("touched", "cancelled")}
    over = ground.platform.profile.campaign.words.over[0]
    ground.app.set_campaign("touched", updated_ago=minutes(20))
    with ground.app.engine.begin() as connection:
        campaign = ground.app.tables.campaign
        connection.execute(campaign.update().where(campaign.c.name == "cancelled").values(status=over))
        connection.execute(ground.app.tables.recipient.delete())
        connection.execute(campaign.delete().where(campaign.c.name == "gone"))
    ground.app.add_recipients("touched", succeeded=1)
    ground.app.add_recipients("cancelled", succeeded=1)
    assert ground.app.campaign("cancelled")["updated_at"] == seen["cancelled"]["updated_at"]
    for statement in (completion.complete(ground.tables), completion.lock_observed(ground.tables)):
        assert ground.ids(statement, **binds) == []
    assert ground.app.campaign("cancelled")["status"] == over


def test_a_campaign_is_completed_once(ground: Ground) -> None:
    ground.app.add_campaign("one", succeeded=1)
    binds = ground.observed("one")
    assert len(ground.ids(completion.complete(ground.tables), **binds)) == 1
    first = ground.app.campaign("one")
    assert ground.ids(completion.complete(ground.tables), **binds) == []
    assert ground.app.campaign("one") == first


@pytest.mark.parametrize("outcome", Outcome)
def test_without_recipients_a_campaign_ends_only_if_the_policy_says_how(ground: Ground, outcome: Outcome) -> None:
    words = ground.platform.profile.campaign.words
    ground.app.add_campaign("empty", counters=Counters(0, 0, 0))
    ground.app.add_campaign("done", succeeded=1)
    assert complete(ground, "empty") == []
    assert complete(ground, "empty", "done", empty=outcome) == [ground.app.id("empty")]
    assert ground.app.campaign("empty")["status"] == (words.done if outcome is Outcome.DONE else words.failed)
    assert ground.app.campaign("done")["status"] == words.sending


def test_on_a_platform_without_a_word_for_failed_all_failed_is_done(messenger: Ground) -> None:
    messenger.app.add_campaign("one", failed=3)
    messenger.app.add_campaign("empty")
    complete(messenger, "one")
    complete(messenger, "empty", empty=Outcome.FAILED)
    assert [messenger.app.campaign(label)["status"] for label in ("one", "empty")] == ["COMPLETED"] * 2


def test_a_campaign_whose_recipients_have_no_rows_yet_is_neither_empty_nor_finished(messenger: Ground) -> None:
    messenger.app.add_campaign("one", counters=Counters(50, 0, 0))
    assert complete(messenger, "one") == []
    assert complete(messenger, "one", empty=Outcome.FAILED) == []


def test_a_campaign_with_rows_is_not_empty_though_its_own_total_says_so(counting: Ground) -> None:
    counting.app.add_campaign("one", pending=1, counters=Counters(0, 0, 0))
    assert complete(counting, "one", empty=Outcome.FAILED) == []


def test_a_moment_of_completion_that_is_there_already_is_kept(counting: Ground) -> None:
    counting.app.add_campaign("one", succeeded=1, completed_ago=hours(3))
    before = counting.app.campaign("one")["completed_at"]
    assert complete(counting, "one")
    assert counting.app.campaign("one")["completed_at"] == before


def change(ground: Ground, statement: str) -> None:
    with ground.app.engine.begin() as connection:
        connection.exec_driver_sql(statement)


FAILED_THEN_SENT = """
    UPDATE "Message" m SET "contactId" = (
        SELECT max("contactId") FROM "Message" o WHERE o."campaignId" = m."campaignId" AND status = 'SENT'
    ) WHERE status = 'FAILED' AND "campaignId" LIKE '%%again%%'
"""
SENT_LAST = """UPDATE "Message" SET status = status WHERE status = 'SENT' AND "campaignId" LIKE '%%again%%'"""
GONE_CONTACT = """UPDATE "Message" SET "contactId" = NULL WHERE "campaignId" LIKE '%%gone%%' AND status = 'FAILED'"""
RESENT = """UPDATE "Campaign" SET "startedAt" = now() WHERE id LIKE '%%resent%%'"""
COMPLETED_BEFORE = """UPDATE "Campaign" SET "completedAt" = now() WHERE id LIKE '%%over%%'"""
SENT_SINCE = """
    UPDATE "Message" SET "createdAt" = now() + interval '1 minute'
    WHERE id LIKE '%%r000001' AND "campaignId" LIKE '%%more%%'
"""


@pytest.mark.parametrize("columns", ["both", "neither", "people", "moment"])
def test_runs_and_tries_are_told_apart_in_the_write_as_in_the_verdict(grounds: Grounds, columns: str) -> None:
    """Rows of this run and of an earlier one, failed tries and their retries, contacts that are gone, counters."""
    ground = grounds(COUNTING["prisma"])
    base = ground.platform.profile
    names = {"about": base.recipient.about, "created_at": base.recipient.created_at}
    if columns != "both":
        names = {
            key: value if columns == {"about": "people"}.get(key, "moment") else None for key, value in names.items()
        }
    profile = base.model_copy(update={"recipient": base.recipient.model_copy(update=names)})
    platform = Platform(profile.name, profile, ground.platform.policy, ground.database, None)
    tables = ground.database.run(platform.tables)
    kinds = ("plain", "again", "gone", "resent", "resentmore", "over", "overmore", "resentagain", "unknown")
    rows = [(0, 0), (2, 0), (0, 2), (2, 1), (1, 2), (3, 0)]
    told = [(3, 0, 0), (3, 1, 1), (3, 2, 1), (3, 3, 0), (3, 0, 3), (0, 0, 0), (2, 2, 0)]
    for number, (kind, (sent, failed), counters) in enumerate(product(kinds, rows, told)):
        ground.app.add_campaign(
            f"{kind}{number:03}",
            succeeded=sent,
            failed=failed,
            counters=Counters(*counters),
            moved_ago=hours(1),
            started_ago=None if kind == "unknown" else hours(2),
        )
    for statement in (FAILED_THEN_SENT, SENT_LAST, GONE_CONTACT, RESENT, COMPLETED_BEFORE, SENT_SINCE):
        change(ground, statement)
    seen = observe(platform, compare="none")
    judged = {one.campaign.id: decide(one, None, platform.policy, seen.at) for one in seen.evidence}
    assert len(judged) == len(kinds) * len(rows) * len(told)
    binds = {"ids": list(judged), "updated_ats": [one.campaign.updated_at for one in seen.evidence]}
    by_sweep = {row["id"]: row for row in ground.do(completion.complete(tables), **binds)}
    assert by_sweep.keys() == {one for one, found in judged.items() if found.action is Action.COMPLETE}
    counted = {one.campaign.id: one.campaign.counters for one in seen.evidence}
    for campaign_id, row in by_sweep.items():
        expected = judged[campaign_id].recount or counted[campaign_id]
        assert expected is not None
        assert (row["succeeded"], row["failed"]) == (expected.succeeded, expected.failed)
    by_person = {row["id"] for row in ground.do(completion.complete(tables, by_person=True), **binds)}
    assert by_person == {one for one, found in judged.items() if found.verdict is Verdict.DISPUTED}
    assert {Verdict.FINISHED, Verdict.DISPUTED, Verdict.STALLED} <= {found.verdict for found in judged.values()}


def test_what_is_written_is_what_would_have_been_judged(counting: Ground) -> None:
    """The premise in the write and the verdict are two texts of one rule: held against each other, case by case."""
    told = [None, (0, 0), (1, 2), (3, 0), (2, 1), (9, 9)]
    cases = product((0, 1), (0, 1), (0, 2), (0, 1), told)
    for number, (pending, accepted, succeeded, failed, counters) in enumerate(cases):
        counted = None if counters is None else Counters(3, *counters)
        counting.app.add_campaign(
            f"c{number:03}",
            pending=pending,
            accepted=accepted,
            succeeded=succeeded,
            failed=failed,
            counters=counted,
            moved_ago=hours(1),
        )
    seen = observe(counting.platform, compare="none")
    judged = {one.campaign.id: decide(one, None, counting.platform.policy, seen.at) for one in seen.evidence}
    binds = {"ids": list(judged), "updated_ats": [one.campaign.updated_at for one in seen.evidence]}
    assert len(judged) == 96
    recounted = {row["id"]: row for row in counting.do(completion.recount(counting.tables), **binds)}
    wanted = {one: found.recount for one, found in judged.items() if found.action is not Action.COMPLETE}
    for campaign_id, recount in wanted.items():
        row = recounted.get(campaign_id)
        assert (row and (row["succeeded"], row["failed"])) == (recount and (recount.succeeded, recount.failed))
    words = counting.platform.profile.campaign.words
    word = {Outcome.DONE: words.done, Outcome.FAILED: words.failed or words.done}
    completed = {row["id"]: row["status"] for row in counting.do(completion.complete(counting.tables), **binds)}
    assert completed == {
        one: word[found.outcome]
        for one, found in judged.items()
        if found.action is Action.COMPLETE and found.outcome is not None
    }


# -- locking ---------------------------------------------------------------------------------------------------


def test_a_campaign_that_somebody_holds_is_skipped_and_not_waited_for(ground: Ground) -> None:
    ground.app.add_campaign("held", succeeded=1)
    ground.app.add_campaign("free", succeeded=1)
    binds = ground.observed("held", "free")
    with ground.begin() as connection:
        connection.execute(completion.lock_observed(ground.tables), ground.observed("held"))
        assert ground.ids(completion.lock_observed(ground.tables), **binds) == [ground.app.id("free")]
        assert ground.ids(completion.lock_still_sending(ground.tables), **binds) == [ground.app.id("free")]


def test_recipients_may_be_added_while_a_re_enqueue_is_being_journaled(ground: Ground) -> None:
    ground.app.add_campaign("one", pending=1)
    with ground.begin() as connection:
        assert connection.scalars(completion.lock_still_sending(ground.tables), ground.observed("one")).all()
        with ground.app.engine.begin() as adding:
            adding.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            ground.app._insert_recipients(adding, "one", {"pending": 1})
    assert len(ground.app.recipient_ids("one")) == 2


def test_a_recipient_being_added_keeps_its_campaign_from_being_locked(ground: Ground) -> None:
    """Its row is not visible yet, so no read could show that the campaign is not finished."""
    ground.app.add_campaign("one", succeeded=1)
    binds = ground.observed("one")
    with ground.app.engine.begin() as connection:
        ground.app._insert_recipients(connection, "one", {"pending": 1})
        assert ground.ids(completion.lock_observed(ground.tables), **binds) == []


def test_a_recipient_that_comes_while_we_write_waits_until_the_campaign_is_over(ground: Ground) -> None:
    ground.app.add_campaign("one", succeeded=1)
    binds = ground.observed("one")
    adding = threading.Thread(target=ground.app.add_recipients, args=("one",), kwargs={"pending": 1})
    with ground.begin() as connection:
        assert len(connection.execute(completion.lock_observed(ground.tables), binds).all()) == 1
        adding.start()
        time.sleep(0.1)
        assert adding.is_alive()
        assert len(connection.execute(completion.complete(ground.tables), binds).all()) == 1
    adding.join(10)
    assert len(ground.app.recipient_ids("one")) == 2


# -- recounting ------------------------------------------------------------------------------------------------


def test_counters_are_raised_to_the_rows_and_the_campaign_stays_as_untouched_as_it_was(recounting: Ground) -> None:
    recounting.app.add_campaign("one", accepted=1, succeeded=3, failed=2, counters=Counters(6, 2, 1))
    before = recounting.app.campaign("one")
    (row,) = recounting.do(completion.recount(recounting.tables), **recounting.observed("one"))
    assert (row["succeeded"], row["failed"]) == (4, 2)
    assert recounting.app.campaign("one") == {**before, "succeeded": 4, "failed": 2}


@pytest.mark.parametrize("counters", [Counters(20, 4, 2), Counters(20, 9, 2), Counters(20, 9, 9)])
def test_counters_that_agree_or_are_ahead_are_left_alone(recounting: Ground, counters: Counters) -> None:
    recounting.app.add_campaign("one", accepted=1, succeeded=3, failed=2, counters=counters)
    assert recounting.do(completion.recount(recounting.tables), **recounting.observed("one")) == []


def test_counters_of_a_campaign_that_was_touched_are_left_to_the_application(recounting: Ground) -> None:
    recounting.app.add_campaign("one", succeeded=3, counters=Counters(20, 0, 0))
    binds = recounting.observed("one")
    recounting.app.set_campaign("one")
    assert recounting.do(completion.recount(recounting.tables), **binds) == []


def test_counters_that_are_evidence_are_never_raised_while_their_campaign_is_open(messenger: Ground) -> None:
    messenger.app.add_campaign("one", succeeded=6, counters=Counters(10, 3, 0))
    assert messenger.do(completion.recount(messenger.tables), **messenger.observed("one")) == []


def test_counters_beside_fewer_rows_than_the_total_are_never_raised_either(recounting: Ground) -> None:
    """They say whether the others were deleted or are still to come."""
    recounting.app.add_campaign("one", succeeded=3, counters=Counters(6, 0, 3))
    assert recounting.do(completion.recount(recounting.tables), **recounting.observed("one")) == []


def test_a_recount_cannot_make_an_unfinished_campaign_look_finished(messenger: Ground) -> None:
    messenger.app.add_campaign("one", succeeded=6, failed=1, counters=Counters(10, 3, 4))
    assert messenger.do(completion.recount(messenger.tables), **messenger.observed("one")) == []
    assert complete(messenger, "one") == []


# -- re-enqueueing ---------------------------------------------------------------------------------------------


def test_only_campaigns_as_observed_may_be_re_enqueued(ground: Ground) -> None:
    ground.app.add_campaign("open", pending=1)
    ground.app.add_campaign("touched", pending=1)
    ground.app.add_campaign("cancelled", pending=1)
    binds = ground.observed("open", "touched", "cancelled")
    ground.app.set_campaign("touched", updated_ago=minutes(20))
    campaign = ground.app.tables.campaign
    over = ground.platform.profile.campaign.words.over[0]
    with ground.app.engine.begin() as connection:
        connection.execute(campaign.update().where(campaign.c.name == "cancelled").values(status=over))
    assert ground.ids(completion.lock_still_sending(ground.tables), **binds) == [ground.app.id("open")]
