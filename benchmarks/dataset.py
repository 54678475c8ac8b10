"""The data that is measured on: loaded into real servers, and restored between rounds. Measures nothing."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from benchmarks.sizes import BATCH, CampaignSpec, Size, batched
from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.core.policy import Policy
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.schema import create_tables
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.profile.load import load_profile

PROFILE = load_profile("sms")
assert PROFILE.queue is not None
QUEUE = PROFILE.queue
PREFIX = "bull"
# The breaker asks a person; a benchmark breaks things on purpose and lets every repair pass.
POLICY = Policy(
    breaker_share=1.0, max_queue_depth=1_000_000, max_jobs_per_sweep=100_000, max_releases_per_sweep=1_000_000
)
SETTINGS = {
    "shared_buffers": "1GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",  # every round begins vacuumed and analysed; nothing else may run meanwhile
}

_PLAN = """
CREATE TABLE bench.spec (number int, id text, kind text, shop text, recipients int, sent int, touched timestamp(3),
                         moved timestamp(3))
"""
_AGES = """
UPDATE bench.spec SET (touched, moved) = (SELECT utc - age, utc - age - interval '1 h' FROM (
    SELECT now() AT TIME ZONE 'UTC' AS utc,
           CASE kind WHEN 'live' THEN interval '0' WHEN 'resting' THEN interval '10 d' + number * interval '1 s'
           ELSE interval '40 min' + number * interval '1 s' END AS age) ages)
"""
_LOAD_RECIPIENTS = """
INSERT INTO "CampaignRecipient" (id, "campaignId", phone, message, status, "mittoMessageId", "sentAt", "deliveredAt")
SELECT c.id || lpad(n::text, 10, '0'), c.id, '+1555' || lpad(n::text, 7, '0'), 'Hi! This is a message.',
       CASE WHEN n > c.sent THEN 'pending' WHEN n % 5 = 0 THEN 'sent' ELSE 'delivered' END,
       CASE WHEN n <= c.sent THEN 'msg_' || c.id || n END,
       CASE WHEN n <= c.sent THEN c.moved END,
       CASE WHEN n <= c.sent AND n % 5 > 0 THEN c.moved + interval '3 s' END
FROM (SELECT * FROM bench.spec ORDER BY md5(id)) c, generate_series(1, c.recipients) n
"""
_LOAD_CAMPAIGNS = """
INSERT INTO "Campaign" (id, "shopId", name, status, "updatedAt")
SELECT id, shop, id, CASE kind WHEN 'resting' THEN 'sent' ELSE 'sending' END, touched FROM bench.spec ORDER BY md5(id)
"""
_LOAD_RESERVATIONS = """
INSERT INTO "CreditReservation" (id, "shopId", "campaignId", amount, status, "createdAt", "expiresAt", "releasedAt")
SELECT 'res' || id, shop, id, recipients, CASE WHEN held THEN 'active' ELSE 'released' END, moved,
       moved + interval '30 days', CASE WHEN NOT held THEN touched END
