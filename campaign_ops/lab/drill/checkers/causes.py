"""The causes that held at a moment, by the ledger's marks and the plans of sweeps: not by the watcher's looks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from campaign_ops.core.causes import Cause
from campaign_ops.core.model import PATIENT
from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.checkers.records import PlanRow, Records, SweepRow
from campaign_ops.lab.drill.faults import FAULTS
from campaign_ops.lab.drill.watcher import STALE_AFTER_SECONDS

VERDICTS = {
    "unknown_status": Cause.UNKNOWN_WORD,
    "quarantined": Cause.QUARANTINED,
    "ambiguous": Cause.AMBIGUOUS,
}
OF_A_PLAN = (*VERDICTS.values(), Cause.CREDITS_LEAKED, Cause.STUCK, Cause.BREAKER)
DATABASE = (
    "restart_postgres",
    "drop_connections",
    "table_lock",
    "serialization_failures",
    "deadlocks",
    "disk_full_on_report",
)
_REDIS = ("hang_redis", "redis_empty", "redis_old_data")
_LOST = ("redis_empty", "redis_old_data")
_WORKERS = ("restart_workers", "kill_worker_before_send", "kill_worker_after_send", "kill_worker_after_write")
FAULTS_OF: dict[Cause, Collection[str]] = {
    Cause.DATABASE_AWAY: DATABASE,
    Cause.QUEUE_UNREADABLE: _REDIS,
    Cause.QUEUE_EMPTIED: _LOST,
    Cause.SWEEP_STALE: ("stop_sweepers", "hang_sweepers", "table_lock"),
    Cause.WORKERS_RESTARTING: (*_WORKERS, *_REDIS, *DATABASE),  # a worker dies when it cannot write what it sent
    Cause.BREAKER: _LOST,
    Cause.UNKNOWN_WORD: ("unknown_word",),
    Cause.QUARANTINED: ("unsendable",),
    Cause.AMBIGUOUS: _WORKERS,
}
"""The faults that lead to a cause, for the time that it takes to notice it."""

AFTERWARDS = timedelta(seconds=10)
"""How long after its end a fault may be felt: reconnecting, retries, and two looks."""
LATE = timedelta(seconds=2)
"""The time from the moment in a row to its commit, and from a look to its rows: 1.5 s at a load of 12 on two cores."""
STALE = timedelta(seconds=STALE_AFTER_SECONDS)
_PLANS = 3


def held(records: Records, cause: Cause, at: datetime) -> bool:
    """Return whether the marks or the plans show that a cause held a moment before ``at``."""
    if cause is Cause.SWEEP_STALE:
        # A fix by a person is in the same table, and no sweep. A sweep may sleep before it commits its end.
        latest = {line.run_id: datetime.fromtimestamp(line.ended, UTC) for line in records.sweep_lines}
        ends = [
            (row.finished_at, latest.get(row.run_id, row.finished_at))
            for row in records.sweeps.values()
            if row.planned and row.finished_at is not None
        ]
        return not any(at - STALE < end and committed < at - LATE for end, committed in ends)
    if cause in OF_A_PLAN:
        return any(cause in causes_of(records, sweep) for sweep in plans_until(records, at))
    if cause is Cause.WORKERS_RESTARTING:  # the restarts of an hour
        return any(begin <= at for begin, _ in spans(records, FAULTS_OF[cause]))
    if cause is Cause.QUEUE_EMPTIED:  # until a person has confirmed that it may be believed
        return any(mark.at <= at for mark in records.marked(ledger.REDIS_LOSS))
    return any(begin <= at <= end + AFTERWARDS for begin, end in spans(records, FAULTS_OF.get(cause, ())))


def plans_until(records: Records, at: datetime, number: int = _PLANS) -> Sequence[SweepRow]:
    """The last sweeps with a plan that had finished by then, the oldest first."""
    finished = [row for row in records.sweeps.values() if row.planned and row.finished_at and row.finished_at <= at]
    return sorted(finished, key=lambda row: row.started_at)[-number:]


def causes_of(records: Records, sweep: SweepRow) -> frozenset[Cause]:
    """The causes that a sweep's plan shows."""
    causes = {_cause(records, row) for row in records.plan_of.get(sweep.id, ())}
    return frozenset(causes - {None} | ({Cause.BREAKER} if sweep.held_back else set()))  # type: ignore[arg-type]


def _cause(records: Records, row: PlanRow) -> Cause | None:
    if not row.verdict:
        return Cause.CREDITS_LEAKED if row.needs_person else None
    if row.verdict in VERDICTS:
        return VERDICTS[row.verdict]
    changes = [change for change in records.campaign_changes.get(row.target, ()) if change.at < row.observed_at]
    # By the row, not by the change: an undo puts the old moment back.
    touched = records.names.value("campaign", changes[-1].new, "updated_at") if changes else None
    age = row.observed_at - (touched or row.observed_at)
    old = age > timedelta(seconds=records.policy.alert_after_seconds) - LATE
    return Cause.STUCK if old and row.verdict not in {*map(str, PATIENT)} else None


def spans(records: Records, names: Collection[str]) -> Iterator[tuple[datetime, datetime]]:
    """(begin, end) of these faults; one that lasts and is not over lasts until now."""
    begins = [mark for mark in records.marks if mark.kind in (ledger.FAULT, ledger.AGAIN) and mark.text in names]
    ends = [mark for mark in records.marked(ledger.END) if mark.text in names]
    for mark in begins:
        last = records.now if FAULTS[mark.text]().lasts else mark.at
        yield mark.at, next((end.at for end in ends if end.text == mark.text and end.at >= mark.at), last)
