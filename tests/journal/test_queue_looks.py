"""Looks at queues and their workers: counted from the ids that Redis gives its clients, kept in our own tables."""

from __future__ import annotations

from dataclasses import replace

import redis

from campaign_ops.core.queue_state import QueueState, WorkerClient
from campaign_ops.journal.queue_looks import QueueLooks, WorkerHealth
from tests.conftest import World


def look(*client_ids: int, server_id: str = "redis-1", host: str = "", **more: object) -> QueueState:
    """A look that saw workers with these client ids: each on a host of its own, or all on ``host``."""
    clients = tuple(
        WorkerClient(number, f"worker-{number}", f"{host or f'10.0.0.{number}'}:{5_000 + number}", 60 * number)
        for number in client_ids
    )
    state = QueueState(
        "sms-send", counts={"wait": 3}, workers=len(clients), worker_clients=clients, server_id=server_id
    )
    return replace(state, **more)  # type: ignore[arg-type]


def note(world: World, *states: QueueState) -> None:
    for state in states:
        with world.platform.database.transaction() as connection:
            looks(world).note(connection, [state])


def looks(world: World) -> QueueLooks:
    return world.platform.queue_looks


def health(world: World) -> WorkerHealth:
    (only,) = world.platform.database.run(looks(world).health)
    return only


def restarts_in_all(world: World) -> int:
    rows = world.rows("SELECT value FROM campaign_ops.counter WHERE name = 'worker_restarts'")
    return rows[0]["value"] if rows else 0


def test_a_new_id_in_place_of_one_that_is_gone_is_a_restart(sms: World) -> None:
    note(sms, look(1, 2), look(1, 3))
    assert (health(sms).workers, health(sms).restarts_last_hour, restarts_in_all(sms)) == (2, 1, 1)
    note(sms, look(4, 5))
    assert (health(sms).workers, health(sms).restarts_last_hour, restarts_in_all(sms)) == (2, 3, 3)


def test_a_worker_that_is_added_and_one_that_leaves_are_no_restarts(sms: World) -> None:
    note(sms, look(1), look(1, 2, 3), look(1))
    assert (health(sms).workers, restarts_in_all(sms)) == (1, 0)
    note(sms, look(1, 7))
    assert restarts_in_all(sms) == 0, "the two others were gone a look earlier"


def test_a_deployment_is_one_restart_of_each_worker_and_a_crash_loop_is_many_of_one(
    sms: World,
) -> None:
    """Each deployment of more than five workers was an incident: "workers restart again and again"."""

    def forget_the_last_hour() -> None:
        sms.rows("UPDATE campaign_ops.worker SET first_seen_at = now() - interval '2 hours' RETURNING queue")

    note(sms, look(*range(1, 9)), look(*range(11, 19)))
    assert (health(sms).restarts_last_hour, health(sms).restarts_again) == (8, 0), "a deployment to other hosts"
    note(sms, look(*range(100, 108), host="10.1.1.1"))
    forget_the_last_hour()
    note(sms, look(*range(200, 208), host="10.1.1.1", server_id="redis-2"))
    assert (health(sms).restarts_last_hour, health(sms).restarts_again) == (8, 0), "a restart of Redis"
    forget_the_last_hour()
    for number in range(300, 307):
        note(sms, look(*range(200, 207), number, host="10.1.1.1", server_id="redis-2"))
    assert health(sms).restarts_last_hour == 7
    note(sms, look(400, host="10.2.2.2"))
    forget_the_last_hour()
    note(sms, *(look(number, host="10.2.2.2") for number in range(401, 408)))
    assert (health(sms).restarts_last_hour, health(sms).restarts_again) == (7, 6), "one that crashes again and again"


