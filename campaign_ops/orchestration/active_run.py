"""The active run of a platform. Checked before another is started, because tag limits and pools only queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from campaign_ops.orchestration.names import PLATFORM_TAG

_ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_EXAMINED = 20


def active_run(instance: dg.DagsterInstance, platform: str, max_runtime: timedelta, now: datetime) -> str | None:
    """A description of the run of this platform that a new one would have to wait for; None if there is none.

    A run older than ``max_runtime`` does not count: its host may have died, and then its status never changes.
    """
    filters = dg.RunsFilter(tags={PLATFORM_TAG: platform}, statuses=_ACTIVE)
    records = instance.get_run_records(filters, limit=_EXAMINED)
    return _descriptions(records, max_runtime, now).get(platform)


def active_runs(instance: dg.DagsterInstance, max_runtime: timedelta, now: datetime) -> dict[str, str]:
    """The same for every platform that has such a run, in one query."""
    return _descriptions(instance.get_run_records(dg.RunsFilter(statuses=_ACTIVE)), max_runtime, now)


def _descriptions(records: Sequence[dg.RunRecord], max_runtime: timedelta, now: datetime) -> dict[str, str]:
    found: dict[str, str] = {}
    for record in records:
        run = record.dagster_run
        began = record.start_time if record.start_time is not None else record.create_timestamp.timestamp()
        if PLATFORM_TAG in run.tags and now.timestamp() - began < max_runtime.total_seconds():
            described = f"run {run.run_id} of {run.job_name} is {run.status.value.lower()}"
            found.setdefault(run.tags[PLATFORM_TAG], described)
    return found
