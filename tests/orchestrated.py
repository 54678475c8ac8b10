"""What the tests of the orchestration share: a test platform as configured, and its definitions in Dagster's hands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import SecretStr

from campaign_ops.core.policy import Policy
from campaign_ops.definitions import build_definitions
from campaign_ops.settings import BrokenPlatform, PlatformSettings, Settings, Timeouts
from tests.conftest import World


def configured(world: World, *, name: str | None = None, **changes: Any) -> PlatformSettings:
    """A test platform as the configuration file would have it."""
    given: dict[str, Any] = {
        "name": name or world.platform.name,
        "profile": world.platform.profile,
        "database_url": SecretStr(world.url),
        "queue_url": SecretStr(world.queue_url) if world.queue_url is not None else None,
        "queue_prefix": world.queue.prefix if world.jobs is not None else "bull",
        "policy": world.platform.policy,
        "timeouts": Timeouts(connect_seconds=2, statement_seconds=30, lock_seconds=1, queue_seconds=2),
    }
    return PlatformSettings(**{**given, **changes})


def policy(**thresholds: Any) -> Policy:
    return Policy(**thresholds)


def deployed(*platforms: PlatformSettings, broken: tuple[BrokenPlatform, ...] = ()) -> dg.Definitions:
    """The definitions of these platforms, as a code location would load them."""
    return build_definitions(Settings(Path("campaign_ops.yaml"), platforms, broken))


def run(
    definitions: dg.Definitions, job: str, instance: dg.DagsterInstance, **options: Any
) -> dg.ExecuteInProcessResult:
    """Run a job to its end, in this process."""
    return definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **options)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Metadata of the materialization of one asset, as plain values."""
    for event in result.get_asset_materialization_events():
        if event.asset_key is not None and event.asset_key.path[-1] == asset:
            return {key: value.value for key, value in event.materialization.metadata.items()}
    raise AssertionError(f"{asset} was not materialized")


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the first failed step says."""
    events = [event for event in result.all_events if event.is_step_failure]
    error = events[0].step_failure_data
    assert error.user_failure_data is not None, error.error
    return str(error.user_failure_data.description)
