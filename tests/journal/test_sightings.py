"""The latest look at a queue is the one that counts, whichever is written last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.sighting import Sighting, all_sighted
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from tests.conftest import World

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def judged(platform: Platform, jobs_added: int, at: datetime) -> None:
    """Judge and record what a look at a moment has read, as a sweep does."""
    assert platform.sightings is not None
    queue = QueueState("sms-send", server_id="redis-1", exists=True, job_counter=jobs_added)
    with platform.database.transaction() as connection:
        last = platform.sightings.last(connection)
        after = all_sighted(last, queue, at, wanted=(), database_id=None)
        noting = platform.sightings.noting(after, at)
        assert noting is not None
        connection.execute(noting)


def last(platform: Platform) -> Sighting:
    assert platform.sightings is not None
    with platform.database.transaction() as connection:
        return platform.sightings.last(connection)["sms-send"]


def test_a_look_that_is_older_than_the_latest_record_is_no_alarm(sms: World) -> None:
    """A sweeper hung between its look and its plan, lost the lock, and another one swept meanwhile."""
    began = sms.platform.database.run(database_now)
    judged(sms.platform, 51, sms.platform.database.run(database_now))
    judged(sms.platform, 49, began - timedelta(seconds=4))
    assert (last(sms.platform).job_counter, last(sms.platform).emptied) == (51, "")


def test_a_later_look_at_an_emptied_queue_is_an_alarm_that_stays(sms: World) -> None:
    for jobs_added in (51, 2, 60):
        judged(sms.platform, jobs_added, sms.platform.database.run(database_now))
    assert last(sms.platform).emptied == "its job counter went back from 51 to 2"
    judged(sms.platform, 3, LONG_AGO)
    assert last(sms.platform).emptied == "its job counter went back from 51 to 2"
