"""Sweeps at full size and over a bad network: slow, cut and frozen Redis, emptied queues, limits, memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.model import Verdict
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile
from campaign_ops.sweep import Sweep
from campaign_ops.sweep import reenqueue as reenqueue_module
from campaign_ops.sweep.report import dry_run
from tests.conftest import World, Worlds
from tests.proxy import Fault, Proxy, proxied
from tests.sweep.actors import covered

TENANTS = ("north", "south", "west")


@pytest.fixture
def proxy(worlds: Worlds) -> Iterator[Proxy]:
    with proxied(worlds.servers.redis.port) as it:
        yield it


@pytest.fixture
def world(worlds: Worlds, proxy: Proxy) -> Iterator[World]:
    """A platform whose sweeps reach Redis through the proxy; the application reaches it directly."""
    profile = with_batches_of(10)
    assert profile.queue is not None
    made = worlds.make(profile, queue_url=proxy.url)
    made.platform.queue = Queue(QueueAddress(proxy.url, made.queue.prefix, read_timeout_seconds=2), profile.queue)
    yield made
    made.platform.close()


def with_batches_of(recipients: int) -> Profile:
    sms = load_profile("sms")
    assert sms.queue is not None
    return sms.model_copy(update={"queue": sms.queue.model_copy(update={"batch_size": recipients})})


def lay_jobs(world: World, campaigns: list[str], count: int, *, first: int = 1, size: int = 500) -> None:
    """Put jobs of consecutive recipients into ``wait``, as BullMQ's scripts would, campaign by campaign in turn."""
    with redis.Redis.from_url(world.queue.url) as client, client.pipeline(transaction=False) as pipe:
        for number in range(count):
            campaign = campaigns[number % len(campaigns)]
            start = first + number // len(campaigns) * size
            ids = ",".join([f'"{campaign}_r{one:06d}"' for one in range(start, start + size)])
            data = f'{{"campaignId":"{campaign}","shopId":"shop_north","recipientIds":[{ids}]}}'
            pipe.hset(world.queue.key(f"app-{number}"), mapping={"name": world.queue.profile.job, "data": data})
            pipe.lpush(world.queue.key("wait"), f"app-{number}")
            if number % 1000 == 999:
                pipe.execute()
        pipe.execute()


def pending(world: World, *campaigns: str) -> Counter[str]:
    return Counter(one for campaign in campaigns for one in world.app.pending_ids(campaign))


# -- a slow Redis ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_slow_redis_is_asked_few_questions(world: World, proxy: Proxy) -> None:
    """20 ms for each: 20 lost campaigns and 500 live jobs must not cost a question for each of them."""
    lost = [f"lost_{number}" for number in range(20)]
    for campaign in lost:
        world.app.add_campaign(campaign, pending=10)
    for number in range(30):
        world.app.add_campaign(f"waiting_{number}", pending=32)
    lay_jobs(world, [f"waiting_{number}" for number in range(30)], 500, size=2)
    proxy.delay_seconds = 0.02
    before = covered(world)
    report = world.sweep()
    assert proxy.requests <= 35, proxy.requests
    assert report.repairs[1].done == 20
    assert covered(world) - before == pending(world, *lost)


# -- gone half way through the read ------------------------------------------------------------------------------------

READS = {
    "snapshot": Fault(b"LRANGE", reply_bytes=900),
    "job pages": Fault(b"defa", at=2, reply_bytes=5000),
    "marker pages": Fault(b"sms:sent", at=2, reply_bytes=3),
    "frozen": Fault(b"defa", at=2, kind="freeze"),
}


