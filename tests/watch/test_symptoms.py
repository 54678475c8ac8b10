"""What looks at a real platform find: one cause for each thing that is wrong, and nothing where nothing is."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis
import sqlalchemy as sa

from campaign_ops.bullmq.queue import QueueAddress
from campaign_ops.bullmq.queue_group import open_queue
from campaign_ops.core.causes import Cause, Severity
from campaign_ops.core.confirmation import Confirmation
from campaign_ops.core.incidents import Look, Symptom, What
from campaign_ops.core.report import render
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database
from campaign_ops.sweep import dry_run
from campaign_ops.watch.channels import Notify
from campaign_ops.watch.notify import send_due
from campaign_ops.watch.symptoms import look_at
from tests.conftest import World, Worlds
from tests.watch.looking import events, incidents, open_causes, watch
from tests.watch.receivers import webhook

NO_REDIS = "redis://127.0.0.1:1/0"
HOUR = timedelta(hours=1)


def found(world: World, **options: bool) -> dict[Cause, Symptom]:
    """What a look finds wrong, by cause."""
    return {symptom.cause: symptom for symptom in look_at(world.platform, **options).symptoms}


def judged(world: World) -> set[Cause]:
    return set(look_at(world.platform).judged)


def age_sweeps(world: World, span: timedelta) -> None:
    with world.platform.database.transaction() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.sweep SET finished_at = finished_at - :span"), {"span": span})


def test_a_sound_platform_has_no_symptom_and_all_is_judged(sms: World) -> None:
    sms.queue.add("other", "shop_north", ["r1"])
    sms.queue.remove(sms.queue.live_job_ids())
    sms.sweep()
    assert found(sms) == {}
    of_others = {Cause.RUN_FAILED, Cause.DAEMON_DEAD}
    assert judged(sms) == set(Cause) - of_others
    assert watch(sms, 5) == []
    assert incidents(sms) == []


def test_a_queue_that_was_taken_out_of_the_profile_has_no_incident_any_more(worlds: Worlds) -> None:
    """No look judged it any more: the incident stayed open until a person ended it by hand."""
    world = worlds.make("sms", queue_url=NO_REDIS)
    world.sweep()
    with webhook() as hook:
        channels = Notify(channels=(hook.channel(),))
        assert watch(world, 2, notify=channels) == [What.OPENED]
        without = world.platform.profile.model_copy(update={"queue": None})
        world.platform = Platform("sms", without, world.platform.policy, world.platform.database, None)
        assert found(world) == {}
        assert watch(world, 2, notify=channels) == []
        assert watch(world, notify=channels) == [What.RESOLVED]
        send_due(world.platform, channels.channels)
    assert events(world)[-1] == ("resolved", "watch", "the platform has no queue any more")
    assert "Resolved by watch: the platform has no queue any more." in hook.messages[-1]["message"]
    assert watch(world, 5) == []
    assert open_causes(world) == []


def test_a_sweep_that_is_too_old_opens_at_once(sms: World) -> None:
    sms.sweep()
    assert watch(sms) == []
    age_sweeps(sms, timedelta(minutes=31))
    assert watch(sms) == [What.OPENED]
    assert open_causes(sms) == ["sweep_stale"]
    sms.sweep()
    assert watch(sms, 3) == [What.RESOLVED]


def test_a_platform_that_was_never_swept_has_half_an_hour(sms: World) -> None:
    assert found(sms)[Cause.SWEEP_STALE].lasting_seconds == 1800
    assert watch(sms, 9) == []
    with sms.platform.database.transaction() as connection:
        connection.execute(
            sa.text("UPDATE campaign_ops.incident SET first_seen_at = first_seen_at - interval '30 minutes'")
        )
    assert watch(sms) == [What.OPENED]


def test_campaigns_over_the_alert_age_are_stuck_and_those_that_a_sweep_repairs_are_not(messenger: World) -> None:
    messenger.app.add_campaign("finished", succeeded=3, updated_ago=2 * HOUR)
    messenger.app.add_campaign("old", tenant="org_1", pending=3, updated_ago=2 * HOUR)
    messenger.app.add_campaign("older", tenant="org_2", pending=3, updated_ago=3 * HOUR)
    messenger.app.add_campaign("young", pending=3, updated_ago=minutes(20))
    messenger.sweep()
    stuck = found(messenger)[Cause.STUCK]
    assert (stuck.count, stuck.campaigns, stuck.tenants) == (2, ("older", "old"), ("org_1", "org_2"))
    assert stuck.detail.startswith("older: ")
    assert watch(messenger, 5) == [], "looks at one sweep are one look"
    messenger.sweep()
    assert watch(messenger, 5) == [What.OPENED]
    for label in ("old", "older"):
        messenger.app.set_campaign(label, status="COMPLETED")
    for _ in range(2):
        messenger.sweep()
        assert watch(messenger, 5) == []
    messenger.sweep()
    assert watch(messenger, 5) == [What.RESOLVED]


def test_a_sweep_that_made_no_plan_says_nothing_about_campaigns(messenger: World) -> None:
    messenger.app.add_campaign("old", pending=3, updated_ago=2 * HOUR)
    messenger.sweep()
    assert Cause.STUCK in found(messenger)
    messenger.rows(
        "INSERT INTO campaign_ops.sweep (platform, tables, run_id, trigger, actor, finished_at)"
        " SELECT platform, tables, 'partial', 'manual', 'ann', now() FROM campaign_ops.sweep RETURNING id"
    )
    assert not {Cause.STUCK, Cause.BREAKER, Cause.CREDITS_LEAKED} & judged(messenger)
    assert Cause.SWEEP_STALE in judged(messenger)


def test_lost_batches_that_the_sweep_puts_back_are_no_incident(sms: World) -> None:
    sms.app.add_campaign("lost", pending=3, updated_ago=2 * HOUR)
    sms.sweep()
    assert Cause.STUCK not in found(sms)
    sms.sweep()
    assert Cause.STUCK not in found(sms)


def test_three_hundred_campaigns_and_one_redis_outage_are_one_incident(worlds: Worlds) -> None:
    world = worlds.make("sms", queue_url=NO_REDIS)
    for number in range(300):
        world.app.add_campaign(f"c{number:03}", tenant=f"shop_{number % 3}", pending=2, updated_ago=2 * HOUR)
    for _ in range(3):
        world.sweep()
        watch(world, 2)
    assert open_causes(world) == ["queue_unreadable"]
    (row,) = incidents(world)
    assert (row["severity"], row["count"], len(row["campaigns"])) == ("critical", 300, 20)
    assert row["tenants"] == ["shop_0", "shop_1", "shop_2"]
    assert "Redis" in row["detail"]


def test_an_outage_is_seen_between_sweeps_and_changes_nothing_else(worlds: Worlds) -> None:
    """Stuck before Redis went away: neither resolved nor doubled while nobody can know."""
    world = worlds.make("sms")
    world.app.add_campaign("empty", updated_ago=2 * HOUR)
    for _ in range(2):
        world.sweep()
        watch(world)
    assert open_causes(world) == ["stuck"]
    before = incidents(world)[0]
    away = Platform(
        world.platform.name,
        world.platform.profile,
        world.platform.policy,
        Database(world.url),
        worlds.make("sms", queue_url=NO_REDIS).platform.queue,
    )
    world.created.append(away)
    world.platform, healthy = away, world.platform
    watch(world, 2)
    assert open_causes(world) == ["queue_unreadable", "stuck"]
    assert incidents(world)[0] == before
    world.platform = healthy
    assert watch(world, 3) == [What.RESOLVED]
    assert open_causes(world) == ["stuck"]


def test_a_version_that_is_no_text_makes_the_queue_unreadable_and_nothing_else(sms: World) -> None:
    """Any client of Redis can write it. PostgreSQL takes neither a NUL nor half a character: no sweep ended, no
    credits were released, and the watcher's look failed before it could open an incident.
    """
    with redis.Redis.from_url(sms.queue.url) as raw:
        for version in (b"bullmq:99\x00", b"bullmq:\xff"):
            raw.hset(sms.queue.key("meta"), "version", version)
            assert sms.sweep().queue.problem  # type: ignore[union-attr]
            watch(sms)
    assert open_causes(sms) == [Cause.QUEUE_UNREADABLE.value]


def test_a_queue_that_is_paused_for_long_is_one_incident(sms: World) -> None:
    sms.app.add_campaign("waits", pending=3, updated_ago=2 * HOUR)
    sms.queue.add("waits", "shop_north", sms.app.pending_ids("waits"))
    sms.queue.pause()
    sms.sweep()
    paused = found(sms)[Cause.QUEUE_PAUSED]
    assert (paused.count, paused.campaigns) == (1, ("waits",))
    assert set(found(sms)) == {Cause.QUEUE_PAUSED}
    assert watch(sms, 5) == []


def test_jobs_that_no_worker_takes_are_one_incident(sms: World) -> None:
    sms.app.add_campaign("waits", pending=3, updated_ago=2 * HOUR)
    sms.queue.add("waits", "shop_north", sms.app.pending_ids("waits"))
    sms.sweep()
    idle = found(sms)[Cause.NO_WORKERS]
    assert (idle.count, idle.campaigns) == (1, ("waits",))
    assert "1 job waiting" in idle.detail
    assert set(found(sms)) == {Cause.NO_WORKERS}


def test_where_no_tenant_sends_no_queue_waits_for_workers(sms: World) -> None:
    """With a queue for each tenant, the incident stayed open once the tenant's campaigns were over."""
    profile, address = sms.platform.profile, QueueAddress(sms.queue_url or "", sms.queue.prefix)
    assert profile.queue is not None
    for_tenants, of_one = (profile.queue.model_copy(update={"name": f"sms-{name}"}) for name in ("{tenant}", "north"))
    known = profile.model_copy(update={"queue": for_tenants})
    queue = open_queue(address, for_tenants)
    sms.platform = Platform("sms", known, sms.platform.policy, sms.platform.database, queue)
    sms.app.add_campaign("waits", tenant="north", pending=3)
    jobs = ShopQueue(address.url, address.prefix, of_one)
    jobs.open()
    jobs.add("waits", "north", sms.app.pending_ids("waits"))
    jobs.close()
    assert Cause.NO_WORKERS in found(sms)
    sms.app.set_campaign("waits", status="sent")
    assert Cause.NO_WORKERS not in found(sms)
    assert Cause.NO_WORKERS in judged(sms)


