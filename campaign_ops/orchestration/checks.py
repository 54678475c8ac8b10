"""Asset checks: what a person should know about the latest sweep.

They read our own tables, not the platform. None of them blocks, because the sweep itself makes repairs safe. Severity
is ERROR where a person must act, else WARN. Dagster's log of a run shows the description and the metadata.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from campaign_ops.core.causes import CAUSES, Cause
from campaign_ops.core.model import RepairKind
from campaign_ops.core.needs_person import alike, people
from campaign_ops.core.wording import duration, ids
from campaign_ops.orchestration.cron import ticks_since
from campaign_ops.orchestration.resources import PlatformSource, Resources, resource_of
from campaign_ops.profile.model import Profile
from campaign_ops.queries.latest import Latest, ask_latest
from campaign_ops.settings import PlatformSettings
from campaign_ops.sweep.records import STEP_OF
from campaign_ops.sweep.rows import plan_item

MISSED_TICKS = 3
"""After this many ticks of the schedule without a finished sweep, a person should find out why."""


@dataclass(frozen=True)
class Finding:
    """The result of a check. ``problem`` is empty when it passes; ``count`` is the number to plot.

    A check without evidence has a ``problem`` that begins with "unknown", and no count. ``for_person``: a person must
    act, no later sweep mends it. ``targets`` are the campaigns or reservations behind it.
    """

    count: int | None
    problem: str = ""
    for_person: bool = False
    targets: Sequence[str] = ()
    next_steps: Sequence[str] = ()

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """ERROR where a person must act."""
        return dg.AssetCheckSeverity.ERROR if self.for_person else dg.AssetCheckSeverity.WARN

    def metadata(self, counts: str) -> dict[str, Any]:
        """The number under its name, the ids, and what to do: what is not known is absent."""
        return {
            **({} if self.count is None else {counts: self.count}),
            **({"ids": ids(self.targets)} if self.targets else {}),
            # As text, one key each: the page of a check hides Markdown behind a button, and joins lines.
            **{f"next_step_{number}": step for number, step in enumerate(self.next_steps, start=1)},
        }


def _nothing_stuck_for_long(latest: Latest, platform: PlatformSettings) -> Finding:
    limit = platform.policy.alert_after_seconds
    completed = latest.repaired(RepairKind.COMPLETE, "stuck_campaigns", "completed_campaigns")
    rows = latest.rows("stuck_campaigns")
    left = [row for row in rows if (row["stuck_seconds"] or 0) > limit and row["campaign_id"] not in completed]
    return _finding([row["campaign_id"] for row in left], f"stuck for more than {duration(limit)}")


def _counters_agree(latest: Latest, _: PlatformSettings) -> Finding:
    raised = latest.repaired(RepairKind.RECOUNT, "recipient_status", "completed_campaigns")
    rows = latest.rows("recipient_status")
    drifting = [row for row in rows if row["drift"] and row["campaign_id"] not in raised]
    targets = [f"{row['campaign_id']} ({row['drift']})" for row in drifting]
    return _finding(targets, "with counters that differ from their rows")


def _queue_was_read(latest: Latest, platform: PlatformSettings) -> Finding:
    problem, _ = latest.queue_problem()
    step = CAUSES[Cause.QUEUE_UNREADABLE].next_step.format(platform=platform.name)
    return Finding(int(bool(problem)), problem, for_person=True, next_steps=[step] if problem else [])


def _no_recipient_in_two_jobs(latest: Latest, _: PlatformSettings) -> Finding:
    if problem := latest.queue_problem()[0]:
        return Finding(None, f"unknown: the queue could not be read, or not relied on: {problem}")
    rows = [row for row in latest.rows("repair_plan") if row["doubled"]]
    finding = _finding([row["target"] for row in rows], "with recipients in two live jobs")
    steps = ["remove one of the jobs from the queue before a worker takes both"] if rows else []
    return replace(finding, count=sum(row["doubled"] for row in rows), for_person=True, next_steps=steps)


def _no_leaked_reservation(latest: Latest, _: PlatformSettings) -> Finding:
    released = latest.repaired(RepairKind.RELEASE, "repair_plan", "released_credits")
    rows = latest.rows("repair_plan")
    left = [row["target"] for row in rows if row["kind"] == RepairKind.RELEASE and row["target"] not in released]
    finding = _finding(left, "reservations still held for nothing")
    if more := latest.figures("repair_plan").get("more_releases", 0):
        later = f"{more} more reservations held for nothing are left to later sweeps"
        return replace(finding, count=len(left) + more, problem="; ".join(filter(None, [finding.problem, later])))
    return finding


def _sweep_is_fresh(latest: Latest, platform: PlatformSettings) -> Finding:
    sweep, now = latest.finished(), latest.now()
    if sweep is None:
        return Finding(0, "no sweep has finished yet")
    finished = sweep.finished_at
    age = int((now - finished).total_seconds())
    missed = ticks_since(platform.schedule, finished, now, at_most=MISSED_TICKS)
    stale = f"the last sweep finished {duration(age)} ago; {missed} ticks of the schedule have passed since"
    if missed < MISSED_TICKS:
        return Finding(age)
    step = CAUSES[Cause.SWEEP_STALE].next_step.format(platform=platform.name)
    return Finding(age, stale, for_person=True, next_steps=[step])


def _nothing_needs_a_person(latest: Latest, platform: PlatformSettings) -> Finding:
    sweep = latest.finished()
    if sweep is None:
        return Finding(None, "unknown: no sweep has finished yet")
    repaired = latest.repaired_by(sweep.id)
    rows = [row for row in latest.rows_of("repair_plan", sweep.id, without=RepairKind.RELEASE) if row["needs_person"]]
    items = [item for item in map(plan_item, rows) if (RepairKind.COMPLETE.value, item.target) not in repaired]
    steps = {kind: sweep.figures.get(step, {}) for kind, step in STEP_OF.items()}
    held = [f"{kind} held back: {step['held_back']}" for kind, step in steps.items() if step.get("tripped")]
    campaigns = sum(item.verdict is not None for item in items)
    targets = [item.target for item in items]
    words = [*held, *([f"{people(campaigns, len(items) - campaigns)}: {ids(targets)}"] if items else [])]
    lines = [CAUSES[Cause.BREAKER].next_step.format(platform=platform.name)] if held else []
    return Finding(
        len(items) + len(held),
        "; ".join(words),
        for_person=True,
        targets=targets,
        next_steps=[*lines, *alike(items, platform.name)],
    )


def _finding(targets: Sequence[str], words: str) -> Finding:
    problem = f"{len(targets)} {words}: {ids(targets)}" if targets else ""
    return Finding(len(targets), problem, targets=targets)


def _has_queue(profile: Profile) -> bool:
    return profile.queue is not None


@dataclass(frozen=True)
class Check:
    """One check on an asset.

    Attributes:
        name: Its name in Dagster.
        asset: The asset whose page shows it.
        reads: The step of the sweep that it reads; None if it reads none.
        counts: Name of the number in its metadata.
        find: The check itself.
        description: What holds when it passes.
        applies: Whether it makes sense for a platform with this profile.
    """

    name: str
    asset: str
    reads: str | None
    counts: str
    find: Callable[[Latest, PlatformSettings], Finding]
    description: str
    applies: Callable[[Profile], bool] = lambda _: True

    def judge(self, latest: Latest, platform: PlatformSettings) -> Finding:
        """Its finding; unknown before any sweep has made the step that it reads."""
        if self.reads is not None and not latest.figures(self.reads):
            return Finding(None, "unknown: no sweep has looked yet")
        return self.find(latest, platform)


_CHECKS = (
    Check(
        "nothing_stuck_for_long",
        "stuck_campaigns",
        "stuck_campaigns",
        "stuck_over_alert",
        _nothing_stuck_for_long,
        "No campaign has been stuck for longer than `alert_after_seconds`, except those that the sweep completed.",
    ),
    Check(
        "counters_agree",
        "recipient_status",
        "recipient_status",
        "drifting",
        _counters_agree,
        "The counters of every stuck campaign agree with its recipients.",
        applies=lambda profile: profile.campaign.counters is not None,
    ),
    Check(
        "queue_was_read",
        "queue_state",
        "queue_state",
        "unread",
        _queue_was_read,
        "The latest sweep could read the queue and rely on the result.",
        applies=_has_queue,
    ),
    Check(
        "no_recipient_in_two_jobs",
        "repair_plan",
        "repair_plan",
        "doubled",
        _no_recipient_in_two_jobs,
        "No pending recipient of a stuck campaign is in two live jobs, which would send twice.",
        applies=_has_queue,
    ),
    Check(
        "no_leaked_reservation",
        "released_credits",
        "repair_plan",
        "leaked",
        _no_leaked_reservation,
        "All credits that the sweep found held for nothing have been released.",
        applies=lambda profile: profile.reservation is not None,
    ),
    Check(
        "nothing_needs_a_person",
        "campaign_health",
        None,
        "needs_person",
        _nothing_needs_a_person,
        "The latest sweep left nothing that only a person can mend, and no breaker held a repair back.",
    ),
    Check(
        "sweep_is_fresh",
        "campaign_health",
        None,
        "seconds_since_last_sweep",
        _sweep_is_fresh,
        f"A sweep has finished within the last {MISSED_TICKS} ticks of the schedule.",
    ),
)


def checks(platform: PlatformSettings) -> list[Check]:
    """The checks that make sense for this platform."""
    return [check for check in _CHECKS if check.applies(platform.profile)]


def sweep_checks(source: PlatformSource, resources: Resources) -> dg.AssetChecksDefinition:
    """The checks of one platform, in one step: they share a transaction."""
    platform, names = source.settings, source.names
    by_key = {dg.AssetCheckKey(names.asset(check.asset), check.name): check for check in checks(platform)}

    @dg.multi_asset_check(
        name=names.job("checks"),
        specs=[
            dg.AssetCheckSpec(key.name, asset=key.asset_key, description=check.description)
            for key, check in by_key.items()
        ],
        can_subset=True,
        resource_defs=resources,
        pool=names.pool,
    )
    def run_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        wanted = {key: check for key, check in by_key.items() if key in context.selected_asset_check_keys}
        with resource_of(context, names).platform() as watched:
            findings = ask_latest(
                watched, lambda latest: {key: check.judge(latest, platform) for key, check in wanted.items()}
            )
        for key, finding in findings.items():
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=not finding.problem,
                severity=finding.severity,
                description=finding.problem or "All is well.",
                metadata=finding.metadata(wanted[key].counts),
            )

    return run_checks
