"""`campaign-ops demo`: the commands that it ends with can be typed as they are."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "campaign-ops"


def run(command: Sequence[str], work_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=work_dir, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["sms", "messenger"])
def test_the_commands_at_the_end_work_on_the_data_of_the_demo(profile: str, work_dir: Path) -> None:
    """They look at the campaigns that are left, read the journal, and undo a completion, by way of a dry run."""
    words = [str(PROGRAM), "demo", "--keep", "--profile", profile, "--work-dir", "run"]
    with subprocess.Popen(words, cwd=work_dir, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            shown: list[str] = []
            for line in demo.stdout:
                shown.append(line)
                if "until Ctrl-C" in line:
                    break
            commands = [line for line in shown if re.match(r"  \S*campaign-ops .* --config ", line)]
            status, history, undo = (run(shlex.split(command), work_dir) for command in commands)
            (confirm,) = [line for line in undo.stdout.splitlines() if " --confirm " in line]
            undone = run([str(PROGRAM), *shlex.split(confirm)[1:]], work_dir)
            demo.send_signal(signal.SIGINT)
            rest = demo.stdout.read()
            assert demo.wait() == 0, "".join(shown) + rest
        finally:
            demo.kill()  # else a failure above would wait for it
    assert "all processes are stopped" in rest
    assert status.returncode == 0, status.stderr
    assert re.search(rf"^{profile}: \d+ in sending, \d+ stuck( and \d+ slow)? \(", status.stdout, re.MULTILINE)
    assert history.returncode == 0, history.stderr
    assert " complete " in history.stdout
    assert undo.returncode == 5, undo.stderr
    assert undone.returncode == 0, undone.stderr
