"""The console under load: 50 people and a scraper over 10,000 campaigns, and the sweeps that go on meanwhile."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import yaml

from benchmarks import contestants
from benchmarks.dataset import Dataset
from benchmarks.rounds import say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import Size
from campaign_ops.access import create_token
from campaign_ops.core.tokens import Scope, hash_of, new_token
from campaign_ops.lab.servers.ports import free_port
from campaign_ops.sweep import Sweep

SIZE = Size(10_000, 5, 2_000)
PEOPLE, SECONDS = 50, 60
PAUSE_SECONDS = 10
"""Between two sweeps: sixty times as many as the schedule makes."""
_HOME = Path(__file__).parents[1]


def measure(session: Session) -> Result:
    """Sweep alone, then with people at the console; compare the sweeps, and show what the people waited for."""
    people, seconds = (5, 20) if session.quick else (PEOPLE, SECONDS)
    with session.loaded(SIZE) as dataset:
        dataset.restore()
        contestants.sweep(dataset)
        alone = _sweeps(dataset, seconds)
        tokens = [_token(dataset) for _ in range(people)]
        with _serving(dataset) as url, _people(url, tokens, _campaigns(dataset), seconds) as crowd:
            beside = _sweeps(dataset, seconds)
            output, errors = crowd.communicate(timeout=seconds + 120)
        if crowd.returncode:
            raise RuntimeError(errors)
    taken: dict[str, list[float]] = json.loads(output)
    say(f"\n{session.size(SIZE).stuck:,} stuck campaigns, {people} people who each open three pages in ten seconds\n")
    say(table(("page", "requests", "median", "p95", "slowest"), [_row(kind, taken[kind]) for kind in sorted(taken)]))
    median = statistics.median
    say(f"\na sweep alone {median(alone):.2f} s ({len(alone)}), beside them {median(beside):.2f} s ({len(beside)})")
    result = Result(figures={"alone": alone, "beside": beside, "pages": taken})
    result.at_most("a sweep beside 50 people / alone, median", median(beside) / median(alone), 1.10)
    for kind in sorted(taken):
        result.shown(f"p95 of {kind}", "shown", f"{_p95(taken[kind]) * 1000:.0f} ms")
    return result


def _row(kind: str, seconds: Sequence[float]) -> Sequence[object]:
    slowest, middle = max(seconds) * 1000, statistics.median(seconds) * 1000
    return (kind, len(seconds), f"{middle:.0f} ms", f"{_p95(seconds) * 1000:.0f} ms", f"{slowest:.0f} ms")


def _p95(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.95)]


def _sweeps(dataset: Dataset, seconds: float) -> list[float]:
    """Sweep again and again; how long each took."""
    taken, until = [], time.monotonic() + seconds
    with closing(dataset.platform()) as platform:
        while time.monotonic() < until:
            begun = time.monotonic()
            Sweep(platform, run_id=uuid4().hex, trigger="bench", actor="bench").run()
            taken.append(time.monotonic() - begun)
            time.sleep(PAUSE_SECONDS)
    return taken


def _token(dataset: Dataset) -> str:
    token_id, secret, text = new_token()
    with closing(dataset.platform()) as platform:
        create_token(platform, token_id, hash_of(secret), name="bench", scopes=tuple(Scope), by="bench")
    return text


def _campaigns(dataset: Dataset) -> list[str]:
    with dataset.owner() as connection:
        rows = connection.execute("SELECT campaign_id FROM campaign_ops.stuck_campaigns ORDER BY 1 LIMIT 200")
        return [row[0] for row in rows]


@contextmanager
def _serving(dataset: Dataset) -> Iterator[str]:
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        yaml.safe_dump({"platforms": [dataset.entry]}, config)
        config.flush()
        program = [sys.executable, "-c", "from campaign_ops.faces.cli import main; main()"]
        words = ["serve", "--config", config.name, "--port", str(port)]
        with subprocess.Popen([*program, *words], cwd=_HOME, stderr=subprocess.DEVNULL) as service:
            try:
                _wait(f"http://127.0.0.1:{port}/api/health", service)
                yield f"http://127.0.0.1:{port}"
            finally:
                service.terminate()


def _wait(url: str, service: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            httpx.get(url, timeout=30)
        except httpx.TransportError:
            if service.poll() is not None:
                raise RuntimeError("the service did not start") from None
            time.sleep(0.2)
        else:
            return


@contextmanager
def _people(url: str, tokens: list[str], campaigns: list[str], seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.people"]
    with subprocess.Popen(
        command, cwd=_HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as crowd:
        assert crowd.stdin is not None
        crowd.stdin.write(json.dumps({"url": url, "tokens": tokens, "campaigns": campaigns, "seconds": seconds}))
        crowd.stdin.close()
        crowd.stdin = None
        yield crowd
