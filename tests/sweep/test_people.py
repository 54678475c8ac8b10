"""Stories in which people fix, undo and confirm while the application and sweeps go on, with two queues.

`INTERLEAVINGS=200` plays so many. ``-m power`` removes one rule after the other, and expects the stories to notice.
Sixty stories have not shown an undo that does not compare, a release without its guard, or a breaker that is not asked
again.
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
from campaign_ops.postgres import cover
from campaign_ops.sweep import reenqueue as reenqueue_module
from campaign_ops.sweep.add_page import Adder
from campaign_ops.sweep.coverage import OpenBatch
from campaign_ops.sweep.look import Look
from tests.conftest import Worlds
from tests.sweep.stage import BATCH, STEPS
from tests.sweep.test_interleavings import ACTS, MEANWHILE, SMALL, STORIES, Interleavings, Moment, acts, small_batches
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

    @rule(meanwhile=MEANWHILE, old=st.booleans())
    def a_person_confirms(self, meanwhile: list[Moment], old: bool) -> None:
        self.stage.time_passes()
        moments = [(at, partial(self.acts[name], a, b)) for at, (name, a, b) in meanwhile if name != "kill"]
        self.stage.confirm(moments, old_code=old)

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


FAULTS = {
    "markers never asked": (_markers_never_asked, "marked"),
    "second look left out": (_no_second_look, "when added"),
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
