"""The one resource of a platform: hands out plain objects that never heard of Dagster, and closes them in the end.

Holds no secret in its configuration, since Dagster shows that to everybody who may look.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from campaign_ops.core.confirmation import Confirmation
from campaign_ops.core.errors import CampaignOpsError, Refused, Unavailable
from campaign_ops.orchestration.names import PLAN, SCHEDULE_TAG, SENSOR_TAG, WORK_TAG, resource_key
from campaign_ops.platform import Platform
from campaign_ops.settings import PlatformSettings
from campaign_ops.sweep import Sweep

Connect = Callable[[PlatformSettings], Platform]


@dataclass(frozen=True)
class PlatformSource:
    """How a platform is made. Connects to nothing."""

    settings: PlatformSettings
    connect: Connect

    def make(self, *, in_a_hurry: bool = False) -> Platform:
        """The platform; with timeouts of a few seconds if asked."""
        return self.connect(self.settings.in_a_hurry() if in_a_hurry else self.settings)


class PlatformResource(dg.ConfigurableResource[Any]):
    """A platform's database and, where it has one, its queue. Nothing is connected before a step needs it."""

    confirm: str = Field(
        default="",
        description=(
            "The code from the report of a plan that a breaker held back: lets exactly that plan pass, once. Needs `by`"
            " and `reason`."
        ),
    )
    by: str = Field(default="", description="Who confirms; stands in the journal.")
    reason: str = Field(default="", description="Why; stands in the journal.")
    source: dg.ResourceDependency[PlatformSource]

    _made: Platform | None = PrivateAttr(default=None)
    _sweep: Sweep | None = PrivateAttr(default=None)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Let go of connections: after the run where one process makes all of it, else after the step."""
        if self._made is not None:
            self._made.close()
        self._made = self._sweep = None

    @contextmanager
    def platform(self) -> Iterator[Platform]:
        """The platform. Our errors end the step with their one line.

        Raises:
            Failure: From any error of `campaign_ops.core.errors`, in its words.
        """
        try:
            if self._made is None:
                self._made = self.source.make()
            yield self._made
        except CampaignOpsError as error:
            raise dg.Failure(description=str(error), allow_retries=isinstance(error, Unavailable)) from None

    @contextmanager
    def sweep(self, run: dg.DagsterRun) -> Iterator[Sweep]:
        """The sweep that a run is: all steps of one run belong together, a retried run is a sweep of its own."""
        with self.platform() as platform:
            if self._sweep is None:
                trigger = trigger_of(run)
                self._sweep = Sweep(
                    platform,
                    run_id=run.run_id,
                    trigger=trigger,
                    actor=run.tags.get("user", trigger),
                    confirm=None if run.tags.get(WORK_TAG) == PLAN else self._confirmation(),
                )
            yield self._sweep

    def _confirmation(self) -> Confirmation | None:
        """What a person confirms with this run's configuration.

        Raises:
            Refused: Who or why is missing.
        """
        if not self.confirm.strip():
            return None
        if not (self.by.strip() and self.reason.strip()):
            raise Refused("who confirms, and why?", where="confirm", mend="give `by` and `reason` beside it")
        return Confirmation(self.confirm, self.by.strip(), self.reason.strip())


def trigger_of(run: dg.DagsterRun) -> str:
    """What started a run: ``schedule``, ``sensor`` or ``manual``."""
    if SCHEDULE_TAG in run.tags:
        return "schedule"
    return "sensor" if SENSOR_TAG in run.tags else "manual"


def resource_of(context: Any, platform: str) -> PlatformResource:
    """A platform's resource, from the context of whatever declared that it needs it."""
    found: PlatformResource = getattr(context.resources, resource_key(platform))
    return found
