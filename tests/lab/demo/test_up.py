"""`campaign-ops up`: what it says to look at is there, and Ctrl-C stops all of it."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.lab.demo.test_demo import PROGRAM, run


@pytest.mark.slow
def test_the_places_to_look_are_there_until_ctrl_c(work_dir: Path) -> None:
    words = [str(PROGRAM), "up", "--work-dir", "up"]
    with subprocess.Popen(words, cwd=work_dir, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        places: dict[str, str] = {}
        for line in up.stdout:
            if found := re.fullmatch(r" {9}([a-z ]+): +(\S.*)\n", line):
                places[found[1]] = found[2]
            if "command line" in places:
                break
        status = run(shlex.split(places.pop("command line")), work_dir)
        answers = {name: _get(place) for name, place in places.items()}
        up.send_signal(signal.SIGINT)
        rest = up.stdout.read()
        assert up.wait() == 0
    assert set(answers) == {"assets", "console", "health page", "runs"}
    assert set(answers.values()) == {200}
    assert status.returncode == 0, status.stderr
    assert "sms: " in status.stdout
    assert "all processes are stopped" in rest


def _get(address: str) -> int:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return int(answer.status)
