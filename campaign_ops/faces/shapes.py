"""The typed dictionaries that ``--json`` prints: one document per call. Keys may be added, never removed or renamed.

Every key carries its meaning, from which docs/cli.md is generated. Durations are seconds, moments are ISO 8601 in UTC,
amounts of credits are decimal strings.
"""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12


class Failure(TypedDict):
    """The error because of which a platform, or the whole call, has no result."""

    kind: Annotated[str, "class of the error, such as `DatabaseUnavailable`; `Unexpected` for any that is not ours"]
    where: Annotated[str, "what the error is about; may be empty"]
    what: Annotated[str, "what is wrong"]
    mend: Annotated[str, "how to mend it; may be empty"]


class PlatformOutcome(TypedDict):
    """One platform of the call."""

    platform: Annotated[str, "its name in the configuration"]
    exit_code: Annotated[int, "exit code for this platform alone"]
    error: Annotated[Failure | None, "null when the command succeeded"]
    result: Annotated[object, "the command's result, see below; null when there is an error"]


class Document(TypedDict):
    """The document that every command prints."""

    command: Annotated[str, "the command's name"]
    exit_code: Annotated[int, "exit code of the program"]
    error: Annotated[
        Failure | None, "an error that prevented the whole call, such as a mistake in the configuration file"
    ]
    platforms: Annotated[list[PlatformOutcome], "one entry for each platform of the call"]


class Line(TypedDict):
    """One line of the plan and how it ended."""

    target: Annotated[str, "the campaign, or the reservation"]
    kind: Annotated[str | None, "`complete`, `reenqueue`, `release`, `recount`; null when a sweep changes nothing"]
    ending: Annotated[str, "`done`, `planned` (dry run), `held_back` (by a breaker), `failed` or `left` alone"]
    note: Annotated[str, "why it failed, was held back or was left alone; may be empty"]
    needs_person: Annotated[bool, "no later sweep will mend it"]
    campaign_id: Annotated[str | None, "the campaign it belongs to"]
    tenant: Annotated[str, "its tenant; may be empty"]
    name: Annotated[str, "its name"]
    verdict: Annotated[str | None, "why the campaign is stuck; null for a reservation"]
    reason: Annotated[str, "the evidence in words"]
    unsent: Annotated[int | None, "recipients not accounted for"]
    missing: Annotated[int | None, "recipients in no job; null when no queue was read"]
    stuck_seconds: Annotated[int | None, "time since the campaign was last touched"]
    amount: Annotated[str | None, "credits held; null for a campaign"]


class HeldBack(TypedDict):
    """A kind of repair that was not made, or not completely."""

    kind: Annotated[str, "the kind of repair"]
    reason: Annotated[str, "why it was not made"]
    confirm: Annotated[str | None, "the command that makes it anyway; null when no breaker waits for a person"]
    confirm_until: Annotated[str | None, "when its code expires"]


class Alarm(TypedDict):
    """An emptied queue that holds no repair back now, and is remembered until a person confirms it."""

    reason: Annotated[str, "how it was emptied"]
    confirm: Annotated[str, "the command that says that this is the queue"]
    confirm_until: Annotated[str, "when its code expires"]


class SweepResult(TypedDict):
    """The findings of a sweep, and what it did or, in a dry run, would do."""

    at: Annotated[str, "when the platform was observed"]
    dry_run: Annotated[bool, "nothing was changed"]
    headline: Annotated[str, "a summary in one line"]
    figures: Annotated[dict[str, int], "the headline numbers: `stuck`, `sending`, `needs_person`, `completed`, …"]
    trouble: Annotated[list[str], "what kept the sweep from its work"]
    held_back: Annotated[list[HeldBack], "kinds of repair that were held back"]
    alarm: Annotated[Alarm | None, "an emptied queue that a person can confirm; null when there is none"]
    doubts: Annotated[list[str], "reasons not to believe what the queue shows"]
    lines: Annotated[list[Line], "every line of the plan, and the reservations released together with their campaigns"]


