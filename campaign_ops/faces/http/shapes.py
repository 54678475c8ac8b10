"""The documents that only the HTTP API answers with. The others are the command line's: `campaign_ops.faces.shapes`."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from campaign_ops.faces import shapes


class ProblemDocument(TypedDict):
    """Every error: RFC 9457, ``application/problem+json``."""

    type: str
    title: str
    status: Annotated[int, "the HTTP status"]
    code: Annotated[str, "one word for programs"]
    detail: Annotated[str, "one sentence: what is wrong, and where"]
    next: Annotated[str, "how to mend it; may be empty"]


class PlatformLine(TypedDict):
    """One platform, as probes see it."""

    platform: str
    status: Annotated[
        str,
        "`ok` (swept lately, whatever it found), `stale` (no sweep for three ticks), `never_swept`, `away` or `broken`",
    ]
    last_sweep_at: str | None
    last_sweep_age_seconds: float | None


class Health(TypedDict):
    """The service is alive. Says nothing about the platforms' campaigns."""

    status: Annotated[str, "`alive`"]
    version: str
    platforms: list[PlatformLine]


class Readiness(TypedDict):
    """Whether every platform's database answers and its last sweep is younger than three ticks."""

    ready: bool
    platforms: Annotated[list[PlatformLine] | None, "with a token that may read; else null"]


class KnownPlatform(TypedDict):
    """One platform that the token reaches."""

    platform: str
    profile: Annotated[str | None, "null while its entry in the configuration is broken"]
    has_queue: bool
    schedule: Annotated[str | None, "when Dagster sweeps, in UTC"]
    scopes: Annotated[list[str], "what the token may do there"]
    tenants: Annotated[list[str] | None, "the tenants that the token reaches; null for all"]
    status: str
    last_sweep_at: str | None
    last_sweep_age_seconds: float | None
    error: Annotated[str, "why nothing is known; empty if all is well"]


class Platforms(TypedDict):
    """The platforms that the token reaches."""

    platforms: list[KnownPlatform]


class StuckCampaign(TypedDict):
    """One campaign that the latest sweep found stuck."""

    platform: str
    id: str
    tenant: str
    name: str
    verdict: str
    reason: Annotated[str, "the evidence in words"]
    repair: Annotated[str | None, "what a sweep does about it; null when it only reports"]
    needs_person: bool
    total: int
    unsent: int
    percent: int | None
    pending: int
    succeeded: Annotated[int, "sent, or accepted by the provider"]
    failed: int
    missing: Annotated[int | None, "recipients in no job; null when no queue was read"]
    stuck_seconds: int | None


class StuckCampaigns(TypedDict):
    """A page of stuck campaigns, the longest stuck first."""

    as_of: Annotated[dict[str, str | None], "by platform, when the sweep finished that found them"]
    counts: Annotated[dict[str, int], "of all pages, by verdict"]
    campaigns: list[StuckCampaign]
    next: Annotated[str | None, "the path of the next page"]
    away: Annotated[list[str], "platforms that could not be read: their campaigns are not among these"]


class Judgement(TypedDict):
    """How one sweep judged a campaign."""

    sweep: int
    at: str
    verdict: str
    reason: str


class CampaignDocument(TypedDict):
    """One campaign, read now: row, recipients, queue and our records of it."""

    platform: str
    at: Annotated[str, "the database's clock"]
    status: Annotated[str, "the platform's own word"]
    sending: bool
    needs_person: Annotated[bool, "no later sweep will mend it"]
    campaign: shapes.StatusCampaign
    accepted: Annotated[int, "pending, but the provider has accepted them"]
    unknown: Annotated[dict[str, int], "recipients by status words that the profile does not know"]
    covered: Annotated[int | None, "pending recipients in a live job; null when no queue was read"]
    missing: Annotated[int | None, "pending recipients in no job"]
    marked: Annotated[int | None, "pending recipients that the provider may already have"]
    doubled: Annotated[int | None, "recipients in two or more live jobs"]
    live_jobs: int | None
    attempts: Annotated[int, "re-enqueues so far"]
    attempts_without_progress: int
    held_reason: Annotated[str, "why sweeps leave it alone; empty if they do not"]
    ambiguous: Annotated[list[str], "the first ids of recipients that a person has to decide about"]
    repairs: Annotated[list[shapes.Repair], "its entries in the journal, the newest first"]
    judgements: Annotated[list[Judgement], "how the latest sweeps judged it, the newest first"]


