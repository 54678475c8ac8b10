"""The definitions of a deployment, and those of each of its platforms. Connects to nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
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
from campaign_ops.orchestration.jobs import AssetJob, plan_job, reconcile_job
from campaign_ops.orchestration.names import DEFAULT_PREFIX, MAX_RUNTIME, Names, check_prefix
from campaign_ops.orchestration.resources import Connect, PlatformSource, resources_of
from campaign_ops.orchestration.schedule import reconcile_schedule
from campaign_ops.orchestration.sensors import queue_backlog, startup_sweep
from campaign_ops.orchestration.sources import source_specs
from campaign_ops.settings import BrokenPlatform, PlatformSettings, Settings

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
    mistake in the configuration of one platform becomes a failing check; the others work. Every process of the project
    makes all of them; `campaign_ops.definitions`, a code location of its own, makes what it needs.

    Args:
        config: The configuration, or its file; default: as the command line finds it.
        prefix: Stands before every name and asset key, so that none is another's in the project; may be empty.
        connect: Makes a platform from its settings; default: the real one.
        max_runtime: The age at which a run is considered dead.

    Raises:
        ValueError: The prefix cannot be part of a name in Dagster.
    """
    return dg.Definitions.merge(*Deployment(config, check_prefix(prefix), connect, max_runtime).parts())


@dataclass(frozen=True)
class Deployment:
    """What the definitions are made from: the arguments of ``definitions``. The configuration is read on demand."""

    config: Settings | Path | str | None = None
    prefix: str = ""
    connect: Connect | None = None
    max_runtime: timedelta = MAX_RUNTIME

    def parts(self) -> Iterator[dg.Definitions]:
        """The definitions of each platform, and at last those that all of them share."""
        settings = self._settings()
        sources = [self._source(platform) for platform in settings.platforms]
        jobs = [reconcile_job(source) for source in sources]
        yield from map(platform_definitions, sources, jobs)
        for broken in settings.broken:
            yield broken_definitions(Names(broken.name, self.prefix), broken.error)
        yield self.shared(sources, jobs)

    def part(self, platform: str) -> dg.Definitions | None:
        """The definitions of one platform, without a look at the others; None where it is not configured."""
        settings = self._settings(platform)
        for source in map(self._source, settings.platforms):
            return platform_definitions(source, reconcile_job(source))
        return next((broken_definitions(Names(each.name, self.prefix), each.error) for each in settings.broken), None)

    def shared(self, sources: Sequence[PlatformSource] = (), jobs: Sequence[AssetJob] = ()) -> dg.Definitions:
        """Housekeeping, and the sensors, if there is a platform for them."""
        sensors = [incident_sensor(sources, self.prefix), startup_sweep(sources, jobs, self.prefix)] if sources else []
        if any(source.settings.profile.queue is not None for source in sources):
            sensors.append(queue_backlog(sources, jobs, self.prefix))
        return dg.Definitions.merge(dg.Definitions(sensors=sensors), housekeeping_definitions(self.prefix))

    def _settings(self, platform: str | None = None) -> Settings:
        """The configuration, of one platform if it is named. Where it cannot be read it is one broken platform."""
        only = None if platform is None else {platform}
        if isinstance(self.config, Settings):
            return self.config.only(only)
        path = Path(self.config) if self.config else None
        try:
            return configuration.load_settings(path, only=only)
        except ConfigurationError as error:
            return Settings(path or Path(), (), (BrokenPlatform(WHOLE_FILE, error),)).only(only)

    @cached_property
    def _console(self) -> Console | None:
        try:
            return configuration.read_console()
        except ConfigurationError as error:
            log.warning("reports have no links to the console: %s", error)
            return None

    def _source(self, platform: PlatformSettings) -> PlatformSource:
        settings = replace(platform, console=self._console)
        return PlatformSource(settings, self.connect or configuration.connect, self.prefix, self.max_runtime)


def platform_definitions(source: PlatformSource, reconcile: AssetJob) -> dg.Definitions:
    """The assets, checks, jobs and schedule of one platform; the sensors ask all platforms."""
    resources = resources_of(source)
    stale_after = MISSED_TICKS * longest_pause(source.settings.schedule)
    return dg.Definitions(
        assets=[*source_specs(source), *sweep_assets(source, resources, stale_after)],
        asset_checks=[sweep_checks(source, resources)],
        jobs=[reconcile, plan_job(source), *fix_jobs(source)],
        schedules=[reconcile_schedule(source, reconcile)],
    )
