"""Whoever takes part in the benchmark does the same work: else its ratios would say nothing. And how it is asked, and
how it ends. No seconds here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.ground import Ground, a_worker, lay
from benchmarks.options import MEASURES, arguments
from benchmarks.rounds import Disagreement, agree
from benchmarks.sizes import TINY, Kind
from benchmarks.versus import EVERYBODY
from campaign_ops.lab.servers.embedded import EmbeddedServers

LAID = list(TINY.campaigns())
PUT_BACK = {
    (one.id, number)
    for one in LAID
    if one.kind in (Kind.LOST, Kind.HALF)
    for number in one.recipient_ids(one.sent + one.queued + 1, one.recipients)
}


@pytest.fixture(scope="module")
def ground(servers: EmbeddedServers) -> Iterator[Ground]:
    laid = lay(servers, TINY)
    with a_worker(laid):
        yield laid
    servers.postgres.drop_database("bench")


@pytest.mark.parametrize("who", EVERYBODY)
def test_everybody_completes_releases_and_puts_back_the_same(ground: Ground, who: str) -> None:
    ground.restore()
    before = ground.repaired()
    EVERYBODY[who](ground)
    after = ground.repaired()
    finished = {(one.id, "sent") for one in LAID if one.kind is Kind.FINISHED}
    assert after["campaigns"] - before["campaigns"] == finished
    assert after["reservations"] - before["reservations"] == {(f"res{one}", "released") for one, _ in finished}
    assert {(campaign, recipient) for campaign, _, recipient in after["queued"] - before["queued"]} == PUT_BACK
    assert ground.counts()["live jobs"] == TINY.jobs + sum(one.kind in (Kind.LOST, Kind.HALF) for one in LAID)


def test_restored_ground_is_as_it_was_laid(ground: Ground) -> None:
    ground.restore()
    laid, counts = ground.repaired(), ground.counts()
    EVERYBODY["sweep"](ground)
    ground.restore()
    assert (ground.repaired(), ground.counts()) == (laid, counts)


def test_nothing_is_stuck_on_calm_ground(ground: Ground) -> None:
    ground.restore()
    laid = ground.repaired()
    ground.calm()
    EVERYBODY["sweep"](ground)
    assert ground.repaired() == laid


def test_two_who_left_different_things_behind_are_told_apart() -> None:
    with pytest.raises(Disagreement, match="live jobs: 3 after one, 4 after other"):
        agree({"one": {"live jobs": 3}, "other": {"live jobs": 4}})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--only nonsense", "'nonsense' is none of: sweep, memory"),
        ("--only=", "'' is none of: sweep, memory"),
        ("--only sweep,nonsense", "'nonsense' is none of: sweep, memory"),
        ("--sizes gigantic", "'gigantic' is none of: small, middle, large"),
        ("--sizes=", "'' is none of: small, middle, large"),
        ("--who nobody", "'nobody' is none of: sweep, floor"),
        ("--who floor,pandas,", "'' is none of: sweep, floor"),
        ("--rounds 0", "'0' is no number of rounds: write 1 or more"),
        ("--rounds=-3", "'-3' is no number of rounds: write 1 or more"),
        ("--json=", "'' is a directory: name a file"),
        ("--json {home}", "is a directory: name a file"),
        ("--json {home}/missing/figures.json", "there is no directory"),
        ("--plot {home}", "is a directory: name a file"),
        ("--plot {home}/growth.jpg", "let its name end in .png"),
        ("--plot {home}/growth.png --only sweep", "--plot: only with the measure growth"),
        ("--who floor --only memory", "--who: only with the measure sweep"),
        ("--calm", "--calm: only with --profile"),
        ("--profile tiny --only sweep", "--only: not with --profile"),
        ("--profile tiny --quick", "--quick: not with --profile"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_before_anything_starts(
    given: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(given.format(home=tmp_path).split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_what_is_not_said_has_its_default() -> None:
    everything = arguments([])
    assert (everything.only, everything.rounds) == (list(MEASURES), 5)
    assert arguments(["--quick"]).rounds == 1
    assert arguments(["--only", "growth, sweep"]).only == ["sweep", "growth"]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose sockets have names that are short enough, and where the server's user gets in."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        yield Path(home)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_is_one_line_and_leaves_nothing_behind(
    number: signal.Signals, code: int, short_path: Path
) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-u", "-m", "benchmarks", "--quick", "--only", "sweep"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(short_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert bench.stdout is not None
    while "# sweep" not in bench.stdout.readline():
        assert bench.poll() is None
    children = psutil.Process(bench.pid).children(recursive=True)
    bench.send_signal(number)
    bench.send_signal(number)  # as `timeout` does
    _, err = bench.communicate(timeout=60)
    assert (bench.returncode, err) == (code, "interrupted\n")
    assert children
    assert not [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not list(short_path.iterdir())


def test_quick_names_the_sizes_that_it_laid_and_judges_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ["--quick", "--only", "sweep", "--sizes", "large", "--who", "sweep,floor", "--json", str(figures)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "sweep / floor at 25 x 100, 250 jobs, median of the rounds' ratios" in done.stdout
    assert "--quick judges no goals" in done.stdout
    assert "<=" not in done.stdout
    assert [goal["met"] for goal in json.loads(figures.read_text())["goals"]] == [None]
