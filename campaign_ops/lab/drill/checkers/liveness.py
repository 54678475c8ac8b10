"""Figures about progress: what is stuck at the end, times and bounds, and how sweeps ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median

from campaign_ops.core.wording import HELD_BY
from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.checkers.figure import EXAMPLES, Figure, none_of, shown
from campaign_ops.lab.drill.checkers.records import PlanRow, Records
from campaign_ops.lab.drill.checkers.rows import clock
from campaign_ops.lab.drill.checkers.safety import LOOKING, touches
from campaign_ops.lab.drill.faults import FAULTS
from campaign_ops.lab.drill.faults.data import LoseCompletion, PoisonCampaign
from campaign_ops.postgres.database import Timeouts
from campaign_ops.sweep.act import GIVE_UP_AFTER

SWEEPS_AFTER = 3
PERSONS = frozenset({"unknown_status", "empty", "quarantined", "ambiguous"})
"""Verdicts with which a campaign may wait for a person. With workers running and the queue resumed, no other may."""
DAGSTER = "dagster"
LOCK_WAIT_SECONDS = 2.0
LATE_SECONDS = 1.0
"""How late a busy server may be in cancelling a statement."""
_SELF_CONTAINED = (PoisonCampaign.name, LoseCompletion.name)
"""Faults that touch no campaign except the one that they start."""
_TRIES, _KINDS, _BACK_OFF_SECONDS = 3, 3, 4


def still_stuck(records: Records) -> Figure:
    """Campaigns that are stuck after the faults and some more sweeps, and do not wait for a person."""
    latest = _latest_plan(records)
    persons = {key for key, _ in _theirs(records)}
    violations = []
    for key in _stuck(records):
        if key not in persons:
            row = latest.get(key)
            violations.append(f"{key}: {row.verdict}: {row.reason}" if row else f"{key}: in no plan")
    what = f"campaigns still stuck after the faults stop and {SWEEPS_AFTER} more sweeps"
    figure = none_of("still_stuck", what, violations)
    if not persons:
        return figure
    found = f"{figure.found} (+ {len(persons)} for a person)"
    return Figure(figure.key, what, "0", found, figure.holds, figure.examples)


def _for_a_person(row: PlanRow) -> bool:
    """Return whether no later sweep repairs it: by its verdict, a person's hold, or repairs refused too often."""
    return row.needs_person and (row.verdict in PERSONS or "refused 3 times" in row.reason or HELD_BY in row.reason)


def waiting(records: Records) -> tuple[tuple[str, str], ...]:
    """(campaign, reason) of the stuck campaigns that the last sweep left for a person."""
    return tuple((records.label(key), f"{row.verdict}: {row.reason}") for key, row in _theirs(records))


def _theirs(records: Records) -> list[tuple[str, PlanRow]]:
    latest = _latest_plan(records)
    stuck = [(key, latest.get(key)) for key in _stuck(records)]
    return [(key, row) for key, row in stuck if row is not None and _for_a_person(row)]


def _stuck(records: Records) -> list[str]:
    names, sending = records.names, records.profile.campaign.words.sending
    limit = records.now - records.policy.stuck_after
    return sorted(
        key
        for key, row in records.rows["campaign"].items()
        if names.value("campaign", row, "status") == sending and names.value("campaign", row, "updated_at") < limit
    )


def _latest_plan(records: Records) -> dict[str, PlanRow]:
    last = max((sweep.id for sweep in records.sweeps.values() if sweep.planned), default=None)
    return {row.target: row for row in records.plan if row.sweep_id == last}


def settled(records: Records) -> Figure:
    """Complete sweeps since the faults stopped."""
    ends = records.marked(ledger.SETTLING)
    complete = [
        sweep
        for sweep in records.sweeps.values()
        if ends and sweep.planned and sweep.started_at > ends[-1].at and sweep.finished_at is not None
    ]
    found = str(len(complete)) if ends else "the faults never stopped"
    what, least = "complete sweeps after the faults stopped", f">= {SWEEPS_AFTER}"
    return Figure("settled", what, least, found, len(complete) >= SWEEPS_AFTER)