def test_a_backlog_is_counted_in_jobs(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"backlog_limit": 2})
    for number in range(3):
        world.queue.add("other", "shop_north", [f"r{number}"])
    assert found(world)[Cause.BACKLOG].count == 3


def test_a_queue_that_was_emptied_opens_at_once_and_is_one_incident(sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    sms.queue.add("other", "shop_north", ["r1"])
    sms.sweep()
    sms.queue.clear()
    sms.app.add_campaign("lost_too", pending=3)
    sms.sweep()
    (emptied,) = found(sms).values()
    assert (emptied.cause, emptied.campaigns) == (Cause.QUEUE_EMPTIED, ("lost_too",))
    assert watch(sms) == [What.OPENED]
    assert open_causes(sms) == ["queue_emptied"]
    sms.confirmed_sweep()
    assert watch(sms, 3) == [What.RESOLVED]


def test_a_queue_that_was_emptied_and_taken_out_of_the_profile_is_no_incident_any_more(sms: World) -> None:
    """The plan had nothing to confirm, since no sweep reads that queue: the incident stayed open whatever was done."""
    sms.queue.add("other", "shop_north", ["r1"])
    sms.sweep()
    sms.rows(
        "INSERT INTO campaign_ops.queue_sighting (tables, queue, server_since, server_trusted, emptied)"
        " SELECT tables, 'sms-old', now(), true, 'it did not exist' FROM campaign_ops.binding RETURNING queue"
    )
    assert Cause.QUEUE_EMPTIED not in found(sms)
    sms.rows("UPDATE campaign_ops.queue_sighting SET emptied = 'gone' WHERE queue = 'sms-send' RETURNING queue")
    for options in ({}, {"ask_queue": False}):
        emptied = found(sms, **options)[Cause.QUEUE_EMPTIED]
        assert emptied.detail.startswith("queue sms-send: gone; no repair is held back by it: ")


@pytest.mark.parametrize("used_again", [False, True])
def test_a_queue_that_was_emptied_with_nothing_held_back_is_confirmed_and_ends(sms: World, used_again: bool) -> None:
    """No plan showed a code while nothing was held back, and the next look undid a `resolve`: it stayed for days."""
    for _ in range(2):
        sms.queue.add("other", "shop_north", ["r1"])
    sms.sweep()
    sms.queue.clear()
    if used_again:
        sms.queue.add("other", "shop_north", ["r1"])
    sms.sweep()
    assert watch(sms) == [What.OPENED]
    plan = dry_run(sms.platform, run_id="plan")
    assert (plan.trouble, [offer.kinds for offer in plan.offers]) == ([], [()])
    code = plan.offers[0].code
    assert "if this is the queue all the same, confirm it until" in render(plan)
    assert f"--confirm {code}" in render(plan)
    assert sms.sweep().trouble == []
    assert Cause.QUEUE_EMPTIED in found(sms), "a sweep without the code believes nothing"
    sms.sweep(confirm=Confirmation("aaaa-bbbb-cccc", "ann", "a typing mistake"))
    assert Cause.QUEUE_EMPTIED in found(sms)
    sms.sweep(confirm=Confirmation(code, "ann", "the queue was made again"))
    (entry,) = sms.rows("SELECT * FROM campaign_ops.repair WHERE kind = 'confirm'")
    assert (entry["target"], entry["actor"], entry["person_reason"]) == (code, "ann", "the queue was made again")
    assert entry["reason"].startswith("confirmed: queue sms-send: it")
    assert dry_run(sms.platform, run_id="again").offers == []
    assert watch(sms, 3) == [What.RESOLVED]
    sms.sweep()
    assert watch(sms, 3) == []
    sms.queue.open()
    sms.sweep()
    sms.app.add_campaign("lost", pending=3)
    sms.queue.clear()
    assert any("emptied" in line for line in sms.sweep().trouble), "a later loss is an alarm again"


def test_a_breaker_opens_at_once_and_a_confirmation_ends_it(worlds: Worlds) -> None:
    world = worlds.make("messenger")
    for number in range(12):
        world.app.add_campaign(f"c{number}", succeeded=2)
    world.sweep()
    breaker = found(world)[Cause.BREAKER]
    assert (breaker.count, len(breaker.campaigns)) == (12, 12)
    assert "complete held back: would complete 12 of 12" in breaker.detail
    assert watch(world) == [What.OPENED]
    world.confirmed_sweep()
    assert found(world) == {}


def test_releases_are_an_incident_only_when_a_breaker_holds_them_back(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"breaker_floor": 1})
    for number in range(12):
        world.app.add_campaign(f"c{number:02}", status="cancelled", succeeded=1)
        world.app.add_reservation(f"hold_{number}", campaign=f"c{number:02}")
    world.sweep()
    breaker = found(world)[Cause.BREAKER]
    assert (breaker.count, breaker.campaigns[:2]) == (12, ("c00", "c01"))
    assert breaker.detail.startswith("release held back: would release 12 of 12 held reservations")
    world.confirmed_sweep()
    assert found(world) == {}


