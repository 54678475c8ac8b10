"""Between the look and the add: what others do in that time, and what becomes of the look's own connection."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest
import redis
import sqlalchemy as sa

from campaign_ops.bullmq.queue import Guard, NewJob
from campaign_ops.core.errors import QueueUnavailable
from campaign_ops.core.report import render
from campaign_ops.journal.attempts import AttemptLog
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.postgres import cover
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.sweep import Sweep, add_page
from campaign_ops.sweep import reenqueue as reenqueue_module
from tests.conftest import World, Worlds
from tests.sweep.actors import covered, interfering
from tests.sweep.stage import Killed


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds.make("sms", policy={"breaker_floor": 100})


# -- others ------------------------------------------------------------------------------------------------------------


def test_another_job_under_an_id_that_was_seen_is_a_new_one(world: World) -> None:
    """Batch 0 is sent and its job removed; then what is pending is enqueued from batch 0 again."""
    world.app.add_campaign("c", pending=4)
    ids = world.app.pending_ids("c")
    world.queue.add("c", "shop", ids[:2], job_ids=["c-0"])

    def resumed() -> None:
        world.app.move_recipients("c", "succeeded", 2)
        world.queue.remove(["c-0"])
        world.queue.add("c", "shop", ids[2:], job_ids=["c-0"])

    with interfering(world, before="newcomers", what=resumed):
        world.sweep()
    assert covered(world) == dict.fromkeys(ids[2:], 1)


def test_a_job_that_stalled_too_often_covers_until_it_has_failed(world: World) -> None:
    """BullMQ 4 and early 5 send it: measured before, 4 of 4 recipients stood in two jobs."""
    world.app.add_campaign("c", pending=4)
    ids = world.app.pending_ids("c")
    world.queue.add("c", "shop", ids, job_ids=["j1"], attempts=1, backoff=None)
    world.queue.doom("j1")
    report = world.sweep()
    assert covered(world) == dict.fromkeys(ids, 1)
    assert "1 job that stalled too often" in render(report)
    world.queue.fail_waiting("it is over")
    world.sweep()
    assert covered(world) == dict.fromkeys(ids, 1)
    assert "j1" not in world.queue.live_job_ids()


def test_whom_a_marker_spoke_for_once_is_left_alone_though_it_is_gone(world: World) -> None:
    world.app.add_campaign("c", pending=4)
    marked, *others = world.app.pending_ids("c")
    world.queue.mark([marked])

    def expire() -> None:
        with redis.Redis.from_url(world.queue.url) as client:
            client.delete(*(one.format(recipient_id=marked) for one in world.queue.profile.markers))

    with interfering(world, after="newcomers", what=expire):
        world.sweep()
    assert covered(world) == dict.fromkeys(others, 1)


def test_a_recipient_that_moves_to_another_campaign_is_not_put_back_under_the_old_one(world: World) -> None:
    world.app.add_campaign("c", pending=2)
    world.app.add_campaign("other", pending=1, updated_ago=timedelta(0))
    moved, stayed = world.app.pending_ids("c")

    def move() -> None:
        with world.app.engine.begin() as connection:
            statement = sa.text("""UPDATE "CampaignRecipient" SET "campaignId" = 'other' WHERE id = :id""")
            connection.execute(statement, {"id": moved})

    with interfering(world, after="newcomers", what=move):
        world.sweep()
    assert covered(world) == {stayed: 1}


def test_as_many_recipients_as_before_may_be_others(world: World) -> None:
    """One was sent to and another came: the number of those pending is what it was when the batches were cut."""
    world.app.add_campaign("c", pending=4)
    before = set(world.app.pending_ids("c"))

    def replace_one() -> None:
        world.app.move_recipients("c", "succeeded", 1)
        world.app.add_recipients("c", pending=1)

    with interfering(world, after="newcomers", what=replace_one):
        world.sweep()
    still = before & set(world.app.pending_ids("c"))
    assert len(still) == 3
    assert covered(world) == dict.fromkeys(still, 1)


def test_a_process_that_was_stopped_after_its_second_look_adds_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(add_page, "MAX_SECONDS_TO_ADD", 0.5)
    world.app.add_campaign("c", pending=2)
    ids = world.app.pending_ids("c")

    def stopped() -> None:
        time.sleep(1)
        if not world.queue.live_job_ids():
            world.queue.add("c", "shop", ids)

    with interfering(world, after="newcomers", what=stopped):
        world.sweep()
    assert covered(world) == dict.fromkeys(ids, 1)


# -- our own connections -----------------------------------------------------------------------------------------------


def end_looks(world: World) -> int:
    """Terminate sessions that idle in a transaction which has read recipients; how many there were."""
    table = world.platform.profile.recipient.table
    with sa.create_engine(world.url).connect() as connection:
        ended = connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' AND pid IN"
                " (SELECT pid FROM pg_locks WHERE relation = CAST(:table AS regclass)) AND pid <> pg_backend_pid()"
            ),
            {"table": f'"{table}"'},
        )
        return len(ended.all())


@pytest.mark.parametrize("lost", [True, False])
def test_no_look_is_open_while_campaigns_are_completed(
    world: World, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    """An old transaction would be ended by a time-out, keep a migration waiting, and end the sweep with it."""
    world.app.add_campaign("done", succeeded=2)
    world.app.add_campaign("cancelled", status="cancelled", succeeded=1)
    world.app.add_reservation("leak", campaign="cancelled")
    if lost:
        world.app.add_campaign("lost", pending=2)
    complete, ended = Sweep.complete, []

    def completing(sweep: Sweep, *arguments: object) -> object:
        ended.append(end_looks(world))
        return complete(sweep, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Sweep, "complete", completing)
    report = world.sweep()
    assert ended == [0]
    assert world.app.campaign("done")["status"] == "sent"
    assert world.app.reservation("leak")["status"] == "released"
    assert [line.done for line in report.repairs] == [1, int(lost), 1, 0]


def test_a_look_whose_connection_dies_in_the_end_stops_nothing(world: World) -> None:
    world.app.add_campaign("done", succeeded=2)
    world.app.add_campaign("lost", pending=2)
    with interfering(world, after="add", what=lambda: end_looks(world)):
        report = world.sweep()
    assert [line.done for line in report.repairs][:2] == [1, 1]
    assert world.app.campaign("done")["status"] == "sent"
    assert len(covered(world)) == 2


def test_a_look_whose_connection_dies_while_it_reads_again_adds_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can the savepoint of that reading be ended then; the sweep goes on with what needs no look."""
    world.app.add_campaign("done", succeeded=2)
    world.app.add_campaign("lost", pending=2)
    fingerprints = cover.fingerprints

    def dying(connection: sa.Connection, *arguments: object) -> object:
        assert end_looks(world) == 1
        return fingerprints(connection, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cover, "fingerprints", dying)
    report = world.sweep()
    assert covered(world) == {}
    assert "half way" in str(report.repairs[1].held_back)
    assert world.app.campaign("done")["status"] == "sent"


