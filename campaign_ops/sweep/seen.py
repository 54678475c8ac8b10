"""One look that the steps of a run share, when one process makes all of them. A repair looks again before it writes."""

from __future__ import annotations

from dataclasses import dataclass

from campaign_ops.core.plan import Plan
from campaign_ops.sweep.look import Observation
from campaign_ops.sweep.records import STEP_OF, Record, plan_record, queue_record, recipients_record, stuck_record


@dataclass(frozen=True, slots=True)
class Seen:
    """A look, its plan, and the records of the steps up to it."""

    observation: Observation
    plan: Plan
    stuck: Record
    recipients: Record
    queue: Record
    planned: Record

    @property
    def records(self) -> tuple[Record, ...]:
        """The records in the order of the steps."""
        return self.stuck, self.recipients, self.queue, self.planned

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be repaired."""
        return not any(map(self.plan.of, STEP_OF))


def seen_by(observation: Observation, plan: Plan) -> Seen:
    """What a look and its plan leave of the steps up to the plan."""
    return Seen(
        observation,
        plan,
        stuck_record(observation),
        recipients_record(observation),
        queue_record(observation.queue, observation.at),
        plan_record(plan, observation),
    )
