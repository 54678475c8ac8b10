"""Stuck campaigns as the latest sweep judged them, page by page, and one campaign with everything known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.accounting import total_recipients
from campaign_ops.core.errors import NotFound, Refused
from campaign_ops.core.model import Campaign, Coverage, Evidence
from campaign_ops.core.verdicts import decide
from campaign_ops.journal.finished import latest_finished
from campaign_ops.journal.migrations import has_records
from campaign_ops.journal.plan_pages import StuckFilter, stuck_counts, stuck_page, verdicts_of
from campaign_ops.platform import Platform
from campaign_ops.postgres.clock import database_now
from campaign_ops.queries.status import StatusLine, status_line
from campaign_ops.sweep.evidence import campaign_by_id, read_evidence
from campaign_ops.sweep.look import Observation, observe

__all__ = ["CampaignDetail", "Position", "StuckFilter", "StuckPage", "campaign_detail", "stuck_campaigns_page"]

SWEEPS_SHOWN = 50
REPAIRS_SHOWN = 100
RECIPIENTS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Position:
    """The end of a page: the sweep that it shows, and its last campaign."""

    sweep_id: int
    stuck_seconds: int
    campaign_id: str


@dataclass(frozen=True, slots=True)
class StuckPage:
    """A page of stuck campaigns, the longest stuck first. ``counts`` is of all pages, by verdict."""

    at: datetime | None
    rows: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    more: Position | None


def stuck_campaigns_page(
    platform: Platform, wanted: StuckFilter, *, after: Position | None = None, limit: int = 100
) -> StuckPage:
    """Read a page from the records of the latest finished sweep, or of the sweep that the page before showed.

    Raises:
        Refused: That sweep's records were pruned meanwhile.
        StateSchemaError: Our own schema is missing or of another revision.
    """

    def _read(connection: sa.Connection) -> StuckPage:
        latest = latest_finished(connection, platform.profile.tables_key)
        if latest is None:
            return StuckPage(None, (), {}, None)
        sweep_id, at = latest.id, latest.finished_at
        if after is not None and after.sweep_id != sweep_id:
            earlier = platform.sweeps.finished_at(connection, after.sweep_id)
            if earlier is None:
                raise Refused("the list is too old to go on", where="cursor", mend="ask for the first page again")
            sweep_id, at = after.sweep_id, earlier
        start = None if after is None else (after.stuck_seconds, after.campaign_id)
        rows = stuck_page(connection, sweep_id, wanted, after=start, limit=limit + 1)
        more = None
        if len(rows) > limit:
            rows = rows[:limit]
            more = Position(sweep_id, rows[-1]["stuck_seconds"] or 0, rows[-1]["id"])
        return StuckPage(at, rows, stuck_counts(connection, sweep_id, wanted), more)

    return platform.on_state(_read, read_only=True)


@dataclass(frozen=True, slots=True)
class CampaignDetail:
    """One campaign, read now.

    Attributes:
        at: The database's clock.
        campaign: Its row.
        sending: Whether it is being sent.
        line: Progress and verdict; of a campaign that is over only the counts.
        needs_person: No later sweep will mend it.
        coverage: What the queue says of its pending recipients; None where the queue was not read.
        accepted: Recipients that are pending and that the provider has accepted.
        unknown: Recipients by status words that the profile does not know.
        attempts: Re-enqueues so far, and those without progress.
        held_reason: Why sweeps leave it alone; empty if they do not.
        ambiguous: The first ids of recipients that the provider may already have.
        repairs: Its entries in the journal, the newest first.
        verdicts: How the latest sweeps judged it, the newest first.
    """

    at: datetime
    campaign: Campaign
    sending: bool
    line: StatusLine
    needs_person: bool
    coverage: Coverage | None
    accepted: int
    unknown: Mapping[str, int]
    attempts: int
    attempts_without_progress: int
    held_reason: str
    ambiguous: Sequence[str]
    repairs: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Mapping[str, Any]]


def campaign_detail(platform: Platform, campaign_id: str, observation: Observation | None = None) -> CampaignDetail:
    """Read one campaign, whatever its status: its recipients, the queue, and our records of it.

    Args:
        platform: The platform.
        campaign_id: The campaign's id.
        observation: A look at this campaign, of any age, and perhaps at others; None to look now.

    Raises:
        NotFound: No such campaign.
        Unavailable: The database is away. (A queue that is away gives the verdict ``queue_unreadable``.)
    """
    campaign = _find(platform, campaign_id)
    campaign_id = campaign.id  # as our records spell it
    sending = campaign.status == platform.profile.campaign.words.sending
    case = _case_of(campaign, observation)
    if sending and case is None:
        observation = observe(platform, only=[campaign.id], any_age=True)
        case = _case_of(campaign, observation)
    if case is None or not sending:  # over, or over meanwhile
        evidence, sending, observation = _evidence(platform, campaign), False, None
    else:
        evidence = case

    def _records(connection: sa.Connection) -> tuple[datetime, list[Any], list[Any], list[str]]:
        now = database_now(connection) if observation is None else observation.at
        if not has_records(connection, platform.database.where):
            return now, [], [], []
        return (
            now,
            platform.journal.repairs(connection, campaign_id=campaign_id, limit=REPAIRS_SHOWN),
            list(verdicts_of(connection, platform.profile.tables_key, campaign_id, sweeps=SWEEPS_SHOWN)),
            platform.ambiguous.of_campaign(connection, campaign_id, limit=RECIPIENTS_SHOWN),
        )

    at, repairs, verdicts, ambiguous = platform.database.run(_records, read_only=True)
    line = status_line(platform, observation or Observation(at, 0, (evidence,)), evidence)
    if not sending:
        line = _over(line, campaign, evidence)
    decision = decide(evidence, observation.queue, platform.policy, at) if observation is not None else None
    return CampaignDetail(
        at=at,
        campaign=evidence.campaign,
        sending=sending,
        line=line,
        needs_person=decision is not None and line.stuck and decision.needs_person,
        coverage=evidence.coverage,
        accepted=evidence.tally.accepted,
        unknown=evidence.tally.unknown,
        attempts=evidence.attempts.total,
        attempts_without_progress=evidence.attempts.without_progress,
        held_reason=evidence.attempts.held_reason or "",
        ambiguous=ambiguous,
        repairs=repairs,
        verdicts=verdicts,
    )


def _case_of(campaign: Campaign, observation: Observation | None) -> Evidence | None:
    if observation is None:
        return None
    return next((case for case in observation.evidence if case.campaign.id == campaign.id), None)


def _find(platform: Platform, campaign_id: str) -> Campaign:
    campaign = platform.database.run(
        lambda connection: campaign_by_id(platform, connection, campaign_id), read_only=True
    )
    if campaign is None:
        raise NotFound("there is no such campaign", where=f"campaign {campaign_id}")
    return campaign


def _evidence(platform: Platform, campaign: Campaign) -> Evidence:
    def _read(connection: sa.Connection) -> Evidence:
        remembers = has_records(connection, platform.database.where)
        (evidence,) = read_evidence(platform, connection, [campaign], None, remembers=remembers)
        return evidence

    return platform.database.run(_read, read_only=True)


def _over(line: StatusLine, campaign: Campaign, evidence: Evidence) -> StatusLine:
    reason = f"its status is {campaign.status}: it is not being sent"
    return replace(line, stuck=False, verdict="over", reason=reason, total=total_recipients(evidence))
