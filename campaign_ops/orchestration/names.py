"""Names in Dagster: keys, tags and owners, built the same way for every platform."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from campaign_ops.settings.entry import OWNER, check_name
from campaign_ops.watch import dagster as watched

PLATFORM_TAG, WORK_TAG = watched.PLATFORM_TAG, watched.WORK_TAG
"""Housekeeping deletes only runs with the second one."""

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
"""The statuses of a run that has ended."""

MAX_RUNTIME_TAG = "dagster/max_runtime"
SCHEDULE_TAG, SENSOR_TAG = "dagster/schedule_name", "dagster/sensor_name"

PRIORITY_TAG, BEFORE_SWEEPS = "dagster/priority", "10"
"""A person waits for a manual fix. A queued sweep, which has priority 0, waits behind it for the platform's slot."""

FIX, PLAN = watched.FIX, watched.PLAN
RECONCILE, HOUSEKEEPING, CONFIGURATION = "reconcile", "housekeeping", "configuration"
WORKS = (RECONCILE, PLAN, FIX, HOUSEKEEPING, CONFIGURATION)

MAX_RUNTIME = timedelta(minutes=15)
"""A run older than this is dead, whatever its status: run monitoring ends it, and nothing waits for it any more."""


DEFAULT_PREFIX = "campaign_ops"
"""Before the names in a project that has other definitions too."""


def check_prefix(prefix: str) -> str:
    """Return a prefix that is empty or fit to be a platform's name; raise ValueError for another."""
    return check_name(prefix) if prefix else prefix


def prefixed(prefix: str, name: str) -> str:
    """A name in a project whose other definitions may have the same one; ``prefix`` is empty in our own."""
    return f"{prefix}__{name}" if prefix else name


@dataclass(frozen=True)
class Names:
    """The names of one platform's definitions."""

    platform: str
    prefix: str = ""

    def asset(self, name: str) -> dg.AssetKey:
        """The key of one of its assets."""
        return dg.AssetKey([self.prefix, self.platform, name] if self.prefix else [self.platform, name])

    def job(self, work: str) -> str:
        """One of its jobs, sensors or other definitions with a name."""
        return prefixed(self.prefix, f"{self.platform}__{work}")

    @property
    def schedule(self) -> str:
        """Its schedule, also when its configuration is wrong."""
        return self.job(f"{RECONCILE}_schedule")

    @property
    def group(self) -> str:
        """The group of its assets."""
        return prefixed(self.prefix, self.platform)

    @property
    def resource(self) -> str:
        """Its resource. It has a suffix because a platform may be called ``io_manager``."""
        return f"{self.group}_platform"

    @property
    def pool(self) -> str:
        """The pool of each of its steps. The same with any prefix: it also holds back runs without our tags."""
        return f"{self.platform}_sweep"


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
