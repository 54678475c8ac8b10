"""A scrape of the metrics and a tick of the watcher at 1,000 stuck campaigns: without a past, and after 90 days."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import contestants
from benchmarks.dataset import Dataset
from benchmarks.rounds import say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import Size
from benchmarks.watch_child import ticks
from campaign_ops.core.policy import Policy
from campaign_ops.faces.metrics import exposition, samples
from campaign_ops.queries.metrics import platform_metrics

STUCK = 1_000
SIZE = Size(STUCK, 20, 500)
DAYS, SWEEPS_A_DAY = 90, 144
KEPT_DAYS = Policy().history_days
SCRAPES, TICKS = 20, 20
_DURATION = re.compile(r"LOG:  duration: ([0-9.]+) ms  (statement|parse|bind|execute)")

# The sweep that was run has id 1, and those of the past have ids below 0: none is later than it.
_PAST = """
INSERT INTO campaign_ops.sweep (id, platform, tables, run_id, trigger, actor, started_at, finished_at, figures)
OVERRIDING SYSTEM VALUE
SELECT -n, platform, tables, run_id || n, trigger, actor, started_at - n * interval '10 min',
    finished_at - n * interval '10 min', figures
FROM campaign_ops.sweep, generate_series(1, %s) AS n
"""
_KEPT = """
INSERT INTO campaign_ops.{0}
SELECT (jsonb_populate_record(kept, jsonb_build_object('sweep_id', -n))).*
FROM campaign_ops.{0} AS kept, generate_series(1, %s) AS n
"""
_HISTORIES = ("stuck_campaigns", "recipient_status", "queue_state", "repair_plan", "campaign_health")


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a scrape: the fastest, in milliseconds; ``statements`` with BEGIN, COMMIT and settings."""

    milliseconds: float
    database_milliseconds: float
    statements: int

    def row(self) -> Sequence[object]:
        """The cells of a table."""
        return (f"{self.milliseconds:.1f} ms", f"{self.database_milliseconds:.1f} ms", self.statements)


def measure(session: Session) -> Result:
    """Scrape and tick on the same data before and after the past is written."""
    days = 2 if session.quick else DAYS
    with session.loaded(SIZE) as dataset:
        dataset.restore()
        contestants.sweep(dataset)
        log = session.servers.work_dir / "postgres.log"
        with dataset.owner() as connection:
            connection.execute("ALTER DATABASE bench SET log_min_duration_statement = 0")
            connection.execute("VACUUM (ANALYZE)")
        empty, empty_ticks = _scrapes(dataset, log), ticks(dataset, TICKS)
        rows = _write_past(dataset, days)
        full, full_ticks = _scrapes(dataset, log), ticks(dataset, TICKS)
    stuck = session.size(SIZE).stuck
    say(f"\n{stuck:,} stuck campaigns; {days} days are {rows['sweep']:,} sweeps; retention keeps the plans of the last")
    say(f"{KEPT_DAYS} days, {rows['repair_plan']:,} lines\n")
    head = ("a scrape", "all", "in the database", "statements")
    say(table(head, [("no past", *empty.row()), (f"{days} days", *full.row())]))
    say()
    head = ("a tick of the watcher", "seconds", "CPU", "memory of the process")
    say(table(head, [("no past", *empty_ticks.row()), (f"{days} days", *full_ticks.row())]))
    scrapes, looks = {"empty": asdict(empty), "full": asdict(full)}, [asdict(empty_ticks), asdict(full_ticks)]
    result = Result(figures={"rows": rows, "scrapes": scrapes, "ticks": dict(zip(scrapes, looks, strict=True))})
    what = f"a scrape after {days} days / without a past"
    result.at_most(f"{what}, time in the database", full.database_milliseconds / empty.database_milliseconds, 1.5)
    result.at_most("time in the database of a scrape", full.database_milliseconds, 50, " ms")
    result.at_most("statements of a scrape after 90 days - without a past", full.statements - empty.statements, 0)
    result.at_most("CPU of a tick after 90 days / without a past", full_ticks.cpu / empty_ticks.cpu, 1.5)
    result.shown("CPU of a tick of the watcher", "shown", f"{full_ticks.cpu * 1000:.0f} ms")
    result.shown("memory of the watcher", "shown", f"{full_ticks.megabytes:.0f} MB")
    return result


def _scrapes(dataset: Dataset, log: Path) -> Cost:
    """Scrape again and again over one connection, as the HTTP service does; the first scrape is not counted."""
    platform = dataset.platform()
    times, database, statements = [], [], 0
    for number in range(SCRAPES + 1):
        begun, read_from = time.perf_counter(), log.stat().st_size
        exposition([("sms", samples(platform_metrics(platform)))])
        seconds = time.perf_counter() - begun
        with log.open("rb") as lines:
            lines.seek(read_from)
            found = _DURATION.findall(lines.read().decode())
        if number:
            times.append(seconds)
            database.append(sum(float(milliseconds) for milliseconds, _ in found))
            statements = sum(what in ("statement", "execute") for _, what in found)
    platform.close()
    return Cost(min(times) * 1000, min(database), statements)


def _write_past(dataset: Dataset, days: int) -> dict[str, int]:
    """Write the sweeps of so many days, with the rows of those that retention has not pruned. Count the rows."""
    kept = min(days, KEPT_DAYS) * SWEEPS_A_DAY
    with dataset.owner() as connection:
        connection.execute(_PAST, [days * SWEEPS_A_DAY])
        for name in _HISTORIES:
            connection.execute(_KEPT.format(f"{name}_history").encode(), [kept])
        connection.execute("VACUUM (ANALYZE)")
        counts = {}
        for name in ("sweep", *(f"{name}_history" for name in _HISTORIES)):
            row = connection.execute(f"SELECT count(*) FROM campaign_ops.{name}".encode()).fetchone()
            counts[name.removesuffix("_history")] = int(row[0]) if row else 0
    return counts
