"""Traces of jobs that are gone, in the queue's events: BullMQ keeps about the last 10,000."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from campaign_ops.bullmq import driver
from campaign_ops.bullmq.address import driver_errors_mapped

if TYPE_CHECKING:
    import redis

EVENTS_PER_TRIP = 2_000
TRIPS = 50  # a queue may be configured to keep more events


@dataclass(frozen=True)
class Traces:
    """The traces of some jobs.

    Attributes:
        added: Jobs that were in the queue.
        removed: Those of them that were removed by hand or by an application.
        complete_since: The moment, by Redis's clock, since which no event can be missing; None where it is not known.
    """

    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    complete_since: datetime | None = None


def traces_of(client: redis.Redis, key: str, job_ids: Collection[str], where: str) -> Traces:
    """Search the queue's events for these jobs. Where the events may not be read, nothing is known of any job.

    Raises:
        QueueUnavailable: Redis is away.
    """
    wanted, added, removed = set(job_ids), set(), set()
    first = last = None
    with driver_errors_mapped(where):
        try:
            for _ in range(TRIPS):
                page = _page(client, key, after=last)
                if not page:
                    break
                first = first or page[0][0]
                last = page[-1][0]
                for _, event in page:
                    if event.get("jobId") in wanted:
                        added.add(event["jobId"])
                        if event.get("event") == "removed":
                            removed.add(event["jobId"])
            else:
                first = None  # not read to the end
            return Traces(frozenset(added), frozenset(removed), _complete_since(client, first))
        except driver.ResponseError:
            return Traces()


def _page(client: redis.Redis, key: str, *, after: str | None) -> list[tuple[str, dict[str, str]]]:
    """Read the events after this one; Redis before 6.2 knows no exclusive ranges."""
    events: Any = client.xrange(key, after or "-", "+", EVENTS_PER_TRIP)
    return [event for event in events if event[0] != after]


def _complete_since(client: redis.Redis, first_event: str | None) -> datetime | None:
    """Return the time of the oldest event that is kept, or the server's start if later: it may have loaded old data."""
    if first_event is None:
        return None
    try:
        info: Any = client.info("server")
        seconds, microseconds = client.time()
    except driver.ResponseError:  # some users may not run INFO or TIME
        return None
    started = seconds + microseconds / 1_000_000 - info["uptime_in_seconds"]
    return datetime.fromtimestamp(max(started, int(first_event.split("-")[0]) / 1000), UTC)
