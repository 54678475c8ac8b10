"""What happens between two statements of a sweep really happens, to a campaign that the sweep works on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from campaign_ops.core.errors import DatabaseUnavailable
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.lab.drill import meeting
from campaign_ops.lab.drill.environment.rig import Rig
from campaign_ops.lab.drill.environment.workforce import MEETING, SWEEPERS
from campaign_ops.lab.drill.gaps import Act, Acts, Gaps
from campaign_ops.lab.drill.ledger import LOCK_LOSS
from campaign_ops.lab.drill.meeting import ADDING, Meeting
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.workload import CANCELLED, PAUSED, Workload
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow

SENDING = "cmp_sending"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A rig with a campaign that has two recipients in no job, one that has failed, and one that was sent to."""
    with Rig(DrillOptions(tmp_path, seed=1, seconds=3, dagster=False, watch=False)) as up:
        Workload(up).write(SENDING, 4, "shop_north")
        up.writer.move_recipients(SENDING, "failed", 1)
        up.writer.move_recipients(SENDING, "succeeded", 1)
        yield up


@pytest.fixture
def acts(rig: Rig) -> Iterator[Acts]:
    acts = Gaps(rig)._acts
    yield acts
    acts.end()


def do(act: Act) -> None:
    assert act([f"res_{SENDING}"]) is not None, "named by its reservation"
    assert act(["no such id"]) is None


def status(rig: Rig) -> str:
    return str(rig.writer.campaign(SENDING)["status"])


def test_the_application_enqueues_what_is_in_no_job_once(rig: Rig, acts: Acts) -> None:
    do(acts.enqueue)
    assert rig.live_recipients() == set(rig.writer.pending_ids(SENDING))
    assert acts.enqueue([SENDING]) is None


def test_a_recipient_is_sent_to_in_process_and_claimed(rig: Rig, acts: Acts) -> None:
    do(acts.send)
    assert rig.provider.sends(SENDING) == 2
    assert rig.writer.pending_ids(SENDING) == []


def test_a_worker_dies_with_its_claim(rig: Rig, acts: Acts) -> None:
    do(acts.claim)
    assert rig.provider.sends(SENDING) == 0
    assert acts.send([SENDING]) is not None, "the other one"
    assert len(rig.writer.pending_ids(SENDING)) == 1


@pytest.mark.parametrize(("act", "word"), [("cancel", CANCELLED), ("pause", PAUSED)])
def test_a_person_ends_or_pauses_it(rig: Rig, acts: Acts, act: str, word: str) -> None:
    do(getattr(acts, act))
    assert status(rig) == word
    assert getattr(acts, act)([SENDING]) is None


def test_a_campaign_that_is_over_is_opened_again(rig: Rig, acts: Acts) -> None:
    assert acts.reopen([SENDING]) is None
    rig.writer.set_campaign(SENDING, status="sent")
    do(acts.reopen)
    assert status(rig) == "sending"
    assert rig.live_recipients() >= set(rig.writer.pending_ids(SENDING))


def test_failed_recipients_are_tried_again_by_a_job_that_lists_them(rig: Rig, acts: Acts) -> None:
    do(acts.retry)
    assert rig.live_recipients() == set(rig.writer.failed_ids(SENDING))


def test_failed_recipients_are_pending_again_when_a_transaction_ends_late(rig: Rig, acts: Acts) -> None:
    (failed,) = rig.writer.failed_ids(SENDING)
    do(acts.retry_slowly)
    assert rig.writer.failed_ids(SENDING) == [failed], "not committed yet"
    wait_until(lambda: failed in rig.live_recipients())
    assert failed in rig.writer.pending_ids(SENDING)


def test_the_lock_of_a_sweep_is_lost_and_noted(rig: Rig, acts: Acts) -> None:
    assert acts.lose_lock([SENDING]) is None, "no sweep is under way"
    platform = rig.connect()
    with suppress(DatabaseUnavailable), platform.lock(wait_seconds=0).hold():
        assert acts.lose_lock([SENDING]) is not None
    platform.close()
    assert [mark.text for mark in rig.ledger.marks() if mark.kind == LOCK_LOSS] == [platform.database.application_name]


def test_redis_comes_back_as_another_process_with_the_same_jobs(rig: Rig, acts: Acts) -> None:
    jobs = Workload(rig).enqueue_missing(SENDING)
    assert rig.servers is not None
    before = rig.servers.redis.pid
    assert acts.restart_redis([]) is None, "not so soon"
    acts._restart_at = 0.0
    assert acts.restart_redis([]) is not None
    assert rig.servers.redis.pid != before
    assert rig.queue.live_job_ids() == jobs


def test_campaigns_that_a_figure_waits_for_stay_as_they_are(rig: Rig, acts: Acts) -> None:
    Workload(rig).write("unsendable_1", 2, "shop_north")
    assert acts.cancel(["unsendable_1"]) is None


def test_a_sweep_waits_at_its_statements_and_says_what_it_works_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def meet(_gaps: Gaps, ids: list[str], about_to: str) -> float:
        asked.extend((id_, about_to) for id_ in ids)
        return 0.0

    monkeypatch.setattr(Gaps, "meet", meet)
    monkeypatch.setattr(meeting, "_GAPS_OF_A_SWEEP", (1000,))
    for share in ("_SHARE", "_SHARE_THAT_MATTERS", "_SHARE_BEFORE_A_WRITE"):
        monkeypatch.setattr(meeting, share, 1)
    Workload(rig).write("cmp_lost", 2, "shop_north")
    with Gaps(rig):
        at_statements = Meeting()
        platform = rig.connect()
        try:
            with at_statements.during(rig.meet_port):
                reenqueue_one(platform, "cmp_lost", Person("ann", "a test", "by-hand"))
        finally:
            at_statements.end()
            at_statements.end()
            platform.close()
    assert ("cmp_lost", ADDING) in asked
    assert ("cmp_lost", "") in asked


def test_of_the_sweepers_one_waits_for_the_drill(rig: Rig) -> None:
    with Gaps(rig):
        for name in SWEEPERS:
            rig.start_sweeper(name)
        assert [name for name, sweeper in rig.sweepers.items() if sweeper.options.meet_port] == [MEETING]
    rig.stop_all()


def test_every_act_is_drawn(rig: Rig, acts: Acts) -> None:
    everything: set[Callable[..., object]] = {acts.any() for _ in range(2_000)}
    assert len(everything) == 16
    rarely, often = (Counter(acts.any(moment) for _ in range(2_000)) for moment in ("", ADDING))
    assert often[acts.lose_lock] > 2 * rarely[acts.lose_lock]
