"""The contestants: the product's sweep, and the least code by hand that reaches the same end state."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import bullmq
import psycopg
import redis
import redis.asyncio

from benchmarks.dataset import PREFIX, QUEUE, Dataset
from benchmarks.sizes import batched
from campaign_ops.core.policy import Policy
from campaign_ops.sweep import Sweep

Contestant = Callable[[Dataset], None]
Row = tuple[str, str]  # ids of a campaign and of one of its recipients

STUCK = "status = 'sending' AND \"updatedAt\" < now() AT TIME ZONE 'UTC' - interval '900 s'"
_MARKERS = [marker.replace("{recipient_id}", "{}").format for marker in QUEUE.markers]
LISTS, SETS = ("wait", "paused", "active"), ("prioritized", "delayed", "waiting-children")


def sweep(dataset: Dataset) -> None:
    """The product's sweep, from connecting to the written report, without Dagster."""
    platform = dataset.platform()
    Sweep(platform, run_id=uuid4().hex, trigger="cli", actor="benchmark").run()
    platform.close()


def limited_sweep(dataset: Dataset) -> None:
    """A sweep with the limits as they are shipped, which leaves the rest to the next."""
    platform = dataset.platform(replace(Policy(), breaker_share=1.0))
    Sweep(platform, run_id=uuid4().hex, trigger="cli", actor="benchmark").run()
    platform.close()


# The floor. It reaches the sweep's end state when all goes well and no other process is at work, and leaves out what a
# sweep does for other days: no journal, intent, history or report; no sweep lock; no markers; no second look at queue
# and rows before it adds; no judgement (unknown words, counters, expired or foreign reservations, attempts, cooldown,
# breaker, limits); no undecodable payloads, orphans or failed jobs; all ids of the queue in memory.

_STUCK = f'SELECT id, "shopId" FROM "Campaign" WHERE {STUCK}'
# By ids, not by a join: beside 5,000 other campaigns the planner would read the whole table for a join.
TALLY = """
SELECT "campaignId", count(*) FILTER (WHERE status = 'pending' AND "mittoMessageId" IS NULL)
FROM "CampaignRecipient" WHERE "campaignId" = ANY(%s) GROUP BY "campaignId"
"""
COMPLETE = f"""
UPDATE "Campaign" SET status = 'sent', "updatedAt" = now() AT TIME ZONE 'UTC' WHERE id = ANY(%s) AND {STUCK}
"""
RELEASE = """
UPDATE "CreditReservation" r SET status = 'released', "releasedAt" = now() AT TIME ZONE 'UTC' FROM "Campaign" c
WHERE r.status = 'active' AND c.id = r."campaignId" AND c.status IN ('sent', 'failed', 'cancelled')
"""
_PENDING = """
SELECT "campaignId", id FROM "CampaignRecipient"
WHERE "campaignId" = ANY(%s) AND status = 'pending' AND "mittoMessageId" IS NULL ORDER BY "campaignId", id
"""


def floor(dataset: Dataset) -> None:
    """One GROUP BY, one guarded UPDATE, one UPDATE of reservations, one read of the queue, one bulk add."""
    _floor(dataset)


def floor_with_markers(dataset: Dataset) -> None:
    """The floor, and one EXISTS for each marker of every recipient put back, which keeps it from sending twice."""
    _floor(dataset, with_markers=True)


def _floor(dataset: Dataset, *, with_markers: bool = False) -> None:
    client = redis.Redis.from_url(dataset.redis_url, decode_responses=True)
    with client, psycopg.connect(dataset.conninfo) as connection:
        stuck: dict[str, str] = dict(connection.execute(_STUCK).fetchall())
        tally: dict[str, int] = dict(connection.execute(TALLY, [list(stuck)]).fetchall())
        connection.execute(COMPLETE, [[campaign for campaign, pending in tally.items() if not pending]])
        connection.execute(RELEASE)
        connection.commit()
        shops = {campaign: shop for campaign, shop in stuck.items() if tally.get(campaign)}
        covered = set(queued_of(client, shops))
        with connection.cursor(name="pending") as cursor:
            cursor.itersize = 10_000
            cursor.execute(_PENDING, [list(shops)])
            lost: Iterable[Row] = (row for row in cursor if row[1] not in covered)
            if with_markers:
                lost = unmarked(client, lost)
            jobs = [
                job_of(campaign, shops[campaign], [recipient for _, recipient in batch])
                for campaign, rows in itertools.groupby(lost, key=lambda row: row[0])
                for batch in batched(rows, QUEUE.batch_size)
            ]
        if jobs:
            asyncio.run(add_all(dataset, jobs))


def queued_of(client: redis.Redis, campaigns: dict[str, str]) -> Iterator[str]:
    """Recipients of these campaigns in live jobs, from one read of the whole queue."""
    for page in batched(live_ids(client), 200):
        for data in job_data(client, page):
            if data["campaignId"] in campaigns:
                yield from data["recipientIds"]


def unmarked(client: redis.Redis, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows without a marker that says they may have been sent to; asked for 2,000 at a time, as most have none."""
    for page in batched(rows, 2_000):
        if client.exists(*(marker_of(recipient) for _, recipient in page for marker_of in _MARKERS)):
            with client.pipeline(transaction=False) as pipe:
                for _, recipient in page:
                    pipe.exists(*(marker_of(recipient) for marker_of in _MARKERS))
                yield from (row for row, number in zip(page, pipe.execute(), strict=True) if not number)
        else:
            yield from page


def live_ids(client: redis.Redis) -> list[str]:
    """Ids of all live jobs."""
    with client.pipeline() as pipe:
        for state in LISTS:
            pipe.lrange(job_key(state), 0, -1)
        for state in SETS:
            pipe.zrange(job_key(state), 0, -1)
        return [job for ids in pipe.execute() for job in ids]


def job_data(client: redis.Redis, ids: list[str]) -> Iterator[dict[str, Any]]:
    """The payloads of these jobs, in one round trip."""
    with client.pipeline(transaction=False) as pipe:
        for job in ids:
            pipe.hget(job_key(job), "data")
        yield from map(json.loads, pipe.execute())


def job_key(part: str) -> str:
    """The key of a job, or of a state of the queue."""
    return f"{PREFIX}:{QUEUE.name}:{part}"


def job_of(campaign: str, shop: str, recipients: list[str]) -> dict[str, Any]:
    """A job for BullMQ's bulk add."""
    data = {"campaignId": campaign, "shopId": shop, "recipientIds": recipients}
    return {"name": QUEUE.job, "data": data, "opts": dict(QUEUE.options)}


async def add_all(dataset: Dataset, jobs: list[dict[str, Any]]) -> None:
    """One bulk add through BullMQ's own client."""
    connection = redis.asyncio.Redis.from_url(dataset.redis_url, decode_responses=True)
    queue = bullmq.Queue(QUEUE.name, {"connection": connection, "prefix": PREFIX, "skipVersionCheck": True})
    await queue.addBulk(jobs)
    await queue.close()
