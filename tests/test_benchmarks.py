"""All contestants of the benchmark do the same work, else its ratios would say nothing; its options and its end.

No seconds here."""

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

from benchmarks.comparison import CONTESTANTS
from benchmarks.dataset import Dataset, connected_worker, load
from benchmarks.options import MEASURES, arguments
from benchmarks.rounds import Disagreement, agree
from benchmarks.sizes import TINY, Kind
from campaign_ops.lab.servers.embedded import EmbeddedServers

LOADED = list(TINY.campaigns())
PUT_BACK = {
    (spec.id, recipient)
    for spec in LOADED
    if spec.kind in (Kind.LOST, Kind.HALF)
    for recipient in spec.recipient_ids(spec.sent + spec.queued + 1, spec.recipients)
}


@pytest.fixture(scope="module")
def dataset(servers: EmbeddedServers) -> Iterator[Dataset]:
    loaded = load(servers, TINY)
    with connected_worker(loaded):
        yield loaded
    servers.postgres.drop_database("bench")


@pytest.mark.parametrize("contestant", CONTESTANTS)
def test_every_contestant_completes_releases_and_puts_back_the_same(dataset: Dataset, contestant: str) -> None:
    dataset.restore()
    before = dataset.end_state()
    CONTESTANTS[contestant](dataset)
    after = dataset.end_state()
    finished = {(spec.id, "sent") for spec in LOADED if spec.kind is Kind.FINISHED}
    assert after["campaigns"] - before["campaigns"] == finished
    assert after["reservations"] - before["reservations"] == {
        (f"res{campaign}", "released") for campaign, _ in finished
    }
    assert {(campaign, recipient) for campaign, _, recipient in after["queued"] - before["queued"]} == PUT_BACK
    assert dataset.counts()["live jobs"] == TINY.jobs + sum(spec.kind in (Kind.LOST, Kind.HALF) for spec in LOADED)


def test_a_restored_dataset_is_as_it_was_loaded(dataset: Dataset) -> None:
    dataset.restore()
    loaded, counts = dataset.end_state(), dataset.counts()
    CONTESTANTS["sweep"](dataset)
    dataset.restore()
    assert (dataset.end_state(), dataset.counts()) == (loaded, counts)


def test_nothing_is_stuck_in_a_calm_dataset(dataset: Dataset) -> None:
    dataset.restore()
    loaded = dataset.end_state()
    dataset.calm()
    CONTESTANTS["sweep"](dataset)
    assert dataset.end_state() == loaded


def test_different_end_states_are_told_apart() -> None:
    with pytest.raises(Disagreement, match="live jobs: 3 after one, 4 after other"):
        agree({"one": {"live jobs": 3}, "other": {"live jobs": 4}})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--only nonsense", "'nonsense' is none of: sweep, memory"),
        ("--only=", "'' is none of: sweep, memory"),
        ("--only sweep,nonsense", "'nonsense' is none of: sweep, memory"),
        ("--sizes gigantic", "'gigantic' is none of: small, middle, large"),
        ("--sizes=", "'' is none of: small, middle, large"),
        ("--contestants nobody", "'nobody' is none of: sweep, floor"),
        ("--contestants floor,pandas,", "'' is none of: sweep, floor"),
        ("--rounds 0", "'0' is not a number of rounds: write 1 or more"),
        ("--rounds=-3", "'-3' is not a number of rounds: write 1 or more"),
        ("--json=", "'' is a directory: name a file"),
        ("--json {home}", "is a directory: name a file"),
        ("--json {home}/missing/figures.json", "there is no directory"),
        ("--plot {home}", "is a directory: name a file"),
        ("--plot {home}/growth.jpg", "let its name end in .png"),
        ("--plot {home}/growth.png --only sweep", "--plot: only with the measure growth"),
        ("--contestants floor --only memory", "--contestants: only with the measure sweep"),
        ("--calm", "--calm: only with --profile"),
        ("--profile tiny --only sweep", "--only: not with --profile"),
        ("--profile tiny --quick", "--quick: not with --profile"),
    ],
)
def test_wrong_options_are_refused_in_one_line_before_anything_starts(
    options: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(options.format(home=tmp_path).split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err


def test_options_have_defaults() -> None:
    everything = arguments([])
    assert (everything.only, everything.rounds) == (list(MEASURES), 5)
    assert arguments(["--quick"]).rounds == 1
    assert arguments(["--only", "growth, sweep"]).only == ["sweep", "growth"]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory short enough for the names of sockets, and open to the server's user."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        yield Path(home)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_is_one_line_and_leaves_nothing_behind(
    number: signal.Signals, code: int, short_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "benchmarks", "--quick", "--only", "sweep"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(short_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "# sweep" not in process.stdout.readline():
        assert process.poll() is None
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.send_signal(number)  # as `timeout` does
    _, err = process.communicate()
    assert (process.returncode, err) == (code, "interrupted\n")
    assert children
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not list(short_path.iterdir())


def test_quick_names_the_sizes_that_it_loaded_and_judges_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ["--quick", "--only", "sweep", "--sizes", "large", "--contestants", "sweep,floor", "--json", str(figures)]
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "sweep / floor at 25 x 100, 250 jobs, median of the rounds' ratios" in finished.stdout
    assert "--quick judges no goals" in finished.stdout
    assert "<=" not in finished.stdout
    assert [goal["met"] for goal in json.loads(figures.read_text())["goals"]] == [None, None]
