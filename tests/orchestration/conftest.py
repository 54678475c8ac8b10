"""A Dagster for tests that query runs; modules with other needs have an ``instance`` of their own."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest


@pytest.fixture(scope="session")
def in_files() -> Iterator[dg.DagsterInstance]:
    """Its storage is in a directory: one in memory refuses to query runs. Creating it takes longer than a test."""
    with dg.instance_for_test() as dagster:
        yield dagster


@pytest.fixture
def instance(in_files: dg.DagsterInstance) -> dg.DagsterInstance:
    """The same, without a run or a heartbeat."""
    in_files.wipe()
    in_files.wipe_daemon_heartbeats()
    return in_files
