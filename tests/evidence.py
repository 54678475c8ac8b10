"""Evidence for tests that read as sentences: one stuck campaign with unremarkable defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from campaign_ops.core.model import Attempts, Campaign, Counters, Coverage, Decision, Evidence, Tally
from campaign_ops.core.policy import Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.verdicts import decide

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy()
QUEUE = QueueState("sms-send", counts={"wait": 3, "active": 1}, workers=2, version="bullmq:5.0.0", server_id="r1")
SECOND = timedelta(seconds=1)
NO_ROWS = Tally()


def ago(**span: float) -> datetime:
    """The moment that long before `NOW`."""
    return NOW - timedelta(**span)


def covered_by(
    pending: int, *, in_jobs: int = 0, marked: int = 0, live_jobs: int | None = None, **more: Any
) -> Coverage:
    """Coverage of ``pending`` recipients; those in no job and not marked are missing."""
    jobs = int(in_jobs > 0) if live_jobs is None else live_jobs
    missing = pending - in_jobs - marked
    return Coverage(covered=in_jobs, marked=marked, missing=missing, live_jobs=jobs, **more)


@dataclass(frozen=True)
class Look:
    """One sweep's look at a campaign. Change a part with ``with_``, judge it with ``decide``."""

    evidence: Evidence
    queue: QueueState | None = QUEUE
    policy: Policy = POLICY

    def decide(self) -> Decision:
        """The verdict at `NOW`."""
        return decide(self.evidence, self.queue, self.policy, NOW)

    def with_queue(self, **changes: object) -> Look:
        """The same campaign with another queue."""
        assert self.queue is not None
        return replace(self, queue=replace(self.queue, **changes))  # type: ignore[arg-type]

    def with_(self, **changes: object) -> Look:
        """The same campaign with other evidence."""
        return replace(self, evidence=replace(self.evidence, **changes))  # type: ignore[arg-type]

    def with_attempts(self, **attempts: object) -> Look:
        """The same campaign with another history of re-enqueues."""
        return self.with_(attempts=Attempts(**attempts))  # type: ignore[arg-type]

    def with_policy(self, **thresholds: object) -> Look:
        """The same campaign under other thresholds."""
        return replace(self, policy=replace(self.policy, **thresholds))  # type: ignore[arg-type]


def sms(
    pending: int = 0,
    *,
    accepted: int = 0,
    succeeded: int = 0,
    failed: int = 0,
    unknown: Mapping[str, int] | None = None,
    moved: datetime | None = None,
    coverage: Coverage | None = None,
    counters: Counters | None = None,
) -> Look:
    """A campaign of an SMS platform, stuck for an hour; by default its pending recipients are in no job."""
    tally = Tally(pending, accepted, succeeded, failed, unknown or {}, moved)
    campaign = Campaign("cmp_1", "shop_1", "Spring sale", "sending", ago(hours=1), counters=counters)
    return Look(Evidence(campaign, tally, coverage=coverage or covered_by(pending)))


def messenger(total: int, sent: int = 0, failed: int = 0, *, rows: Tally = NO_ROWS, people_known: bool = True) -> Look:
    """A campaign of a messenger platform: counters, rows only for recipients that were sent to, no queue."""
    campaign = Campaign(
        "cmp_1", "org_1", "test 6", "SENDING", ago(hours=1), ago(hours=2), Counters(total, sent, failed)
    )
    return Look(Evidence(campaign, rows, rows_when_sent=True, people_known=people_known), queue=None)