class Plan(TypedDict):
    """What a sweep would do now. ``held_back`` and ``alarm`` have the code that confirms what waits for a person."""

    platform: str
    plan: shapes.SweepResult


class Repairs(TypedDict):
    """A page of the journal, the newest repairs first."""

    repairs: list[shapes.Repair]
    next: Annotated[str | None, "the path of the next page"]


class PlatformIncidents(TypedDict):
    """The incidents of one platform."""

    platform: str
    last_look_at: Annotated[str | None, "when a watcher last looked, as far as is known"]
    incidents: list[shapes.Incident]


class Incidents(TypedDict):
    """What needs a person."""

    open: Annotated[int, "those that no person has acknowledged or silenced"]
    platforms: list[PlatformIncidents]
    away: Annotated[list[str], "platforms that could not be read"]


class IncidentEvent(TypedDict):
    """One change of an incident."""

    at: str
    what: str
    by: str
    reason: str
    severity: str
    count: int


class IncidentDocument(TypedDict):
    """One incident with its history."""

    platform: str
    incident: shapes.Incident
    events: Annotated[list[IncidentEvent], "the oldest first"]


class PlatformWorkers(TypedDict):
    """The workers of one platform."""

    platform: str
    workers: shapes.WorkersResult


class AllWorkers(TypedDict):
    """The workers of each platform with a queue, as sweeps and the watcher saw them."""

    platforms: list[PlatformWorkers]
    away: Annotated[list[str], "platforms that could not be read"]


class Report(TypedDict):
    """The health report that the latest sweep stored."""

    platform: str
    report: shapes.ReportResult


class FixAnswer(TypedDict):
    """What a manual fix did or, in a dry run, would do."""

    success: Annotated[bool, "always true: a refusal is a problem document"]
    message: str
    platform: str
    target: Annotated[str, "the campaign, the reservation or the repair"]
    changed: Annotated[bool, "whether anything was changed; false in a dry run"]
    dry_run: bool
    repair_ids: Annotated[list[int], "its entries in the journal"]
    consequence: Annotated[str, "whether it can be undone, and how"]
    undo: Annotated[str | None, "the path that undoes it; null when there is nothing to undo"]
    confirm: Annotated[str | None, "in a dry run, the code that makes exactly this, once"]
    confirm_until: Annotated[str | None, "when the code expires"]
    campaign: Annotated[shapes.StatusCampaign | None, "the campaign afterwards, read again; null for other targets"]


class SweepState(TypedDict):
    """A sweep that was asked for."""

    platform: str
    run_id: str
    state: Annotated[str, "`running`, `done`, `refused`, `failed`; `unknown` where no trace of it is left"]
    by: Annotated[str, "`service`, or `dagster` where the run is seen there"]
    started_at: str | None
    finished_at: str | None
    place: Annotated[str, "where to look: the path of this document, or the run's page in Dagster"]
    message: Annotated[str, "headline, or why it was refused or failed"]
    result: Annotated[shapes.SweepResult | None, "its lines, while the service that ran it remembers them"]


class StartedSweeps(TypedDict):
    """The sweeps that a request started."""

    sweeps: list[SweepState]
    busy: Annotated[list[str], "platforms where one is under way already"]
    failed: Annotated[dict[str, str], "by platform, why none could be started there"]


class PlannedSweeps(TypedDict):
    """With ``dry_run``: what the sweeps would do."""

    plans: list[Plan]


class Handled(TypedDict):
    """An incident after a person has acknowledged, silenced or resolved it."""

    platform: str
    incident: shapes.HandledResult
