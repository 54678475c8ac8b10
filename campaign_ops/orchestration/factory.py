"""The definitions of a deployment, and those of each of its platforms. Connects to nothing."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg

from campaign_ops import settings as configuration
from campaign_ops.core.console import Console
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.orchestration.assets import sweep_assets
from campaign_ops.orchestration.broken import WHOLE_FILE, broken_definitions
from campaign_ops.orchestration.checks import MISSED_TICKS, sweep_checks
from campaign_ops.orchestration.cron import longest_pause
from campaign_ops.orchestration.fixes import fix_jobs
from campaign_ops.orchestration.housekeeping import housekeeping_definitions
from campaign_ops.orchestration.incidents import incident_sensor
from campaign_ops.orchestration.jobs import plan_job, reconcile_job
from campaign_ops.orchestration.names import DEFAULT_PREFIX, MAX_RUNTIME, Names, check_prefix
from campaign_ops.orchestration.resources import Connect, PlatformSource, resources_of
from campaign_ops.orchestration.schedule import reconcile_schedule
from campaign_ops.orchestration.sensors import queue_backlog, startup_sweep
from campaign_ops.orchestration.sources import source_specs
from campaign_ops.settings import Settings

log = logging.getLogger(__name__)


def definitions(
    config: Settings | Path | str | None = None,
    *,
    prefix: str = DEFAULT_PREFIX,
    connect: Connect | None = None,
    max_runtime: timedelta = MAX_RUNTIME,
) -> dg.Definitions:
    """Definitions of all platforms, to be merged into those of any project: ``dg.Definitions.merge(mine, these)``.

    They bring no executor, no logger and no resource for the rest of the project; every job of ours has its own. A
    mistake in the configuration of one platform becomes a failing check; the others work.

    Args:
        config: The configuration, or its file; default: as the command line finds it.
        prefix: Stands before every name and asset key, so that none is another's in the project; may be empty.
        connect: Makes a platform from its settings; default: the real one.
        max_runtime: The age at which a run is considered dead.

    Raises:
        ValueError: The prefix cannot be part of a name in Dagster.
    """
    check_prefix(prefix)
    try:
        settings = (
            config if isinstance(config, Settings) else configuration.load_settings(Path(config) if config else None)
        )
    except ConfigurationError as error:
        return broken_definitions(Names(WHOLE_FILE, prefix), error)
    console = _console()
    sources = (
        PlatformSource(replace(platform, console=console), connect or configuration.connect, prefix, max_runtime)
        for platform in settings.platforms
    )
    return dg.Definitions.merge(
        *map(platform_definitions, sources),
        *(broken_definitions(Names(broken.name, prefix), broken.error) for broken in settings.broken),
        housekeeping_definitions(prefix),
    )


def platform_definitions(source: PlatformSource) -> dg.Definitions:
    """The assets, checks, jobs, schedule and sensors of one platform."""
    resources = resources_of(source)
    reconcile = reconcile_job(source)
    sensors = [startup_sweep(source, reconcile), incident_sensor(source)]
    if source.settings.profile.queue is not None:
        sensors.append(queue_backlog(source, reconcile))
    stale_after = MISSED_TICKS * longest_pause(source.settings.schedule)
    return dg.Definitions(
        assets=[*source_specs(source), *sweep_assets(source, resources, stale_after)],
        asset_checks=[sweep_checks(source, resources)],
        jobs=[reconcile, plan_job(source), *fix_jobs(source)],
        schedules=[reconcile_schedule(source, reconcile)],
        sensors=sensors,
    )


def _read(config: Settings | Path | str | None) -> Settings:
    return config if isinstance(config, Settings) else configuration.load_settings(Path(config) if config else None)


def _console() -> Console | None:
    try:
        return configuration.read_console()
    except ConfigurationError as error:
        log.warning("reports have no links to the console: %s", error)
        return None
