"""Ends a test that does not end: an exception first, then the process itself, whatever it does.

pytest-timeout raises in the main thread. An event loop catches that exception and goes on, a loop in another thread
never sees it, and after a failed test pytest-timeout is off: `make test` once hung for 37 minutes in BullMQ's
`Worker.close()`, which spins when its loop is cancelled. So `faulthandler` follows, from a thread that needs no
interpreter lock: it writes every thread's stack and ends the process. pytest-xdist then names the test and starts
another process.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Generator
from typing import Any

import pytest
import pytest_timeout

BUSIEST = 10
EXIT_SECONDS = float(os.environ.get("EXIT_SECONDS", "60"))
_armed = pytest.StashKey[float]()
_stderr = pytest.StashKey[int]()


def patience() -> float:
    """The factor by which this machine is slower than an idle one, from its load per processor."""
    return min(max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), BUSIEST)


def pytest_configure(config: pytest.Config) -> None:
    assert sys.__stderr__ is not None
    config.stash[_stderr] = os.dup(sys.__stderr__.fileno())  # while a test runs, descriptor 2 is a file of pytest's


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    seconds = settings.timeout * patience()
    item.stash[_armed] = seconds * 1.25
    _arm(item.config, item.stash[_armed])
    return bool(pytest_timeout.pytest_timeout_set_timer(item, settings._replace(timeout=seconds)))


@pytest.hookimpl(wrapper=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> Generator[None, object, object]:
    """pytest and pytest-timeout stop their timers at a failure, before the test's fixtures are closed."""
    try:
        return (yield)
    finally:
        if seconds := node.stash.get(_armed, None):
            _arm(node.config, seconds)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Python waits at its end for every thread that is not a daemon, even for one that spins."""
    try:
        return (yield)
    finally:
        _arm(session.config, EXIT_SECONDS * patience())


def _arm(config: pytest.Config, seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=config.stash[_stderr])
