"""The floor that keeps a sweep's safety rules, by hand for this one application, and as fast as we could write it.

It takes the sweep lock, reads the queue before the rows, journals an intent before each page of jobs, looks at queue,
rows, markers and campaigns again right before it adds a page and at rows and campaigns right after, and completes only
what is still finished, together with its credits. It leaves out history, report, attempts, cooldown, breaker, limits,
unknown words and payloads, failed and completed jobs, and the guard inside Redis; its ids are all in memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator
from typing import Any
from uuid import uuid4

import bullmq
import psycopg
import redis
import redis.asyncio

from benchmarks.contestants import RELEASE, STUCK, TALLY, job_key, job_of, live_ids
from benchmarks.dataset import PREFIX, QUEUE, Dataset
from benchmarks.sizes import batched

PAGE = 80  # jobs, as a sweep adds together

# Of jobs about other campaigns nothing leaves Redis.
_OF_CAMPAIGNS = """
local wanted, found = {}, {}
for i = 1, #ARGV do wanted[ARGV[i]] = true end
for i = 1, #KEYS do
  local data = redis.call('HGET', KEYS[i], 'data')
  if data and wanted[string.match(data, '"campaignId":"([^"]*)"')] then found[#found + 1] = data end
end
return found
"""
_STUCK = f'SELECT id, "shopId", "updatedAt" FROM "Campaign" WHERE {STUCK}'
_FINGERPRINT = 'SELECT "campaignId", (count(*), bit_xor(hashtextextended(id, 0)))::text'
_PENDING = """FROM "CampaignRecipient" WHERE "campaignId" = ANY(%s) AND status = 'pending' AND "mittoMessageId" IS NULL
GROUP BY "campaignId" """
_UNTOUCHED = 'SELECT id, "updatedAt" FROM "Campaign" WHERE id = ANY(%s) AND status = \'sending\''
_COMPLETE = f"""
WITH completed AS (
    UPDATE "Campaign" c SET status = 'sent', "updatedAt" = now() AT TIME ZONE 'UTC' WHERE id = ANY(%s) AND {STUCK}
    AND NOT EXISTS (
        SELECT FROM "CampaignRecipient" r
        WHERE r."campaignId" = c.id AND r.status NOT IN ('sent', 'delivered', 'failed')
    ) RETURNING id
)
UPDATE "CreditReservation" SET status = 'released', "releasedAt" = now() AT TIME ZONE 'UTC'
WHERE status = 'active' AND "campaignId" IN (SELECT id FROM completed)
"""
_INTEND = "INSERT INTO bench.intent SELECT unnest(%s::text[]), unnest(%s::text[])"
_CONFIRM = "UPDATE bench.intent SET added_at = now() WHERE job_id = ANY(%s)"


class _Floor:
    def __init__(self, dataset: Dataset, connection: psycopg.Connection, client: redis.Redis) -> None:
        self.connection, self.client = connection, client
        self.known = set(live_ids(client))
        self.stuck = {key: (shop, touched) for key, shop, touched in connection.execute(_STUCK)}
        self.prints: dict[str, str] = {}
        self.adding = redis.asyncio.Redis.from_url(dataset.redis_url, decode_responses=True)

    def of_campaigns(self, jobs: Collection[str]) -> Iterator[dict[str, Any]]:
        """The payloads of these jobs, as far as they are about stuck campaigns."""
        script = self.client.register_script(_OF_CAMPAIGNS)
        for page in batched(jobs, 500):
            yield from map(json.loads, script(keys=[job_key(job) for job in page], args=list(self.stuck)))

    def newcomers(self) -> set[str]:
        """Campaigns with a live job that is neither known nor ours."""
        return {data["campaignId"] for data in self.of_campaigns(set(live_ids(self.client)) - self.known)}

    def unmoved(self, campaigns: Collection[str]) -> set[str]:
        """Those that still have the same pending recipients, and are sending and untouched."""
        keys = list(campaigns)
        prints: dict[str, str] = dict(self.connection.execute(f"{_FINGERPRINT} {_PENDING}".encode(), [keys]).fetchall())
        touched: dict[str, Any] = dict(self.connection.execute(_UNTOUCHED, [keys]).fetchall())
        return {key for key in keys if prints.get(key) == self.prints[key] and touched.get(key) == self.stuck[key][1]}

    def marked(self) -> set[str]:
        """Every recipient that has a marker: cheaper than asking, in a Redis with few of them."""
        around = [marker.split("{recipient_id}") for marker in QUEUE.markers]
        return {
            key.removeprefix(before).removesuffix(after)
            for before, after in around
            for key in self.client.scan_iter(f"{before}*{after}", count=2_000)
        }

    def batches(self, covered: Collection[str]) -> Iterator[tuple[str, list[str]]]:
        """The pending recipients in no job and without a marker, as many as go into a job."""
        marked = self.marked()
        query = f"{_FINGERPRINT}, array_agg(id) {_PENDING}"
        for campaign, fingerprint, ids in self.connection.execute(query.encode(), [list(self.stuck)]):
            self.prints[campaign] = fingerprint
            missing = (one for one in ids if one not in covered and one not in marked)
            yield from ((campaign, batch) for batch in batched(missing, QUEUE.batch_size))

    async def add(self, page: list[tuple[str, list[str]]]) -> None:
        """Add a page of jobs, and take out again those of campaigns that moved at that moment."""
        names = [uuid4().hex for _ in page]
        self.connection.execute(_INTEND, [names, [campaign for campaign, _ in page]])
        self.connection.commit()
        wanted = self.unmoved({campaign for campaign, _ in page}) - self.newcomers()
        marked = self.marked()
        jobs = {
            name: job_of(campaign, self.stuck[campaign][0], [one for one in ids if one not in marked])
            for name, (campaign, ids) in zip(names, page, strict=True)
            if campaign in wanted
        }
        for name, job in jobs.items():
            job["opts"]["jobId"] = name
        queue = bullmq.Queue(QUEUE.name, {"connection": self.adding, "prefix": PREFIX, "skipVersionCheck": True})
        await queue.addBulk(list(jobs.values()))
        self.known.update(jobs)
        still = self.unmoved(wanted)
        for name, job in jobs.items():
            if job["data"]["campaignId"] not in still:
                await (await bullmq.Job.fromId(queue, name)).remove()
        self.connection.execute(_CONFIRM, [list(jobs)])
        self.connection.commit()


def careful_floor(dataset: Dataset) -> None:
    """Run it."""
    asyncio.run(_careful_floor(dataset))


async def _careful_floor(dataset: Dataset) -> None:
    client = redis.Redis.from_url(dataset.redis_url, decode_responses=True)
    with client, psycopg.connect(dataset.conninfo) as lock, psycopg.connect(dataset.conninfo) as connection:
        lock.execute("SELECT pg_advisory_xact_lock(1)")
        floor = _Floor(dataset, connection, client)
        covered: set[str] = set()
        busy: set[str] = set()
        for data in floor.of_campaigns(floor.known):
            busy.add(data["campaignId"])
            covered.update(data["recipientIds"])
        tally: dict[str, int] = dict(connection.execute(TALLY, [list(floor.stuck)]).fetchall())
        for page in batched(list(floor.batches(covered)), PAGE):
            await floor.add(page)
        await floor.adding.aclose()
        finished = {campaign for campaign, pending in tally.items() if not pending} - busy - floor.newcomers()
        connection.execute(_COMPLETE, [list(finished)])
        connection.execute(RELEASE)
