"""No double cover, ever: the application, workers, people and two sweeps in any order, each cut short anywhere.

`INTERLEAVINGS=200` plays so many stories instead of the few that CI has time for, and other ones each time.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from campaign_ops.lab.shop.provider import Provider
from campaign_ops.lab.shop.worker import WorkerOptions
from campaign_ops.lab.shop.worker_process import WorkerProcess
from campaign_ops.sweep import reenqueue as reenqueue_module
from tests.conftest import World, Worlds
from tests.sweep.actors import covered, interfering
from tests.sweep.soak import RECIPIENTS, Soak
from tests.sweep.stage import BATCH, DEATHS, STEPS, Place, Stage, small_batches

STORIES = int(os.environ.get("INTERLEAVINGS", "0"))
PROFILE = settings(
    max_examples=STORIES or 18,
    stateful_step_count=30 if STORIES else 25,
    derandomize=not STORIES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
HOW: tuple[dict[str, Any], ...] = ({}, {"priority": 3}, {"delay": 3_600_000}, {"attempts": 1})
SMALL = st.integers(0, 3)
WHEN = ("before", "after")
ACTS = (
    "kill", "start", "enqueue", "more", "lose", "retry", "promote", "work", "work and die", "work and fail", "stall",
    "cancel", "pause", "resume", "finish", "time", "come and go",
)  # fmt: skip
ACT = st.tuples(st.sampled_from(ACTS), SMALL, SMALL)
ENQUEUEING = st.tuples(st.sampled_from(("enqueue", "come and go", "retry", "work and fail", "work")), SMALL, SMALL)
PLACES = st.sampled_from(
    [f"{when} {call}" for call in ("snapshot", "live_jobs", "last_look", "newcomers", "marked", "add") for when in WHEN]
)
MEANWHILE = st.lists(st.tuples(st.integers(1, 130) | PLACES, ACT | ENQUEUEING), min_size=1, max_size=4)
Moment = tuple[Place, tuple[str, int, int]]


@pytest.fixture
def stage(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(reenqueue_module, "JOBS_PER_PAGE", 2)
    played = Stage(small_batches(worlds, BATCH))
    yield played
    played.close()


def acts(stage: Stage) -> dict[str, Callable[[int, int], object]]:
    """Everything that others do; each takes two small numbers that choose whom and how."""

    def campaign(nth: int) -> str:
        return stage.campaigns[nth % len(stage.campaigns)]

    return {
        "kill": lambda _a, _b: stage.kill(),
        "start": lambda a, b: stage.start_campaign(3 + 2 * a, 2 * b, b, **HOW[(a + b) % 4]),
        "enqueue": lambda a, b: stage.enqueue(campaign(a), 2 + b, **HOW[b % 4]),
        "more": lambda a, _b: stage.add_recipients(campaign(a)),
        "lose": lambda a, _b: stage.lose(a),
        "retry": lambda a, _b: stage.retry(a),
        "promote": lambda _a, _b: stage.promote(),
        "work": lambda _a, _b: stage.work(None, 0),
        "work and die": lambda a, b: stage.work(DEATHS[a % 4], b % 2),
        "work and fail": lambda a, b: stage.work(DEATHS[a % 4], b % 2, fail=True),
        "stall": lambda _a, _b: stage.find_stalled(),
        "cancel": lambda a, _b: stage.set_status(campaign(a), "cancelled"),
        "pause": lambda a, _b: stage.set_status(campaign(a), "paused"),
        "resume": lambda a, _b: stage.set_status(campaign(a), "sending"),
        "finish": lambda a, _b: stage.complete(campaign(a)),
        "come and go": lambda a, b: stage.come_and_go(campaign(a), (None, "claim", "send", "write")[b], b % 2),
        "time": lambda _a, _b: stage.time_passes(),
    }


class Interleavings(RuleBasedStateMachine):
    """Two sweeps, each at some step of some run, and everybody else."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.stage.begin()
        self.acts = acts(self.stage)
        self.place = [0, 0]
        self.round = [0, 0]

    @initialize(first=st.tuples(SMALL, SMALL), second=st.tuples(SMALL, SMALL))
    def campaigns(self, first: tuple[int, int], second: tuple[int, int]) -> None:
        for recipients, in_jobs in (first, second):
            self.stage.start_campaign(4 + 2 * recipients, 2 * in_jobs, in_jobs)

    @rule(name=st.sampled_from(ACTS[1:]), a=SMALL, b=SMALL)
    def somebody(self, name: str, a: int, b: int) -> None:
        self.stage.act(partial(self.acts[name], a, b))

    @rule()
    def time(self) -> None:
        self.stage.time_passes()

    @rule(who=st.integers(0, 1))
    def sweep_on(self, who: int) -> None:
        self.step(who, [])

    @rule(who=st.integers(0, 1), meanwhile=MEANWHILE)
    def sweep_on_while_others_act(self, who: int, meanwhile: list[Moment]) -> None:
        self.step(who, meanwhile)

    @rule(who=st.integers(0, 1), lost=SMALL, meanwhile=MEANWHILE)
    def re_enqueue_while_others_act(self, who: int, lost: int, meanwhile: list[Moment]) -> None:
        """Where a message can be sent twice: time has passed, the plan is made, and somebody is in the way."""
        for _ in range(lost):
            self.stage.lose(0)
        self.stage.add_recipients(self.stage.campaigns[lost % len(self.stage.campaigns)])
        self.stage.time_passes()
        self.place[who], self.round[who] = 0, self.round[who] + 1
        self.step(who, [])
        self.place[who] = STEPS.index("reenqueue")
        self.step(who, meanwhile)

    def step(self, who: int, meanwhile: list[Moment]) -> None:
        acts = [(at, partial(self.acts[name], a, b)) for at, (name, a, b) in meanwhile]
        self.stage.step(who, f"run-{who}-{self.round[who]}", STEPS[self.place[who]], acts)
        self.place[who] += 1
        if self.place[who] == len(STEPS):
            self.place[who], self.round[who] = 0, self.round[who] + 1

    @invariant()
    def the_world_is_right(self) -> None:
        self.stage.check()


