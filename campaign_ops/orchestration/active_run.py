"""The active run of a platform. Checked before another is started, because tag limits and pools only queue."""

from __future__ import annotations

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
    for record in instance.get_run_records(filters, limit=_EXAMINED):
        began = record.start_time if record.start_time is not None else record.create_timestamp.timestamp()
        if now.timestamp() - began < max_runtime.total_seconds():
            run = record.dagster_run
            return f"run {run.run_id} of {run.job_name} is {run.status.value.lower()}"
    return None
