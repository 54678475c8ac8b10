"""A quiet half hour: a healthy platform is watched, swept and sent from, and people hear nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign_ops.core.incidents import Rules
from campaign_ops.lab.shop.provider import Provider
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.lab.shop.worker_command import WorkerOptions
from campaign_ops.lab.shop.worker_process import WorkerProcess
from campaign_ops.watch.channels import Notify
from campaign_ops.watch.watcher import Watch, Watched, Watcher
from tests.conftest import World
from tests.lab.waiting import wait_until
from tests.watch.receivers import Received, webhook

TICKS = 30
"""Half an hour at one look a minute."""
SWEEP_EVERY = 10
EACH_LOOK_COUNTS = Rules(same_look_seconds=0)


@pytest.fixture
def hook() -> Iterator[Received]:
    with webhook() as received:
        yield received


@pytest.fixture
def worker(sms: World, tmp_path: Path) -> Iterator[WorkerProcess]:
    Provider.create(sms.app.engine)
    running = WorkerProcess(
        sms.url,
        sms.queue,
        sms.platform.profile,
        tmp_path / "workers",
        options=WorkerOptions(concurrency=2, delay_ms=5, answer_ms=1),
    )
    running.start()
    yield running
    running.stop()


@pytest.mark.slow
def test_a_quiet_half_hour_opens_no_incident_and_sends_nothing(
    sms: World, hook: Received, worker: WorkerProcess
) -> None:
    """Thirty looks that all count, a sweep after each ten, and a real worker that sends: the database's clock is let
    pass between two looks, by ageing what is compared with it.

    Campaigns begin all the time; one is slow, and one was stuck before and is repaired by the first sweep.
    """
    sms.app.add_campaign("lost", pending=3, updated_ago=minutes(20))
    watching = Watcher(
        Watch([Watched("sms", sms.again)], Notify(channels=(hook.channel(),))),
        EACH_LOOK_COUNTS,
    )
    seen = []
    for tick in range(TICKS):
        if tick % SWEEP_EVERY == 0:
            sms.sweep()
        sms.app.add_campaign(f"c{tick}", pending=4, updated_ago=minutes(0))
        sms.queue.add(f"c{tick}", "shop_north", sms.app.pending_ids(f"c{tick}"), batch_size=2)
        seen += watching.tick()
        a_minute_passes(sms)
    wait_until(lambda: not sms.queue.live_job_ids())
    sms.sweep()
    seen += watching.tick()
    assert worker.pid is not None
    assert len(seen) == TICKS + 1
    assert [(look.causes, look.changes, look.error) for look in seen if look.causes or look.changes or look.error] == []
    assert sms.rows("SELECT cause FROM campaign_ops.incident") == []
    assert sms.rows("SELECT subject FROM campaign_ops.notification") == []
    assert hook.messages == []
    assert not sms.app.pending_ids("c0")


def a_minute_passes(world: World) -> None:
    """Age what our tables and the application's compare with the clock."""
    for table, columns in {
        'public."Campaign"': ['"updatedAt"'],
        "campaign_ops.sweep": ["started_at", "finished_at"],
        "campaign_ops.worker": ["connected_at", "first_seen_at", "last_seen_at"],
        "campaign_ops.queue_look": ["seen_at", "workers_seen_at"],
    }.items():
        aged = ", ".join(f"{column} = {column} - interval '1 minute'" for column in columns)
        world.rows(f"UPDATE {table} SET {aged} RETURNING 1 AS aged")
