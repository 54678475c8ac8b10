"""What things are called in Dagster: keys, tags and resources, the same for every platform."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

PLATFORM_TAG = "campaign_ops/platform"
"""On every run of a platform, manual ones too: dagster.yaml lets one run with the same value go on at a time."""

MAX_RUNTIME_TAG = "dagster/max_runtime"
SCHEDULE_TAG, SENSOR_TAG = "dagster/schedule_name", "dagster/sensor_name"

WORK_TAG = "campaign_ops/work"
"""What a run of ours is for; housekeeping deletes nothing that does not carry it."""

RECONCILE, PLAN, FIX, HOUSEKEEPING, CONFIGURATION = "reconcile", "plan", "fix", "housekeeping", "configuration"
WORKS = (RECONCILE, PLAN, FIX, HOUSEKEEPING, CONFIGURATION)

MAX_RUNTIME = timedelta(minutes=15)
"""After this a run is dead, whatever its status says: run monitoring ends it, and nothing waits for it any more."""


def asset_key(platform: str, name: str) -> dg.AssetKey:
    """The key of one of a platform's assets."""
    return dg.AssetKey([platform, name])


def resource_key(platform: str) -> str:
    """The resource of one platform. With a suffix: a platform may be called ``io_manager``."""
    return f"{platform}_platform"


def pool(platform: str) -> str:
    """The pool that every step of a platform belongs to; it holds back runs without our tags too."""
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
    }