def test_a_page_whose_rows_cannot_be_read_stops_only_itself(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    world = worlds.make("sms", policy={"breaker_floor": 100})
    monkeypatch.setattr(reenqueue_module, "JOBS_PER_PAGE", 1)
    for number in range(4):
        world.app.add_campaign(f"c{number}", pending=2)
    damage_the_first_reading(monkeypatch)
    report = world.sweep()
    assert len(covered(world)) == 6
    assert len(report.repairs[1].failures) == 1


def damage_the_first_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints, calls = cover.fingerprints, []

    def damaged(connection: sa.Connection, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            connection.execute(sa.text("SELECT 1/0"))
        return fingerprints(connection, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cover, "fingerprints", damaged)


def test_a_campaign_whose_page_failed_gets_no_job_of_a_later_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of one job, and two or three jobs for each campaign."""
    monkeypatch.setattr(reenqueue_module, "JOBS_PER_PAGE", 1)
    profile, queue = world.platform.profile, world.platform.queue
    assert profile.queue is not None
    assert queue is not None
    queue.profile = profile.queue.model_copy(update={"batch_size": 2})
    world.platform.profile = profile.model_copy(update={"queue": queue.profile})
    world.app.add_campaign("failing", pending=6, updated_ago=hours(2))
    world.app.add_campaign("other", pending=4)
    damage_the_first_reading(monkeypatch)
    (failure,) = world.sweep().repairs[1].failures
    assert failure[0] == "failing"
    assert covered(world) == dict.fromkeys(world.app.pending_ids("other"), 1)
    intents = world.rows("SELECT campaign_id, added_at FROM campaign_ops.intent")
    assert Counter((row["campaign_id"], row["added_at"] is not None) for row in intents) == {
        ("failing", False): 1,
        ("other", True): 2,
    }
    assert [row["total"] for row in world.rows("SELECT total FROM campaign_ops.attempt")] == [1, 1]


def test_a_campaign_whose_every_recipient_was_sent_to_meanwhile_gets_no_empty_job(world: World) -> None:
    world.app.add_campaign("sent", pending=2)
    world.app.add_campaign("other", pending=2)
    with interfering(world, before="newcomers", what=lambda: world.app.move_recipients("sent", "succeeded", 2)):
        world.sweep()
    assert len(world.queue.live_job_ids()) == 1
    assert covered(world) == dict.fromkeys(world.app.pending_ids("other"), 1)


def test_of_an_add_whose_answer_was_lost_the_jobs_that_are_there_count_and_the_others_stay_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("a", "b"):
        world.app.add_campaign(label, pending=2)
    queue = world.platform.queue
    assert queue is not None
    add = queue.add

    def cut_off(jobs: Sequence[NewJob], guard: Guard) -> object:
        add([job for job in jobs if job.campaign_id == "a"], guard)
        raise QueueUnavailable("the connection was lost")

    monkeypatch.setattr(queue, "add", cut_off)
    line = world.sweep().repairs[1]
    assert (line.done, line.targets, line.away) == (1, ("a",), True)
    assert "the connection was lost" in str(line.held_back)
    rows = world.rows("SELECT campaign_id, added_at, closed_as FROM campaign_ops.intent ORDER BY 1")
    assert [(row["campaign_id"], row["added_at"] is not None, row["closed_as"]) for row in rows] == [
        ("a", True, None),
        ("b", False, None),
    ]


def test_a_slow_queue_is_not_the_database_s_timeout(world: World) -> None:
    """Redis may take longer to tell its jobs than any statement may take."""
    world.app.add_campaign("c", pending=2)
    database = Database(world.url, Timeouts(statement_seconds=0.5))

    def slow() -> object:
        for recipient in ("a", "b", "c"):
            time.sleep(0.4)
            yield recipient

    with database.transaction() as connection:
        cover.create(connection, world.platform.tables(connection))
        cover.load(connection, slow(), cover.MARKED)  # type: ignore[arg-type]
        kept = connection.scalars(sa.text(f"SELECT recipient_id FROM {cover.MARKED} ORDER BY 1"))
        assert list(kept) == ["a", "b", "c"]
    database.close()


# -- counting ----------------------------------------------------------------------------------------------------------


def test_an_attempt_whose_confirmation_is_written_twice_counts_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the commit is lost, so it is done again."""
    world.app.add_campaign("c", pending=2)
    added, run = AttemptLog.added, Database.run
    confirmed: list[int] = []

    def adding(log: AttemptLog, *arguments: object) -> None:
        added(log, *arguments)  # type: ignore[arg-type]
        confirmed.append(1)

    def running(database: Database, work: object, **options: object) -> object:
        result: object = run(database, work, **options)  # type: ignore[arg-type]
        if len(confirmed) == 1:
            result = run(database, work, **options)  # type: ignore[arg-type]
        return result

    monkeypatch.setattr(AttemptLog, "added", adding)
    monkeypatch.setattr(Database, "run", running)
    world.sweep()
    assert len(confirmed) == 2
    assert world.rows("SELECT total, without_progress FROM campaign_ops.attempt") == [
        {"total": 1, "without_progress": 1}
    ]


def test_nothing_is_put_back_while_earlier_attempts_cannot_be_counted(world: World) -> None:
    world.app.add_campaign("c", pending=2)
    with pytest.raises(Killed), interfering(world, after="add", what=_die):
        world.sweep()
    world.queue.remove(world.queue.live_job_ids()[1:])
    with redis.Redis.from_url(world.queue.url) as client:
        for job_id in world.queue.live_job_ids():
            client.lrem(world.queue.key("wait"), 0, job_id)
            client.zadd(world.queue.key("failed"), {job_id: 1})
    world.rows("UPDATE campaign_ops.attempt SET last_at = last_at - interval '1 hour' RETURNING 1")
    with interfering(world, before="present", what=_lose_the_answer):
        report = world.sweep()
    assert report.repairs[1].held_back
    assert covered(world) == {}
    world.sweep()
    assert world.rows("SELECT total, without_progress FROM campaign_ops.attempt") == [
        {"total": 2, "without_progress": 2}
    ]


def _die() -> None:
    raise Killed


def _lose_the_answer() -> None:
    raise QueueUnavailable("the answer was lost")


# -- what stands in the queue ------------------------------------------------------------------------------------------


def test_a_text_that_was_cut_through_an_emoji_makes_no_queue_unreadable(world: World) -> None:
    """As `JSON.stringify("Sale 😀".slice(0, 6))` writes it."""
    world.app.add_campaign("c", pending=2)
    (job,) = world.queue.add("c", "shop", world.app.pending_ids("c"))
    with redis.Redis.from_url(world.queue.url, decode_responses=True) as client:
        data = str(client.hget(world.queue.key(job), "data"))
        client.hset(world.queue.key(job), "data", data[:-1] + ', "preview": "Sale \\ud83d"}')
    report = world.sweep()
    assert report.queue is not None
    assert report.queue.problem is None
    assert set(covered(world).values()) == {1}


@pytest.mark.parametrize("name", [b"a\xffb", b"a\x00b", "ü".encode()])
@pytest.mark.parametrize("ours", [True, False])
def test_a_job_whose_id_is_no_text_stops_completions_only_if_it_may_be_ours(
    world: World, name: bytes, *, ours: bool
) -> None:
    world.app.add_campaign("done", succeeded=2)
    world.app.add_campaign("c", pending=2)
    with redis.Redis.from_url(world.queue.url) as client:
        fields = {"name": world.queue.profile.job if ours else "another", "data": "{not json"}
        client.hset(world.queue.key("").encode() + name, mapping=fields)
        client.lpush(world.queue.key("wait"), name)
    report = world.sweep()
    assert world.app.campaign("done")["status"] == ("sending" if ours else "sent")
    assert report.queue is not None
    assert bool(report.queue.unclear_jobs) is ours