def test_what_only_a_person_can_mend_has_a_cause_of_its_own(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"max_attempts": 1, "cooldown_seconds": 1})
    world.app.add_campaign("odd", pending=1)
    with world.app.engine.begin() as connection:
        connection.execute(sa.text("""UPDATE "CampaignRecipient" SET status = 'odd'"""))
    world.sweep()
    odd = found(world)[Cause.UNKNOWN_WORD]
    assert (odd.count, odd.campaigns, odd.how_grave) == (1, ("odd",), Severity.WARNING)


def test_a_database_that_is_away_hides_everything_else(sms: World) -> None:
    gone = Platform(
        "sms", sms.platform.profile, sms.platform.policy, Database("postgresql+psycopg://x@127.0.0.1:1/x"), None
    )
    look = look_at(gone)
    assert [symptom.cause for symptom in look.symptoms] == [Cause.DATABASE_AWAY]
    assert set(look.judged) == {Cause.DATABASE_AWAY}
    gone.close()


@pytest.mark.parametrize("ask_queue", [True, False])
def test_without_our_schema_the_configuration_is_broken(worlds: Worlds, *, ask_queue: bool) -> None:
    world = worlds.make("sms", migrated=False)
    broken = found(world, ask_queue=ask_queue)
    assert set(broken) == {Cause.CONFIGURATION_BROKEN}
    assert "campaign-ops migrate" in broken[Cause.CONFIGURATION_BROKEN].detail


def test_a_look_writes_nothing(sms: World) -> None:
    sms.sweep()
    before = sms.app.fingerprint()
    assert isinstance(look_at(sms.platform), Look)
    assert sms.app.fingerprint() == before
    assert incidents(sms) == []
