"""Conventional ways to write such a job: row by row, or everything in a DataFrame. The end state is the same."""

from __future__ import annotations

import asyncio

import bullmq
import pandas as pd
import psycopg
import redis
import redis.asyncio

from benchmarks.contestants import COMPLETE, RELEASE, STUCK, add_all, job_data, job_of, live_ids, queued_of
from benchmarks.dataset import PREFIX, QUEUE, Dataset
from benchmarks.sizes import batched

_IS_PENDING = "status = 'pending' AND \"mittoMessageId\" IS NULL"


def row_by_row(dataset: Dataset) -> None:
    """A query per campaign, the whole queue read again for each pending campaign, one add at a time.

    Kinder than most: it reads the queue in round trips of 200 jobs, and nothing twice for one campaign.
    """
    asyncio.run(_row_by_row(dataset))


async def _row_by_row(dataset: Dataset) -> None:
    client = redis.Redis.from_url(dataset.redis_url, decode_responses=True)
    adding = redis.asyncio.Redis.from_url(dataset.redis_url, decode_responses=True)
    queue = bullmq.Queue(QUEUE.name, {"connection": adding, "prefix": PREFIX, "skipVersionCheck": True})
    with client, psycopg.connect(dataset.conninfo, autocommit=True) as connection:
        for campaign, shop in connection.execute(f'SELECT id, "shopId" FROM "Campaign" WHERE {STUCK}').fetchall():
            rows = connection.execute(
                f'SELECT id FROM "CampaignRecipient" WHERE "campaignId" = %s AND {_IS_PENDING} ORDER BY id', [campaign]
            )
            if pending := [recipient for (recipient,) in rows]:
                covered = set(queued_of(client, {campaign: shop}))
                for batch in batched(
                    (recipient for recipient in pending if recipient not in covered), QUEUE.batch_size
                ):
                    job = job_of(campaign, shop, batch)
                    await queue.add(job["name"], job["data"], job["opts"])
            else:
                connection.execute(COMPLETE, [[campaign]])
        held = 'SELECT id, "campaignId" FROM "CreditReservation" WHERE status = \'active\''
        for reservation, campaign in connection.execute(held).fetchall():
            status = connection.execute('SELECT status FROM "Campaign" WHERE id = %s', [campaign]).fetchone()
            if status is not None and status[0] in {"sent", "failed", "cancelled"}:
                connection.execute(
                    """UPDATE "CreditReservation" SET status = 'released', "releasedAt" = now() AT TIME ZONE 'UTC'
                       WHERE id = %s""",
                    [reservation],
                )
    await queue.close()


def pandas(dataset: Dataset) -> None:
    """All recipients of the stuck campaigns in one DataFrame, those of the queue in another; writes like the floor."""
    client = redis.Redis.from_url(dataset.redis_url, decode_responses=True)
    with client, psycopg.connect(dataset.conninfo) as connection:
        rows = connection.execute(
            f"""SELECT c.id, c."shopId", r.id, r.status, r."mittoMessageId" FROM "Campaign" c
                JOIN "CampaignRecipient" r ON r."campaignId" = c.id WHERE c.{STUCK}"""
        ).fetchall()
        recipients = pd.DataFrame(rows, columns=["campaign", "shop", "recipient", "status", "message"])
        recipients["pending"] = (recipients["status"] == "pending") & recipients["message"].isna()
        pending = recipients.groupby("campaign")["pending"].sum()
        connection.execute(COMPLETE, [list(pending[pending == 0].index)])
        connection.execute(RELEASE)
        connection.commit()
        payloads = (data for page in batched(live_ids(client), 200) for data in job_data(client, page))
        queued = pd.DataFrame(
            [(data["campaignId"], recipient) for data in payloads for recipient in data["recipientIds"]],
            columns=["campaign", "recipient"],
        )
        covered = recipients["recipient"].isin(queued["recipient"])
        lost = recipients[recipients["pending"] & ~covered].sort_values(["campaign", "recipient"])
        jobs = [
            job_of(str(campaign), str(shop), batch)
            for (campaign, shop), group in lost.groupby(["campaign", "shop"])
            for batch in batched(group["recipient"], QUEUE.batch_size)
        ]
        if jobs:
            asyncio.run(add_all(dataset, jobs))
