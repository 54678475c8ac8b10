"""Sweeps under accidents: people, other sweeps, lost servers, kill -9. The world must be right after each."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
import sqlalchemy as sa

from campaign_ops.bullmq.queue import Queue
from campaign_ops.core.errors import DatabaseUnavailable, PermissionMissing, SweepBusy
from campaign_ops.core.model import Verdict
from campaign_ops.lab.shop.row_writer import redis_fingerprint
from campaign_ops.lab.shop.schema import ShopTables
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database
from campaign_ops.sweep import Sweep, dry_run
from tests.conftest import World, Worlds
from tests.sweep.actors import InterferingQueue, covered, ended, in_child, interfering, state_fingerprint
from tests.sweep.stage import small_batches

# -- people ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["cancelled", "paused", "sent"])
def test_what_a_person_changed_after_the_plan_stays_as_they_left_it(sms: World, status: str) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_campaign("lost", pending=3)
    sweep = sms.begin()
    sweep.make_plan()
    for label in ("done", "lost"):
        sms.app.set_campaign(label, status=status)
    rows = sms.app.fingerprint()
    completed, _ = sweep.complete()
    assert (completed.count, completed.left) == (0, 1)
    assert sweep.reenqueue().count == 0
    assert sms.app.fingerprint() == rows
    assert sms.queue.live_job_ids() == []


def test_a_campaign_that_somebody_is_changing_right_now_is_skipped_not_waited_for(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_campaign("other", succeeded=3)
    tables = ShopTables(sms.app.profile, sms.app.tables.shape)
    with sms.app.engine.connect() as person:
        person.execute(sa.update(tables.campaign).where(tables.campaign.c.id == "done").values(status="cancelled"))
        sms.sweep()
        person.commit()
    assert sms.app.campaign("done")["status"] == "cancelled"
    assert sms.app.campaign("other")["status"] == "sent"
    sms.sweep()
    assert sms.app.campaign("done")["status"] == "cancelled"


def test_recipients_added_while_we_complete_keep_the_campaign_open(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sweep = sms.begin()
    sweep.make_plan()
    sms.app.add_recipients("done", pending=1)
    completed, _ = sweep.complete()
    assert completed.count == 0
    assert sms.app.campaign("done")["status"] == "sending"


def test_a_campaign_cancelled_after_the_intent_gets_no_job(sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    sweep = sms.begin()
    sweep.make_plan()
    with interfering(sms, after="newcomers", what=lambda: sms.app.set_campaign("lost", status="cancelled")):
        done = sweep.reenqueue()
    assert done.count == done.jobs == 0
    assert sms.queue.live_job_ids() == []
    assert sms.rows("SELECT added_at, closed_as FROM campaign_ops.intent") == [
        {"added_at": None, "closed_as": "not_added"}
    ]


def test_what_the_application_enqueued_after_our_snapshot_is_not_enqueued_again(sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    sweep = sms.begin()
    sweep.make_plan()
    add = lambda: sms.queue.add("lost", "shop_north", sms.app.pending_ids("lost"))  # noqa: E731
    with interfering(sms, after="snapshot", what=add):
        done = sweep.reenqueue()
    assert done.jobs == 0
    assert set(covered(sms).values()) == {1}


def test_recipients_sent_between_the_snapshot_and_the_read_are_not_sent_again(sms: World) -> None:
    sms.app.add_campaign("lost", pending=10)
    sweep = sms.begin()
    sweep.make_plan()
    done_by_worker = sms.app.pending_ids("lost")[:4]
    move = lambda: sms.app.move_recipients("lost", "succeeded", 4)  # noqa: E731
    with interfering(sms, after="live_jobs", what=move):
        sweep.reenqueue()
    assert not set(done_by_worker) & set(covered(sms))


def test_recipients_of_a_job_that_came_and_went_unseen_are_not_sent_again(sms: World) -> None:
    """The application enqueued and a worker finished between our read of the rows and our second look at the queue."""
    sms.app.add_campaign("lost", pending=10)
    sweep = sms.begin()
    sweep.make_plan()
    done_by_worker = sms.app.pending_ids("lost")[:4]
    move = lambda: sms.app.move_recipients("lost", "succeeded", 4)  # noqa: E731
    with interfering(sms, before="newcomers", what=move):
        done = sweep.reenqueue()
    assert not set(done_by_worker) & set(covered(sms))
    assert done.recipients == 6
    (intent,) = sms.rows("SELECT recipients FROM campaign_ops.intent")
    assert intent["recipients"] == 6


# -- several at once ---------------------------------------------------------------------------------------------------


def test_sweeps_at_once_do_nothing_twice(sms: World) -> None:
    for number in range(5):
        sms.app.add_campaign(f"done_{number}", succeeded=3)
        sms.app.add_reservation(f"hold_{number}", campaign=f"done_{number}", amount=10)
        sms.app.add_campaign(f"lost_{number}", pending=700)
    children = []
    for number in range(3):
        platform = sms.again()
        run = Sweep(platform, run_id=f"at-once-{number}", trigger="test", actor="tests", lock_wait_seconds=30)
        children.append(in_child(run.run))
    assert [ended(pid) for pid in children] == [0, 0, 0]
    assert set(covered(sms).values()) == {1}
    assert len(covered(sms)) == 3500
    kinds = Counter(row["kind"] for row in sms.rows("SELECT kind FROM campaign_ops.repair"))
    assert kinds == {"complete": 5, "release": 5, "reenqueue": 5}
    (intents,) = sms.rows("SELECT count(*) AS jobs, count(added_at) AS added FROM campaign_ops.intent")
    assert intents["jobs"] == intents["added"] == len(sms.queue.live_job_ids()) == 10


def test_a_second_sweep_says_that_one_is_under_way_and_does_nothing(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    with sms.again().lock(wait_seconds=0).hold(), pytest.raises(SweepBusy, match="under way"):
        sms.sweep(lock_wait_seconds=0)
    assert sms.app.campaign("done")["status"] == "sending"


# -- kill -9 -----------------------------------------------------------------------------------------------------------


class Killed:
    """Kills its process at the n-th moment that matters: around every commit and every add to the queue."""

    def __init__(self, at: int, platform: Platform) -> None:
        self.left = at
        platform.queue = InterferingQueue(platform.queue, before="add", after="add", what=self.moment)  # type: ignore[arg-type]
        sa.event.listen(sa.Engine, "commit", lambda _: self.moment())
        sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: self.statement())
        self.fresh = False

    def moment(self) -> None:
        self.fresh = True
        self.count()

    def statement(self) -> None:
        """The first statement after a commit stands for the moment right after it."""
        if self.fresh:
            self.fresh = False
            self.count()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_sweep_killed_at_any_step_leaves_a_state_from_which_the_next_is_right(worlds: Worlds) -> None:
    at = 0
    while True:
        at += 1
        world = small_batches(worlds, 5)
        world.app.add_campaign("done", succeeded=3)
        world.app.add_reservation("hold", campaign="done", amount=10)
        world.app.add_campaign("cancelled", status="cancelled")
        world.app.add_reservation("leak", campaign="cancelled", amount=5)
        world.app.add_campaign("lost", pending=12)

        def _sweep_until_killed(world: World = world, at: int = at) -> None:
            platform = world.again()
            Killed(at, platform)
            Sweep(platform, run_id="killed", trigger="test", actor="tests").run()

        code = ended(in_child(_sweep_until_killed))
        assert code in (0, -signal.SIGKILL)
        patient = world.again()
        Sweep(patient, run_id="patient", trigger="test", actor="tests").run()
        assert set(covered(world).values()) <= {1}, f"double cover after kill {at}"
        eager = world.again(cooldown_seconds=0)
        Sweep(eager, run_id="eager", trigger="test", actor="tests").run()
        check_world(world, at)
        worlds.drop(world)
        if code == 0:
            break
    assert at > 15


def check_world(world: World, at: int) -> None:
    note = f"killed at moment {at}"
    assert world.app.campaign("done")["status"] == "sent", note
    assert world.app.reservation("hold")["status"] == "released", note
    assert world.app.reservation("leak")["status"] == "released", note
    assert covered(world) == Counter(world.app.pending_ids("lost")), note
    kinds = Counter(row["kind"] for row in world.rows("SELECT kind FROM campaign_ops.repair"))
    assert (kinds["complete"], kinds["release"]) == (1, 2), note
    (freed,) = world.rows("SELECT sum(amount) AS freed FROM campaign_ops.repair WHERE kind = 'release'")
    assert freed["freed"] == 15, note
    confirmed = world.rows("SELECT job_id FROM campaign_ops.intent WHERE added_at IS NOT NULL")
    assert {row["job_id"] for row in confirmed} == set(world.queue.live_job_ids()), note


# -- servers -----------------------------------------------------------------------------------------------------------


def test_with_redis_away_nothing_is_re_enqueued_or_completed_and_the_rest_is_done(worlds: Worlds) -> None:
    world = worlds.make("sms", queue_url="redis://127.0.0.1:1")
    world.app.add_campaign("over", status="cancelled")
    world.app.add_reservation("leak", campaign="over")
    world.app.add_campaign("done", succeeded=3)
    world.app.add_reservation("hold", campaign="done")
    world.app.add_campaign("lost", pending=3)
    report = world.sweep()
    assert world.app.campaign("done")["status"] == "sending"
    assert world.app.reservation("hold")["status"] == "active"
    assert world.app.reservation("leak")["status"] == "released"
    assert {one.verdict for one in report.stuck} == {Verdict.QUEUE_UNREADABLE}
    assert any("sms-send" in line for line in report.trouble)
    assert world.rows("SELECT * FROM campaign_ops.intent") == []


def test_redis_going_away_between_plan_and_act_adds_nothing(worlds: Worlds) -> None:
    world = worlds.make("sms")
    world.app.add_campaign("lost", pending=3)
    sweep = world.begin()
    plan = sweep.make_plan()
    assert world.platform.queue is not None
    away = Queue(type(world.platform.queue.address)("redis://127.0.0.1:1"), world.platform.queue.profile)
    world.platform.queue = away
    done = sweep.reenqueue(plan)
    assert done.held_back
    assert done.count == 0


def test_connections_cut_while_looking_are_made_again(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_campaign("lost", pending=3)
    cuts = iter([True])

    def cut_once() -> None:
        if next(cuts, False):
            terminate(sms)

    with interfering(sms, before="snapshot", what=cut_once):
        sweep = sms.begin()
        sweep.make_plan()
        sweep.complete()
        sweep.reenqueue()
    assert sms.app.campaign("done")["status"] == "sent"
    assert set(covered(sms).values()) == {1}


def test_a_sweep_that_lost_its_lock_stops_before_it_adds_anything(sms: World) -> None:
    sms.app.add_campaign("lost", pending=3)
    with interfering(sms, after="newcomers", what=lambda: terminate(sms)), pytest.raises(DatabaseUnavailable):
        sms.sweep()
    assert sms.queue.live_job_ids() == []


def terminate(world: World) -> None:
    """Cut every connection to the world's database, as a restart does."""
    with world.app.engine.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def test_a_role_that_lacks_a_privilege_is_told_which_and_changes_nothing(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    name = "reader_" + sms.queue.prefix
    with sms.app.engine.begin() as connection:
        for statement in (
            f"CREATE ROLE {name} LOGIN",
            f"GRANT USAGE ON SCHEMA public, campaign_ops TO {name}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
            f'GRANT UPDATE (status) ON "Campaign" TO {name}',
            f"GRANT ALL ON ALL TABLES IN SCHEMA campaign_ops TO {name}",
        ):
            connection.execute(sa.text(statement))
    sms.platform.database = Database(sms.url.replace("postgres@", f"{name}@"))
    before = sms.app.fingerprint()
    with pytest.raises(PermissionMissing, match=r'"Campaign"\."updatedAt"'):
        sms.sweep()
    assert sms.app.fingerprint() == before


# -- dry run -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_leaves_not_one_byte_changed(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_reservation("hold", campaign="done")
    sms.app.add_campaign("lost", pending=3)
    sms.app.add_campaign("waiting", pending=3)
    sms.queue.add("waiting", "shop_north", sms.app.pending_ids("waiting"))
    sms.app.add_campaign("marked", pending=2)
    sms.queue.mark(sms.app.pending_ids("marked"))
    before = (sms.app.fingerprint(), state_fingerprint(sms), redis_fingerprint(sms.queue.url))
    report = dry_run(sms.platform)
    assert (sms.app.fingerprint(), state_fingerprint(sms), redis_fingerprint(sms.queue.url)) == before
    planned = {line.kind.value: line.planned for line in report.repairs}
    assert planned["complete"] == planned["reenqueue"] == 1


def test_a_dry_run_works_before_our_schema_exists(worlds: Worlds) -> None:
    world = worlds.make("sms", migrated=False)
    world.app.add_campaign("done", succeeded=3)
    assert dry_run(world.platform).figures()["stuck"] == 1
