"""What became of the jobs of a sweep that was killed between the intent and the confirmation."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis

from campaign_ops.sweep import settle
from tests.conftest import World
from tests.sweep.actors import covered, interfering
from tests.sweep.stage import Killed


def die() -> None:
    raise Killed


def killed_around_the_add(world: World, *, before: str = "", after: str = "") -> None:
    world.app.add_campaign("c", pending=4)
    with pytest.raises(Killed), interfering(world, before=before, after=after, what=die):
        world.sweep()


def sent_and_removed(world: World) -> None:
    """As a worker leaves a job that is removed on completion."""
    with redis.Redis.from_url(world.queue.url) as client:
        for job in world.queue.live_job_ids():
            client.lrem(world.queue.key("wait"), 1, job)
            client.delete(world.queue.key(job))
    world.app.move_recipients("c", "succeeded", 4)


def events_gone(world: World) -> None:
    with redis.Redis.from_url(world.queue.url) as client:
        client.delete(world.queue.key("events"))


def intents(world: World) -> list[tuple[bool, str | None]]:
    rows = world.rows("SELECT added_at, closed_as FROM campaign_ops.intent ORDER BY job_id")
    return [(row["added_at"] is not None, row["closed_as"]) for row in rows]


def grown_old(world: World, minutes: int) -> None:
    for table, column in (("intent", "intended_at"), ("attempt", "last_at")):
        world.rows(
            f"UPDATE campaign_ops.{table} SET {column} = {column} - make_interval(mins => :minutes) RETURNING 1",
            minutes=minutes,
        )


def test_jobs_that_were_sent_and_removed_are_known_by_the_events_and_counted(sms: World) -> None:
    killed_around_the_add(sms, after="add")
    sent_and_removed(sms)
    report = sms.sweep()
    assert "of an earlier sweep that ended early: 1 job added (4 recipients)" in report.repairs[1].detail
    assert intents(sms) == [(True, None)]
    assert report.repairs_of_the_day["reenqueue"] == 1


def test_a_job_still_there_is_counted_too(sms: World) -> None:
    killed_around_the_add(sms, after="add")
    assert "1 job added (4 recipients)" in sms.sweep().repairs[1].detail
    assert intents(sms) == [(True, None)]


def test_without_events_a_job_is_unknown_once_it_no_longer_counts_as_coverage(sms: World) -> None:
    killed_around_the_add(sms, after="add")
    sent_and_removed(sms)
    events_gone(sms)
    sms.sweep()
    assert intents(sms) == [(False, None)]
    grown_old(sms, 60 * 24 * 3)
    report = sms.sweep()
    assert "1 job not known" in report.repairs[1].detail
    assert intents(sms) == [(False, "unknown")]
    assert sms.rows("SELECT without_progress FROM campaign_ops.attempt") == [{"without_progress": 1}]
    assert "ended early" not in sms.sweep().repairs[1].detail


def test_a_fresh_intent_without_a_trace_stays_open(sms: World) -> None:
    killed_around_the_add(sms, before="add")
    assert sms.sweep().repairs[1].done == 0
    assert intents(sms) == [(False, None)]


def test_an_intent_of_which_complete_events_know_nothing_was_not_added_and_the_sweep_goes_on(
    sms: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "SURE_AFTER", timedelta(0))
    sms.queue.remove(sms.queue.add("another", "shop", ["r"]))  # leaves events of before
    killed_around_the_add(sms, before="add")
    report = sms.sweep()
    assert "1 job not added" in report.repairs[1].detail
    assert report.repairs[1].done == 1
    assert sorted(intents(sms), key=str) == [(False, "not_added"), (True, None)]
    assert covered(sms) == dict.fromkeys(sms.app.pending_ids("c"), 1)


def test_a_user_who_may_not_read_events_leaves_it_to_time(sms: World) -> None:
    killed_around_the_add(sms, after="add")
    sent_and_removed(sms)
    with redis.Redis.from_url(sms.queue.url) as client:
        client.delete(sms.queue.key("events"))
        client.set(sms.queue.key("events"), "not a stream")
    sms.sweep()
    assert intents(sms) == [(False, None)]