class StatusCampaign(TypedDict):
    """One campaign in sending."""

    id: Annotated[str, "its id"]
    tenant: Annotated[str, "its tenant; may be empty"]
    name: Annotated[str, "its name"]
    total: Annotated[int, "recipients in total"]
    succeeded: Annotated[int, "sent, or accepted by the provider"]
    failed: Annotated[int, "failed"]
    pending: Annotated[int, "rows not sent yet"]
    unsent: Annotated[int, "recipients not accounted for"]
    percent: Annotated[int | None, "share of recipients accounted for, rounded down; null without recipients"]
    sending_seconds: Annotated[int | None, "time in sending, as far as the platform records it"]
    untouched_seconds: Annotated[int | None, "time since it was last touched; null when unknown"]
    stuck: Annotated[bool, "untouched for longer than `stuck_after_seconds`"]
    verdict: Annotated[str, "why it is stuck; `sending` when it was touched recently"]
    reason: Annotated[str, "the evidence in words"]


class StatusResult(TypedDict):
    """Every campaign in sending."""

    sending: Annotated[int, "campaigns in sending"]
    stuck: Annotated[int, "how many of them are stuck"]
    verdicts: Annotated[dict[str, int], "stuck campaigns by verdict"]
    campaigns: Annotated[list[StatusCampaign], "the longest untouched first"]


class ReportResult(TypedDict):
    """The health report that the latest sweep stored."""

    at: Annotated[str, "when it was made"]
    figures: Annotated[dict[str, int], "the headline numbers"]
    trouble: Annotated[list[str], "what kept the sweep from its work"]
    markdown: Annotated[str, "the report"]


class Repair(TypedDict):
    """One entry of the journal."""

    id: Annotated[int, "its number, as `undo` takes it"]
    at: Annotated[str, "when"]
    kind: Annotated[str, "`complete`, `reenqueue`, `release`, `recount`, `undo` or `lift`"]
    target: Annotated[str, "the campaign, or the reservation"]
    campaign_id: Annotated[str | None, "the campaign it belongs to"]
    tenant: Annotated[str | None, "its tenant"]
    verdict: Annotated[str | None, "why the campaign was stuck"]
    reason: Annotated[str, "the evidence in words"]
    person_reason: Annotated[str | None, "why a person asked for it; null for a sweep"]
    actor: Annotated[str, "the person or the trigger"]
    run_id: Annotated[str, "the sweep or the call that made it"]
    amount: Annotated[str | None, "credits released"]
    before: Annotated[dict[str, object], "the columns before"]
    after: Annotated[dict[str, object], "the columns after"]
    jobs_added: Annotated[int | None, "jobs that a re-enqueue actually added; null for other kinds"]
    recipients_added: Annotated[int | None, "recipients in those jobs; null for other kinds"]
    parent_id: Annotated[int | None, "the repair it was made together with, or the repair it undid"]
    undone_by: Annotated[int | None, "the repair that undid it"]
    undo: Annotated[str | None, "the command that undoes it; null when there is nothing to undo"]


class HistoryResult(TypedDict):
    """The journal."""

    repairs: Annotated[list[Repair], "the newest first"]
    more: Annotated[bool, "there are more repairs than `--limit`"]


class FixResult(TypedDict):
    """What a manual fix did or, in a dry run, would do."""

    target: Annotated[str, "the campaign, or the reservation"]
    changed: Annotated[bool, "whether anything was changed; false in a dry run"]
    dry_run: Annotated[bool, "whether it only showed what would be done"]
    message: Annotated[str, "what was done"]
    repair_ids: Annotated[list[int], "its entries in the journal"]
    undo: Annotated[str | None, "the command that undoes it; null when there is nothing to undo"]
    confirm: Annotated[str | None, "the command that does exactly this; null when it is done"]
    confirm_until: Annotated[str | None, "when its code expires"]