@pytest.mark.slow
def test_no_double_cover_whoever_interrupts_whom(stage: Stage) -> None:
    class Played(Interleavings):
        pass

    Played.stage = stage
    run_state_machine_as_test(Played, settings=PROFILE)


def test_recipients_marked_by_a_job_that_came_and_went_unseen_are_not_sent_again(sms: World) -> None:
    """Between our look and the second one a job was taken, sent, could not write, and failed: only its markers tell."""
    sms.app.add_campaign("lost", pending=10)
    sweep = sms.begin()
    sweep.make_plan()
    in_doubt = sms.app.pending_ids("lost")[:4]
    with interfering(sms, before="newcomers", what=lambda: sms.queue.mark(in_doubt)):
        done = sweep.reenqueue()
    assert not set(in_doubt) & set(covered(sms))
    assert done.recipients == 6


@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False], ids=["killed-workers-that-claim", "stopped-workers-that-do-not"])
def test_a_platform_under_fire_sends_to_everybody_once(worlds: Worlds, work_dir: Path, killed: bool) -> None:
    """A worker killed between send and write leaves a recipient whose fate only its claim tells; claims stay."""
    world = small_batches(worlds, 10)
    Provider.create(world.app.engine)
    locks: dict[str, Any] = {"lock_ms": 1000, "stalled_ms": 500} if killed else {}
    soak = Soak(world, work_dir, WorkerOptions(delay_ms=2, answer_ms=2, touch_every=0, claims=killed, **locks))
    try:
        soak.start()
        deadline = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "8"))
        for number in itertools.count():
            soak.start_campaign(number)
            soak.lose_jobs()
            soak.pause_and_resume()
            if number % 4 == 3:
                soak.kill_sweeper()
            if number % 8 == 5:
                soak.restart_worker(WorkerProcess.kill if killed else WorkerProcess.stop)
            time.sleep(0.3)
            # A slow machine gets through less in the same time: go on until there was enough to watch.
            if time.monotonic() > deadline and (added(world) > 10 or time.monotonic() > deadline + 60):
                break
        soak.settle(150)
    finally:
        soak.stop()
    looks, doubled = json.loads(soak.watched.read_text(encoding="utf-8"))
    assert doubled == {}
    assert looks > 100
    assert Provider(world.app.engine).double_sends() == {}
    sends = soak.sends()
    for row in world.app.campaigns():
        pending = world.app.pending_ids(row["id"])
        match row["status"]:
            case "sent":
                assert not pending
                assert [sends[one] for one in world.app.recipient_ids(row["id"])] == [1] * RECIPIENTS
                assert world.app.reservation(f"{row['id']}h")["status"] == "released"
            case "sending":
                assert killed, f"{row['id']}: {len(pending)} were never sent"
            case other:
                assert other == "cancelled"
                assert row["id"] in soak.cancelled
    assert {row["id"] for row in world.app.campaigns("cancelled")} == soak.cancelled
    assert added(world) > 10


def added(world: World) -> int:
    """Jobs that sweeps have put into the queue and confirmed."""
    (intents,) = world.rows("SELECT count(added_at) AS added FROM campaign_ops.intent")
    return int(intents["added"])
