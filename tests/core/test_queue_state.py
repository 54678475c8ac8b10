"""Several queues read as one: a doubt about one is a doubt about all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from campaign_ops.core.queue_state import QueueState, queue_name, together

NORTH = QueueState(
    "q-north",
    counts={"wait": 1, "active": 2, "failed": 9},
    workers=2,
    version="bullmq:5.0.0",
    server_id="r1",
    job_counter=10,
    orphans=1,
    unclear_jobs={"x": 1},
    foreign_jobs=2,
    doomed_jobs=3,
)
SOUTH = QueueState("q-south", counts={"wait": 4, "delayed": 8}, workers=1, unclear_jobs={"x": 1, "y": 5}, job_counter=1)


def test_the_counts_of_several_queues_are_added() -> None:
    both = together("q-{tenant}", "q-{tenant}", [NORTH, SOUTH])
    assert both.counts == {"wait": 5, "active": 2, "failed": 9, "delayed": 8}
    assert (both.depth, both.live) == (5, 15)
    assert (both.workers, both.job_counter, both.orphans, both.foreign_jobs, both.doomed_jobs) == (3, 11, 1, 2, 3)
    assert both.unclear_jobs == {"x": 2, "y": 5}
    assert (both.version, both.server_id) == ("bullmq:5.0.0", "r1")
    assert together("q", "q", [SOUTH, NORTH]).server_id == "r1", "the first that tells"
    assert (both.name, both.put_back, both.parts) == ("q-{tenant}", "q-{tenant}", (NORTH, SOUTH))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"paused": False, "problem": None, "away": False, "exists": True}),
        ({"paused": True}, {"paused": False}),
        ({"workers": None}, {"workers": None}),
        ({"problem": "half read", "away": True}, {"problem": "queue q-south: half read", "away": True}),
        ({"exists": False}, {"exists": True}),
    ],
)
def test_what_is_true_of_one_queue_and_what_of_all(changes: dict[str, object], expected: dict[str, object]) -> None:
    both = together("q", "q", [NORTH, replace(SOUTH, **changes)])  # type: ignore[arg-type]
    assert {name: getattr(both, name) for name in expected} == expected


def test_what_is_true_of_every_queue_is_true_of_all() -> None:
    paused = together("q", "q", [replace(part, paused=True, exists=False) for part in (NORTH, SOUTH)])
    assert (paused.paused, paused.exists) == (True, False)
    away = together("q", "q", [replace(part, problem="away") for part in (NORTH, SOUTH)])
    assert away.problem == "queue q-north: away; queue q-south: away"


def test_without_a_tenant_there_is_no_queue_and_no_problem() -> None:
    none = together("q-{tenant}", "q-{tenant}", [])
    assert (none.paused, none.workers, none.exists, none.problem, none.live) == (False, None, True, None, 0)


@pytest.mark.parametrize(
    ("pattern", "tenant", "name"),
    [
        ("q", "north", "q"),
        ("q", "", "q"),
        ("q-{tenant}", "north", "q-north"),
        ("q-{tenant}", "", ""),
        ("q-{tenant}", "no:rth", ""),
    ],
)
def test_a_queue_is_named_after_a_tenant_that_can_be_part_of_a_name(pattern: str, tenant: str, name: str) -> None:
    assert queue_name(pattern, tenant) == name


def test_batches_go_back_into_the_queue_of_their_tenant_or_none() -> None:
    both = together("q-{tenant}", "q-{tenant}", [NORTH, SOUTH])
    assert [both.of(tenant) for tenant in ("north", "south", "east", "")] == [NORTH, SOUTH, None, None]
    assert NORTH.of("anyone") is NORTH
    assert (both.each, NORTH.each) == ((NORTH, SOUTH), (NORTH,))


@pytest.mark.parametrize(
    ("state", "depth", "live"),
    [
        ("wait", 1, 1),
        ("paused", 1, 1),
        ("prioritized", 1, 1),
        ("active", 0, 1),
        ("delayed", 0, 1),
        ("waiting-children", 0, 1),
        ("failed", 0, 0),
        ("completed", 0, 0),
    ],
)
def test_which_states_wait_and_which_are_live(state: str, depth: int, live: int) -> None:
    queue = QueueState("q", counts={state: 1})
    assert (queue.depth, queue.live) == (depth, live)