class CheckedFinding(TypedDict):
    """The finding of one check."""

    check: Annotated[str, "name of the check"]
    level: Annotated[str, "`ok`, `note`, `warning` or `error`"]
    what: Annotated[str, "the finding"]
    mend: Annotated[str, "how to mend it; may be empty"]


class DoctorResult(TypedDict):
    """The findings of all checks."""

    level: Annotated[str, "the most severe level of all findings"]
    findings: Annotated[list[CheckedFinding], "in the order of the checks"]


class MigrateResult(TypedDict):
    """Schema `campaign_ops` before and after."""

    before: Annotated[str | None, "the revision before; null when the schema did not exist"]
    after: Annotated[str, "the revision now"]
    changed: Annotated[bool, "whether anything was done"]
    grants: Annotated[list[str] | None, "with `--grants`, the statements that give the role its rights; else null"]
    redis_acl: Annotated[
        list[str] | None,
        "with `--grants`, the commands that create the Redis user of a sweep and one that only reads; else null",
    ]


class ConfigResult(TypedDict):
    """One platform's settings, defaults filled in, secrets masked."""

    profile: Annotated[str, "name of the profile"]
    database_url: Annotated[str, "the database, passwords as `***`"]
    queue_url: Annotated[str | None, "the queue's Redis, credentials as `***`; null without a queue"]
    queue_name: Annotated[str | None, "the queue's name"]
    queue_prefix: Annotated[str | None, "BullMQ's key prefix"]
    contact: Annotated[str | None, "the person or team to ask"]
    schedule: Annotated[str, "when Dagster sweeps, in UTC"]
    thresholds: Annotated[dict[str, object], "when a campaign counts as stuck, and how much one sweep may do"]
    timeouts: Annotated[dict[str, float], "how long servers and the network may take"]
    notify: Annotated[list[str], "the channels that get its incidents, and from which severity on"]


class MetricsSample(TypedDict):
    """One value of one metric."""

    name: Annotated[str, "the metric, as Prometheus knows it"]
    labels: Annotated[dict[str, str], "its labels, without `platform`"]
    value: Annotated[float, "the value"]


class MetricsResult(TypedDict):
    """What monitoring scrapes of one platform."""

    samples: Annotated[list[MetricsSample], "every figure that is known; one that is not known is left out"]
    error: Annotated[str, "why little is known: the database is away, or our schema is missing; empty when all is well"]


class QueueWorkers(TypedDict):
    """The workers of one queue in figures."""

    queue: Annotated[str, "the queue"]
    workers: Annotated[int | None, "workers connected; null where the host hides its clients or the queue was away"]
    oldest_uptime_seconds: Annotated[float | None, "how long the longest connected one has been connected"]
    restarts_last_hour: Annotated[int, "restarts and reconnects that were noticed in the last hour"]
    seen_at: Annotated[str, "when the queue was looked at"]


class Worker(TypedDict):
    """One worker that is connected, or was in the last two days."""

    queue: Annotated[str, "the queue that it works on"]
    client_id: Annotated[int, "its number in Redis; new after every restart or reconnect"]
    name: Annotated[str, "the name that it was given; empty without one"]
    address: Annotated[str, "where it connects from"]
    connected_at: Annotated[str, "since when it has been connected"]
    last_seen_at: Annotated[str, "when it was last seen"]
    connected: Annotated[bool, "whether the latest look saw it"]
    restarted: Annotated[bool, "whether it took the place of one that was gone"]


class WorkersResult(TypedDict):
    """The workers as sweeps and the watcher saw them."""

    queues: Annotated[list[QueueWorkers], "one entry for each queue"]
    workers: Annotated[list[Worker], "every worker, the connected ones first"]


