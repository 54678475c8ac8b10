"""What a sweep sends and reads, counted where it arrives: these figures do not depend on the machine.

The embedded PostgreSQL has no pg_stat_statements, and a client's count would miss what its driver adds: statements are
counted in the server's own log.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.connection import AbstractConnection

from benchmarks import contestants
from benchmarks.contestants import Contestant
from benchmarks.dataset import Dataset
from benchmarks.rounds import say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import Kind, Size

# The same number of recipients each time, so that streams are as long.
SIZES = {stuck: Size(stuck, 20_000 // stuck, 2 * stuck) for stuck in (10, 100, 1_000)}
SHOWN = 12

_LINE = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")
_CONTROL = re.compile(r";|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET |SELECT set_config")
_NUMBERS = re.compile(r"_\d+\b")


@dataclass(frozen=True, slots=True)
class Counts:
    """What one contestant sent and read.

    Attributes:
        statements: To PostgreSQL, with BEGIN, COMMIT and settings, by their text.
        rows: Recipients that PostgreSQL read, each as often as it was read.
        trips: Round trips to Redis.
        keys: Keys that Redis looked up to read them.
        bytes: That Redis sent.
    """

    statements: Counter[str]
    rows: int
    trips: int
    keys: int
    bytes: int

    @property
    def control(self) -> int:
        """BEGIN, COMMIT and settings."""
        return sum(count for statement, count in self.statements.items() if _CONTROL.match(statement))

    def as_json(self) -> dict[str, int]:
        """The numbers."""
        numbers = {"all": self.statements.total(), "control": self.control, "recipients read": self.rows}
        return {**numbers, "Redis trips": self.trips, "Redis keys": self.keys, "Redis bytes": self.bytes}


def measure(session: Session) -> Result:
    """Count at 10, 100 and 1,000 stuck campaigns."""
    counts: dict[int, Counts] = {}
    result = Result()
    for stuck, size in SIZES.items():
        with session.loaded(size, scaled=False) as dataset:
            dataset.restore()
            counts[stuck] = counted(contestants.sweep, dataset, session.servers.work_dir / "postgres.log")
            payloads = payload_bytes(dataset, size)
    most = counts[max(counts)].statements
    say("\none sweep at 10, 100 and 1,000 stuck campaigns\n")
    names = {"all": "statements", "control": "BEGIN, COMMIT, SET …"}
    of_each = [of.as_json() for of in counts.values()]
    rows = [(names.get(name, name), *(of[name] for of in of_each)) for name in of_each[0]]
    rows += [
        (statement[:90], *(of.statements[statement] for of in counts.values()))
        for statement, _ in most.most_common(SHOWN)
    ]
    say(table(("", *map(str, counts)), rows))
    result.figures = {str(stuck): of.as_json() for stuck, of in counts.items()}
    totals = [of.statements.total() for of in counts.values()]
    result.at_most("statements per sweep at 1,000 stuck campaigns / at 10", totals[-1] / totals[0], 1.2)
    result.shown("statements per sweep at 10, 100, 1,000 stuck campaigns", "constant", ", ".join(map(str, totals)))
    result.shown("round trips to Redis", "constant", ", ".join(str(of.trips) for of in counts.values()))
    read = counts[max(counts)]
    result.at_most("bytes from Redis / payloads of stuck campaigns", read.bytes / payloads, 2)
    return result


def counted(contestant: Contestant, dataset: Dataset, log: Path) -> Counts:
    """Let a contestant repair a restored dataset, and count."""
    with dataset.owner() as connection:
        connection.execute("ALTER DATABASE bench SET log_statement = 'all'")
        connection.execute("SELECT pg_stat_reset()")
    begun = log.stat().st_size
    with redis.Redis.from_url(dataset.redis_url) as client:
        client.config_resetstat()
        with _trips() as trips:
            contestant(dataset)
        stats: Any = client.info("stats")
    with log.open("rb") as lines:
        lines.seek(begun)
        matches = map(_LINE.search, lines.read().decode().splitlines())
        statements = Counter(_NUMBERS.sub("", match[1].strip()) for match in matches if match)
    keys = stats["keyspace_hits"] + stats["keyspace_misses"]
    return Counts(statements, _rows_read(dataset), len(trips), keys, stats["total_net_output_bytes"])


@contextmanager
def _trips() -> Iterator[list[None]]:
    """Everything that this process sends to Redis in one go, whichever client sends it."""
    trips: list[None] = []
    kinds: tuple[Any, ...] = (AbstractConnection, AsyncConnection)
    sending = [kind.send_packed_command for kind in kinds]

    def counting(send: Any) -> Any:
        def sent(*arguments: Any, **options: Any) -> Any:
            trips.append(None)
            return send(*arguments, **options)

        return sent

    for kind, send in zip(kinds, sending, strict=True):
        kind.send_packed_command = counting(send)
    try:
        yield trips
    finally:
        for kind, send in zip(kinds, sending, strict=True):
            kind.send_packed_command = send


def _rows_read(dataset: Dataset) -> int:
    """Recipients read, by scans and by indexes, by all who have disconnected."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'CampaignRecipient'"
    while True:
        with dataset.owner() as connection:
            if connection.execute(others).fetchone() == (0,):
                (number,) = connection.execute(read).fetchone() or (0,)
                return int(number)
        time.sleep(0.05)


def payload_bytes(dataset: Dataset, size: Size) -> int:
    """Bytes of the payloads of stuck campaigns' live jobs: what a sweep has to read at least."""
    stuck = {campaign.id for campaign in size.campaigns() if campaign.kind not in (Kind.LIVE, Kind.RESTING)}
    with redis.Redis.from_url(dataset.redis_url, decode_responses=True) as client:
        ids = [job for job in contestants.live_ids(client) if job.isdecimal() and int(job) <= dataset.jobs]
        payloads = contestants.job_data(client, ids)
        return sum(len(json.dumps(data, separators=(",", ":"))) for data in payloads if data["campaignId"] in stuck)
