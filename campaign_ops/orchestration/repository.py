"""A code location that makes the definitions of a platform when they are asked for.

A run is a process of its own and needs one job. With everything made in each, a run cost 7.4 CPU-seconds at 20
platforms and 22 at 200. The code server needs everything, once: each job is resolved among the assets of its own
platform, because among those of all 200 it took 19 CPU-seconds, and four times as long for twice as many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME, RepositoryData

from campaign_ops.orchestration.factory import Deployment
from campaign_ops.orchestration.jobs import IN_ONE_PROCESS
from campaign_ops.orchestration.names import prefixed
from campaign_ops.orchestration.resources import no_hand_over


def repository(deployment: Deployment) -> dg.RepositoryDefinition:
    """The code location of a deployment, under the name that Dagster gives to definitions without one."""
    return Location(Platforms(deployment))


def code_location(*parts: dg.Definitions) -> dg.Definitions:
    """Definitions, with what runs need that are no job of ours, such as those of the "Materialize" button."""
    return dg.Definitions.merge(*parts, dg.Definitions(resources={"io_manager": no_hand_over}, executor=IN_ONE_PROCESS))


class Location(dg.RepositoryDefinition):
    """A code location in which a run of some assets, as by the "Materialize" button, makes their platform alone."""

    def __init__(self, platforms: Platforms) -> None:
        super().__init__(SINGLETON_REPOSITORY_NAME, repository_data=platforms)
        self.platforms = platforms

    def get_maybe_subset_job_def(
        self,
        job_name: str,
        op_selection: Iterable[str] | None = None,
        asset_selection: Set[dg.AssetKey] | None = None,
        asset_check_selection: Set[dg.AssetCheckKey] | None = None,
    ) -> dg.JobDefinition:
        """A job, or the part of it that is selected."""
        keys = {*(asset_selection or ()), *(check.asset_key for check in asset_check_selection or ())}
        if job_name == IMPLICIT_ASSET_JOB_NAME and (part := self.platforms.part_of(keys)) is not None:
            return part.get_job(job_name).get_subset(
                op_selection=op_selection, asset_selection=asset_selection, asset_check_selection=asset_check_selection
            )
        job: dg.JobDefinition = super().get_maybe_subset_job_def(
            job_name, op_selection, asset_selection, asset_check_selection
        )
        return job


class Platforms(RepositoryData):
    """The definitions of a deployment's platforms.

    Attributes:
        deployment: What they are made from.
        made: The platforms that were made for one job, by their names.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.made: dict[str, dg.RepositoryDefinition | None] = {}
        self._everything: Sequence[dg.RepositoryDefinition] | None = None

    def get_job(self, job_name: str) -> dg.JobDefinition:
        """One job, made with its platform alone unless everything has been made already.

        Raises:
            DagsterInvariantViolationError: No platform has it.
        """
        if job_name == IMPLICIT_ASSET_JOB_NAME:
            return self._assets.get_job(job_name)
        owner = self._owner(job_name)
        if owner is None:
            raise dg.DagsterInvariantViolationError(f"no platform of the configuration has the job {job_name}")
        return owner.get_job(job_name)

    def part_of(self, keys: Set[dg.AssetKey]) -> dg.RepositoryDefinition | None:
        """The only platform of these assets; None for those of several, and where everything has been made already."""
        names = {key.path[-2] for key in keys}
        return self._part(names.pop()) if len(names) == 1 and self._everything is None else None

    def has_job(self, job_name: str) -> bool:
        """Return whether a platform has a job."""
        return job_name == IMPLICIT_ASSET_JOB_NAME or self._owner(job_name) is not None

    def get_job_names(self) -> Sequence[str]:
        """The names of all jobs."""
        return sorted([IMPLICIT_ASSET_JOB_NAME, *self._owners])

    def get_all_jobs(self) -> Sequence[dg.JobDefinition]:
        """The jobs of all platforms."""
        return self._jobs

    def get_all_schedules(self) -> Sequence[dg.ScheduleDefinition]:
        """The schedules of all platforms."""
        return [schedule for part in self._parts for schedule in part.schedule_defs]

    def get_all_sensors(self) -> Sequence[dg.SensorDefinition]:
        """The sensors, each of which asks all platforms."""
        return [sensor for part in self._parts for sensor in part.sensor_defs]

    def get_source_assets_by_key(self) -> Mapping[dg.AssetKey, dg.SourceAsset]:
        """None: the platforms' own tables are external assets."""
        return self._assets.source_assets_by_key

    def get_assets_defs_by_key(self) -> Mapping[dg.AssetKey, dg.AssetsDefinition]:
        """The assets of all platforms."""
        return self._assets.assets_defs_by_key

    def get_asset_checks_defs_by_key(self) -> Mapping[dg.AssetCheckKey, dg.AssetChecksDefinition]:
        """The checks of all platforms."""
        return self._assets.asset_checks_defs_by_key

    def get_top_level_resources(self) -> Mapping[str, dg.ResourceDefinition]:
        """The resources of runs that are no job of ours."""
        return self._assets.get_top_level_resources()

    def get_env_vars_by_top_level_resource(self) -> Mapping[str, Set[str]]:
        """None: no resource reads the environment."""
        return {}

    def _owner(self, job_name: str) -> dg.RepositoryDefinition | None:
        if self._everything is not None:
            return self._owners.get(job_name)
        return next((part for part in self._candidates(job_name) if part.has_job(job_name)), None)

    def _candidates(self, job_name: str) -> Iterator[dg.RepositoryDefinition]:
        """What the job may belong to by its name: in a platform's name, and in a job's, there may be `__`, too."""
        yield self._shared
        words = job_name.removeprefix(prefixed(self.deployment.prefix, "")).split("__")
        for platform in ("__".join(words[:count]) for count in range(1, len(words))):
            if (part := self._part(platform)) is not None:
                yield part

    def _part(self, platform: str) -> dg.RepositoryDefinition | None:
        if platform not in self.made:
            part = self.deployment.part(platform)
            self.made[platform] = code_location(part).get_repository_def() if part is not None else None
        return self.made[platform]

    @cached_property
    def _shared(self) -> dg.RepositoryDefinition:
        return code_location(self.deployment.shared()).get_repository_def()

    @property
    def _parts(self) -> Sequence[dg.RepositoryDefinition]:
        """Everything: a repository for each platform, and at last one for what all share."""
        if self._everything is None:
            self._everything = [code_location(part).get_repository_def() for part in self._definitions]
        return self._everything

    @cached_property
    def _definitions(self) -> Sequence[dg.Definitions]:
        return list(self.deployment.parts())

    @cached_property
    def _owners(self) -> Mapping[str, dg.RepositoryDefinition]:
        """The part that each job belongs to. The last part knows the jobs that its sensors start, and comes first."""
        owners = {name: part for part in reversed(self._parts) for name in part.job_names}
        owners.pop(IMPLICIT_ASSET_JOB_NAME, None)
        return owners

    @cached_property
    def _jobs(self) -> Sequence[dg.JobDefinition]:
        return [self.get_job(name) for name in self.get_job_names()]

    @cached_property
    def _assets(self) -> dg.RepositoryDefinition:
        """All assets and checks, and the job that Dagster makes of them."""
        assets = [asset for part in self._definitions for asset in part.assets or ()]
        checks = [check for part in self._definitions for check in part.asset_checks or ()]
        return code_location(dg.Definitions(assets=assets, asset_checks=checks)).get_repository_def()