@pytest.mark.parametrize("fault", READS.values(), ids=READS.keys())
@pytest.mark.parametrize("when", ["while deciding", "while acting"])
def test_redis_gone_half_way_through_the_read_stops_only_what_needs_it(
    world: World, proxy: Proxy, fault: Fault, when: str
) -> None:
    world.app.add_campaign("done", succeeded=3)
    world.app.add_reservation("hold", campaign="done")
    world.app.add_campaign("cancelled", status="cancelled")
    world.app.add_reservation("leak", campaign="cancelled")
    world.app.add_campaign("lost", pending=5000)
    world.app.add_campaign("waiting", pending=3000)
    lay_jobs(world, ["waiting"], 300, size=10)
    sweep = world.begin()
    sweep.read_queue()
    if when == "while deciding":
        proxy.inject(fault)
        plan = sweep.make_plan()
    else:
        plan = sweep.make_plan()
        proxy.inject(fault)
    sweep.complete(plan)
    done = sweep.reenqueue(plan)
    sweep.release(plan)
    report = sweep.report(plan)
    assert proxy.injected
    assert (done.count, done.jobs) == (0, 0)
    assert len(world.queue.live_job_ids()) == 300
    assert world.rows("SELECT * FROM campaign_ops.intent") == []
    read = when == "while acting" and fault is READS["marker pages"]  # by the step before; else a job may wait unseen
    assert world.app.campaign("done")["status"] == ("sent" if read else "sending")
    held = "released" if read else "active"
    assert [world.app.reservation(one)["status"] for one in ("hold", "leak")] == [held, "released"]
    assert any("Redis" in line for line in report.trouble), report.trouble
    if when == "while deciding":
        verdicts = {item.target: item.verdict for item in report.stuck}
        assert verdicts["lost"] is verdicts["waiting"] is Verdict.QUEUE_UNREADABLE


# -- gone half way through the add -------------------------------------------------------------------------------------

ADDS = {
    "first page not sent": (Fault(b"EVALSHA", at=1, kind="cut"), 0),
    "first page's answer lost": (Fault(b"EVALSHA", at=1), 50),
    "second page half sent": (Fault(b"-b50-", at=1, kind="cut"), 50),
    "second page's answer lost": (Fault(b"EVALSHA", at=2, reply_bytes=40), 100),
    "frozen after the second page": (Fault(b"EVALSHA", at=2, kind="freeze"), 100),
    "while confirming": (Fault(b"LPOS", at=1, reply_bytes=10), 50),
    "between pages": (Fault(b"LRANGE", at=4, reply_bytes=10), 50),
}


@pytest.mark.parametrize(("fault", "arrived"), ADDS.values(), ids=ADDS.keys())
def test_redis_gone_half_way_through_the_add_doubles_and_misses_no_recipient(
    world: World, proxy: Proxy, fault: Fault, arrived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reenqueue_module, "JOBS_PER_PAGE", 50)
    lost = ("big", "middle", "small")
    for campaign, recipients in zip(lost, (700, 300, 200), strict=True):
        world.app.add_campaign(campaign, pending=recipients)
    sweep = world.begin()
    plan = sweep.make_plan()
    proxy.inject(fault)
    done = sweep.reenqueue(plan)
    report = sweep.report(plan)
    assert proxy.injected
    assert done.held_back
    assert any("half way" in line for line in report.trouble), report.trouble
    assert len(world.queue.live_job_ids()) == arrived
    assert set(covered(world).values()) <= {1}
    proxy.heal()
    intents = world.rows("SELECT * FROM campaign_ops.intent")
    live = set(world.queue.live_job_ids())
    tried = [row for row in intents if row["closed_as"] != "not_added"]
    goes_on = {
        campaign
        for campaign in {row["campaign_id"] for row in intents}
        for mine in [[row for row in tried if row["campaign_id"] == campaign]]
        if sum(row["recipients"] for row in mine) < len(world.app.pending_ids(campaign))
        and live >= {row["job_id"] for row in mine}
    }
    world.sweep()
    assert set(covered(world).values()) <= {1}
    attempts = {row["campaign_id"]: row["total"] for row in world.rows("SELECT * FROM campaign_ops.attempt")}
    expected = {campaign: 2 if campaign in goes_on else 1 for campaign in lost}
    assert attempts == expected, "only a part that was never tried goes on before the cooldown is over"
    eager = world.again(cooldown_seconds=0)
    Sweep(eager, run_id="eager", trigger="test", actor="tests").run()
    assert covered(world) == pending(world, *lost)
    confirmed = {
        row["job_id"] for row in world.rows("SELECT job_id FROM campaign_ops.intent WHERE added_at IS NOT NULL")
    }
    assert confirmed == set(world.queue.live_job_ids())


