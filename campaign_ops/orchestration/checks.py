"""What a person should know about the latest sweep, as asset checks.

They read our own state tables and never the platform anew; safety lives in the sweep, so none of them blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from campaign_ops.core.model import RepairKind
from campaign_ops.core.report import ids
from campaign_ops.core.wording import duration
from campaign_ops.orchestration.cron import ticks_since
from campaign_ops.orchestration.names import asset_key, job_name, pool, resource_key
from campaign_ops.orchestration.resources import resource_of
from campaign_ops.queries.latest import Latest, ask_latest
from campaign_ops.settings import PlatformSettings

MISSED_TICKS = 3
"""So many ticks of the schedule without a finished sweep, and somebody should look why."""


@dataclass(frozen=True)
class Finding:
    """What a check found. ``problem`` is empty when all is well; ``count`` is what a person would plot.

    A check that cannot know says so in ``problem``, beginning with "unknown", and counts nothing.
    """

    count: int | None
    problem: str = ""
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN


def _nothing_stuck_for_long(latest: Latest, platform: PlatformSettings) -> Finding:
    limit = platform.policy.alert_after_seconds
    completed = latest.repaired(RepairKind.COMPLETE, "stuck_campaigns", "completed_campaigns")
    rows = latest.rows("stuck_campaigns")
    still = [row for row in rows if (row["stuck_seconds"] or 0) > limit and row["campaign_id"] not in completed]
    return _finding([row["campaign_id"] for row in still], f"stuck for more than {duration(limit)}")


def _counters_agree(latest: Latest, _: PlatformSettings) -> Finding:
    raised = latest.repaired(RepairKind.RECOUNT, "recipient_status", "completed_campaigns")
    rows = latest.rows("recipient_status")
    drifting = [row for row in rows if row["drift"] and row["campaign_id"] not in raised]
    return _finding([f"{row['campaign_id']} ({row['drift']})" for row in drifting], "with counters unlike their rows")


def _queue_was_read(latest: Latest, _: PlatformSettings) -> Finding:
    problem, away = latest.queue_problem()
    severity = dg.AssetCheckSeverity.ERROR if away else dg.AssetCheckSeverity.WARN
    return Finding(int(bool(problem)), problem, severity)


def _nobody_in_two_jobs(latest: Latest, _: PlatformSettings) -> Finding:
    if problem := latest.queue_problem()[0]:
        return Finding(None, f"unknown: the queue could not be read or not relied on: {problem}")
    rows = [row for row in latest.rows("repair_plan") if row["doubled"]]
    finding = _finding([row["target"] for row in rows], "with recipients in two live jobs")
    return Finding(sum(row["doubled"] for row in rows), finding.problem)


def _no_leaked_reservation(latest: Latest, _: PlatformSettings) -> Finding:
    released = latest.repaired(RepairKind.RELEASE, "repair_plan", "released_credits")
    rows = latest.rows("repair_plan")
    left = [row["target"] for row in rows if row["kind"] == RepairKind.RELEASE and row["target"] not in released]
    finding = _finding(left, "reservations still held for nothing")
    if more := latest.figures("repair_plan").get("more_releases", 0):
        later = f"{more} more reservations held for nothing are left to later sweeps"
        return Finding(finding.count + more, "; ".join(filter(None, [finding.problem, later])))
    return finding


def _sweep_is_fresh(latest: Latest, platform: PlatformSettings) -> Finding:
    finished, now = latest.finished_at(), latest.now()
    if finished is None:
        return Finding(0, "no sweep has come to its end yet")
    age = int((now - finished).total_seconds())
    missed = ticks_since(platform.schedule, finished, now, at_most=MISSED_TICKS)
    stale = f"the last sweep ended {duration(age)} ago, {missed} ticks of the schedule have passed since"
    return Finding(age, stale if missed >= MISSED_TICKS else "")


def _finding(what: Sequence[str], words: str) -> Finding:
    return Finding(len(what), f"{len(what)} {words}: {ids(what)}" if what else "")


_READ_FROM = {
    "stuck_campaigns": "stuck_campaigns",
    "recipient_status": "recipient_status",
    "queue_state": "queue_state",
    "repair_plan": "repair_plan",
    "released_credits": "repair_plan",
}
"""The step whose rows tell about an asset."""


@dataclass(frozen=True)
class Check:
    """One check, the asset that it is about, and the name of the number that it counts."""

    name: str
    asset: str
    counts: str
    find: Callable[[Latest, PlatformSettings], Finding]
    description: str

    def judge(self, latest: Latest, platform: PlatformSettings) -> Finding:
        """What it finds; unknown as long as no sweep has made the step that it is about."""
        if self.asset in _READ_FROM and not latest.figures(_READ_FROM[self.asset]):
            return Finding(None, "unknown: no sweep has looked yet")
        return self.find(latest, platform)


_CHECKS = (
    Check(
        "nothing_stuck_for_long",
        "stuck_campaigns",
        "stuck_over_alert",
        _nothing_stuck_for_long,
        "No campaign was stuck for longer than `alert_after_seconds`, apart from those that the sweep completed.",
    ),
    Check(
        "counters_agree",
        "recipient_status",
        "drifting",
        _counters_agree,
        "The counters of every stuck campaign say what its recipients say.",
    ),
    Check(
        "queue_was_read",
        "queue_state",
        "unread",
        _queue_was_read,
        "The latest sweep could read the queue and rely on what it read. ERROR when the queue was away.",
    ),
    Check(
        "nobody_in_two_jobs",
        "repair_plan",
        "doubled",
        _nobody_in_two_jobs,
        "No waiting recipient of a stuck campaign stands in two live jobs: they would be sent to twice.",
    ),
    Check(
        "no_leaked_reservation",
        "released_credits",
        "leaked",
        _no_leaked_reservation,
        "No credits that the sweep found held for nothing are held still.",
    ),
    Check(
        "sweep_is_fresh",
        "campaign_health",
        "seconds_since_last_sweep",
        _sweep_is_fresh,
        f"A sweep has come to its end within the last {MISSED_TICKS} ticks of the schedule.",
    ),
)


def checks(platform: PlatformSettings) -> Iterator[Check]:
    """The checks that make sense for this platform."""
    profile = platform.profile
    missing = {
        "counters_agree": profile.campaign.counters is None,
        "queue_was_read": profile.queue is None,
        "nobody_in_two_jobs": profile.queue is None,
        "no_leaked_reservation": profile.reservation is None,
    }
    return (check for check in _CHECKS if not missing.get(check.name, False))


def sweep_checks(platform: PlatformSettings) -> dg.AssetChecksDefinition:
    """The checks of one platform, in one step: they share a transaction."""
    mine = {dg.AssetCheckKey(asset_key(platform.name, check.asset), check.name): check for check in checks(platform)}

    @dg.multi_asset_check(
        name=job_name(platform.name, "checks"),
        specs=[
            dg.AssetCheckSpec(key.name, asset=key.asset_key, description=check.description)
            for key, check in mine.items()
        ],
        can_subset=True,
        required_resource_keys={resource_key(platform.name)},
        pool=pool(platform.name),
    )
    def run_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        wanted = {key: check for key, check in mine.items() if key in context.selected_asset_check_keys}
        with resource_of(context, platform.name).platform() as watched:
            found = ask_latest(
                watched, lambda latest: {key: check.judge(latest, platform) for key, check in wanted.items()}
            )
        for key, finding in found.items():
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=not finding.problem,
                severity=finding.severity,
                description=finding.problem or "All is well.",
                metadata={} if finding.count is None else {wanted[key].counts: finding.count},
            )

    return run_checks
