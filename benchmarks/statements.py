"""The statements that a sweep sends to the platform's database, counted in the server's own log.

The embedded PostgreSQL has no pg_stat_statements, and a client's count would miss what its driver adds.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from benchmarks import contestants
from benchmarks.dataset import Dataset
from benchmarks.rounds import say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import Size

# The same number of recipients each time, so that streams are as long.
SIZES = {stuck: Size(stuck, 20_000 // stuck, 2 * stuck) for stuck in (10, 100, 1_000)}
SHOWN = 12

_LINE = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")
_CONTROL = re.compile(r";|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET |SELECT set_config")
_NUMBERS = re.compile(r"_\d+\b")


def measure(session: Session) -> Result:
    """Count at 10, 100 and 1,000 stuck campaigns."""
    counts: dict[int, Counter[str]] = {}
    for stuck, size in SIZES.items():
        with session.loaded(size, scaled=False) as dataset:
            dataset.restore()
            with dataset.owner() as connection:
                connection.execute("ALTER DATABASE bench SET log_statement = 'all'")
            counts[stuck] = _sent(dataset, session.servers.work_dir / "postgres.log")
    control = {
        stuck: sum(count for statement, count in of.items() if _CONTROL.match(statement))
        for stuck, of in counts.items()
    }
    most = counts[max(counts)]
    say("\nstatements per sweep, from the server's log, at 10, 100 and 1,000 stuck campaigns\n")
    rows = [("all", *(of.total() for of in counts.values())), ("BEGIN, COMMIT, SET …", *control.values())]
    rows += [(statement[:90], *(of[statement] for of in counts.values())) for statement, _ in most.most_common(SHOWN)]
    say(table(("statement", *map(str, counts)), rows))
    result = Result(
        figures={str(stuck): {"all": of.total(), "control": control[stuck]} for stuck, of in counts.items()}
    )
    totals = [of.total() for of in counts.values()]
    result.at_most("statements per sweep at 1,000 stuck campaigns / at 10", totals[-1] / totals[0], 1.2)
    result.shown("statements per sweep at 10, 100, 1,000 stuck campaigns", "constant", ", ".join(map(str, totals)))
    return result


def _sent(dataset: Dataset, log: Path) -> Counter[str]:
    begun = log.stat().st_size
    contestants.sweep(dataset)
    with log.open("rb") as lines:
        lines.seek(begun)
        matches = map(_LINE.search, lines.read().decode().splitlines())
    return Counter(_NUMBERS.sub("", match[1].strip()) for match in matches if match)
