"""Stories in which people fix, undo and confirm while the application and sweeps go on, with two queues.

`INTERLEAVINGS=200` plays so many. ``-m power`` removes one rule after the other, and expects the stories to notice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from campaign_ops.bullmq.queue import NewJob
from campaign_ops.bullmq.queue_group import QueueGroup
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.postgres import cover, guarded, reservations
from campaign_ops.sweep import reenqueue as reenqueue_module
from campaign_ops.sweep.add_page import Adder
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.look import Look
from campaign_ops.sweep.orders import Orders
from campaign_ops.sweep.result import StepResult
from tests.conftest import Worlds
from tests.lab.drill.mutations.completing import of_same_id, release_unguarded
from tests.sweep.stage import BATCH, STEPS, Act, Place, small_batches
from tests.sweep.test_interleavings import ACTS, MEANWHILE, SMALL, STORIES, Interleavings, Moment, acts
from tests.sweep.town import SECOND, Town

FIXES = ("mark-complete", "reenqueue", "release", "send-again", "take-as-sent")
PEOPLE = ("elsewhere", "lose elsewhere", "reopen", "markers end", "undo", "fix")
PEOPLES = st.tuples(st.sampled_from((*PEOPLE, "undo", "reopen", *ACTS[1:])), SMALL, SMALL)
_Key = tuple[str, int]
SOON = st.lists(PEOPLES, max_size=4)


@pytest.fixture
def town(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    monkeypatch.setattr(reenqueue_module, "JOBS_PER_PAGE", 2)
    world = small_batches(worlds, BATCH)
    profile = world.platform.profile
    assert profile.queue is not None
    both = profile.queue.model_copy(update={"also": (SECOND,)})
    world.platform.profile = profile.model_copy(update={"queue": both})
    played = Town(world)
    yield played
    played.close()


def peoples_acts(town: Town) -> dict[str, Callable[[int, int], object]]:
    def campaign(nth: int) -> str:
        return town.campaigns[nth % len(town.campaigns)]

    return {
        **acts(town),
        "elsewhere": lambda a, b: town.enqueue_elsewhere(campaign(a), b),
        "lose elsewhere": lambda _a, _b: town.lose_elsewhere(),
        "reopen": lambda a, _b: town.reopen(campaign(a)),
        "markers end": lambda _a, _b: town.expire_markers(),
        "undo": lambda a, _b: town.fix("undo", a),
        "fix": lambda a, b: town.fix(FIXES[(a + b) % len(FIXES)], b),
    }


class People(Interleavings):
    """`Interleavings` with people between the steps."""

    stage: Town

    def __init__(self) -> None:
        super().__init__()
        self.acts = peoples_acts(self.stage)

    @rule(what=PEOPLES)
    def a_person(self, what: tuple[str, int, int]) -> None:
        self.play([what])

    @rule(who=st.integers(0, 1), first=SOON, between=SOON, step=st.sampled_from(("complete", "reenqueue", "release")))
    def a_plan_grows_old(
        self, who: int, first: list[tuple[str, int, int]], between: list[tuple[str, int, int]], step: str
    ) -> None:
        """Much happens between the plan and the step that acts on it."""
        self.play(first)
        self.stage.time_passes()
        self.place[who], self.round[who] = 0, self.round[who] + 1
        self.step(who, [])
        self.play(between)
        self.place[who] = STEPS.index(step)
        self.step(who, [])

    @rule(nth=SMALL, reopened=st.booleans())
    def a_person_undoes_a_completion(self, nth: int, reopened: bool) -> None:
        """Perhaps of a campaign that the application has reopened since."""
        self.stage.answer_all(self._campaign(nth))
        self.plan_and("complete")
        campaign = self.stage.campaign_of_newest_repair()
        if reopened and campaign is not None:
            self.stage.reopen(campaign)
        self.play([("undo", 0, 0)])

    @rule(nth=SMALL, at=st.integers(1, 60))
    def a_campaign_is_reopened_while_its_credits_are_released(self, nth: int, at: int) -> None:
        campaign = self._campaign(nth)
        self.stage.answer_all(campaign)
        self.stage.forget_credits(campaign)
        self.plan_and("release", moments=[(at, partial(self.stage.reopen, campaign))])

    @rule(healthy=st.integers(2, 4), lost=st.booleans())
    def healthy_campaigns_end_between(self, healthy: int, lost: bool) -> None:
        """What was a small share of the campaigns that are sending is most of them when it is put back."""
        first = len(self.stage.campaigns)
        for _ in range(healthy):
            self.stage.start_campaign(2, 2, 0)
        if lost:
            self.stage.start_campaign(2, 0, 0)
        self.plan_and(
            "reenqueue",
            between=[
                partial(self.stage.set_status, one, "cancelled") for one in self.stage.campaigns[first:][:healthy]
            ],
        )

    @rule(meanwhile=MEANWHILE, old=st.booleans())
    def a_person_confirms(self, meanwhile: list[Moment], old: bool) -> None:
        self.stage.time_passes()
        moments = [(at, partial(self.acts[name], a, b)) for at, (name, a, b) in meanwhile if name != "kill"]
        self.stage.confirm(moments, old_code=old)

    def plan_and(self, step: str, *, between: Sequence[Act] = (), moments: Sequence[tuple[Place, Act]] = ()) -> None:
        """Make a plan of all that is old enough, and one step of it; acts come between the two or within the step."""
        self.stage.time_passes()
        self.place[0], self.round[0] = 0, self.round[0] + 1
        self.step(0, [])
        for what in between:
            self.stage.act(what)
        self.stage.step(0, f"run-0-{self.round[0]}", step, moments)

    def _campaign(self, nth: int) -> str:
        return self.stage.campaigns[nth % len(self.stage.campaigns)]

    def play(self, whats: list[tuple[str, int, int]]) -> None:
        for name, a, b in whats:
            self.stage.act(partial(self.acts[name], a, b))


def play(town: Town, stories: int, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    class Played(People):
        pass

    Played.stage = town
    profile = settings(
        max_examples=STORIES or stories,
        stateful_step_count=25,
        derandomize=not STORIES,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Played, settings=profile)


@pytest.mark.slow
def test_no_rule_is_broken_whatever_people_do_between(town: Town) -> None:
    play(town, 10)


def _markers_never_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QueueGroup, "marked", lambda _queue, _ids: frozenset())


def _no_second_look(patch: pytest.MonkeyPatch) -> None:
    def as_cut(
        look: Look, chosen: Sequence[OpenBatch], *, moved_only: bool = False
    ) -> dict[tuple[str, int], list[str]]:
        batches = cover.as_cut(look.connection, [] if moved_only else [batch.key for batch in chosen])
        return {(batch.campaign_id, batch.number): batch.recipient_ids for batch in batches}

    def as_first_seen(adder: Adder, intent: Mapping[str, OpenBatch], _last_look: object) -> list[NewJob]:
        pending = adder._look.read_again(list(intent.values()))
        return [adder._job(name, batch, pending) for name, batch in intent.items()]

    patch.setattr(Look, "read_again", as_cut)
    patch.setattr(Adder, "_still_wanted", as_first_seen)


def _undo_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(guarded, "_as_left", of_same_id)


def _release_unguarded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reservations, "release", release_unguarded)


def _breaker_of_the_plan(patch: pytest.MonkeyPatch) -> None:
    def targets(orders: Orders, kind: RepairKind, result: StepResult) -> list[PlanItem]:
        return [] if orders.planned.held_back(kind) else orders.now.within(orders.planned, kind)

    patch.setattr(Orders, "targets", targets)


FAULTS = {
    "markers never asked": (_markers_never_asked, "marked"),
    "second look left out": (_no_second_look, "when added"),
    "undo not compared": (_undo_not_compared, "undid a repair whose row was changed since"),
    "release without its guard": (_release_unguarded, "released although the campaign was sending"),
    "breaker not asked again": (_breaker_of_the_plan, "past the breaker"),
}


@pytest.mark.power
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("plant", "seen"), FAULTS.values(), ids=FAULTS)
def test_a_rule_that_is_left_out_shows(
    town: Town, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], seen: str
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=seen):
        play(town, int(os.environ.get("INTERLEAVINGS", "60")), (Phase.generate,))
