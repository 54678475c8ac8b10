"""A database or a queue that was restored from a backup, beside the other one as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from uuid import uuid4

import pytest
import sqlalchemy as sa
from bullmq import Job

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import RepairKind, Verdict
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.redis import EmbeddedRedis
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.sweep import Sweep
from tests.conftest import World, Worlds
from tests.sweep.actors import covered


class Backup:
    """A copy of a platform's database, our schema included, as a dump or a snapshot has it."""

    def __init__(self, servers: EmbeddedServers, world: World) -> None:
        self._postgres, self._world = servers.postgres, world
        self._name = sa.make_url(world.url).database or ""
        self._copy = f"{self._name}_backup"
        self._apart()
        self._postgres.drop_database(self._copy)  # of another test
        self._postgres.create_database(self._copy, self._name)

    def restore(self) -> None:
        """Put the copy in the place of the database."""
        self._apart()
        self._postgres.drop_database(self._name)
        self._postgres.create_database(self._name, self._copy)

    def _apart(self) -> None:
        """Nobody may be connected to a database that is copied."""
        self._world.platform.database.close()
        self._world.app.engine.dispose()


def send(world: World, campaign: str, *, marked: bool = False) -> set[str]:
    """Workers take the campaign's jobs, send, write it down and leave nothing in the queue, except markers if asked."""
    jobs = [job for job in world.queue.live_job_ids() if world.queue.campaign_of(job) == campaign]
    sent = {str(one) for job in jobs for one in world.queue.job_data(job)["recipientIds"]}
    if marked:
        world.queue.mark(sorted(sent))
    assert world.app.move_recipients(campaign, "succeeded") == len(sent)
    assert world.queue.remove(jobs) == len(jobs)
    return sent


def started(world: World, *campaigns: str) -> None:
    for campaign in campaigns:
        world.app.add_campaign(campaign, pending=5)
        world.queue.add(campaign, "shop_north", world.app.pending_ids(campaign))


def work_off(world: World) -> None:
    """A real worker takes every job and says that it did it; the queue keeps the jobs as completed."""

    async def nothing(_job: Job, _token: str) -> None: ...

    world.queue.work_off(nothing)
    assert world.queue.job_ids("completed")


# -- an older database -------------------------------------------------------------------------------------------------


def test_what_an_older_database_has_forgotten_is_not_sent_again_where_markers_remember(
    sms: World, servers: EmbeddedServers
) -> None:
    started(sms, "sale")
    sms.sweep()
    backup = Backup(servers, sms)
    send(sms, "sale", marked=True)
    backup.restore()
    report = sms.sweep()
    assert [item.verdict for item in report.stuck] == [Verdict.AMBIGUOUS]
    assert covered(sms) == {}


def test_what_an_older_database_has_forgotten_is_not_sent_again_where_the_queue_keeps_completed_jobs(
    sms: World, servers: EmbeddedServers
) -> None:
    started(sms, "sale")
    sms.sweep()
    backup = Backup(servers, sms)
    work_off(sms)
    sms.app.move_recipients("sale", "succeeded")
    backup.restore()
    report = sms.sweep()
    assert [item.verdict for item in report.stuck] == [Verdict.AMBIGUOUS]
    assert covered(sms) == {}


def test_many_campaigns_that_an_older_database_has_forgotten_trip_the_breaker(
    sms: World, servers: EmbeddedServers
) -> None:
    names = [f"sale_{number}" for number in range(12)]
    started(sms, *names)
    sms.sweep()
    backup = Backup(servers, sms)
    for name in names:
        send(sms, name)
    backup.restore()
    report = sms.sweep()
    assert report.offers
    assert covered(sms) == {}


def test_what_a_restored_database_calls_pending_waits_for_a_person(sms: World, servers: EmbeddedServers) -> None:
    """Five recipients were sent to twice: rows, markers and jobs all said that nothing had been sent."""
    started(sms, "sale")
    sms.sweep()
    backup = Backup(servers, sms)
    sent = send(sms, "sale")
    backup.restore()
    for _ in range(2):
        report = sms.sweep()
        assert any("the database was restored" in line for line in report.trouble)
        assert report.offers
        assert covered(sms) == {}
    with pytest.raises(Refused, match="the database was restored"):
        reenqueue_one(sms.platform, "sale", Person("ann", "trial", uuid4().hex), dry_run=False)
    sms.confirmed_sweep()  # the person says that they were not sent after all
    assert set(covered(sms)) == sent
    assert not any("restored" in line for line in sms.sweep().trouble)


def test_a_dump_that_is_restored_into_the_same_database_waits_for_a_person(
    sms: World, servers: EmbeddedServers
) -> None:
    """pg_restore --clean makes the tables again, not the database: its oid and the timeline stay."""
    started(sms, "sale")
    sms.sweep()
    url = sa.make_url(sms.url).set(drivername="postgresql").render_as_string(hide_password=False)
    programs = servers.postgres._programs
    assert programs is not None
    dump = run([programs / "pg_dump", "--clean", "--if-exists", url], capture_output=True, check=True).stdout
    sent = send(sms, "sale")
    sms.platform.database.close()
    sms.app.engine.dispose()
    run([programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", url], input=dump, capture_output=True, check=True)
    assert set(sms.app.pending_ids("sale")) == sent
    for _ in range(2):
        report = sms.sweep()
        assert any("the database was restored" in line for line in report.trouble)
        assert report.offers
        assert covered(sms) == {}


def test_tables_that_are_emptied_or_rewritten_are_not_a_restored_database(sms: World) -> None:
    sms.sweep()
    started(sms, "sale")
    campaign, recipient = sms.platform.profile.campaign.table, sms.platform.profile.recipient.table
    with sms.app.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f'TRUNCATE "{recipient}"'))
        connection.execute(sa.text(f'VACUUM FULL "{campaign}"'))
    sms.app.add_campaign("lost", pending=3)
    assert sms.sweep().trouble == []
    assert set(covered(sms)) >= set(sms.app.pending_ids("lost"))