# -- emptied -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reopened", [False, True], ids=["gone", "opened anew by the application"])
def test_a_redis_emptied_under_100_campaigns_is_one_clear_line(worlds: Worlds, reopened: bool) -> None:
    world = worlds.make("sms", policy={"max_jobs_per_sweep": 5000})
    campaigns = [f"c{number}" for number in range(100)]
    for number, campaign in enumerate(campaigns):
        world.app.add_campaign(campaign, tenant=TENANTS[number % 3], pending=20)
    lay_jobs(world, campaigns, 200, size=10)
    assert world.sweep().trouble == []
    world.queue.clear()
    if reopened:
        world.queue.open()
    report = world.sweep()
    assert world.queue.live_job_ids() == []
    said = [line for line in report.trouble if "re-enqueue" in line]
    assert len(said) == len(report.trouble) == 1, report.trouble
    assert "would re-enqueue 100 of 100 sending campaigns" in said[0]
    world.confirmed_sweep()
    assert covered(world) == pending(world, *campaigns)
    world.confirmed_sweep()
    assert covered(world) == pending(world, *campaigns)


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_paused_queue_gets_nothing_and_afterwards_its_limits_hold(worlds: Worlds) -> None:
    limits = {"max_jobs_per_sweep": 24, "max_queue_depth": 60}
    world = worlds.make(with_batches_of(10), policy={**limits, "cooldown_seconds": 0, "stuck_after_seconds": 0})
    for tenant, recipients in zip(TENANTS, (600, 300, 100), strict=True):
        world.app.add_campaign(tenant, tenant=tenant, pending=recipients, moved_ago=hours(2))
    world.queue.pause()
    for _ in range(2):
        assert [item.verdict for item in world.sweep().stuck] == [Verdict.QUEUE_PAUSED] * 3
        assert world.queue.live_job_ids() == []
    world.queue.resume()
    shares = [added_by_a_sweep(world) for _ in range(4)]
    assert shares == [
        {"north": 8, "south": 6, "west": 10},  # a whole campaign before parts of larger ones
        {"north": 12, "south": 12},
        {"north": 6, "south": 6},
        {},
    ]
    assert set(covered(world).values()) == {1}
    while world.app.pending_ids("north"):
        drain(world)
        share = added_by_a_sweep(world)
        assert sum(share.values()) <= 24
        assert len(world.queue.live_job_ids()) <= 60
    assert not any(world.app.pending_ids(tenant) for tenant in TENANTS)


def test_a_campaign_put_back_in_portions_is_not_given_up(worlds: Worlds) -> None:
    """Each sweep may add one job only. The earlier portions wait their turn: nothing was in vain."""
    world = worlds.make("sms", policy={"max_jobs_per_sweep": 1, "cooldown_seconds": 0, "max_attempts": 3})
    world.app.add_campaign("large", pending=2500)
    for _ in range(5):
        world.sweep()
    assert covered(world) == pending(world, "large")


def test_a_campaign_whose_portions_vanish_is_given_up(worlds: Worlds) -> None:
    world = worlds.make("sms", policy={"max_jobs_per_sweep": 1, "cooldown_seconds": 0, "max_attempts": 3})
    world.app.add_campaign("large", pending=2500)
    for _ in range(3):
        assert added_by_a_sweep(world)
        world.queue.remove(world.queue.live_job_ids())
    assert world.sweep().stuck[0].verdict is Verdict.QUARANTINED
    assert world.queue.live_job_ids() == []


def added_by_a_sweep(world: World) -> dict[str, int]:
    """How many jobs of each tenant the next sweep adds."""
    before = set(world.queue.live_job_ids())
    world.sweep()
    return dict(Counter(world.queue.job_data(job)["shopId"] for job in set(world.queue.live_job_ids()) - before))


def drain(world: World) -> None:
    """All live jobs are sent, as workers do; each recipient once."""
    jobs = world.queue.live_job_ids()
    for job in jobs:
        data = world.queue.job_data(job)
        world.app.move_recipients(data["campaignId"], "succeeded", len(data["recipientIds"]), moved_ago=hours(1))
    world.queue.remove(jobs)


# -- statistics that mislead the planner -------------------------------------------------------------------------------


def test_without_statistics_a_sweep_reads_each_recipient_a_few_times_only(worlds: Worlds) -> None:
    """Just inserted, so the planner takes them for a handful; a plan for a handful takes minutes."""
    world = worlds.make("sms")
    statement(world, 'ALTER TABLE "CampaignRecipient" SET (autovacuum_enabled = off)')
    world.app.add_campaign("waiting", pending=10_000)
    world.app.add_campaign("lost", pending=10_000)
    lay_jobs(world, ["waiting"], 400)
    before = rows_read(world, "CampaignRecipient")
    world.sweep()
    assert rows_read(world, "CampaignRecipient") - before <= 5 * 20_000
    assert covered(world) >= pending(world, "waiting", "lost")


