"""The script of a drill: everything random comes from the seed, and every fault is planned."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.drill.faults import FAULTS, Fault
from campaign_ops.lab.drill.options import DrillOptions
from campaign_ops.lab.drill.script import (
    _PEOPLE,
    CALM_SECONDS,
    WARM_UP_SECONDS,
    feasible_script,
    left_out,
    make_script,
    rng_of,
)

ALL = tuple(FAULTS)


def options(seed: int = 1, seconds: float = 120) -> DrillOptions:
    return DrillOptions(work_dir=Path("unused"), seed=seed, seconds=seconds)


def test_the_same_options_make_the_same_script() -> None:
    assert make_script(options(), ALL) == make_script(options(), ALL)
    assert make_script(options(), ALL) != make_script(options(seed=2), ALL)


def test_the_random_numbers_of_a_fault_are_the_same_in_a_replay() -> None:
    assert rng_of(options(), 3).random() == rng_of(options(), 3).random()
    assert rng_of(options(), 3).random() != rng_of(options(), 4).random()


@pytest.mark.parametrize("seconds", [60, 120, 1800])
@pytest.mark.parametrize("seed", range(40))
def test_every_fault_is_planned_if_there_is_time_for_it(seconds: float, seed: int) -> None:
    assert left_out(make_script(options(seed, seconds), ALL), ALL) == []


def test_a_long_drill_repeats_every_fault_many_times() -> None:
    script = make_script(options(seconds=1800), ALL)
    times = Counter(event.name for event in script if event.kind == "fault")
    assert min(times.values()) >= 8


def test_faults_without_time_are_left_out() -> None:
    script = make_script(options(seconds=9), ALL)
    happened = {event.name for event in script if event.kind == "fault"}
    assert happened
    assert set(left_out(script, ALL)) == set(ALL) - happened


def test_an_impossible_fault_is_skipped_with_the_reason_unless_it_was_named() -> None:
    def impossible(fault: Fault) -> str | None:
        return "no such program" if fault.name == "pgbouncer" else None

    some = replace(options(), without=("deadlocks",))
    script, skipped = feasible_script(some, impossible)
    assert skipped == {"pgbouncer": "no such program"}
    assert {event.name for event in script if event.kind == "fault"} == {*FAULTS} - {"pgbouncer", "deadlocks"}
    with pytest.raises(ConfigurationError, match="pgbouncer \\(no such program\\)"):
        feasible_script(replace(options(), faults=("lose_jobs", "pgbouncer")), impossible)
    with pytest.raises(ConfigurationError, match="no fault can be injected"):
        feasible_script(options(seconds=3), impossible)


@pytest.mark.parametrize("seed", range(5))
def test_faults_begin_after_the_warm_up_and_are_over_before_the_end(seed: int) -> None:
    script = make_script(options(seed), ALL)
    faults = [event for event in script if event.kind in ("fault", "end")]
    assert all(WARM_UP_SECONDS <= event.at <= 120 - CALM_SECONDS for event in faults)
    assert [event.at for event in script] == sorted(event.at for event in script)


def test_a_fault_is_prepared_before_it_happens_and_ends_after_it() -> None:
    script = make_script(options(), ["redis_old_data"])
    kinds = [event.kind for event in script if event.arguments.get("index") == 0]
    assert kinds == ["prepare", "fault", "end"]


def test_faults_overlap_but_not_two_of_the_same_server() -> None:
    """Two restarts of one Redis at once would be one restart; a sweeper has one clock at a time."""
    overlapping = 0
    for seed in range(10):
        lasting: dict[object, str] = {}
        for event in make_script(options(seed), ALL):
            if event.kind == "fault":
                resources = FAULTS[event.name].resources
                assert not any(resources & FAULTS[name].resources for name in lasting.values())
                lasting[event.arguments["index"]] = event.name
                overlapping += len(lasting) > 1
            elif event.kind == "end":
                del lasting[event.arguments["index"]]
            lasting = {index: name for index, name in lasting.items() if FAULTS[name]().lasts}
    assert overlapping > 10


def test_campaigns_and_people_act_all_the_time() -> None:
    script = make_script(options(), ALL)
    numbers = Counter(event.kind for event in script)
    assert numbers["campaign"] > 40
    assert {event.name for event in script if event.kind == "person"} == set(_PEOPLE)
    labels = [event.name for event in script if event.kind == "campaign"]
    assert len(set(labels)) == len(labels)


def test_a_script_can_be_serialized() -> None:
    script = make_script(options(), ALL)
    assert json.loads(json.dumps([asdict(event) for event in script]))


def test_a_table_is_locked_for_a_minute_in_a_long_drill_and_for_seconds_in_a_short_one() -> None:
    fault = FAULTS["table_lock"]()
    rng = rng_of(options(), 0)
    assert 45 <= fault.duration(rng, 1800) <= 60
    assert 2 <= fault.duration(rng, 30) <= 3
