"""What ``--json`` prints: one document per call, in these shapes. Keys may be added, never taken away or renamed.

Every key carries its meaning, from which docs/cli.md is made. Times are seconds, moments ISO 8601 in UTC, amounts of
credits decimal strings.
"""

from __future__ import annotations

from typing import Annotated, TypedDict


class Failure(TypedDict):
    """Why a platform, or the whole call, has no result."""

    kind: Annotated[str, "name of the error, such as `DatabaseUnavailable`; `Unexpected` for one without a name"]
    where: Annotated[str, "what it concerns; may be empty"]
    what: Annotated[str, "what is wrong"]
    mend: Annotated[str, "what mends it; may be empty"]


class PlatformOutcome(TypedDict):
    """One platform of the call."""

    platform: Annotated[str, "its name in the configuration"]
    exit_code: Annotated[int, "what the program would exit with for this platform alone"]
    error: Annotated[Failure | None, "null when the command did its work"]
    result: Annotated[object, "what the command found or did, see below; null beside an error"]


class Document(TypedDict):
    """The document that every command prints."""

    command: Annotated[str, "the command's name"]
    exit_code: Annotated[int, "what the program exits with"]
    error: Annotated[
        Failure | None, "what kept the whole call from starting, such as a configuration file with mistakes"
    ]
    platforms: Annotated[list[PlatformOutcome], "one entry for each platform of the call"]


class Line(TypedDict):
    """One line of the plan and what became of it."""

    target: Annotated[str, "the campaign, or the reservation"]
    kind: Annotated[str | None, "`complete`, `reenqueue`, `release`, `recount`; null where a sweep only looks"]
    became: Annotated[str, "`done`, `planned` (dry run), `held_back` (by a breaker), `failed` or `left` alone"]
    note: Annotated[str, "why it failed, was held back or left; may be empty"]
    needs_person: Annotated[bool, "no later sweep will mend it by itself"]
    campaign_id: Annotated[str | None, "the campaign that it belongs to"]
    tenant: Annotated[str, "its owner; may be empty"]
    name: Annotated[str, "what people call it"]
    verdict: Annotated[str | None, "why the campaign is stuck; null for a reservation"]
    reason: Annotated[str, "the evidence in words"]
    unsent: Annotated[int | None, "recipients not accounted for"]
    missing: Annotated[int | None, "recipients in no job; null where no queue was read"]
    stuck_seconds: Annotated[int | None, "time since the campaign was last touched"]
    amount: Annotated[str | None, "credits held; null for a campaign"]


class HeldBack(TypedDict):
    """A kind of repair that was not made, or not to its end."""

    kind: Annotated[str, "the kind of repair"]
    reason: Annotated[str, "what speaks against making it"]
    confirm: Annotated[str | None, "the command that makes it all the same; null where no breaker waits for a person"]
    confirm_until: Annotated[str | None, "until when its code is valid"]


class SweepResult(TypedDict):
    """What a sweep found and did, or with a dry run would do."""

    at: Annotated[str, "when the platform was looked at"]
    dry_run: Annotated[bool, "nothing was changed"]
    headline: Annotated[str, "all of it in one line"]
    figures: Annotated[dict[str, int], "the headline numbers: `stuck`, `sending`, `needs_person`, `completed`, …"]
    trouble: Annotated[list[str], "what kept the sweep from doing its work"]
    held_back: Annotated[list[HeldBack], "kinds of repair that were held back"]
    lines: Annotated[list[Line], "every line of the plan, and what was released together with its campaign"]


class StatusCampaign(TypedDict):
    """One campaign in sending."""

    id: Annotated[str, "its id"]
    tenant: Annotated[str, "its owner; may be empty"]
    name: Annotated[str, "what people call it"]
    total: Annotated[int, "recipients in all"]
    succeeded: Annotated[int, "sent, or accepted by the provider"]
    failed: Annotated[int, "failed"]
    pending: Annotated[int, "rows that wait to be sent"]
    unsent: Annotated[int, "recipients not accounted for"]
    percent: Annotated[int | None, "share that is accounted for, rounded down; null without recipients"]
    sending_seconds: Annotated[int | None, "time in sending, as far as the platform records it"]
    untouched_seconds: Annotated[int | None, "time since it was last touched; null where nothing tells"]
    stuck: Annotated[bool, "untouched for longer than `stuck_after_seconds`"]
    verdict: Annotated[str, "why it is stuck; `sending` for one that was touched lately"]
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
    trouble: Annotated[list[str], "what kept the sweep from doing its work"]
    markdown: Annotated[str, "the report"]


