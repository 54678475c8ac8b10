"""The program as a process: exit codes, streams, terminals and foreign text."""

from __future__ import annotations

import json
import logging
import os
import pty
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from campaign_ops import __version__
from campaign_ops.core import errors
from campaign_ops.core.errors import CampaignOpsError, ProfileMismatch
from campaign_ops.faces.cli import app, runner
from campaign_ops.faces.cli.commands import COMMANDS
from campaign_ops.faces.cli.exit_codes import MEANINGS, ExitCode, exit_code_of, gravest
from campaign_ops.faces.cli.plugins import PLUGINS
from campaign_ops.faces.cli.program import INDEX, Section, summary_of
from campaign_ops.faces.cli.screen import clean, logging_to_stderr
from tests.conftest import World
from tests.faces.cli.program import AWAY, BROKEN, PROGRAM, Program, configured, environ, lines_with, one_line, run
from tests.lab.waiting import wait_until

# Sets a terminal's title, turns text red, overwrites the line, and reverses the text that follows.
EVIL = "\x1b]0;pwned\x07[red]sale[/red]\x1b[31m\r\nerror: fake\x9b2J \u202e"


def every_error() -> list[type[CampaignOpsError]]:
    members = [getattr(errors, name) for name in dir(errors)]
    return [kind for kind in members if isinstance(kind, type) and issubclass(kind, CampaignOpsError)]


def test_every_error_has_an_exit_code_that_is_not_done() -> None:
    for kind in every_error():
        error = kind(["x"]) if kind is ProfileMismatch else kind("x")
        assert exit_code_of(error) in set(MEANINGS) - {ExitCode.DONE, ExitCode.PERSON}
    assert exit_code_of(errors.NotFound("x")) is ExitCode.REFUSED
    assert exit_code_of(errors.SweepBusy("x")) is ExitCode.BUSY
    assert exit_code_of(errors.Conflict("x")) is ExitCode.FAILED
    assert exit_code_of(ValueError("x")) is ExitCode.FAILED
    assert set(MEANINGS) == set(ExitCode)


def test_of_several_platforms_the_most_severe_exit_code_counts() -> None:
    assert gravest([]) is ExitCode.DONE
    assert gravest([ExitCode.DONE, ExitCode.PERSON, ExitCode.BUSY]) is ExitCode.BUSY
    assert gravest([ExitCode.PERSON, ExitCode.FAILED, ExitCode.SET_UP]) is ExitCode.FAILED


@pytest.mark.parametrize("command", ["status", "plan", "reconcile", "history", "doctor", "config"])
def test_with_json_stdout_holds_one_document_and_nothing_else(command: str, sms: World, tmp_path: Path) -> None:
    """Even with --debug, and with a re-enqueue, which uses another library."""
    sms.app.add_campaign("lost", pending=3, name=EVIL)
    program = configured(tmp_path, sms)
    done = program.process(command, "--json", "--debug")
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


