"""The console output of the demo: what was stuck and why, what was repaired, what was left alone and why."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.markup import escape

from campaign_ops.core.model import RepairKind
from campaign_ops.core.report import HealthReport, by_verdict
from campaign_ops.core.wording import duration, plural
from campaign_ops.lab.demo.platforms import DemoPlatform
from campaign_ops.platform import Platform
from campaign_ops.queries.history import repairs
from campaign_ops.settings import PlatformSettings, connect

Outcomes = Mapping[tuple[str, str], str]
"""(kind, target) of every repair of the latest sweep to its description."""


@dataclass(frozen=True, slots=True)
class PlatformCounts:
    """Counts of one platform: campaigns by status, live jobs, held credits. None if the platform has no such part."""

    campaigns: Mapping[str, int]
    jobs: int | None
    held: Decimal | None


def print_progress(console: Console, began: float, line: str) -> None:
    """Print one line with the seconds since the start."""
    _line(console, f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {escape(line)}")


def count_rows(platforms: Sequence[DemoPlatform]) -> str:
    """Describe the size of the demo."""
    campaigns = recipients = 0
    for platform in platforms:
        writer = platform.writer()
        with writer.engine.connect() as connection:
            campaigns += connection.scalar(sa.select(sa.func.count()).select_from(writer.tables.campaign)) or 0
            recipients += connection.scalar(sa.select(sa.func.count()).select_from(writer.tables.recipient)) or 0
        writer.close()
    return f"{campaigns} campaigns with {recipients:,} recipients"


def counts_of(platform: DemoPlatform) -> PlatformCounts:
    """Count the platform's campaigns, jobs and credits now."""
    writer = platform.writer()
    campaign = writer.tables.campaign
    status = sa.cast(campaign.c.status, sa.Text)
    held: Decimal | None = None
    with writer.engine.connect() as connection:
        rows = connection.execute(sa.select(status, sa.func.count()).group_by(status).order_by(status))
        campaigns = {str(word): int(count) for word, count in rows}
        if platform.profile.reservation is not None:
            reservation = writer.tables.reservations
            words = platform.profile.reservation.words
            total = sa.select(sa.func.coalesce(sa.func.sum(reservation.c.amount), 0))
            held = Decimal(connection.scalar(total.where(sa.cast(reservation.c.status, sa.Text) == words.held)) or 0)
    writer.close()
    return PlatformCounts(campaigns, _live_jobs(platform), held)


def _live_jobs(platform: DemoPlatform) -> int | None:
    if platform.queue_url is None or platform.name == "sms_outage":
        return None
    queue = platform.queue()
    jobs = len(queue.live_job_ids())
    queue.close()
    return jobs


def outcomes(platform: Platform) -> Outcomes:
    """The repairs of the latest sweep, from the journal."""

    def _read(connection: sa.Connection) -> Outcomes:
        step = platform.sweeps.latest_step(connection, "campaign_health")
        rows = platform.journal.repairs(connection, sweep_id=step[0], limit=1000) if step else []
        return {(row["kind"], row["target"]): _in_words(row) for row in rows}

    return platform.database.run(_read, read_only=True)


def _in_words(row: Mapping[str, object]) -> str:
    match row["kind"]:
        case RepairKind.COMPLETE:
            before, after = row["before"], row["after"]
            assert isinstance(before, dict)
            assert isinstance(after, dict)
            return f"completed: {before['status']} → {after['status']}"
        case RepairKind.REENQUEUE:
            return f"re-enqueued {row['recipients_added']} recipients in {plural(row['jobs_added'], 'job')}"
        case RepairKind.RELEASE:
            return f"released {row['amount']} credits"
        case kind:
            return f"{kind}ed"


def stored_report(platform: Platform) -> str:
    """The health report of the latest sweep, as the asset keeps it."""

    def _read(connection: sa.Connection) -> str:
        query = "SELECT markdown FROM campaign_ops.campaign_health WHERE platform = :platform"
        return str(connection.scalar(sa.text(query), {"platform": platform.name}) or "")

    return platform.database.run(_read, read_only=True)