def watched(records: Records) -> Figure:
    """The queue watcher's samples, up to the end: without them the absence of damage proves nothing."""
    looks = records.watched.looks
    late = records.now.timestamp() - records.watched.until
    holds = looks > 0 and late < 10
    found = f"{looks}" if holds or not looks else f"{looks}, the last {late:.0f} s ago"
    return Figure("watched", "samples of all live jobs, by an independent process", "> 0", found, holds)


def detection(records: Records) -> Figure:
    """Time from the moment a campaign became stuck to the first plan that lists it."""
    return _times("detection", "time from stuck to detected", _detected(records))


def repair_time(records: Records) -> Figure:
    """Time from the moment a campaign became stuck to its repair."""
    return _times("repair_time", "time from stuck to repaired", _repaired(records))


def _detected(records: Records) -> Iterator[tuple[float, str]]:
    planned: dict[str, list[PlanRow]] = {}
    for row in records.plan:
        planned.setdefault(row.target, []).append(row)
    for target, stuck_at in _episodes(records):
        moments = [row.observed_at for row in planned.get(target, ()) if row.observed_at >= stuck_at]
        if moments:
            yield (min(moments) - stuck_at) / timedelta(seconds=1), f"{target}, stuck at {clock(stuck_at)}"


def _repaired(records: Records) -> Iterator[tuple[float, str]]:
    for (target, stuck_at), (at, kind) in _episodes(records).items():
        yield (at - stuck_at) / timedelta(seconds=1), f"{target}, stuck at {clock(stuck_at)}, {kind} at {clock(at)}"


def _episodes(records: Records) -> dict[tuple[str, datetime], tuple[datetime, str]]:
    """The first repair of each campaign after its last change: (campaign, stuck at) to (effect at, kind)."""
    episodes: dict[tuple[str, datetime], tuple[datetime, str]] = {}
    for repair, touched, written_at in touches(records):
        if repair.kind == "complete":
            effects = [written_at]
        else:
            effects = [job.added_at for job in records.intents_of.get(repair.id, ()) if job.added_at is not None]
        if effects:
            episodes.setdefault((repair.target, touched + records.policy.stuck_after), (min(effects), repair.kind))
    return episodes


def _times(key: str, what: str, measured: Iterator[tuple[float, str]]) -> Figure:
    times = sorted(measured, reverse=True)
    if not times:
        return shown(key, what, "nothing was repaired")
    found = f"median {median(seconds for seconds, _ in times):.1f} s, worst {times[0][0]:.1f} s ({len(times)} times)"
    return shown(key, what, found, [f"{seconds:.1f} s: {line}" for seconds, line in times[:EXAMPLES]])


def sweep_bound(timeouts: Timeouts) -> float:
    """The longest time in seconds that a sweep may take, whatever goes wrong.

    The wait for the lock; two statements that use all their tries; each kind of repair meeting a locked page and then
    locked targets until it gives up; two Redis replies that never come.
    """
    statement = _TRIES * (timeouts.statement_seconds + timeouts.connect_seconds) + _BACK_OFF_SECONDS
    locked = _TRIES * timeouts.lock_seconds + _BACK_OFF_SECONDS
    repairs = _KINDS * (1 + GIVE_UP_AFTER) * locked
    return LOCK_WAIT_SECONDS + 2 * statement + repairs + 2 * (timeouts.connect_seconds + 3 * timeouts.queue_seconds)


def too_long(records: Records) -> Figure:
    """Sweeps that took longer than their bound. Dagster's own overhead has no bound."""
    bound = sweep_bound(records.stores.timeouts)
    violations = (
        f"{line.sweeper}: sweep {line.run_id} took {line.ended - line.began:.0f} s"
        for line in records.sweep_lines
        if line.ended - line.began > bound and not line.sweeper.startswith(DAGSTER)
    )
    return none_of("too_long", f"sweeps longer than their bound of {bound:.0f} s", violations)


