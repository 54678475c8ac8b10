"""Runs tests in forked children: once to learn which tests reach which line, then once for each mutant.

The parent has imported the product and the tests and has started the servers, so a child costs what its tests cost. A
mutant's child exchanges the code of the one function; a decorated function keeps its wrapper.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import hashlib
import importlib
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
import types
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa

import tests.conftest as worlds
from campaign_ops.lab.servers.embedded import EmbeddedServers
from tests.mutants.operators import Mutant

Line = tuple[str, int]
Coverage = dict[Line, list[tuple[float, str]]]
"""The tests that reach a line, with their CPU seconds."""
CHILDREN = itertools.count(1)
_QUIET = ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
_servers: list[EmbeddedServers] = []


def load(root: Path, places: Iterable[str]) -> None:
    """Import the tests, so that no child has to. Without other plugins pytest starts in a quarter of the time."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # The same examples in each run: a rate that cannot be measured again says nothing.
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None)
    hypothesis.settings.load_profile("mutants")
    for place in (root / one for one in places):
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[None]:
    """Servers and databases to be copied for all children, in place of their own."""
    with EmbeddedServers(directory) as running:

        def shared(_directory: Path) -> contextlib.AbstractContextManager[EmbeddedServers]:
            return contextlib.nullcontext(running)

        vars(worlds)["EmbeddedServers"] = shared
        templates = worlds.Templates(running, worlds.TEMPLATES_OF_PARENT)
        for profile, migrated in itertools.product(("sms", "messenger"), (True, False)):
            templates.of(profile, migrated=migrated)
        _servers.append(running)
        yield


def _separate(number: int) -> None:
    """Give this child names of its own for what it creates in the servers."""
    worlds._numbers = itertools.count(number * 10_000)
    for running in _servers:
        create = running.postgres.create_database

        def named(name: str, template: str | None = None, create: Any = create) -> str:
            return str(create(f"child{number}_{name}", template))

        running.postgres.create_database = named  # type: ignore[method-assign]


def _drop_databases(number: int) -> None:
    for running in _servers:
        engine = sa.create_engine(running.postgres.url())
        with engine.connect() as connection:
            query = sa.text("SELECT datname FROM pg_database WHERE starts_with(datname, :start)")
            left = connection.scalars(query, {"start": f"child{number}_"}).all()
        engine.dispose()
        for name in left:
            running.postgres.drop_database(name)


class _Reached:
    """Notes the lines of some files that each test reaches, its CPU seconds, and whether it failed."""

    def __init__(self, root: Path, paths: Collection[str]) -> None:
        self._paths = {str(root / path): path for path in paths}
        self.lines: dict[str, list[Line]] = {}
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        lines: set[Line] = set()
        paths = self._paths

        def within(frame: types.FrameType, event: str, _argument: object) -> Any:
            if event == "line":
                lines.add((paths[frame.f_code.co_filename], frame.f_lineno))
            return within

        def trace(frame: types.FrameType, _event: str, _argument: object) -> Any:
            path = paths.get(frame.f_code.co_filename)
            if path is None:
                return None
            lines.add((path, frame.f_code.co_firstlineno))
            return within

        began = time.process_time()
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.seconds[item.nodeid] = time.process_time() - began
            self.lines[item.nodeid] = sorted(lines)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)


def coverage(root: Path, paths: Collection[str], options: list[str]) -> Coverage:
    """Return the tests that reach each line of these files, from two runs; kept in the temporary directory.

    A test that fails is left out; the second time, other databases and keys are there already, as for each mutant.
    """
    places = [root / option for option in options if option.startswith("tests/")]
    rooms = {place if place.is_dir() else place.parent for place in places}
    sources = [*(root / "campaign_ops").rglob("*.py"), *(root / "tests").glob("*.py")]
    sources += [path for room in rooms for path in room.rglob("*.py")]
    content = hashlib.sha256(repr(options).encode() + b"".join(path.read_bytes() for path in sorted(sources)))
    kept = Path(tempfile.gettempdir(), f"campaign-ops-mutants-{content.hexdigest()[:16]}.json")
    if not kept.exists():
        kept.write_text(json.dumps(_measured(root, paths, options)))
    covering: Coverage = defaultdict(list)
    for test, (seconds, lines) in json.loads(kept.read_text()).items():
        for path, line in lines:
            covering[path, line].append((seconds, test))
    return covering


def _measured(root: Path, paths: Collection[str], options: list[str]) -> dict[str, tuple[float, list[Line]]]:
    """The CPU seconds of each test, and the lines that it reaches."""

    def run(chosen: list[str], traced: Collection[str]) -> dict[str, tuple[float, list[Line]]]:
        with tempfile.TemporaryDirectory() as directory:
            answer = Path(directory, "reached.json")

            def child() -> int:
                reached = _Reached(root, traced)
                pytest.main([*_QUIET, "--maxfail=1000", *chosen], plugins=[reached])
                passed = reached.seconds.keys() - reached.failed
                answer.write_text(json.dumps({test: (reached.seconds[test], reached.lines[test]) for test in passed}))
                return 0

            in_child(child, 3600)
            return dict(json.loads(answer.read_text()))

    found = run(options, paths)
    timed = run(sorted(test for test, (_, lines) in found.items() if lines), ())
    return {test: (seconds, found[test][1]) for test, (seconds, _) in timed.items()}


def killed_by(mutant: Mutant, tests: list[str], seconds: float) -> str:
    """Return how a mutant was noticed: "failed", "ended" (crash or no end in time), or "" if it was not."""

    def run() -> int:
        put(mutant)
        return int(pytest.main([*_QUIET, "-x", *tests]))

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
    code = compile(mutant.tree(), module.__file__ or mutant.path, "exec")
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
    """Run in a forked child; its exit code, -9 when it had to be killed."""
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
            _separate(number)
            code = int(run())
        finally:
            os._exit(code)
    try:
        return _ended(pid, time.monotonic() + seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # servers and workers of the tests
        _drop_databases(number)


def _ended(pid: int, deadline: float) -> int:
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -9