def print_campaigns(console: Console, planned: HealthReport, done: Outcomes) -> None:
    """Print every stuck campaign: the verdict, the repair, and the evidence."""
    for verdict, items in by_verdict(planned):
        for item in items:
            kinds = (RepairKind.COMPLETE, RepairKind.REENQUEUE, RepairKind.RECOUNT)
            changes = [done[kind.value, item.target] for kind in kinds if (kind.value, item.target) in done]
            words = f"[green]{escape('; '.join(changes))}[/green]" if changes else "left alone"
            stuck = duration(item.stuck_seconds or 0)
            title = f"[bold]{escape(item.name)}[/bold] [dim]{escape(item.target)}, {stuck}[/dim]"
            _line(console, f"  {verdict:16} {title}  {words}{_person(needed=item.needs_person)}")
            _line(console, f"  {'':16} [dim]{escape(item.reason)}[/dim]")


def print_credits(console: Console, planned: HealthReport, done: Outcomes) -> None:
    """Print every reservation that needed a decision, and those released with their campaign."""
    released = {target: words for (kind, target), words in done.items() if kind == RepairKind.RELEASE}
    for item in planned.plan.items:
        if item.verdict is None:
            words = released.pop(item.target, "")
            outcome = f"[green]{words}[/green]" if words else f"held {item.amount} credits"
            person = _person(needed=item.needs_person)
            _line(console, f"  {'credits':16} [bold]{escape(item.target)}[/bold]  {outcome}{person}")
            _line(console, f"  {'':16} [dim]{escape(item.reason)}[/dim]")
    for target, words in released.items():
        _line(console, f"  {'credits':16} [bold]{escape(target)}[/bold]  [green]{words}[/green]")
        _line(console, f"  {'':16} [dim]released together with the completion of its campaign[/dim]")


def _person(*, needed: bool) -> str:
    return "  [yellow]needs a person[/yellow]" if needed else ""


def _line(console: Console, markup: str) -> None:
    console.print(markup, soft_wrap=True)


def print_counts(console: Console, before: PlatformCounts, after: PlatformCounts) -> None:
    """Print the counts before and after the sweep."""
    words = sorted(before.campaigns.keys() | after.campaigns.keys())
    changes = [f"{word} {before.campaigns.get(word, 0)} → {after.campaigns.get(word, 0)}" for word in words]
    line = f"campaigns: {', '.join(changes)}"
    if before.jobs is not None:
        line += f"; live jobs: {before.jobs} → {after.jobs}"
    if before.held is not None:
        line += f"; credits held: {before.held} → {after.held}"
    _line(console, f"  [bold]before → after[/bold]   {escape(line)}\n")


def print_next_steps(console: Console, reports: Path, profile: str) -> None:
    """Print what to try next."""
    other, program = "messenger" if profile == "sms" else "sms", _program()
    _line(console, f"\nThe health report of each platform:  {reports}/")
    _line(console, "Next:")
    _line(console, f"  {program} up  the same kind of platform with traffic, faults, and Dagster's web page")
    _line(console, f"  {program} demo --profile {other}  the other kind of platform")
    _line(console, f"  {program} init  a configuration for your own database")


def print_commands(console: Console, config: Path, settings: PlatformSettings, *, keep: bool) -> None:
    """Print three commands for the data of the demo: look, read the journal, undo the newest completion."""
    words = ["status", "history", f'undo {_newest_completion(settings)} --reason "a try"']
    where = "now, in another terminal" if keep else "`campaign-ops demo --keep` leaves the servers running for that"
    _line(console, f"\nTry it on this data ({where}):")
    for command in words:
        _line(console, f"  {escape(command_line(command, settings.name, config))}")
    if keep:
        _line(console, "\nThe servers run until Ctrl-C.")


def command_line(command: str, platform: str, config: Path) -> str:
    """A command as it can be typed here, with the program as it was called."""
    return f"{_program()} {command} --platform {platform} --config {shlex.quote(os.path.relpath(config))}"


def _program() -> str:
    """The program as it was called."""
    return "campaign-ops" if shutil.which("campaign-ops") else os.path.relpath(sys.argv[0])


def _newest_completion(settings: PlatformSettings) -> int:
    with closing(connect(settings)) as platform:
        return int(repairs(platform, kind=RepairKind.COMPLETE, limit=1).repairs[0]["id"])
