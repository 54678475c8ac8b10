"""Names in Dagster: keys, tags, resources and owners, built the same way for every platform."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from campaign_ops.settings.entry import OWNER
from campaign_ops.watch import dagster as watched

PLATFORM_TAG, WORK_TAG = watched.PLATFORM_TAG, watched.WORK_TAG
"""Housekeeping deletes only runs with the second one."""

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
"""The statuses of a run that has ended."""

MAX_RUNTIME_TAG = "dagster/max_runtime"
SCHEDULE_TAG, SENSOR_TAG = "dagster/schedule_name", "dagster/sensor_name"

PRIORITY_TAG, BEFORE_SWEEPS = "dagster/priority", "10"
"""A person waits for a manual fix. A queued sweep, which has priority 0, waits behind it for the platform's slot."""

FIX = watched.FIX
RECONCILE, PLAN, HOUSEKEEPING, CONFIGURATION = "reconcile", "plan", "housekeeping", "configuration"
WORKS = (RECONCILE, PLAN, FIX, HOUSEKEEPING, CONFIGURATION)

MAX_RUNTIME = timedelta(minutes=15)
"""A run older than this is dead, whatever its status: run monitoring ends it, and nothing waits for it any more."""


def asset_key(platform: str, name: str) -> dg.AssetKey:
    """The key of one of a platform's assets."""
    return dg.AssetKey([platform, name])


def resource_key(platform: str) -> str:
    """The resource of one platform. It has a suffix because a platform may be called ``io_manager``."""
    return f"{platform}_platform"


def pool(platform: str) -> str:
    """The pool of every step of a platform; it also holds back runs without our tags."""
    return f"{platform}_sweep"


def job_name(platform: str, work: str) -> str:
    """A job of one platform."""
    return f"{platform}__{work}"


def run_tags(platform: str, work: str, max_runtime: timedelta) -> dict[str, str]:
    """The tags of a platform's runs."""
    return {
        PLATFORM_TAG: platform,
        WORK_TAG: work,
        MAX_RUNTIME_TAG: str(int(max_runtime.total_seconds())),
        **({PRIORITY_TAG: BEFORE_SWEEPS} if work == FIX else {}),
    }


def owners(contact: str | None) -> list[str]:
    """The owner of a platform's assets: its contact if Dagster accepts it, else none."""
    return [contact] if contact is not None and OWNER.fullmatch(contact) else []
