"""A sweep that finds nothing to do: its round trips and statements, counted, and what it records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
import redis

from benchmarks.wire import Wire, through, to_postgres, to_redis, wire
from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.policy import Policy
from campaign_ops.core.report import HealthReport, render
from campaign_ops.journal import schema
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database
from campaign_ops.sweep import Sweep
from tests.conftest import World, Worlds

_SENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")


@pytest.fixture
def ways(sms: World) -> Iterator[tuple[Wire, Wire]]:
    assert sms.queue_url is not None
    with wire(partial(to_postgres, sms.url)) as postgres, wire(partial(to_redis, sms.queue_url)) as redis:
        yield postgres, redis


def swept_through(world: World, ways: tuple[Wire, Wire], run_id: str) -> HealthReport:
    """A sweep as a new process makes it, connected to nothing yet; the wires count it alone."""
    postgres, redis = ways
    assert world.queue_url is not None
    assert world.platform.profile.queue is not None
    address = QueueAddress(through(redis, world.queue_url), world.queue.prefix)
    queue = Queue(address, world.platform.profile.queue)
    database = Database(through(postgres, world.url))
    platform = Platform(world.platform.name, world.platform.profile, Policy(), database, queue)
    for way in ways:
        way.forget()
    with closing(platform):
        return Sweep(platform, run_id=run_id, trigger="cli", actor="ann").run()


def test_a_sweep_that_finds_nothing_takes_twelve_round_trips(sms: World, ways: tuple[Wire, Wire]) -> None:
    """It took 114, in ten transactions, on three connections."""
    sms.app.add_campaign("moving", pending=3, updated_ago=minutes(1))
    swept_through(sms, ways, "binds the table")
    report = swept_through(sms, ways, "finds nothing")
    assert report.figures()["sending"] == 1
    postgres, redis = ways
    # PostgreSQL: connection, TLS refused, user; lock, catalog, question, sweep, its rows, commit. Redis: connection,
    # state, clients.
    assert (postgres.round_trips, postgres.connections) == (9, 1)
    assert (redis.round_trips, redis.connections) == (3, 1)


def test_it_sends_nine_statements_in_one_transaction(
    sms: World, ways: tuple[Wire, Wire], servers: EmbeddedServers
) -> None:
    """It sent 99, sixteen of them DELETEs of rows that cannot exist. The driver's own flush is an empty one."""
    database = sms.url.partition("?")[0].rpartition("/")[2]
    with sms.platform.database.transaction() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {database} SET log_statement = 'all'")
    swept_through(sms, ways, "binds the table")
    log = servers.work_dir / "postgres.log"
    before = log.stat().st_size
    swept_through(sms, ways, "finds nothing")
    with log.open() as lines:
        lines.seek(before)
        sent = [statement.split(" (")[0] for statement in _SENT.findall(lines.read()) if statement]
    assert [re.sub(r"^(BEGIN|SELECT) .*", r"\1", statement) for statement in sent] == [
        "BEGIN",
        "SELECT",
        "INSERT INTO campaign_ops.sweep",
        "INSERT INTO campaign_ops.queue_state_history",
        "INSERT INTO campaign_ops.campaign_health_history",
        "INSERT INTO campaign_ops.queue_sighting",
        "COMMIT",
    ]


def recorded(world: World, run_id: str) -> dict[str, Any]:
    """What our own tables say of one sweep."""
    query = "SELECT id, figures, finished_at > started_at AS took_time FROM campaign_ops.sweep WHERE run_id = :run"
    (sweep,) = world.rows(query, run=run_id)
    rows = {
        table.name: world.rows(f"SELECT * FROM {table} WHERE sweep_id = :id", id=sweep["id"])
        for table in schema.HISTORIES
    }
    of_every_sweep = {"sweep_id", "observed_at", "markdown"}
    kept = {
        name: [{key: value for key, value in row.items() if key not in of_every_sweep} for row in found]
        for name, found in rows.items()
    }
    return {"figures": sweep["figures"], "took_time": sweep["took_time"], **kept}


