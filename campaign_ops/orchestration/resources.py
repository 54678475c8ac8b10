"""The one resource of a platform: hands out plain objects that know nothing of Dagster, and closes them at the end.

Its configuration holds no secret, because Dagster shows it to every viewer.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from campaign_ops.core.confirmation import Confirmation
from campaign_ops.core.errors import Refused
from campaign_ops.orchestration.endings import failing_in_one_line
from campaign_ops.orchestration.names import (
    MAX_RUNTIME,
    PLAN,
    SCHEDULE_TAG,
    SENSOR_TAG,
    WORK_TAG,
    Names,
    run_tags,
)
from campaign_ops.platform import Platform
from campaign_ops.settings import PlatformSettings
from campaign_ops.sweep import Sweep
from campaign_ops.tracing import Traces
from campaign_ops.watch.dagster import USER_TAG

Connect = Callable[[PlatformSettings], Platform]


@dataclass(frozen=True)
class PlatformSource:
    """A platform of a deployment: settings, the function that connects it, names. Connects to nothing itself.

    ``max_runtime`` is the age at which one of its runs is considered dead.
    """

    settings: PlatformSettings
    connect: Connect
    prefix: str = ""
    max_runtime: timedelta = MAX_RUNTIME

    @property
    def names(self) -> Names:
        """The names of its definitions."""
        return Names(self.settings.name, self.prefix)

    def tags(self, work: str) -> dict[str, str]:
        """The tags of its runs."""
        return run_tags(self.settings.name, work, self.max_runtime)

    def make(self, *, short_timeouts: bool = False) -> Platform:
        """The platform, on request with timeouts of a few seconds."""
        return self.connect(self.settings.in_a_hurry() if short_timeouts else self.settings)


class PlatformResource(dg.ConfigurableResource[Any]):
    """A platform's database and its queue, if it has one. Connects when a step needs it."""

    confirm: str = Field(
        default="",
        description=(
            "The code in the report of a plan that a breaker holds back: lets exactly that plan pass, once."
            " Requires `by` and `reason`."
        ),
    )
    by: str = Field(default="", description="Who confirms it, for the journal.")
    reason: str = Field(default="", description="Why, for the journal.")
    source: dg.ResourceDependency[PlatformSource]

    _made: Platform | None = PrivateAttr(default=None)
    _sweep: Sweep | None = PrivateAttr(default=None)
    _traces: Traces | None = PrivateAttr(default=None)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Close the connections: after the run if one process runs all of it, else after the step."""
        if self._made is not None:
            self._made.close()
        if self._traces is not None:
            self._traces.close()
        self._made = self._sweep = self._traces = None

    @property
    def is_new(self) -> bool:
        """Return whether no step has begun its sweep yet."""
        return self._sweep is None

    @contextmanager
    def platform(self) -> Iterator[Platform]:
        """The platform. Our errors fail the step with their one line, except refusals."""
        with failing_in_one_line():
            if self._made is None:
                self._made = self.source.make()
            yield self._made

    @contextmanager
    def sweep(self, run: dg.DagsterRun, step: str, coming: Collection[str]) -> Iterator[Sweep]:
        """The sweep of a run, for one step: all steps of one run belong to it, and a retried run is another sweep.

        ``coming`` are the steps of the run.
        """
        if self._traces is None:
            self._traces = Traces()
        with self._traces.step(step, self.source.settings.name, run.run_id), self.platform() as platform:
            if self._sweep is None:
                trigger = trigger_of(run)
                self._sweep = Sweep(
                    platform,
                    run_id=run.run_id,
                    trigger=trigger,
                    actor=run.tags.get(USER_TAG, trigger),
                    confirm=None if run.tags.get(WORK_TAG) == PLAN else self._confirmation(),
                    coming=coming,
                )
            yield self._sweep

    def _confirmation(self) -> Confirmation | None:
        """The confirmation in this run's configuration.

        Raises:
            Refused: The person or the reason is missing.
        """
        if not self.confirm.strip():
            return None
        if not (self.by.strip() and self.reason.strip()):
            raise Refused("who confirms, and why?", where="confirm", mend="add `by` and `reason`")
        return Confirmation(self.confirm, self.by.strip(), self.reason.strip())


def trigger_of(run: dg.DagsterRun) -> str:
    """The trigger of a run: ``schedule``, ``sensor`` or ``manual``."""
    if SCHEDULE_TAG in run.tags:
        return "schedule"
    return "sensor" if SENSOR_TAG in run.tags else "manual"


class NoHandOver(dg.IOManager):
    """Steps hand nothing on. In place of Dagster's default, which offers a directory for pickled results."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Refuse: a step has returned a value."""
        raise NotImplementedError

    def load_input(self, context: dg.InputContext) -> object:
        """Refuse: a step expects the value of another."""
        raise NotImplementedError


IO_MANAGER = "campaign_ops_io_manager"
"""Its name for our assets: Dagster takes one ``io_manager`` for all assets of a project."""

no_hand_over = dg.IOManagerDefinition.hardcoded_io_manager(NoHandOver(), "Steps hand nothing on.")


Resources = Mapping[str, dg.ResourceDefinition]


def resources_of(source: PlatformSource) -> Resources:
    """What the steps of a platform need.

    Bound to each of them: a resource of all definitions is offered to the jobs of every platform, and those of another
    project.
    """
    resource = PlatformResource(source=source).get_resource_definition()
    return {source.names.resource: resource, IO_MANAGER: no_hand_over}


def resource_of(context: Any, names: Names) -> PlatformResource:
    """A platform's resource, from a context that requires it."""
    resource: PlatformResource = getattr(context.resources, names.resource)
    return resource