def test_beside_one_huge_campaign_the_others_are_not_taken_for_as_huge(worlds: Worlds) -> None:
    """The planner expects of every campaign what it knows of the huge one, and would read the table for each."""
    world = worlds.make("sms")
    statement(world, 'ALTER TABLE "CampaignRecipient" SET (autovacuum_enabled = off)')
    world.app.add_campaign("huge", status="sent", succeeded=20_000)
    statement(world, 'ANALYZE "CampaignRecipient"')
    for number in range(30):
        world.app.add_campaign(f"done_{number}", succeeded=3)
        world.app.add_campaign(f"lost_{number}", pending=3)
    before = rows_read(world, "CampaignRecipient")
    report = world.confirmed_sweep()
    assert [line.done for line in report.repairs if line.planned] == [30, 30]
    assert rows_read(world, "CampaignRecipient") - before <= 5 * 20_000


def test_leaked_credits_that_no_statistics_know_of_are_read_once(worlds: Worlds) -> None:
    world = worlds.make("sms")
    statement(world, 'ALTER TABLE "CreditReservation" SET (autovacuum_enabled = off)')
    world.app.add_campaign("over", status="sent", succeeded=1)
    world.app.add_reservation("r", campaign="over")
    statement(
        world,
        "INSERT INTO \"CreditReservation\" SELECT (jsonb_populate_record(known, jsonb_build_object('id', 'r' || n))).*"
        ' FROM "CreditReservation" AS known, generate_series(2, 3_000) AS n',
    )
    before = rows_read(world, "CreditReservation")
    assert len(dry_run(world.platform).plan.items) == 3_000
    assert (
        rows_read(world, "CreditReservation") - before <= 3 * 3_000
    )  # how many are held, and the tenants' totals, are other times


def statement(world: World, text: str) -> None:
    """Run one statement as the owner of the tables."""
    with world.app.engine.begin() as connection:
        connection.exec_driver_sql(text)


def rows_read(world: World, table: str) -> int:
    """How many rows of this table all who have disconnected by now have read in it, by scans and by indexes."""
    world.platform.database.close()
    world.app.close()
    engine = sa.create_engine(world.url, poolclass=sa.NullPool)
    query = sa.text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = :table")
    others = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    while True:
        with engine.connect() as connection:
            if not connection.scalar(others):
                return int(connection.scalar(query, {"table": table}) or 0)
        time.sleep(0.05)


# -- memory ------------------------------------------------------------------------------------------------------------


def peak(world: World, what: str) -> dict[str, Any]:
    """Run one look or one sweep in a fresh interpreter: what it found, and its peak memory in kB."""
    command = [sys.executable, "-m", "tests.sweep.peak", world.url, world.queue.url, world.queue.prefix, what]
    home = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_memory_does_not_grow_with_the_jobs(worlds: Worlds) -> None:
    """1.5 million ids in live jobs of stuck campaigns."""
    peaks = []
    for jobs in (500, 3_000):
        world = worlds.make("sms")
        campaigns = [f"c{number}" for number in range(10)]
        for campaign in campaigns:
            world.app.add_campaign(campaign, pending=2000)
        lay_jobs(world, campaigns, jobs, first=1001)
        found = peak(world, "dry_run")
        assert found["covered"] == 10_000, found
        assert found["repairs"]["reenqueue"][0] == 10
        peaks.append(found["peak"])
        world.queue.clear()
    assert peaks[1] <= 1.2 * peaks[0], peaks


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recipients(worlds: Worlds) -> None:
    peaks: dict[str, list[int]] = {"dry_run": [], "sweep": []}
    for recipients in (10_000, 300_000):
        world = worlds.make("sms")
        for number in range(10):
            world.app.add_campaign(f"c{number}", tenant=TENANTS[number % 3], pending=recipients // 10)
        for what, of_size in peaks.items():
            found = peak(world, what)
            assert found["repairs"]["reenqueue"][0] == 10
            of_size.append(found["peak"])
        assert found["repairs"]["reenqueue"][2].startswith(f"{recipients // 500} jobs"), found
        world.queue.clear()
    for what, (small, large) in peaks.items():
        assert large <= 1.2 * small, (what, small, large)
