"""The health report: what a person on call wants to know first, as values and as Markdown. Pure.

Every figure names the campaigns behind it, at most ``SHOWN`` of them, with the count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from campaign_ops.core.causes import Cause
from campaign_ops.core.confirmation import Offer
from campaign_ops.core.console import Console
from campaign_ops.core.markdown import plain, table
from campaign_ops.core.model import RepairKind, Verdict
from campaign_ops.core.needs_person import people, person_section
from campaign_ops.core.plan import Plan, PlanItem
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.wording import SHOWN, duration, ids, plural, stuck_and_slow


@dataclass(frozen=True, slots=True)
class CreditLine:
    """One tenant's credits: all that are held, leaked by this sweep's plan, released by this sweep."""

    tenant: str
    held: Decimal
    leaked: Decimal
    released: Decimal


@dataclass(frozen=True, slots=True)
class RepairLine:
    """One kind of repair in this sweep.

    ``tripped``: a breaker held it back, and a person may confirm it. ``away``: a server was away.
    """

    kind: RepairKind
    planned: int
    done: int
    targets: tuple[str, ...] = ()
    detail: str = ""
    held_back: str | None = None
    tripped: bool = False
    failures: tuple[tuple[str, str], ...] = ()
    away: bool = False


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One platform after one sweep. ``before`` holds the headline figures of the sweep before.

    ``credits`` lists the tenants that hold most; ``credits_held`` is what all of them hold, None without reservations.
    ``offers`` are the codes that let pass what a breaker held back; ``no_offer`` says why there is none.
    """

    platform: str
    at: datetime
    plan: Plan
    recipients: Mapping[str, int] = field(default_factory=dict)
    queue: QueueState | None = None
    credits: Sequence[CreditLine] = ()
    credits_held: Decimal | None = None
    repairs: Sequence[RepairLine] = ()
    repairs_of_the_day: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)
    dry_run: bool = False
    alert_after_seconds: int = 1800
    offers: Sequence[Offer] = ()
    no_offer: str = ""

    @property
    def stuck(self) -> list[PlanItem]:
        """Every stuck campaign, as the sweep found it."""
        return [item for item in self.plan.items if item.verdict is not None and item.kind is not RepairKind.RECOUNT]

    @property
    def for_person(self) -> list[PlanItem]:
        """What no later sweep will mend, and this one did not. A re-enqueue connects no worker."""
        done = {line.kind: frozenset(line.targets) for line in self.repairs if line.done}
        completed, released = (done.get(kind, frozenset()) for kind in (RepairKind.COMPLETE, RepairKind.RELEASE))
        return [
            item
            for item in self.plan.items
            if item.needs_person and item.target not in (completed if item.verdict else released)
        ]

    @property
    def trouble(self) -> list[str]:
        """In words, what kept the sweep from its work."""
        return [what for what, _ in self.troubles]

    @property
    def troubles(self) -> list[tuple[str, Cause | None]]:
        """The same, each with its cause; without one, the next sweep tries again."""
        lines: list[tuple[str, Cause | None]] = [
            (f"{line.kind} held back: {line.held_back}", Cause.BREAKER if line.tripped else None)
            for line in self.repairs
            if line.held_back
        ]
        for line in self.repairs:
            lines += [(f"could not {line.kind} {target}: {why}", None) for target, why in line.failures]
        if self.queue is not None and self.queue.problem:
            lines.append((f"queue {self.queue.name}: {self.queue.problem}", Cause.QUEUE_UNREADABLE))
        return lines

    @property
    def source_away(self) -> bool:
        """Whether a server was away, so that the sweep could not see or do all that it should."""
        return any(line.away for line in self.repairs) or (self.queue is not None and self.queue.away)

    def figures(self) -> dict[str, int]:
        """The headline numbers, for plots and for comparing sweeps."""
        done = {line.kind: line.done for line in self.repairs}
        for_person = self.for_person
        return {
            "stuck": len(self.stuck),
            "stuck_over_alert": sum((item.stuck_seconds or 0) > self.alert_after_seconds for item in self.stuck),
            "oldest_stuck_seconds": max((item.stuck_seconds or 0 for item in self.stuck), default=0),
            "unsent": sum(item.unsent or 0 for item in self.stuck),
            "needs_person": sum(item.verdict is not None for item in for_person),
            "reservations_need_person": sum(item.verdict is None for item in for_person),
            "sending": self.plan.sending,
            "completed": done.get(RepairKind.COMPLETE, 0),
            "reenqueued": done.get(RepairKind.REENQUEUE, 0),
            "released": done.get(RepairKind.RELEASE, 0),
            "recounted": done.get(RepairKind.RECOUNT, 0),
            "doubled": sum(item.doubled or 0 for item in self.stuck),
            "more_releases": self.plan.more_releases,
        }

    def credit_figures(self) -> dict[str, str]:
        """Credits that are held, and those that are still held for nothing, as decimals; empty without reservations."""
        if self.credits_held is None:
            return {}
        released = {target for line in self.repairs if line.kind is RepairKind.RELEASE for target in line.targets}
        leaked = [item for item in self.plan.of(RepairKind.RELEASE) if item.target not in released or self.dry_run]
        total = sum((Decimal(item.amount or 0) for item in leaked), Decimal(0))
        return {"credits_held": str(self.credits_held), "credits_leaked": str(total)}

    @property
    def outcome(self) -> str:
        """How the sweep ended, for counting: ``source_away``, ``needs_person`` or ``done``."""
        if self.source_away:
            return "source_away"
        return "needs_person" if self.for_person or self.trouble else "done"