FROM (SELECT *, kind <> 'resting' OR number % 20 = 0 AS held FROM bench.spec) spec ORDER BY md5(id)
"""
# The clock goes on between rounds: every age that matters is set back to what it was.
_RESTORE = (
    """UPDATE "Campaign" c SET status = k.status, "updatedAt" = k."updatedAt" + (SELECT now() - at FROM bench.saved)
       FROM bench.campaign k WHERE k.id = c.id AND k.status = 'sending'""",
    """UPDATE "CreditReservation" r SET status = k.status, "releasedAt" = k."releasedAt" FROM bench.reservation k
       WHERE k.id = r.id AND k.status <> r.status""",
)
_SAVE = (
    'CREATE TABLE bench.campaign AS TABLE "Campaign"',
    'CREATE TABLE bench.reservation AS TABLE "CreditReservation"',
    "CREATE TABLE bench.saved AS SELECT now() AS at",
    "CREATE TABLE bench.intent (job_id text, campaign_id text, added_at timestamptz)",
)


@dataclass
class Dataset:
    """One database and one queue loaded with a size, to be swept and restored.

    Attributes:
        url: SQLAlchemy URL of the database.
        redis_url: URL of the queue's Redis.
        dump: The queue as it was loaded.
        jobs: Jobs that it holds then; their ids are the numbers from 1.
        server_pids: The processes that serve both.
    """

    url: str
    redis_url: str
    dump: Path = Path()
    jobs: int = 0
    server_pids: tuple[int, ...] = ()

    @property
    def conninfo(self) -> str:
        """The database's URL as psycopg takes it."""
        return self.url.replace("postgresql+psycopg", "postgresql")

    @property
    def entry(self) -> dict[str, str]:
        """Its entry in a configuration file."""
        return {
            "name": "sms",
            "profile": "sms",
            "database_url": self.conninfo,
            "queue_url": self.redis_url,
            "queue_prefix": PREFIX,
        }

    def platform(self, policy: Policy = POLICY) -> Platform:
        """The platform as the product takes it, connected to nothing yet."""
        address = QueueAddress(self.redis_url, PREFIX)
        database = Database(self.url, Timeouts(statement_seconds=600))
        return Platform("sms", PROFILE, policy, database, Queue(address, QUEUE))

    def owner(self) -> psycopg.Connection:
        """A connection of the tables' owner, each statement a transaction of its own."""
        return psycopg.connect(self.conninfo, autocommit=True)

    def restore(self) -> None:
        """Restore everything as it was loaded, vacuumed and analysed. No contestant writes recipients."""
        with self.owner() as connection:
            for statement in _RESTORE:
                connection.execute(statement)
            names = connection.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                " WHERE schemaname = 'campaign_ops' AND tablename <> 'alembic_version'"
            ).fetchall()
            ours = ", ".join(name for (name,) in names)
            connection.execute(f"TRUNCATE {ours} RESTART IDENTITY CASCADE".encode())
            connection.execute('VACUUM (ANALYZE) "Campaign", "CreditReservation"')
            connection.execute("CHECKPOINT")
        with redis.Redis.from_url(self.redis_url, socket_timeout=600) as client:
            shutil.copy(self.dump, _dump_of(client))
            client.execute_command("DEBUG", "RELOAD", "NOSAVE")

    def cpu_seconds(self) -> float:
        """CPU seconds so far of this process and of both servers, with PostgreSQL's process for each connection."""
        own, *servers = (psutil.Process(pid) for pid in (os.getpid(), *self.server_pids))
        return sum(own.cpu_times()[:2]) + sum(map(_with_children, servers))

    def calm(self) -> None:
        """Touch every sending campaign, so that nothing is stuck."""
        with self.owner() as connection:
            touched = "UPDATE \"Campaign\" SET \"updatedAt\" = now() AT TIME ZONE 'UTC' WHERE status = 'sending'"
            connection.execute(touched)
            connection.execute('VACUUM (ANALYZE) "Campaign"')

    def counts(self) -> dict[str, int]:
        """Count campaigns and reservations by status, and live jobs."""
        counts: dict[str, int] = {}
        with self.owner() as connection:
            for table in ("Campaign", "CreditReservation"):
                query = f'SELECT status, count(*) FROM "{table}" GROUP BY 1 ORDER BY 1'
                counts |= {f"{table} {status}": number for status, number in connection.execute(query.encode())}
        with redis.Redis.from_url(self.redis_url) as client:
            counts["live jobs"] = int(client.llen(_key("wait")))
        return counts

    def end_state(self) -> dict[str, set[tuple[str, ...]]]:
        """The end state as comparable sets: every status, the loaded jobs that are still there, and (campaign, tenant,
        recipient) of every other job."""
        with self.owner() as connection:
            campaigns = set(connection.execute('SELECT id, status FROM "Campaign"'))
            reservations = set(connection.execute('SELECT id, status FROM "CreditReservation"'))
        queued: set[tuple[str, ...]]
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            ids: list[str] = client.lrange(_key("wait"), 0, -1)
            loaded = {job for job in ids if job.isdecimal() and int(job) <= self.jobs}
            queued = {("loaded", job) for job in loaded}
            for page in batched((job for job in ids if job not in loaded), 1000):
                with client.pipeline(transaction=False) as pipe:
                    for job in page:
                        pipe.hget(_key(job), "data")
                    for data in map(json.loads, pipe.execute()):
                        queued.update(
                            (data["campaignId"], data["shopId"], recipient) for recipient in data["recipientIds"]
                        )
        return {"campaigns": campaigns, "reservations": reservations, "queued": queued}


@contextmanager
def running(work_dir: Path, **settings: str) -> Iterator[EmbeddedServers]:
    """Start PostgreSQL and Redis for a benchmark."""
    with EmbeddedServers(work_dir, settings={**SETTINGS, **settings}) as servers:
        yield servers


def load(servers: EmbeddedServers, size: Size, name: str = "bench") -> Dataset:
    """Load a size into a database of its own and into the only queue, in place of what they held.

    Datasets of different names have databases of their own; the queue holds the one that was restored last.
    """
    servers.postgres.drop_database(name)
    campaigns = list(size.campaigns())
    jobs = sum(campaign.jobs for campaign in campaigns)
    dump = servers.work_dir / f"{name}.rdb"
    pids = tuple(filter(None, (servers.postgres.pid, servers.redis.pid)))
    dataset = Dataset(servers.postgres.create_database(name), servers.redis.url(), dump, jobs, pids)
    _load_tables(dataset, campaigns)
    _load_queue(dataset, campaigns)
    return dataset