def test_workers_that_are_away_at_a_look_before_they_are_back_are_restarts(sms: World) -> None:
    """One that crashes again and again is away for longer each time, and was never counted: a look saw it go, and the
    next one saw a worker that was new.
    """
    for first in (1, 3, 5):
        note(sms, look(first, first + 1, host="10.0.0.1"), look())
    assert restarts_in_all(sms) == 4
    assert health(sms).restarts_last_hour == 4
    note(sms, look(7, 8, 9, host="10.0.0.1"), look(7, 8, 9, host="10.0.0.1"))
    assert restarts_in_all(sms) == 6, "the third is one more than have gone"
    note(sms, look(), look(10, host="10.0.0.2"))
    assert restarts_in_all(sms) == 6, "it came from another host"


def test_a_worker_that_comes_back_after_a_while_is_no_restart(sms: World) -> None:
    note(sms, look(1, host="10.0.0.1"), look())
    sms.rows("UPDATE campaign_ops.worker SET last_seen_at = now() - interval '11 minutes' RETURNING client_id")
    note(sms, look(2, host="10.0.0.1"))
    assert restarts_in_all(sms) == 0


def test_a_deployment_that_restarts_all_and_adds_one_counts_the_restarts_alone(sms: World) -> None:
    note(sms, look(1, 2), look(11, 12, 13))
    assert (health(sms).workers, restarts_in_all(sms)) == (3, 2)


def test_a_restart_of_redis_reconnects_every_worker_even_under_the_same_ids(sms: World) -> None:
    note(sms, look(1, 2), look(1, 2, server_id="redis-2"))
    assert restarts_in_all(sms) == 2


def test_what_is_not_known_leaves_the_workers_as_they_were(sms: World) -> None:
    """A queue that is away, or a host that hides its clients: the next look compares with the last known workers."""
    note(sms, look(1, 2), look(workers=None), look(workers=None, away=True, counts={}, problem="connection refused"))
    assert health(sms).workers is None
    assert restarts_in_all(sms) == 0
    assert [worker.connected for worker in sms.platform.database.run(looks(sms).workers)] == [True, True]
    (kept,) = sms.platform.database.run(looks(sms).last)
    assert (kept.away, kept.depth, kept.counts, kept.problem) == (True, None, {}, "connection refused")
    note(sms, look(1, 3))
    assert restarts_in_all(sms) == 1


def test_the_oldest_uptime_is_that_of_a_worker_that_is_still_connected(sms: World) -> None:
    note(sms, look(5, 90))
    assert 90 * 60 <= (health(sms).oldest_uptime_seconds or 0) < 90 * 60 + 60
    note(sms, look(5))
    assert 5 * 60 <= (health(sms).oldest_uptime_seconds or 0) < 5 * 60 + 60


def test_every_worker_is_listed_and_those_gone_for_days_are_forgotten(sms: World) -> None:
    note(sms, look(1, 2), look(2, 3))
    listed = sms.platform.database.run(looks(sms).workers)
    assert [(worker.client_id, worker.connected, worker.restarted) for worker in listed] == [
        (3, True, True),
        (2, True, False),
        (1, False, False),
    ]
    sms.rows(
        "UPDATE campaign_ops.worker SET last_seen_at = now() - interval '3 days'"
        " WHERE client_id = 1 RETURNING client_id"
    )
    sms.platform.database.run(looks(sms).prune)
    assert [worker.client_id for worker in sms.platform.database.run(looks(sms).workers)] == [3, 2]


def test_a_sweep_keeps_what_it_saw_of_the_queue_and_of_real_workers(sms: World) -> None:
    sms.app.add_campaign("c", pending=2)
    assert sms.queue_url is not None
    with redis.Redis.from_url(sms.queue_url, client_name=f"{sms.queue.prefix}:sms-send:w:first") as worker:
        worker.ping()
        number = worker.client_id()
        sms.sweep()
    (listed,) = sms.platform.database.run(looks(sms).workers)
    assert (listed.client_id, listed.name, listed.connected) == (number, "first", True)
    (kept,) = sms.platform.database.run(looks(sms).last)
    assert (kept.queue, kept.workers, kept.problem) == ("sms-send", 1, None)