class Repair(TypedDict):
    """One entry of the journal."""

    id: Annotated[int, "its number, as `undo` takes it"]
    at: Annotated[str, "when"]
    kind: Annotated[str, "`complete`, `reenqueue`, `release`, `recount`, `undo` or `lift`"]
    target: Annotated[str, "the campaign, or the reservation"]
    campaign_id: Annotated[str | None, "the campaign that it belongs to"]
    tenant: Annotated[str | None, "its owner"]
    verdict: Annotated[str | None, "why the campaign was stuck"]
    reason: Annotated[str, "the evidence in words"]
    person_reason: Annotated[str | None, "why a person asked for it; null for a sweep"]
    actor: Annotated[str, "who or what did it"]
    run_id: Annotated[str, "the sweep, or the call, that it belongs to"]
    amount: Annotated[str | None, "credits released"]
    before: Annotated[dict[str, object], "the columns before"]
    after: Annotated[dict[str, object], "the columns after"]
    jobs_added: Annotated[int | None, "jobs that a re-enqueue really added; null for other kinds"]
    recipients_added: Annotated[int | None, "recipients in those jobs; null for other kinds"]
    parent_id: Annotated[int | None, "the repair that it was made together with, or that it undid"]
    undone_by: Annotated[int | None, "the repair that undid it"]
    undo: Annotated[str | None, "the command that undoes it; null where there is nothing to undo"]


class HistoryResult(TypedDict):
    """The journal."""

    repairs: Annotated[list[Repair], "the newest first"]
    more: Annotated[bool, "there are more than `--limit`"]


class FixResult(TypedDict):
    """What a manual fix did, or with a dry run would do."""

    target: Annotated[str, "the campaign, or the reservation"]
    changed: Annotated[bool, "something was changed; false with a dry run"]
    dry_run: Annotated[bool, "nothing was to be changed"]
    message: Annotated[str, "what was done, in words"]
    repair_ids: Annotated[list[int], "its entries in the journal"]
    undo: Annotated[str | None, "the command that undoes it; null where there is nothing to undo"]
    confirm: Annotated[str | None, "the command that does exactly this for real; null where it is done"]
    confirm_until: Annotated[str | None, "until when its code is valid"]


class CheckedFinding(TypedDict):
    """One thing that was examined."""

    check: Annotated[str, "what was examined"]
    level: Annotated[str, "`ok`, `note`, `warning` or `error`"]
    what: Annotated[str, "what was found"]
    mend: Annotated[str, "what mends it; may be empty"]


class DoctorResult(TypedDict):
    """What was examined and found."""

    level: Annotated[str, "the gravest of all findings"]
    findings: Annotated[list[CheckedFinding], "in the order of examination"]


class MigrateResult(TypedDict):
    """Schema `campaign_ops` before and after."""

    before: Annotated[str | None, "the revision before; null where the schema did not exist"]
    after: Annotated[str, "the revision now"]
    changed: Annotated[bool, "whether there was anything to do"]
    grants: Annotated[list[str] | None, "with `--grants`, the statements that give the role its rights; else null"]
    redis_acl: Annotated[
        list[str] | None,
        "with `--grants`, the commands that make the Redis user of a sweep and one that only reads; else null",
    ]


class ConfigResult(TypedDict):
    """One platform's settings, defaults filled in, secrets masked."""

    profile: Annotated[str, "name of its profile"]
    database_url: Annotated[str, "the database, passwords as `***`"]
    queue_url: Annotated[str | None, "the queue's Redis, credentials as `***`; null where there is no queue"]
    queue_name: Annotated[str | None, "the queue's name"]
    queue_prefix: Annotated[str | None, "BullMQ's key prefix"]
    contact: Annotated[str | None, "whom to ask"]
    schedule: Annotated[str, "when Dagster sweeps, in UTC"]
    thresholds: Annotated[dict[str, object], "when a campaign is looked at, and how much one sweep may do"]
    timeouts: Annotated[dict[str, float], "how long servers and network may take"]


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
