"""A test that does not end is ended, and named."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SPINS = {
    # The loop of BullMQ's `Worker.close()`, cancelled together with its teardown, as by `asyncio.run` at its end.
    "an event loop": """
        import asyncio

        async def close():
            teardown = asyncio.ensure_future(asyncio.sleep(60))
            await asyncio.sleep(0)
            teardown.cancel()
            await asyncio.sleep(0)
            while True:
                try:
                    while True:  # a loop in the loop, so that its jump back, where signals are handled, is in the `try`
                        try:
                            await asyncio.shield(teardown)
                            return
                        except BaseException:
                            pass
                except BaseException:
                    pass

        def test_that_hangs():
            asyncio.run(close())
        """,
    "a call that keeps the interpreter's lock": """
        import itertools

        def test_that_hangs():
            all(itertools.repeat(True))
        """,
    "a fixture of a test that failed": """
        import pytest

        @pytest.fixture
        def worker():
            yield
            while True:
                pass

        def test_that_hangs(worker):
            assert False
        """,
}


def outcome(directory: Path, body: str, *options: str) -> subprocess.CompletedProcess[str]:
    test = directory / "test_planted.py"
    test.write_text(textwrap.dedent(body) + "\n\ndef test_after(): pass\n")
    plugins = ["-p", "xdist", "-p", "pytest_timeout", "-p", "tests.deadline"]
    command = [sys.executable, "-m", "pytest", *plugins, "-c", "/dev/null", "--timeout=0.5", *options, str(test)]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "EXIT_SECONDS": "0.5"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("spin", SPINS.values(), ids=SPINS)
def test_a_test_that_spins_is_ended_and_named_and_the_others_run(tmp_path: Path, spin: str) -> None:
    ended = outcome(tmp_path, spin, "-n", "1")
    assert ended.returncode == 1
    assert "crashed while running" in ended.stdout
    assert "test_planted.py::test_that_hangs" in ended.stdout
    assert "1 passed" in ended.stdout
    assert "in test_that_hangs" in ended.stderr or "in worker" in ended.stderr


def test_in_one_process_the_stack_names_it(tmp_path: Path) -> None:
    ended = outcome(tmp_path, SPINS["an event loop"])
    assert ended.returncode == 1
    assert "in test_that_hangs" in ended.stderr


def test_a_thread_that_spins_on_does_not_keep_the_process(tmp_path: Path) -> None:
    body = """
        import threading

        def spin():
            while True:
                pass

        def test_that_leaves_a_thread():
            threading.Thread(target=spin).start()
        """
    ended = outcome(tmp_path, body)
    assert "2 passed" in ended.stdout
    assert ended.returncode == 1
    assert "in spin" in ended.stderr