def test_who_confirms_completions_has_not_confirmed_that_the_database_was_restored(
    worlds: Worlds, servers: EmbeddedServers
) -> None:
    """The restored campaign was not stuck yet, so the alarm was not shown; confirming the finished ones cleared it."""
    world = worlds.make("sms", policy={"breaker_floor": 2})
    started(world, "sale")
    world.app.set_campaign("sale", updated_ago=minutes(5))
    finished = [f"done_{number}" for number in range(6)]
    for campaign in finished:
        world.app.add_campaign(campaign, succeeded=1, updated_ago=minutes(10))
    world.sweep()
    backup = Backup(servers, world)
    send(world, "sale")
    backup.restore()
    for campaign in finished:
        world.app.set_campaign(campaign, updated_ago=hours(1))  # time passes
    report = world.sweep()
    assert report.plan.held_back(RepairKind.COMPLETE)
    assert not any("restored" in line for line in report.trouble)
    world.confirmed_sweep()
    assert {world.app.campaign(campaign)["status"] for campaign in finished} == {"sent"}
    world.app.set_campaign("sale", updated_ago=hours(1))
    report = world.sweep()
    assert any("restored" in line for line in report.trouble)
    assert covered(world) == {}


def test_a_disk_that_was_put_back_shows_nothing_and_the_breaker_at_zero_holds_back(
    sms: World, servers: EmbeddedServers
) -> None:
    """Same database, same timeline, as after the restore of a disk's snapshot: docs/deployment.md says what to do."""
    started(sms, "sale")
    sms.sweep()
    backup = Backup(servers, sms)
    sent = send(sms, "sale")
    backup.restore()
    sms.rows("UPDATE campaign_ops.queue_sighting SET database_id = NULL RETURNING queue")
    careful = sms.again(breaker_share=1e-9, breaker_floor=0)
    for _ in range(2):
        report = Sweep(careful, run_id=uuid4().hex, trigger="test", actor="tests").run()
        assert report.offers
        assert covered(sms) == {}
    sms.sweep()
    assert set(covered(sms)) == sent  # the limit of what can be known


def test_a_job_that_a_sweep_added_after_the_backup_still_covers_its_recipients(
    sms: World, servers: EmbeddedServers
) -> None:
    """The older database knows neither the attempt nor the job id."""
    sms.app.add_campaign("sale", pending=5)
    backup = Backup(servers, sms)
    sms.sweep()
    added = covered(sms)
    assert set(added.values()) == {1}
    backup.restore()
    for _ in range(2):
        sms.sweep()
    assert covered(sms) == added


# -- an older queue ----------------------------------------------------------------------------------------------------


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as running:
        yield running


@pytest.fixture
def apart(worlds: Worlds, own_redis: EmbeddedRedis) -> World:
    """A platform with a Redis of its own."""
    world = worlds.make("sms", queue_url=own_redis.url())
    world.queue.close()
    world.jobs = ShopQueue(own_redis.url(), world.queue.prefix, world.queue.profile)
    world.jobs.open()
    return world


def restored(server: EmbeddedRedis, path: Path) -> None:
    server.stop()
    server.start(path)


def test_jobs_that_an_older_queue_has_forgotten_wait_for_a_person(
    apart: World, own_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """Its job counter is behind the one that our tables remember."""
    started(apart, "early")
    apart.sweep()
    own_redis.save(tmp_path / "backup.rdb")
    started(apart, "late")
    apart.sweep()
    before = covered(apart)
    restored(own_redis, tmp_path / "backup.rdb")
    assert set(covered(apart)) == set(apart.app.pending_ids("early"))
    for _ in range(2):
        report = apart.sweep()
        assert any("its job counter went back" in line for line in report.trouble)
        assert set(covered(apart)) == set(apart.app.pending_ids("early"))
    apart.confirmed_sweep()
    assert covered(apart) == before


def test_a_job_that_a_sweep_added_after_the_backup_of_the_queue_waits_for_a_person(
    apart: World, own_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """Our tables say that it was added; nothing says whether a worker took it. The new Redis process is the doubt."""
    apart.app.add_campaign("sale", pending=5)
    own_redis.save(tmp_path / "backup.rdb")
    apart.sweep()
    added = covered(apart)
    restored(own_redis, tmp_path / "backup.rdb")
    later = apart.again(cooldown_seconds=0)
    report = Sweep(later, run_id=uuid4().hex, trigger="test", actor="tests").run()
    assert any("Redis was restarted or failed over" in line for line in report.trouble)
    assert covered(apart) == {}
    apart.platform.policy = later.policy
    apart.confirmed_sweep()
    assert covered(apart) == added


def test_a_finished_campaign_stays_finished_whose_jobs_an_older_queue_has_again(
    apart: World, own_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """The jobs are the application's: its workers take them. Sweeps neither remove them nor open the campaign again."""
    started(apart, "sale")
    apart.sweep()
    own_redis.save(tmp_path / "backup.rdb")
    sent = send(apart, "sale")
    apart.app.set_campaign("sale", updated_ago=hours(1))
    apart.sweep()
    assert apart.app.campaign("sale")["status"] == "sent"
    restored(own_redis, tmp_path / "backup.rdb")
    before = apart.app.fingerprint()
    for _ in range(2):
        apart.sweep()
    assert apart.app.fingerprint() == before
    assert set(covered(apart)) == sent
