"""The drill's command line, alone and as a command of the program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from campaign_ops.lab.drill import cli, work_dir
from campaign_ops.lab.drill.faults import FAULTS
from tests.faces.cli.program import PROGRAM, one_line, run
from tests.lab.waiting import wait_until

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def drilled(*words: object) -> Result:
    return run("drill", *words)


def started(*words: object) -> list[str]:
    return [*PROGRAM, "drill", *map(str, words)]


def test_the_program_lists_the_drill_and_shows_its_options() -> None:
    assert "drill " in run("--help").stdout
    text = run("drill", "--help").stdout
    for option in ("--seconds", "--length", "--seed", "--replay", "--fault", "--without", "--node", "--throw-away"):
        assert option in text


def test_the_program_does_not_load_the_drill_for_anything_else() -> None:
    """Nor its dependencies: servers, plots, Dagster."""
    code = (
        "import sys; from campaign_ops.faces.cli import app; from typer.testing import CliRunner;"
        "CliRunner().invoke(app, ['--help']);"
        "heavy = ('campaign_ops.lab.drill', 'campaign_ops.lab.demo', 'matplotlib');"
        "print([one for one in sys.modules if one.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("package", ["psutil", "matplotlib"])
def test_a_missing_package_is_reported_in_one_line_with_the_fix(package: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from campaign_ops.faces.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "drill", "--work-dir", str(tmp_path), "--fault", "lose_jobs"],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 2
    assert one_line(done.stderr) == (
        f"error: drill needs {package}, which is not installed; install it with: pip install 'campaign_ops[lab]'"
    )


@pytest.mark.parametrize("option", ["--list-faults", "--list-accidents"])
def test_every_fault_is_listed_with_its_title(option: str) -> None:
    lines = drilled(option).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(FAULTS)
    assert all(kind.title in line for kind, line in zip(FAULTS.values(), lines, strict=True))


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--fault", "lose_job"], 2, "--fault: there is no fault 'lose_job'; did you mean lose_jobs?"),
        (["--accident", "lose_job"], 2, "--fault: there is no fault 'lose_job'; did you mean lose_jobs?"),
        (["--without", "deadlock"], 2, "--without: there is no fault 'deadlock'; did you mean deadlocks?"),
        (["--seconds", "soon"], 2, "--seconds: 'soon' is not a length; write 120, 120s, 2m or 0.5h"),
        (["--seed", "abc"], 2, "--seed: 'abc' is not a seed; write a whole number, such as 7"),
        (["--replay", "1.5"], 2, "--replay: '1.5' is not a seed; write a whole number, such as 7"),
        (["--seed", 1, "--replay", 2], 2, "--seed and --replay name different seeds; give one of them"),
        (["--size", "huge"], 2, "--size: there is no size 'huge'; there are: small, medium, large"),
        (["--json", ""], 2, "--json: '' is not a file; name a writable file, or -"),
        (["--json", ROOT], 2, "is not a file; name a writable file, or -"),
        (["--json", "nowhere/board.json"], 2, "cannot be written: there is no directory nowhere; name a writable file"),
        (
            ["--fault", "deadlocks", "--without", "deadlocks"],
            2,
            "--fault and --without both name deadlocks; name it in one of them",
        ),
        ([word for name in FAULTS for word in ("--without", name)], 2, "--without: no fault is left"),
        (["--fault", "pgbouncer", "--seconds", 1], 2, "pgbouncer (a drill of 1 s is too short for it); fix that"),
        (["--fault", "duplicate_ticks", "--no-dagster"], 2, "duplicate_ticks (the drill runs without Dagster)"),
        (["--seconds", 3], 2, "no fault can be injected in a drill of 3 s; give it more --seconds"),
        (["--redis-url", "redis://127.0.0.1:1/0"], 2, "only one of the two servers is named"),
        (
            ["--database-url", "nonsense", "--redis-url", "redis://127.0.0.1:1/0"],
            2,
            "error: --database-url is not a PostgreSQL URL; write postgresql://user:password@host:5432/database",
        ),
        (
            ["--database-url", "postgresql://app@127.0.0.1:1/test", "--redis-url", "http://:secret@foo"],
            2,
            "error: --redis-url cannot be read; write redis://127.0.0.1:6379/0",
        ),
        (
            ["--throw-away", "--database-url", "postgresql://app@nowhere.invalid/test", "--redis-url", "redis://a"],
            1,
            "nowhere.invalid:5432/test: the host name is not known",
        ),
        (
            ["--database-url", "postgresql://app@db.example.com/app", "--redis-url", "redis://127.0.0.1:1/0"],
            3,
            "looks like production",
        ),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_nothing_is_started(
    words: list[object], code: int, complaint: str, tmp_path: Path
) -> None:
    result = drilled("--work-dir", tmp_path / "new", *words)
    assert result.exit_code == code
    assert complaint in one_line(result.stderr)
    assert "secret" not in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_work_directory_that_cannot_be_created_is_reported_in_one_line(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = drilled("--work-dir", tmp_path / place)
    assert result.exit_code == 2
    assert one_line(result.stderr) == (
        f"error: {tmp_path / place}: the work directory cannot be created: Not a directory;"
        " name another one with --work-dir"
    )


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("2m", 120), ("0.5h", 1800), ("1.5", 1.5)])
def test_a_length_is_given_in_seconds_minutes_or_hours(text: str, seconds: float) -> None:
    assert cli._seconds(text) == seconds


def test_a_directory_that_is_not_a_drills_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = drilled("--work-dir", tmp_path)
    assert result.exit_code == 2
    assert "not empty and not a drill's" in one_line(result.stderr)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_directory_of_an_earlier_drill_is_emptied(tmp_path: Path) -> None:
    made = tmp_path / "drill"
    for seed in (7, 8):
        work_dir.create_work_dir(made, seed)
        assert [path.name for path in made.iterdir()] == ["drill.json"]
        (made / "scoreboard.json").touch()


def test_a_replay_gets_a_directory_of_its_own_and_leaves_the_first_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("7", "7-2", "7-3"):
        assert work_dir.unused_work_dir(7) == Path(".drill") / name
        work_dir.create_work_dir(work_dir.unused_work_dir(7), 7)


def test_every_option_has_a_help() -> None:
    command = typer.main.get_command(cli.app)
    for param in command.params:
        assert getattr(param, "help", None), param.name


@pytest.mark.slow
def test_ctrl_c_while_the_servers_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """initdb receives it, too: a terminal sends it to the whole process group."""
    work = tmp_path / "work"
    with subprocess.Popen(
        started("--seed", 1, "--no-dagster", "--work-dir", work),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        wait_until((work / "servers").exists, 60)
        os.killpg(process.pid, signal.SIGINT)
        told, said = process.communicate(timeout=90)
    assert (process.returncode, told, said) == (130, "", "interrupted\n")
    assert not work.exists()


@pytest.mark.slow
def test_ctrl_c_stops_everything_in_order_and_prints_what_is_known(tmp_path: Path) -> None:
    words = ["--seconds", "10m", "--seed", 1, "--no-dagster", "--work-dir", tmp_path / "work", "--json", "-"]
    with subprocess.Popen(
        started(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 60
        while "campaign cmp_2" not in process.stderr.readline():
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        board, said = process.communicate(timeout=90)
    assert process.returncode == 130
    assert json.loads(board)["verdict"].startswith("CUT SHORT")
    assert "no more faults" in said
    assert "CUT SHORT" in said
    assert not (tmp_path / "work" / "servers" / "postgres" / "data" / "postmaster.pid").exists()