def slow_statements(records: Records) -> Figure:
    """Statements of ours that ran longer than their timeout: nothing would have cancelled them."""
    bound = records.stores.timeouts.statement_seconds + LATE_SECONDS
    what = f"statements of campaign_ops that ran longer than {bound:.0f} s"
    if records.slow is None:
        return shown("slow_statements", what, "unknown: no access to the server's log")
    lines = (statement.line for statement in records.slow if statement.seconds > bound)
    return none_of("slow_statements", what, lines)


def starved(records: Records) -> Figure:
    """Finished campaigns that several complete sweeps did not repair because of another campaign."""
    what = f"finished campaigns that {SWEEPS_AFTER} complete sweeps skipped because another failed"
    return none_of("starved", what, _starved(records))


def _starved(records: Records) -> Iterator[str]:
    """Only sweeps that no other fault disturbed count: a locked row is left to the next sweep."""
    disturbed = list(_disturbances(records))
    passed: Counter[tuple[str, datetime | None]] = Counter()
    for row in records.plan:
        sweep = records.sweeps[row.sweep_id]
        if row.verdict != "finished" or "complete" in sweep.held_back:
            continue
        if records.label(row.target).startswith(PoisonCampaign.name):
            continue
        if row.needs_person:
            continue  # a person has undone its completion, or it was refused too often
        began, ended = row.observed_at, sweep.finished_at
        if ended is None or any(since <= ended and began <= until for since, until in disturbed):
            continue
        changes = records.campaign_changes.get(row.target, ())
        if any(began <= change.at <= ended + LOOKING for change in changes):
            continue  # completed, or touched by its application
        touched = [change.at for change in changes if change.at < began]
        episode = row.target, max(touched, default=None)
        passed[episode] += 1
        if passed[episode] == SWEEPS_AFTER:
            yield f"{row.target}: {row.reason}; sweep {row.sweep_id} was the last of {SWEEPS_AFTER} that skipped it"


def _disturbances(records: Records) -> Iterator[tuple[datetime, datetime]]:
    """(begin, end) of the times in which a fault may have kept a sweep from healthy rows."""
    lasting: dict[str, datetime] = {}
    for mark in records.marks:
        if mark.kind in (ledger.FAULT, ledger.AGAIN) and mark.text not in _SELF_CONTAINED:
            kind = FAULTS.get(mark.text)
            if kind is not None and kind().lasts:
                lasting.setdefault(mark.text, mark.at)
            else:
                yield mark.at - LOOKING, mark.at + LOOKING
        elif mark.kind == ledger.LOCK_LOSS:
            yield mark.at - LOOKING, mark.at + LOOKING
        elif mark.kind == ledger.END and mark.text in lasting:
            yield lasting.pop(mark.text) - LOOKING, mark.at + LOOKING
    yield from ((at - LOOKING, records.now) for at in lasting.values())


def denied(records: Records) -> Figure:
    """Statements of ours that PostgreSQL denied for lack of a privilege."""
    what = "statements that needed more than the documented grants"
    if records.denied is None:
        return shown("denied", what, "unknown: no access to the server's log")
    return none_of("denied", what, records.denied)


def unexpected(records: Records) -> Figure:
    """Sweeps that ended in an error outside our error tree: a user would have seen it raw."""
    violations = (f"{line.sweeper}: {line.error}" for line in records.sweep_lines if line.unexpected)
    return none_of("unexpected", "sweeps that ended in an unexpected error", violations)


def sweeps(records: Records) -> Figure:
    """The sweeps by outcome."""
    outcomes = Counter(line.outcome for line in records.sweep_lines)
    found = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common()) or "none"
    return shown("sweeps", "sweeps by outcome", found)