class Incident(TypedDict):
    """One thing that needs a person."""

    id: Annotated[int, "its number"]
    cause: Annotated[str, "why, such as `queue_unreadable`; docs/incidents.md lists them"]
    severity: Annotated[str, "`info`, `warning` or `critical`"]
    state: Annotated[str, "`open`, `acknowledged`, `silenced`; with `--all` also `suspected` and `resolved`"]
    headline: Annotated[str, "cause and count in words"]
    detail: Annotated[str, "the evidence in words"]
    count: Annotated[int, "how many of what the cause counts"]
    campaigns: Annotated[list[str], "the first campaigns behind it"]
    tenants: Annotated[list[str], "their owners"]
    first_seen_at: Annotated[str, "the first bad look"]
    last_seen_at: Annotated[str, "the last bad look"]
    opened_at: Annotated[str | None, "when it became an incident; null while only suspected"]
    resolved_at: Annotated[str | None, "when it ended"]
    silenced_until: Annotated[str | None, "until when nothing is sent about it"]
    handled_by: Annotated[str | None, "who last acknowledged, silenced or resolved it"]
    handled_reason: Annotated[str | None, "and why"]
    next_step: Annotated[str, "what to do next"]


class IncidentsResult(TypedDict):
    """What needs a person."""

    open: Annotated[int, "those that no person has acknowledged or silenced"]
    last_look_at: Annotated[str | None, "when a watcher last looked; null before the first time"]
    incidents: Annotated[list[Incident], "the open ones first, then the newest"]


class HandledResult(TypedDict):
    """An incident after a person has acknowledged, silenced or resolved it."""

    id: Annotated[int, "its number"]
    state: Annotated[str, "`acknowledged`, `silenced` or `resolved`"]
    silenced_until: Annotated[str | None, "until when nothing is sent about it"]


class NotifiedChannel(TypedDict):
    """One channel of a call of `notify`."""

    name: Annotated[str, "its name; its URL is never shown"]
    severity: Annotated[str, "the mildest severity that it gets"]
    problem: Annotated[str, "why it did not accept a message; empty where it did, or had none"]


class NotifyResult(TypedDict):
    """What was sent."""

    test: Annotated[bool, "test messages were sent, and nothing else was done"]
    sent: Annotated[int, "messages that a channel has accepted"]
    gave_up: Annotated[int, "notifications that could not be sent for hours and are not tried again"]
    channels: Annotated[list[NotifiedChannel], "every channel that gets incidents of the platform"]


class Token(TypedDict):
    """A token of the HTTP interface, without its secret."""

    id: Annotated[str, "the part of its text that is no secret"]
    name: Annotated[str, "the actor in the journal"]
    state: Annotated[str, "`active`, `expired` or `revoked`"]
    scopes: Annotated[list[str], "what it may be used for"]
    tenants: Annotated[list[str] | None, "the tenants whose rows it reaches; null for all"]
    created_at: Annotated[str, "when it was created"]
    created_by: Annotated[str, "who created it"]
    expires_at: Annotated[str | None, "when it stops being accepted; null for never"]
    revoked_at: Annotated[str | None, "when it was revoked"]
    revoked_by: Annotated[str | None, "who revoked it"]
    last_used_at: Annotated[str | None, "its last use, exact to a minute"]


class TokenCreatedResult(TypedDict):
    """A new token, as one platform has stored it."""

    token: Annotated[Token, "the token"]
    text: Annotated[str | None, "what its owner sends; with the first platform of the call only, and never again"]
    unknown_tenants: Annotated[list[str], "its tenants that no campaign here has; empty where that is not known"]


class TokensResult(TypedDict):
    """The tokens that reach a platform."""

    tokens: Annotated[list[Token], "the newest first; expired and revoked ones, too"]


class TokenRevokedResult(TypedDict):
    """Whether a token was revoked."""

    id: Annotated[str, "its id"]
    token: Annotated[Token | None, "the token; null where the platform has none with this id"]