def test_the_exit_code_of_the_process_is_the_documented_one(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("done", succeeded=1)
    program = configured(tmp_path, sms)
    assert program.process("mark-complete", "absent", "--reason", "x").returncode == 3
    assert program.process("mark-complete", "done").returncode == 2
    assert program.process("reconcile").returncode == 0
    assert configured(tmp_path, sms, AWAY).process("reconcile").returncode == 1
    assert configured(tmp_path, sms, BROKEN).process("status").returncode == 2


def test_in_a_pipe_nothing_is_coloured_wrapped_or_padded(sms: World, tmp_path: Path) -> None:
    """Without COLUMNS, as under cron: a row is a line, whatever its length."""
    sms.app.add_campaign("lost", pending=3, name="A name that is long " * 10)
    done = configured(tmp_path, sms).process("plan")
    (row,) = lines_with(done.stdout, "re-enqueue")
    assert row.endswith("attempt 1")
    assert "\x1b" not in done.stdout + done.stderr
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


@pytest.mark.parametrize("columns", ["20", "40", "80", "300"])
def test_on_a_narrow_screen_text_is_wrapped_and_never_cut(sms: World, tmp_path: Path, columns: str) -> None:
    sms.app.add_campaign("cmp_with_a_long_id_0123456789", pending=3)
    done = configured(tmp_path, sms).process("plan", COLUMNS=columns)
    assert done.returncode == 0
    together = "".join(done.stdout.split())
    assert "…" not in together
    assert "cmp_with_a_long_id_0123456789" in together
    assert "3pending:0in0livejobs,3innone" in together
    assert max(map(len, done.stdout.splitlines())) <= int(columns)


@pytest.mark.parametrize("command", ["status", "plan", "reconcile", "report", "history"])
def test_control_characters_in_foreign_text_are_shown_as_escapes(command: str, program: Program, sms: World) -> None:
    sms.app.add_campaign("evil", succeeded=1, name=EVIL, tenant=EVIL)
    program("reconcile", "--dry-run")
    if command in ("report", "history"):
        program("reconcile")
    result = program(command)
    assert result.exit_code == 0, result.output
    for character in ("\x1b", "\x07", "\r", "\x9b", "\u202e"):
        assert character not in result.output
    assert "error: fake" not in result.output.splitlines()
    if command not in ("history", "report"):  # which name no campaigns, unless one needs a person
        assert "\\x1b]0;pwned\\x07[red]sale[/red]" in result.output


def test_control_characters_in_arguments_are_shown_as_escapes(program: Program) -> None:
    result = program("mark-complete", "--reason", "x", "--", EVIL)
    assert result.exit_code == 3
    assert "\x1b" not in result.output
    assert "\\x1b]0;pwned" in one_line(result.stderr)


def test_clean_keeps_ordinary_text_of_any_script() -> None:
    for text in ("Frühling 2026", "夏のセール", "👨\u200d👩\u200d👧 family", "a [b] c", "שלום"):
        assert clean(text) == text
    assert clean("a\tb\nc\x00\x7f\u2028\udc80") == "a\\tb\\nc\\x00\\x7f\\u2028\\udc80"


def test_control_characters_in_foreign_text_are_escaped_on_a_terminal_too(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("evil", pending=1, name=EVIL)
    ours, theirs = pty.openpty()
    program = configured(tmp_path, sms)
    with subprocess.Popen(
        program.started("status"), stdout=theirs, stderr=theirs, env=environ({"TERM": "xterm-256color"})
    ) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            output += piece
        assert process.wait() == 0
    os.close(ours)
    text = output.decode()
    assert "\x1b[" in text  # bold titles: it took this for a terminal
    assert "\x1b]0;" not in text
    assert "\x07" not in text
    assert "\\x1b]0;pwned\\x07[red]sale[/red]\\x1b[31m" in "".join(text.split())


def test_an_ascii_terminal_gets_ascii_only(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("half", succeeded=1, pending=1, name="Frühling")
    done = configured(tmp_path, sms).process("status", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "##########.......... 1/2 (50%)" in done.stdout
    assert "Fr\\xfchling" in done.stdout


def test_an_unexpected_error_is_one_line_without_a_password_and_debug_shows_the_traceback(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        msg = "no idea\nwhat to do with redis://app:hunter2@queue:6379"
        raise RuntimeError(msg)

    monkeypatch.setattr(runner, "connect", explode)
    result = program("status")
    assert result.exit_code == 1
    assert one_line(result.stderr) == (
        "error: unexpected: RuntimeError: no idea what to do with redis://***@queue:6379; --debug shows the traceback"
    )
    loud = program("status", "--debug")
    assert "Traceback (most recent call last)" in loud.stderr
    assert "hunter2" not in loud.output
    document = program.json("status")
    assert document["platforms"][0]["error"]["kind"] == "Unexpected"


def test_an_error_of_ours_has_a_traceback_only_with_debug(tmp_path: Path) -> None:
    program = configured(tmp_path, AWAY)
    assert "Traceback" not in program("status", "--verbose").output
    assert "Traceback" in program("status", "--debug").stderr


def test_logs_go_to_stderr_on_request_one_safe_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("campaign_ops.somewhere")
    for verbose, debug, wanted in ((False, False, 1), (True, False, 2), (False, True, 3)):
        with logging_to_stderr(verbose=verbose, debug=debug):
            log.debug("a detail")
            log.info("done")
            log.error("could not: %s", EVIL, exc_info=ValueError(EVIL))
        streams = capsys.readouterr()
        assert streams.out == ""
        assert "\x1b" not in streams.err
        assert sum("campaign_ops.somewhere" in line for line in streams.err.splitlines()) == wanted
        assert ("ValueError: " in streams.err) is debug


def test_with_json_logs_every_line_on_stderr_is_one_object(sms: World, tmp_path: Path) -> None:
    """Logs and errors alike, also what a sweep says of a platform that is away. With --json, stdout is one line."""
    ended = configured(tmp_path, sms, AWAY).process("reconcile", "--json", "--log-format", "json", "--verbose")
    assert ended.returncode == ExitCode.FAILED
    assert json.loads(one_line(ended.stdout))["exit_code"] == ExitCode.FAILED
    lines = [json.loads(text) for text in ended.stderr.splitlines()]
    assert all(line.keys() == {"at", "level", "logger", "message"} for line in lines)
    assert [line["message"] for line in lines if line["logger"] == "campaign_ops.progress"]
    (error,) = [line["message"] for line in lines if line["level"] == "error"]
    assert error.startswith("away: ")


ERASED = "\x1b[2K"  # what takes a line of progress away


@contextmanager
def on_a_terminal(words: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[str], str]]]:
    """The program with stderr on a terminal, and a function that reads from it until it shows a text, or its end."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs, env=environ({"TERM": "xterm"})) as process:
        os.close(theirs)

        def shows(wanted: str) -> str:
            output = b""
            with suppress(OSError):  # how Linux says that the other end is closed
                while not wanted or wanted.encode() not in output:
                    output += os.read(ours, 65_536)
            return output.decode()

        yield process, shows
    os.close(ours)


def test_a_terminal_shows_what_takes_long_and_its_end_takes_that_away(sms: World, tmp_path: Path) -> None:
    words = configured(tmp_path, sms).started("reconcile", "--wait", "600")
    with on_a_terminal(words) as (process, shows):
        with sms.again().lock(wait_seconds=0).hold():
            assert "sms: reconcile: waiting for the sweep lock" in shows("waiting for the sweep lock")
        assert ERASED in shows("")
        stdout, _ = process.communicate()
        assert process.returncode == 0
    assert b"waiting" not in stdout


@pytest.mark.parametrize("silent", ["--json", "--verbose"])
def test_with_json_or_logs_a_terminal_shows_no_progress(sms: World, tmp_path: Path, silent: str) -> None:
    words = configured(tmp_path, sms).started("reconcile", "--wait", "4", silent)
    with sms.again().lock(wait_seconds=0).hold(), on_a_terminal(words) as (process, shows):
        errors = shows("")
        process.communicate()
        assert process.returncode == 4
    assert ERASED not in errors
    assert "another sweep of sms is under way" in errors


def test_a_pipe_gets_no_progress_and_verbose_logs_every_step(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("lost", pending=3)
    program = configured(tmp_path, sms)
    with sms.again().lock(wait_seconds=0).hold():
        busy = program.process("reconcile", "--wait", "4")
    assert one_line(busy.stderr).startswith("error: sms: another sweep")
    steps = [
        line.partition("campaign_ops.progress: ")[2]
        for line in program.process("reconcile", "--verbose").stderr.splitlines()
    ]
    assert steps == [
        "sms: waiting for the sweep lock",
        "sms: looking for stuck campaigns",
        # something is stuck: the whole sweep, from the beginning
        "sms: waiting for the sweep lock",
        "sms: looking for stuck campaigns",
        "sms: reading the queue",
        "sms: counting the recipients of campaigns (0 of 1)",
        "sms: comparing pending recipients with live jobs",
        "sms: putting jobs back into the queue (0 of 1)",
        "sms: writing the report",
    ]


def test_an_interrupted_sweep_says_so_and_exits_with_130(sms: World, tmp_path: Path) -> None:
    program = configured(tmp_path, sms)
    patient = program.started("reconcile", "--wait", "600")
    with (
        sms.again().lock(wait_seconds=0).hold(),
        subprocess.Popen(
            patient,
            stderr=subprocess.PIPE,
            text=True,
            env=environ({}),
            # A shell that runs the tests with `&` has them ignore SIGINT, and every child of theirs.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
        ) as process,
    ):
        connected = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE :name"
        wait_until(lambda: sms.rows(connected, name=f"campaign_ops%:{process.pid}"))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert one_line(stderr).startswith("error: interrupted; ")


def test_where_a_stream_is_closed_or_full_no_other_gets_its_lines(tmp_path: Path) -> None:
    """With stderr closed, as by some schedulers, errors stood in the JSON; `--help` on a full disk was a traceback."""
    words = shlex.join(configured(tmp_path, AWAY).started("plan", "--json"))
    closed = subprocess.run(["sh", "-c", f"{words} 2>&-"], stdout=subprocess.PIPE, check=False, env=environ({}))
    assert json.loads(closed.stdout)["exit_code"] == closed.returncode == 1
    with Path("/dev/full").open("w") as full:
        helped = subprocess.run([*PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (helped.returncode, helped.stderr) == (1, "error: No space left on device\n")


def test_a_closed_pipe_ends_the_program_quietly(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("lost", pending=1)
    with subprocess.Popen(
        configured(tmp_path, sms).started("status"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ({}),
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
        process.wait()
    assert stderr == ""


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_an_answer_that_cannot_be_written_is_one_line(words: list[str], sms: World, tmp_path: Path) -> None:
    """On a full disk: a traceback with --json, and "unexpected" without, after a sweep that had done its work."""
    sms.app.add_campaign("done", succeeded=1)
    with Path("/dev/full").open("w") as full:
        started = configured(tmp_path, sms).started("reconcile", *words)
        ended = subprocess.run(started, stdout=full, stderr=subprocess.PIPE, text=True, env=environ({}), check=False)
    assert ended.returncode == 1
    assert one_line(ended.stderr).startswith("error: stdout: cannot be written: No space left on device; what was done")
    assert sms.app.campaign("done")["status"] == "sent"


def test_without_a_command_the_help_is_shown_and_an_unknown_one_is_refused() -> None:
    assert "Look:" in run().output
    wrong = run("reconsile")
    assert wrong.exit_code == 2
    assert "reconsile" in wrong.stderr


def test_the_help_lists_every_exit_code() -> None:
    assert run("--help").exit_code == 0
    text = " ".join(run("--help").stdout.split())
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning}" in text


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_help_cuts_no_sentence_and_lists_the_commands_by_section(columns: str) -> None:
    """At 80 columns, "although they may get the message twice" was cut off, and so was "they may have got nothing"."""
    text = CliRunner(env={"COLUMNS": columns}).invoke(app, ["--help"], prog_name="campaign-ops").stdout
    together = " ".join(text.split())
    for name, command in COMMANDS.items():
        if " " not in name:
            assert f" {name} {summary_of(command.function.__doc__)}" in together
    for plugin in PLUGINS.values():
        assert f" {plugin.name} {plugin.help}" in together
    assert "..." not in together.replace("[ARGS]...", "")
    assert max(map(len, text.splitlines())) <= int(columns)
    assert [line for line in text.splitlines() if line in {f"{section}:" for section in Section}] == [
        "Look:",
        "Sweep:",
        "Fix:",
        "Set up:",
        "Try it:",
    ]


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_the_list_of_commands_loads_none_of_them(words: list[str]) -> None:
    """With all of them loaded, --help took a second; each TAB in a shell takes as long."""
    code = (
        "import sys; from typer.testing import CliRunner; from campaign_ops.faces.cli import app\n"
        f"result = CliRunner().invoke(app, {words!r})\n"
        "print(*sys.modules); print(result.output, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"sqlalchemy", "psycopg", "redis", "bullmq", "pandas", "pydantic", "rich", "campaign_ops.platform"}
    assert not heavy & set(done.stdout.split()), done.stderr


def test_each_command_is_where_the_list_says_and_summed_up_as_it_is_there() -> None:
    for name, command in COMMANDS.items():
        entry = INDEX[name.split()[0]]
        assert command.section == entry.section
        if " " not in name:
            assert summary_of(command.function.__doc__) == entry.summary


COMPLETE = """
eval "$("$PROGRAM" --show-completion)"
complete -p campaign-ops >/dev/null || exit 1
COMP_WORDS=(campaign-ops "$@"); COMP_CWORD=$#
_campaign_ops_completion "$PROGRAM"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (["re"], {"reconcile", "report", "resolve", "reenqueue", "release", "retry-quarantined"}),
        (["token", ""], {"create", "list", "revoke"}),
        (["reconcile", "--dr"], {"--dry-run"}),
        (["history", "--kind", "re"], {"reenqueue", "release", "recount"}),
        (["watch", "--on"], {"--once"}),
        (["status", "--config", "CONFIG", "--platform", "s"], {"sms"}),
        (["status", "--config", "nowhere.yaml", "--platform", "s"], set()),
    ],
    ids=lambda value: " ".join(sorted(value) if isinstance(value, set) else value),
)
def test_bash_completes_commands_options_and_values(words: list[str], completions: set[str], tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "campaign-ops"
    config = configured(tmp_path, {**AWAY, "name": "sms"}, AWAY).config
    words = [str(config) if word == "CONFIG" else word for word in words]
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *words],
        capture_output=True,
        text=True,
        check=True,
        env=environ({"PROGRAM": str(program)}),
    )
    assert set(done.stdout.split()) == completions
    assert done.stderr == ""


def test_the_version_is_the_one_of_the_package() -> None:
    """The wheel's file name is compared with it in tests/test_wheel.py."""
    assert run("--version").stdout == f"campaign-ops {__version__}\n"


def test_the_program_starts_without_what_few_commands_need(tmp_path: Path) -> None:
    heavy = ["dagster", "pandas", "fastapi", "apprise", "bullmq"]
    code = f"import sys; import campaign_ops.faces.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ({}))
    assert done.stdout == "[]\n"
