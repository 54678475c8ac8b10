"""Every campaign that is being sent, stuck or not: totals, progress, time, verdict. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from campaign_ops.core.accounting import total_recipients, unsent
from campaign_ops.core.model import Evidence, age
from campaign_ops.core.verdicts import decide
from campaign_ops.platform import Platform
from campaign_ops.sweep.look import Observation, observe


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One campaign. ``verdict`` is ``sending`` if it was updated recently; times are seconds."""

    id: str
    tenant: str
    name: str
    total: int
    succeeded: int
    failed: int
    pending: int
    unsent: int
    sending_seconds: int | None
    untouched_seconds: int | None
    stuck: bool
    verdict: str
    reason: str


def campaign_status(platform: Platform) -> list[StatusLine]:
    """Return all campaigns in sending, the longest untouched first."""
    seen = observe(platform, any_age=True, compare="stuck")
    return [status_line(platform, seen, evidence) for evidence in seen.evidence]


def status_line(platform: Platform, seen: Observation, evidence: Evidence) -> StatusLine:
    """Progress and verdict of one campaign of an observation."""
    campaign, tally, counters = evidence.campaign, evidence.tally, evidence.campaign.counters
    stuck = campaign.is_stuck(seen.at, platform.policy.stuck_after_seconds)
    verdict, reason = "sending", "touched lately"
    if stuck:
        decision = decide(evidence, seen.queue, platform.policy, seen.at)
        verdict, reason = decision.verdict.value, decision.reason
    began = campaign.started_at or campaign.updated_at
    succeeded, failed = tally.succeeded + tally.accepted, tally.failed
    if counters is not None and evidence.rows_when_sent:
        succeeded, failed = max(succeeded, counters.succeeded), max(failed, counters.failed)
    return StatusLine(
        id=campaign.id,
        tenant=campaign.tenant,
        name=campaign.name,
        total=total_recipients(evidence),
        succeeded=succeeded,
        failed=failed,
        pending=tally.pending,
        unsent=unsent(evidence),
        sending_seconds=None if began is None else int(age(began, seen.at).total_seconds()),
        untouched_seconds=campaign.untouched_seconds(seen.at),
        stuck=stuck,
        verdict=verdict,
        reason=reason,
    )