def by_verdict(report: HealthReport) -> list[tuple[Verdict, list[PlanItem]]]:
    """Stuck campaigns by verdict, in the order of judgement, the longest stuck first."""
    groups = [(verdict, [item for item in report.stuck if item.verdict is verdict]) for verdict in Verdict]
    return [(verdict, sorted(items, key=_oldest_first)) for verdict, items in groups if items]


def _oldest_first(item: PlanItem) -> tuple[int, str]:
    return (-(item.stuck_seconds or 0), item.target)


def render(report: HealthReport, console: Console | None = None) -> str:
    """The report as Markdown, with links to the campaigns' pages in the console, if there is one."""
    title = "# " + plain(f"{report.platform}: {headline(report)}")
    at = report.at.astimezone(UTC)
    looked = f"As of {at:%Y-%m-%d %H:%M:%S} UTC" + (" (dry run: nothing was changed)" if report.dry_run else "")
    sections = [
        title,
        looked,
        person_section(report, console),
        _stuck_section(report),
        _repairs_section(report),
        _recipients_section(report),
        _queue_section(report.queue, report.plan.doubts),
        _credit_section(report),
        _change_section(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def headline(report: HealthReport) -> str:
    """The whole report in one line."""
    figures = report.figures()
    lead = next(iter(report.trouble), people(figures["needs_person"], figures["reservations_need_person"]))
    slow = sum(item.verdict is Verdict.PROGRESSING for item in report.stuck)
    counts = stuck_and_slow(figures["stuck"] - slow, slow)
    return " ".join(f"{counts} of {figures['sending']} sending, {lead}".split())


def _stuck_section(report: HealthReport) -> str:
    if not report.stuck:
        return "## Stuck campaigns\n\nNone."
    rows = []
    for verdict, items in by_verdict(report):
        total, open_ = sum(item.total or 0 for item in items), sum(item.unsent or 0 for item in items)
        # Rounded down: 99.9 % is not 100 %.
        progress = f"{100 * (total - open_) // total}% of {total:,}" if total else "no recipients"
        rows.append(
            [
                verdict,
                str(len(items)),
                duration(max(item.stuck_seconds or 0 for item in items)),
                progress,
                drain_forecast(items),
                ids(item.target for item in items),
            ]
        )
    return "## Stuck campaigns\n\n" + table(["verdict", "count", "oldest", "done", "drains in", "campaigns"], rows)


def _repairs_section(report: HealthReport) -> str:
    heading = "## Repairs this sweep would make" if report.dry_run else "## Repairs"
    rows = [
        [
            line.kind,
            str(line.planned),
            str(line.done),
            str(report.repairs_of_the_day.get(line.kind, 0)),
            line.detail,
            ids(line.targets),
        ]
        for line in report.repairs
    ]
    return f"{heading}\n\n" + table(["repair", "planned", "done", "last 24 h", "", "what"], rows)


def _recipients_section(report: HealthReport) -> str:
    if not report.recipients:
        return ""
    rows = [[state, f"{count:,}"] for state, count in report.recipients.items()]
    return "## Recipients of stuck campaigns\n\n" + table(["state", "recipients"], rows)


def _queue_section(queue: QueueState | None, doubts: Sequence[str]) -> str:
    if queue is None:
        return "## Queue\n\nThis platform has none."
    if queue.problem:
        return f"## Queue {plain(queue.name)}\n\n{plain(queue.problem)}"
    if queue.parts:
        return _queues_section(queue, doubts)
    workers = "unknown" if queue.workers is None else str(queue.workers)
    rows = [[state, f"{count:,}"] for state, count in queue.counts.items()]
    paused = ", **paused**" if queue.paused else ""
    extra = "".join(f", {line}" for line in odd_jobs(queue))
    line = f"{queue.depth:,} waiting, {workers} workers{paused}{extra}; {plain(queue.version or 'no version')}"
    if queue.server_id is None:
        line += "\n\nThis Redis does not tell which process it is (INFO): a restart or replacement is not noticed."
    doubted = "".join(f"\n\n**{plain(doubt)}**" for doubt in doubts)
    return f"## Queue {plain(queue.name)}\n\n{line}{doubted}\n\n{table(['state', 'jobs'], rows)}"


def _queues_section(queue: QueueState, doubts: Sequence[str]) -> str:
    """Several queues: a row for each."""
    rows = [
        [
            plain(part.name) + (" (paused)" if part.paused else "") + ("" if part.exists else " (never used)"),
            f"{part.depth:,}",
            f"{part.live:,}",
            f"{part.counts.get('failed', 0):,}",
            "unknown" if part.workers is None else str(part.workers),
        ]
        for part in queue.parts
    ]
    extra = "".join(f", {line}" for line in odd_jobs(queue))
    doubted = "".join(f"\n\n**{plain(doubt)}**" for doubt in doubts)
    back = f"Batches are put back into {plain(queue.put_back)}. {queue.depth:,} waiting in all{extra}."
    return f"## Queues\n\n{back}{doubted}\n\n" + table(["queue", "waiting", "live", "failed", "workers"], rows)


def odd_jobs(queue: QueueState) -> list[str]:
    """In words, what a queue holds that is not an understood job."""
    odd = [
        (queue.orphans, "id", "without a job"),
        (queue.foreign_jobs, "job", "of other names"),
        (queue.doomed_jobs, "job", "that stalled too often (BullMQ before 5.53 sends, later ones fail)"),
        *((count, "job", f"{name} that cannot be understood") for name, count in sorted(queue.unclear_jobs.items())),
    ]
    return [f"{plural(count, noun)} {what}" for count, noun, what in odd if count]


def _credit_section(report: HealthReport) -> str:
    if not report.credits:
        return ""
    rows = [
        [line.tenant, f"{line.held:,}", f"{line.leaked:,}", f"{line.released:,}"] for line in report.credits[:SHOWN]
    ]
    more = len(report.credits) - SHOWN
    tail = f"\n\nand {more} more tenants" if more > 0 else ""
    return "## Credits\n\n" + table(["tenant", "held now", "found leaked", "released"], rows) + tail


def _change_section(report: HealthReport) -> str:
    if not report.before:
        return ""
    rows = [
        [name, str(report.before[name]), str(now), f"{now - report.before[name]:+d}"]
        for name, now in report.figures().items()
        if name in report.before
    ]
    return "## Change against the sweep before\n\n" + table(["figure", "before", "now", "change"], rows)


def drain_forecast(items: Sequence[PlanItem]) -> str:
    """The time until no recipient is pending, at the pace since the sweep before; unknown without one."""
    open_ = sum(item.unsent or 0 for item in items)
    paces = [item.drained_per_hour for item in items if item.drained_per_hour is not None]
    if not open_:
        return "-"
    if not paces:
        return "unknown"
    pace = sum(paces)
    return duration(round(open_ / pace * 3600)) if pace > 0 else "never at this pace"