@pytest.mark.parametrize("profile", ["sms", "messenger"])
def test_it_records_what_a_sweep_with_work_records(worlds: Worlds, profile: str) -> None:
    world = worlds.make(profile)
    world.app.add_campaign("moving", pending=3, updated_ago=minutes(1))
    if profile == "sms":
        world.app.add_reservation("held", campaign="moving", amount=7)
    world.sweep(run_id="binds the table")
    by_steps = world.begin(run_id="by steps")._whole()
    at_once = world.begin(run_id="at once")._quiet()
    assert at_once is not None
    assert recorded(world, "at once") == recorded(world, "by steps")
    times = r"\d\d:\d\d:\d\d"
    assert re.sub(times, "", render(at_once)) == re.sub(times, "", render(by_steps))
    (counted,) = world.rows("SELECT value FROM campaign_ops.counter WHERE name = 'sweeps'")
    assert counted["value"] == 3


def stuck(world: World) -> None:
    world.app.add_campaign("it", pending=1)


def questionable(world: World) -> None:
    world.app.add_campaign("over", status="sent", succeeded=1)
    world.app.add_reservation("leaked", campaign="over", amount=7)


def open_intent(world: World) -> None:
    world.rows(
        "WITH repair AS (INSERT INTO campaign_ops.repair"
        " (platform, tables, sweep_id, kind, target, reason, actor, run_id)"
        " SELECT platform, tables, id, 'reenqueue', 'it', '', '', run_id FROM campaign_ops.sweep LIMIT 1"
        " RETURNING id, tables)"
        " INSERT INTO campaign_ops.intent (job_id, tables, repair_id, campaign_id, attempt, batch, recipients)"
        " SELECT 'job', tables, id, 'it', 1, 1, 1 FROM repair RETURNING 1"
    )


def suspect(world: World) -> None:
    world.rows(
        "INSERT INTO campaign_ops.ambiguous (tables, recipient_id, campaign_id, seen_at)"
        " SELECT tables, 'r', 'it', now() FROM campaign_ops.binding RETURNING 1"
    )


def another_binding(world: World) -> None:
    world.rows("UPDATE campaign_ops.binding SET platform = 'other' RETURNING 1")


def an_older_schema(world: World) -> None:
    world.rows("UPDATE campaign_ops.alembic_version SET version_num = '0001' RETURNING 1")


def a_bull_queue(world: World) -> None:
    with redis.Redis.from_url(world.queue.url) as client:
        client.set(world.queue.key("meta-paused"), 1)


REASONS = [stuck, questionable, open_intent, suspect, another_binding, an_older_schema, a_bull_queue]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.__name__)
def test_whatever_may_need_more_is_left_to_the_whole_sweep(sms: World, reason: Callable[[World], None]) -> None:
    """Nothing is written then: the whole sweep begins from the beginning."""
    sms.sweep(run_id="binds the table")
    assert sms.begin(run_id="nothing to do")._quiet() is not None
    reason(sms)
    assert sms.begin(run_id="something to do")._quiet() is None
    assert not sms.rows("SELECT 1 FROM campaign_ops.sweep WHERE run_id = 'something to do'")


def test_old_rows_are_pruned_by_the_first_sweep_of_an_hour(sms: World) -> None:
    def seen() -> list[dict[str, Any]]:
        return sms.rows("SELECT 1 FROM campaign_ops.worker")

    sms.sweep()
    gone = (
        "INSERT INTO campaign_ops.worker SELECT tables, 'q', 's', 1, '', '', t, t, t, false"
        " FROM campaign_ops.binding, (SELECT now() - interval '9 days' AS t) AS moment RETURNING 1"
    )
    sms.rows(gone)
    sms.sweep()
    assert seen()
    sms.rows("UPDATE campaign_ops.sweep SET started_at = started_at - interval '1 hour' RETURNING 1")
    sms.sweep()
    assert not seen()
