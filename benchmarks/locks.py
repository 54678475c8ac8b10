"""What a sweep locks, for how long, and how long the application's own writers wait."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from benchmarks.child import peak_megabytes
from benchmarks.dataset import Dataset
from benchmarks.rounds import say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import ANCHORS

HOLDING = {"RowShareLock", "RowExclusiveLock"}
"""A transaction that locks or writes rows holds one of these on their table from then on."""
BLOCKING = {"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"}
"""A transaction that writes a row waits for these."""

_LOCKS = """
SELECT l.pid, c.relname, l.mode, l.granted FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
JOIN pg_stat_activity a ON a.pid = l.pid AND a.application_name LIKE 'campaign_ops%'
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND c.relname IN ('Campaign', 'CampaignRecipient', 'CreditReservation')
"""


@dataclass
class Watcher:
    """Samples the locks of the sweep's connections; the sweep itself is another process."""

    dataset: Dataset
    modes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    held: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    samples: int = 0

    def watch(self, stop: threading.Event) -> None:
        """Sample until ``stop`` is set."""
        since: dict[tuple[int, str], float] = {}
        with psycopg.connect(self.dataset.conninfo, autocommit=True) as connection:
            while not stop.is_set():
                rows = connection.execute(_LOCKS).fetchall()
                now = time.perf_counter()
                self.samples += 1
                holding = {(pid, name) for pid, name, mode, granted in rows if granted and mode in HOLDING}
                for _, name, mode, _ in rows:
                    self.modes[name].add(mode)
                since = {key: since.get(key, now) for key in holding}
                for (_, name), begun in since.items():
                    self.held[name] = max(self.held[name], now - begun)


@dataclass
class Writer:
    """The application: updates rows that the sweep is about to repair, in a column that no premise reads."""

    dataset: Dataset
    waits: list[float] = field(default_factory=list)

    def write(self, stop: threading.Event) -> None:
        """Update one row at a time until ``stop`` is set."""
        with psycopg.connect(self.dataset.conninfo, autocommit=True) as connection:
            ids = [
                campaign for (campaign,) in connection.execute("SELECT id FROM \"Campaign\" WHERE status = 'sending'")
            ]
            picks = random.Random(1)
            while not stop.is_set():
                begun = time.perf_counter()
                connection.execute('UPDATE "Campaign" SET name = name WHERE id = %s', [picks.choice(ids)])
                self.waits.append(time.perf_counter() - begun)
                stop.wait(0.002)


def measure(session: Session) -> Result:
    """Watch a sweep, run one beside a writer, and the writer alone."""
    with session.loaded(ANCHORS["large"]) as dataset:
        dataset.restore()
        watcher, beside, alone = Watcher(dataset), Writer(dataset), Writer(dataset)
        watched = _during(watcher.watch, lambda: peak_megabytes(dataset, "sweep"))
        dataset.restore()
        _during(beside.write, lambda: peak_megabytes(dataset, "sweep"))
        dataset.restore()
        _during(alone.write, lambda: time.sleep(2))
    rows = [
        (name, ", ".join(sorted(modes)), f"{watcher.held[name] * 1000:.0f} ms" if name in watcher.held else "never")
        for name, modes in sorted(watcher.modes.items())
    ]
    resolution = watched / watcher.samples * 1000
    say(f"\nlocks of a sweep at {session.size(ANCHORS['large'])}, sampled every {resolution:.2g} ms\n")
    say(table(("table", "modes seen", "longest transaction with row locks"), rows))
    longest = {name: max(writer.waits) * 1000 for name, writer in (("beside", beside), ("alone", alone))}
    result = Result()
    result.figures = {
        "modes": {name: sorted(modes) for name, modes in watcher.modes.items()},
        "held": dict(watcher.held),
        "writer's longest wait, ms": longest,
    }
    blocking = sorted({mode for modes in watcher.modes.values() for mode in modes & BLOCKING})
    held = watcher.held.get("Campaign", 0) * 1000
    result.shown("locks that block the application's writers", "none", ", ".join(blocking) or "none", met=not blocking)
    result.shown("longest that a campaign row is held locked", "milliseconds", f"{held:.0f} ms (±{resolution:.0f})")
    waits = f"{longest['beside']:.1f} ms beside a sweep, {longest['alone']:.1f} ms alone"
    result.shown("longest single-row UPDATE of the application", "shown", waits)
    return result


def _during(work: Callable[[threading.Event], None], what: Callable[[], object]) -> float:
    """Seconds that ``what`` took while ``work`` went on."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    begun = time.perf_counter()
    try:
        what()
    finally:
        took = time.perf_counter() - begun
        stop.set()
        thread.join()
    return took
