"""A whole drill: retries, log, the person on call, and the scoreboard at the end."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from rich.console import Console

from campaign_ops.lab.drill import execution
from campaign_ops.lab.drill.checkers import read, stores_of
from campaign_ops.lab.drill.checkers.journal import counted
from campaign_ops.lab.drill.drill import run_drill
from campaign_ops.lab.drill.environment.rig import Rig
from campaign_ops.lab.drill.execution import Execution
from campaign_ops.lab.drill.faults import FAULTS
from campaign_ops.lab.drill.ledger import AGAIN, CONFIRMED, END, FAULT, MISSED
from campaign_ops.lab.drill.on_call import OnCall, held_back
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.script import Event
from campaign_ops.lab.drill.workload import CANCELLED, PAUSED, Workload
from campaign_ops.sweep import Sweep
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow

LONG_AGO = timedelta(minutes=5)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(DrillOptions(tmp_path, seed=1, seconds=3, dagster=False)) as up:
        yield up


def sweep(rig: Rig) -> None:
    platform = rig.connect()
    try:
        Sweep(platform, run_id=str(random.random()), trigger="test", actor="tests").run()
    finally:
        platform.close()


def children() -> set[psutil.Process]:
    """Running child processes of this process."""
    processes = psutil.Process().children()
    return {process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE}


def said(rig: Rig, words: str) -> bool:
    return any(words in line for _, line in rig.story)


def test_a_short_drill_ends_with_a_scoreboard_that_holds(tmp_path: Path) -> None:
    names = ("kill_worker_after_write", "lose_completion", "restart_postgres")
    before = children()  # of other tests
    story = StringIO()
    options = DrillOptions(tmp_path / "work", seed=3, seconds=15, faults=names, dagster=False)
    board = run_drill(options, Console(file=story, width=160))
    told = story.getvalue()
    assert [figure for figure in board.figures if not figure.holds] == [], told
    assert board.holds, told
    of_gaps = {"drop_connections", "redis_old_data"}  # acts between two statements of a sweep, by chance
    assert {mark.text for mark in board.marks if mark.kind == FAULT} - of_gaps == set(names)
    assert all(f"FAULT {name}" in told for name in names)
    document = json.loads((tmp_path / "work" / "scoreboard.json").read_text())
    assert document["holds"] is True
    assert (tmp_path / "work" / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert children() <= before


def test_the_drill_ends_early_and_is_checked_once_enough_is_true(tmp_path: Path) -> None:
    options = DrillOptions(tmp_path, seed=3, seconds=600, faults=("lose_completion",), dagster=False)
    board = run_drill(options, Console(file=StringIO()), enough=lambda rig: rig.provider.sends() > 0)
    assert board.cut_short
    assert not board.holds
    assert all(figure.holds for figure in board.figures)
    assert board.seconds < 60


def test_a_fault_that_fails_because_of_a_server_is_retried_and_ends_after_that(rig: Rig) -> None:
    assert rig.servers is not None
    rig.servers.postgres.kill()
    back = threading.Timer(1.5, rig.servers.postgres.start)
    back.start()
    arguments = {"index": 0}
    events = (
        Event(0.0, "fault", "disk_full_on_report", arguments),
        Event(0.1, "end", "disk_full_on_report", arguments),
    )
    Execution(rig, threading.Event()).play(events)
    back.join()
    assert [mark.kind for mark in rig.ledger.marks()] == [FAULT, END]
    assert [line.split()[0] for _, line in rig.story] == ["FAULT", "over:"]


def test_a_fault_that_could_never_be_injected_is_logged(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_TRIES", 1)
    assert rig.servers is not None
    rig.servers.postgres.kill()
    play = Execution(rig, threading.Event())
    play.play([Event(0.0, "fault", "drop_connections", {"index": 0})])
    assert said(rig, "NOT INJECTED: fault drop_connections")
    assert "drop_connections" in play.skipped


def test_a_fault_that_failed_because_of_redis_is_marked_when_it_is_retried(rig: Rig) -> None:
    assert rig.servers is not None
    rig.servers.redis.kill()
    back = threading.Timer(1.2, rig.servers.redis.start)
    back.start()
    play = Execution(rig, threading.Event())
    play.play([Event(0.0, "fault", "lose_jobs", {"index": 0})])
    back.join()
    kinds = [mark.kind for mark in rig.ledger.marks()]
    assert kinds == [FAULT] + [AGAIN] * (len(kinds) - 1)
    assert len(kinds) > 1
    assert play.missed == []


def test_a_fault_without_effect_is_counted_as_missed(rig: Rig) -> None:
    play = Execution(rig, threading.Event())
    worker = Event(0.0, "fault", "kill_worker_after_send", {"index": 0})
    play.play([worker, replace(worker, kind="end")])  # too little time for a worker to take a job
    play.end_all()
    assert said(rig, "did not reach that point")
    assert [mark.kind for mark in rig.ledger.marks()] == [FAULT, END, MISSED, "settling"]
    assert "1 fault (1 without effect)" in counted(read(stores_of(rig))).found


def test_faults_that_are_not_possible_are_logged_before_the_first_event(rig: Rig) -> None:
    rig.options = replace(rig.options, seconds=60)
    play = Execution(rig, threading.Event())
    script = play.script()
    assert said(rig, "SKIPPED: duplicate_ticks")
    happening = {event.name for event in script if event.kind == "fault"}
    assert happening | set(play.skipped) == set(FAULTS)
    assert not happening & set(play.skipped)


def test_active_faults_end_before_the_checks(rig: Rig) -> None:
    play = Execution(rig, threading.Event())
    play.play([Event(0.0, "fault", "pause_queue", {"index": 0}), Event(0.0, "fault", "table_lock", {"index": 1})])
    assert len(play.faults) == 2
    play.end_all()
    assert play.faults == {}
    Workload(rig).start("cmp_1", 5, "shop_north")
    assert [mark.kind for mark in rig.ledger.marks()][-1] == "settling"


# -- the application and its users -------------------------------------------------------------------------------------


def test_a_paused_campaign_has_no_jobs_and_a_resumed_one_has_each_recipient_once(rig: Rig) -> None:
    workload = Workload(rig)
    workload.start("cmp_1", 50, "shop_north")
    assert workload.pause(0.5) is not None
    assert rig.writer.campaign("cmp_1")["status"] == PAUSED
    assert rig.queue.live_job_ids() == []
    assert workload.resume(0.5) is not None
    covered = [one for job in rig.queue.live_job_ids() for one in rig.queue.job_data(job)["recipientIds"]]
    assert sorted(covered) == rig.writer.pending_ids("cmp_1")


def test_a_fault_that_is_tried_again_starts_its_campaign_once(rig: Rig) -> None:
    """Seen while PostgreSQL was away for a minute: a fault whose jobs could not be added started 40 campaigns."""
    workload = Workload(rig)
    first = workload.start("hang_worker_000001", 30, "shop_north")
    rig.queue.remove(first[:1])
    assert len(workload.start("hang_worker_000001", 30, "shop_north")) == 1
    assert len(rig.writer.recipients("hang_worker_000001")) == len(rig.live_recipients()) == 30


def test_people_move_import_retry_and_reopen_without_a_double_cover(rig: Rig) -> None:
    workload = Workload(rig)
    workload.start("cmp_1", 30, "shop_north")
    jobs = workload.start("cmp_2", 30, "shop_north")
    rig.queue.remove(jobs[:1])
    rig.writer.move_recipients("cmp_2", "failed", 3)
    assert workload.retry(0) is not None
    assert workload.retry(0) is None, "its failed recipients are in a live job"
    assert workload.import_more(0) is not None
    assert workload.pause(0) is not None
    assert workload.move(0) is not None
    rig.writer.set_campaign("cmp_2", status="sent")
    assert workload.reopen(0) is not None
    covered = [one for job in rig.queue.live_job_ids() for one in rig.queue.job_data(job)["recipientIds"]]
    assert len(covered) == len(set(covered))
    pending = {one for campaign in ("cmp_1", "cmp_2") for one in rig.writer.pending_ids(campaign)}
    assert pending - set(covered) == set(rig.writer.pending_ids("cmp_1"))


def test_a_campaign_is_not_resumed_while_a_worker_holds_a_job_of_it(rig: Rig) -> None:
    workload = Workload(rig)
    workload.start("cmp_1", 300, "shop_north")
    worker = rig.start_worker()
    wait_until(lambda: len(rig.queue.job_ids("active")) > 0, 20)
    worker.kill()  # its jobs stay active
    assert workload.pause(0) is not None
    assert workload.resume(0) is None
    assert rig.writer.campaign("cmp_1")["status"] == PAUSED


@pytest.mark.parametrize("frees_credits", [True, False])
def test_a_cancelled_campaign_has_no_jobs_and_its_credits_are_released_or_leaked(
    rig: Rig, *, frees_credits: bool
) -> None:
    workload = Workload(rig)
    workload.start("cmp_1", 50, "shop_north")
    workload.cancel(0.9, frees_credits=frees_credits)
    assert rig.writer.campaign("cmp_1")["status"] == CANCELLED
    assert rig.queue.live_job_ids() == []
    (hold,) = rig.writer.reservations("cmp_1")
    assert hold["status"] == ("released" if frees_credits else "active")


def test_people_do_not_touch_the_campaigns_of_faults(rig: Rig) -> None:
    workload = Workload(rig)
    workload.start(workload.label("unsendable", random.Random(1)), 5, "shop_north")
    assert workload.cancel(0.5, frees_credits=True) is None
    assert workload.pause(0.5) is None


# -- the person on call ------------------------------------------------------------------------------------------------


def test_a_tripped_breaker_is_confirmed_by_the_person_on_call(rig: Rig) -> None:
    for number in range(6):
        rig.writer.add_campaign(f"cmp_{number}", updated_ago=LONG_AGO, pending=3)
    sweep(rig)
    platform = rig.connect()
    assert held_back(platform)
    platform.close()
    assert rig.queue.live_job_ids() == []
    with OnCall(rig) as person:
        wait_until(lambda: person.confirmed == 1, 20)
    assert len(rig.queue.live_job_ids()) == 6
    assert said(rig, "the breaker holds back")
    (line,) = [json.loads(one) for one in (rig.work_dir / "sweeps-person.jsonl").read_text().splitlines()]
    assert line["outcome"] == "done"
    assert [mark.text for mark in rig.ledger.marks() if mark.kind == CONFIRMED] == [line["run_id"]]


def test_the_person_on_call_survives_an_unavailable_database(rig: Rig) -> None:
    assert rig.servers is not None
    with OnCall(rig) as person:
        rig.servers.postgres.restart()
        for number in range(6):
            wait_until(lambda: _answers(rig), 10)
            rig.writer.add_campaign(f"cmp_{number}", updated_ago=LONG_AGO, pending=3)
        sweep(rig)
        wait_until(lambda: person.confirmed == 1, 20)


def _answers(rig: Rig) -> bool:
    try:
        with rig.owner.connect() as connection:
            return connection.scalar(sa.text("SELECT true")) is True
    except sa.exc.SQLAlchemyError:
        return False
