"""Configures a test platform, loads its definitions, runs its jobs and reads what they report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from campaign_ops.definitions import build_definitions
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.fingerprint import KeyValues, TableRows, redis_fingerprint
from campaign_ops.settings import BrokenPlatform, PlatformSettings, Settings, Timeouts
from tests.conftest import World

REPOSITORY = Path(__file__).parents[2]
QUICK = Timeouts(connect_seconds=2, statement_seconds=30, lock_seconds=1, queue_seconds=2)
# Neither this password nor the driver's own messages may appear in a run.
PASSWORD = "correct-horse"
NOWHERE = f"postgresql+psycopg://nobody:{PASSWORD}@127.0.0.1:1/nowhere"


@contextmanager
def dagster_on_postgres(servers: EmbeddedServers, home: Path, more: str = "") -> Iterator[dg.DagsterInstance]:
    """A Dagster as the repository's dagster.yaml describes it, and ``more`` of it, with an empty storage."""
    (home / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text() + more)
    name = f"dagster_{uuid4().hex[:12]}"
    servers.postgres.create_database(name)
    url = sa.make_url(servers.postgres.url(name)).set(drivername="postgresql+psycopg2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMPAIGN_OPS_DAGSTER_URL", url.render_as_string(hide_password=False))
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance
    servers.postgres.drop_database(name)


def configured(world: World, **changes: Any) -> PlatformSettings:
    """A test platform as the configuration file would have it."""
    platform = world.platform
    settings: dict[str, Any] = {
        "name": platform.name,
        "profile": platform.profile,
        "database_url": SecretStr(world.url),
        "queue_url": SecretStr(world.queue_url) if world.queue_url is not None else None,
        "queue_prefix": world.queue.prefix if world.jobs is not None else "bull",
        "policy": platform.policy,
        "timeouts": QUICK,
    }
    return PlatformSettings(**{**settings, **changes})


def deployed(*platforms: PlatformSettings, broken: tuple[BrokenPlatform, ...] = ()) -> dg.Definitions:
    """The definitions of these platforms, as a code location loads them."""
    return build_definitions(Settings(Path("campaign_ops.yaml"), platforms, broken))


def run(
    definitions: dg.Definitions, job: str, instance: dg.DagsterInstance, **options: Any
) -> dg.ExecuteInProcessResult:
    """Run a job to its end, in this process."""
    return definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **options)


def reconciled(world: World, instance: dg.DagsterInstance, **options: Any) -> dg.ExecuteInProcessResult:
    """Reconcile a test platform once."""
    result = run(deployed(configured(world)), f"{world.platform.name}__reconcile", instance, **options)
    assert result.success, failures(result)
    return result


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    """Names of the assets that a run materialized."""
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Metadata of the materialization of one asset, as plain values."""
    for event in result.get_asset_materialization_events():
        if event.asset_key is not None and event.asset_key.path[-1] == asset:
            return plain(event.materialization.metadata)
    raise AssertionError(f"{asset} was not materialized: {failures(result)}")


def plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    """Metadata without Dagster's wrapping."""
    return {key: value.value for key, value in metadata.items()}


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """The message of each failed step: its own, or Dagster's if it has none."""
    messages = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            own = data.user_failure_data.description if data.user_failure_data else None
            messages.append(own or str(data.error))
    return messages


def check_of(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    """The evaluation of one check."""
    return next(check for check in result.get_asset_check_evaluations() if check.check_name == name)


def contents(world: World) -> tuple[TableRows, KeyValues]:
    """Everything that the application's tables and its queue hold."""
    keys = redis_fingerprint(world.queue.url, f"{world.queue.prefix}:*") if world.jobs is not None else {}
    return world.app.fingerprint(), keys