@contextmanager
def connected_worker(dataset: Dataset) -> Iterator[None]:
    """Hold a connection that has a BullMQ worker's name: without a worker, covered campaigns are another case."""
    with redis.Redis.from_url(dataset.redis_url, single_connection_client=True) as client:
        client.client_setname(f"{PREFIX}:{base64.b64encode(QUEUE.name.encode()).decode()}")
        yield


def _load_tables(dataset: Dataset, campaigns: Sequence[CampaignSpec]) -> None:
    database = Database(dataset.url, Timeouts(statement_seconds=3600))
    migrate(database)
    with database.transaction() as connection:
        create_tables(connection, PROFILE)
    database.close()
    with dataset.owner() as connection:
        connection.execute("CREATE SCHEMA bench")
        connection.execute(_PLAN)
        with connection.cursor().copy("COPY bench.spec (number, id, kind, shop, recipients, sent) FROM STDIN") as copy:
            for number, spec in enumerate(campaigns):
                copy.write_row((number, spec.id, spec.kind, shop_of(spec), spec.recipients, spec.sent))
        connection.execute(_AGES)
        connection.execute("SET session_replication_role = replica")  # no foreign key is checked row by row
        connection.execute(_LOAD_CAMPAIGNS)
        connection.execute(_LOAD_RESERVATIONS)
        with without_indexes(connection, "CampaignRecipient"):
            connection.execute(_LOAD_RECIPIENTS)
        for statement in (*_SAVE, "VACUUM (FREEZE, ANALYZE)", "CHECKPOINT"):
            connection.execute(statement)


@contextmanager
def without_indexes(connection: psycopg.Connection, table: str) -> Iterator[None]:
    """Fill a large table without its indexes and build them afterwards: several times as fast."""
    known = "SELECT quote_ident(indexname), indexdef FROM pg_indexes WHERE tablename = %s"
    there = connection.execute(known, [table]).fetchall()
    connection.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{table}_pkey"'.encode())
    others = [(name, made) for name, made in there if name != f'"{table}_pkey"']
    for name, _ in others:
        connection.execute(f"DROP INDEX {name}".encode())
    yield
    connection.execute(f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_pkey" PRIMARY KEY (id)'.encode())
    for _, made in others:
        connection.execute(made.encode())


def _load_queue(dataset: Dataset, campaigns: Sequence[CampaignSpec]) -> None:
    """Write the jobs as BullMQ's scripts would, those of all campaigns mixed, and save them for `Dataset.restore`."""
    batches = [
        (spec, first, min(first + BATCH, spec.sent + spec.queued + 1) - 1)
        for spec in campaigns
        for first in range(spec.sent + 1, spec.sent + spec.queued + 1, BATCH)
    ]
    random.Random(1).shuffle(batches)
    opts = json.dumps(QUEUE.options)
    with redis.Redis.from_url(dataset.redis_url, socket_timeout=600) as client:
        client.flushall()
        for page in batched(enumerate(batches, 1), 500):
            with client.pipeline(transaction=False) as pipe:
                for number, (spec, first, last) in page:
                    data = {
                        "campaignId": spec.id,
                        "shopId": shop_of(spec),
                        "recipientIds": spec.recipient_ids(first, last),
                    }
                    fields = {"name": QUEUE.job, "data": json.dumps(data, separators=(",", ":")), "opts": opts}
                    pipe.hset(_key(str(number)), mapping={**fields, "timestamp": 1_700_000_000_000, "priority": 0})
                    pipe.lpush(_key("wait"), str(number))
                pipe.execute()
        client.hset(_key("meta"), mapping={"version": "bullmq:6.7.0", "opts.maxLenEvents": "10000"})
        client.set(_key("id"), len(batches))
        client.save()
        shutil.copy(_dump_of(client), dataset.dump)


def shop_of(campaign: CampaignSpec) -> str:
    """The tenant of a campaign, one of twenty."""
    return f"shop_{int(campaign.id[-8:]) % 20:02d}"


def _with_children(process: psutil.Process) -> float:
    """CPU seconds of a process and its children; it counts those of a child itself as soon as that has ended."""
    while True:
        children = process.children()
        with suppress(psutil.NoSuchProcess):
            total = sum(process.cpu_times()[:4]) + sum(sum(child.cpu_times()[:2]) for child in children)
            if process.children() == children:
                return float(total)


def _dump_of(client: redis.Redis) -> Path:
    where: dict[str, str] = client.config_get("d*")  # type: ignore[assignment]  # typed for both clients
    return Path(where["dir"]) / where["dbfilename"]


def _key(part: str) -> str:
    return f"{PREFIX}:{QUEUE.name}:{part}"
