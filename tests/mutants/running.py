"""Runs tests in forked children: once to learn which tests call which function, then once for each mutant.

The parent has imported the product and the tests and has started the servers, so a child costs what its tests cost. A
mutant's child exchanges the code of the one function; a decorated function keeps its wrapper.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import itertools
import json
import os
import signal
import sys
import threading
import time
import types
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tests.conftest as worlds
from campaign_ops.lab.servers.embedded import EmbeddedServers
from tests.mutants.operators import Mutant

Function = tuple[str, str]
Coverage = dict[Function, list[tuple[float, str]]]
"""The tests that call a function, with their seconds, the shortest first."""
CHILDREN = itertools.count(1)
_QUIET = ["-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "pytest_timeout"]


def load(root: Path, places: Iterable[str]) -> None:
    """Import the tests, so that no child has to. Without other plugins pytest starts in a quarter of the time."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for place in (root / one for one in places):
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[None]:
    """Servers for all children, in place of a pair for each."""
    with EmbeddedServers(directory) as running:

        def shared(_directory: Path) -> contextlib.AbstractContextManager[EmbeddedServers]:
            return contextlib.nullcontext(running)

        vars(worlds)["EmbeddedServers"] = shared
        yield


class _Calls:
    """Notes the functions of the product that each test calls."""

    def __init__(self, root: Path) -> None:
        self._inside = f"{root}/campaign_ops/"
        self._root = f"{root}/"
        self.called: dict[str, set[Function]] = defaultdict(set)
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        codes: set[types.CodeType] = set()

        def note(frame: types.FrameType, event: str, _argument: object) -> None:
            if event == "call":
                codes.add(frame.f_code)

        began = time.process_time()
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            self.seconds[item.nodeid] = time.process_time() - began
            for code in codes:
                if code.co_filename.startswith(self._inside):
                    path = code.co_filename.removeprefix(self._root)
                    self.called[item.nodeid].add((path, code.co_qualname.split(".<locals>")[0]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)


def coverage(root: Path, options: list[str], seconds: float = 3600) -> Coverage:
    """Run the tests once and return those that call each function. A test that fails is left out."""
    answer = root / f".mutants-{os.getpid()}.json"

    def run() -> int:
        calls = _Calls(root)
        pytest.main([*_QUIET, "--maxfail=1000", *options], plugins=[calls])
        calls_of = {test: sorted(called) for test, called in calls.called.items() if test not in calls.failed}
        answer.write_text(json.dumps([calls.seconds, calls_of]))
        return 0

    in_child(run, seconds)
    timed, called = json.loads(answer.read_text())
    answer.unlink()
    covering: Coverage = defaultdict(list)
    for test, functions in called.items():
        for path, function in functions:
            covering[path, function].append((timed[test], test))
    return {function: sorted(tests) for function, tests in covering.items()}


def killed_by(mutant: Mutant, tests: list[str], seconds: float) -> str:
    """Return how a mutant was noticed: "failed", "ended" (crash or no end in time), or "" if it was not."""

    def run() -> int:
        put(mutant)
        return int(pytest.main([*_QUIET, *tests]))

    code = in_child(run, seconds)
    if code == pytest.ExitCode.OK:
        return ""
    # A module of tests that cannot be read with the mutant in place interrupts the run.
    if code in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        return "failed"
    if code < 0:
        return "ended"
    raise RuntimeError(f"pytest ended with {code} for {mutant}")


def put(mutant: Mutant) -> None:
    """Put the change into this process."""
    if mutant.tree is None:
        guard: Any = importlib.import_module("campaign_ops.bullmq.guard")
        guard._GUARDED = mutant.text
        return
    module = sys.modules[mutant.path.removesuffix(".py").replace("/", ".")]
    code = compile(mutant.tree, module.__file__ or mutant.path, "exec")
    changed = next(one for one in _codes(code) if one.co_qualname == mutant.function)
    for function in [one for one in gc.get_objects() if isinstance(one, types.FunctionType)]:
        current = function.__code__
        if current.co_filename == module.__file__ and current.co_qualname == mutant.function:
            function.__code__ = changed


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def in_child(run: Callable[[], int], seconds: float) -> int:
    """Run in a forked child with its own names of databases; its exit code, -9 when it had to be killed."""
    number = next(CHILDREN)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            faulthandler.cancel_dump_traceback_later()
            silent = os.open(os.devnull, os.O_WRONLY)
            if "MUTANTS_LOUD" not in os.environ:
                os.dup2(silent, 1)
                os.dup2(silent, 2)
            worlds._numbers = itertools.count(number * 10_000)
            code = int(run())
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -9
