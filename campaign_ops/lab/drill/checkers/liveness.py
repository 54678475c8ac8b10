"""How it ran: what is stuck in the end, how long things took, and what sweeps asked for that they must not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median

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
"""Verdicts with which a campaign may wait for a person. With workers hired and the queue resumed, no other may."""
DAGSTER = "dagster"
LOCK_WAIT_SECONDS = 2.0
LATE_SECONDS = 1.0
"""A server that has much to do ends a statement that much too late."""
_OF_THEIR_OWN = (PoisonCampaign.name, LoseCompletion.name)
"""Faults that touch no campaign but the one that they start."""
_TRIES, _KINDS, _BACK_OFF_SECONDS = 3, 3, 4


def still_stuck(records: Records) -> Figure:
    """Campaigns that are stuck when the faults are over and sweeps had their time, and wait for nobody."""
    latest = _latest_plan(records)
    persons = {key for key, _ in waiting(records)}
    culprits = []
    for key in _stuck(records):
        if key not in persons:
            row = latest.get(key)
            culprits.append(f"{key}: {row.verdict}: {row.reason}" if row else f"{key}: no sweep has seen it")
    what = f"campaigns still stuck after the faults stop and {SWEEPS_AFTER} more sweeps"
    figure = none_of("still_stuck", what, culprits)
    if not persons:
        return figure
    found = f"{figure.found} (+ {len(persons)} for a person)"
    return Figure(figure.key, what, "0", found, figure.holds, figure.examples)


def _for_a_person(row: PlanRow) -> bool:
    """Return whether no later sweep mends it: by its verdict, or as the database has refused its repair too often."""
    return row.needs_person and (row.verdict in PERSONS or "refused 3 times" in row.reason)


def waiting(records: Records) -> tuple[tuple[str, str], ...]:
    """(campaign, reason) of the stuck campaigns that the last sweep left to a person."""
    latest = _latest_plan(records)
    stuck = [(key, latest.get(key)) for key in _stuck(records)]
    theirs = [(key, row) for key, row in stuck if row is not None and _for_a_person(row)]
    return tuple((key, f"{row.verdict}: {row.reason}") for key, row in theirs)


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
    """Whole sweeps since the faults stopped."""
    ends = records.marked(ledger.SETTLING)
    whole = [
        sweep
        for sweep in records.sweeps.values()
        if ends and sweep.planned and sweep.started_at > ends[-1].at and sweep.finished_at is not None
    ]
    found = str(len(whole)) if ends else "the faults were never over"
    what, least = "whole sweeps after the faults stopped", f">= {SWEEPS_AFTER}"
    return Figure("settled", what, least, found, len(whole) >= SWEEPS_AFTER)


def watched(records: Records) -> Figure:
    """Whether somebody looked at the queue all the while: what nobody saw, nobody can deny."""
    looks = records.watched.looks
    late = records.now.timestamp() - records.watched.until
    holds = looks > 0 and late < 10
    found = f"{looks}" if holds or not looks else f"{looks}, the last {late:.0f} s ago"
    return Figure("watched", "looks at all live jobs, by somebody who belongs to nobody", "> 0", found, holds)


def detection(records: Records) -> Figure:
    """From the moment when a campaign was stuck to the first plan that names it."""
    return _times("detection", "detection time after a campaign was stuck", _detected(records))


def repair_time(records: Records) -> Figure:
    """From the moment when a campaign was stuck to its repair."""
    return _times("repair_time", "repair time after a campaign was stuck", _repaired(records))


def _detected(records: Records) -> Iterator[tuple[float, str]]:
    named: dict[str, list[PlanRow]] = {}
    for row in records.plan:
        named.setdefault(row.target, []).append(row)
    for target, stuck_at in _episodes(records):
        seen = [row.observed_at for row in named.get(target, ()) if row.observed_at >= stuck_at]
        if seen:
            yield (min(seen) - stuck_at) / timedelta(seconds=1), f"{target}, stuck at {clock(stuck_at)}"


def _repaired(records: Records) -> Iterator[tuple[float, str]]:
    for (target, stuck_at), (at, kind) in _episodes(records).items():
        yield (at - stuck_at) / timedelta(seconds=1), f"{target}, stuck at {clock(stuck_at)}, {kind} at {clock(at)}"


def _episodes(records: Records) -> dict[tuple[str, datetime], tuple[datetime, str]]:
    """First repair of each campaign since it was touched last: (campaign, stuck at) to (effect at, kind)."""
    found: dict[tuple[str, datetime], tuple[datetime, str]] = {}
    for repair, touched, written_at in touches(records):
        if repair.kind == "complete":
            effects = [written_at]
        else:
            effects = [job.added_at for job in records.intents_of.get(repair.id, ()) if job.added_at is not None]
        if effects:
            found.setdefault((repair.target, touched + records.policy.stuck_after), (min(effects), repair.kind))
    return found


def _times(key: str, what: str, found: Iterator[tuple[float, str]]) -> Figure:
    times = sorted(found, reverse=True)
    if not times:
        return shown(key, what, "nothing was repaired")
    told = f"median {median(seconds for seconds, _ in times):.1f} s, worst {times[0][0]:.1f} s ({len(times)} times)"
    return shown(key, what, told, [f"{seconds:.1f} s: {line}" for seconds, line in times[:EXAMPLES]])


def sweep_bound(timeouts: Timeouts) -> float:
    """Seconds that a sweep may take at most, whatever goes wrong.

    The wait for the lock; two statements that use up all their tries; every kind of repair that meets a locked page and
    then locked targets until it gives up; two answers of Redis that never come.
    """
    statement = _TRIES * (timeouts.statement_seconds + timeouts.connect_seconds) + _BACK_OFF_SECONDS
    locked = _TRIES * timeouts.lock_seconds + _BACK_OFF_SECONDS
    repairs = _KINDS * (1 + GIVE_UP_AFTER) * locked
    return LOCK_WAIT_SECONDS + 2 * statement + repairs + 2 * (timeouts.connect_seconds + 3 * timeouts.queue_seconds)


def too_long(records: Records) -> Figure:
    """Sweeps that took longer than their bounds allow. Dagster's time for itself has none."""
    bound = sweep_bound(records.stores.timeouts)
    culprits = (
        f"{line.sweeper}: sweep {line.run_id} took {line.ended - line.began:.0f} s"
        for line in records.sweep_lines
        if line.ended - line.began > bound and not line.sweeper.startswith(DAGSTER)
    )
    return none_of("too_long", f"sweeps longer than their bound of {bound:.0f} s", culprits)


def slow_statements(records: Records) -> Figure:
    """Statements of ours that went on for longer than a statement may: nobody would have ended them."""
    bound = records.stores.timeouts.statement_seconds + LATE_SECONDS
    what = f"statements of ours that ran for longer than {bound:.0f} s"
    if records.slow is None:
        return shown("slow_statements", what, "not known: the server's log is out of reach")
    return none_of("slow_statements", what, (one.line for one in records.slow if one.seconds > bound))


def starved(records: Records) -> Figure:
    """Finished campaigns that whole sweeps left as they were because of somebody else."""
    what = f"finished campaigns that {SWEEPS_AFTER} whole sweeps left behind because another failed"
    return none_of("starved", what, _starved(records))


def _starved(records: Records) -> Iterator[str]:
    """Only sweeps count that no other fault disturbed: a row that is locked is left to the next one."""
    disturbed = list(_disturbances(records))
    passed: Counter[tuple[str, datetime | None]] = Counter()
    for row in records.plan:
        sweep = records.sweeps[row.sweep_id]
        if row.verdict != "finished" or row.target.startswith(PoisonCampaign.name) or "complete" in sweep.held_back:
            continue
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
            yield f"{row.target}: {row.reason}; sweep {row.sweep_id} was the last of {SWEEPS_AFTER} that left it so"


def _disturbances(records: Records) -> Iterator[tuple[datetime, datetime]]:
    """From when to when a fault may have kept a sweep from rows that nothing was wrong with."""
    lasting: dict[str, datetime] = {}
    for mark in records.marks:
        if mark.kind in (ledger.FAULT, ledger.AGAIN) and mark.text not in _OF_THEIR_OWN:
            kind = FAULTS.get(mark.text)
            if kind is not None and kind().lasts:
                lasting.setdefault(mark.text, mark.at)
            else:
                yield mark.at - LOOKING, mark.at + LOOKING
        elif mark.kind == ledger.END and mark.text in lasting:
            yield lasting.pop(mark.text) - LOOKING, mark.at + LOOKING
    yield from ((at - LOOKING, records.now) for at in lasting.values())


def denied(records: Records) -> Figure:
    """What PostgreSQL refused us because we have no right to it."""
    what = "statements that asked for more than the documented grants"
    if records.denied is None:
        return shown("denied", what, "not known: the server's log is out of reach")
    return none_of("denied", what, records.denied)


def unexpected(records: Records) -> Figure:
    """Sweeps that ended in an error that is none of ours: it would have reached a user raw."""
    culprits = (f"{line.sweeper}: {line.error}" for line in records.sweep_lines if line.unexpected)
    return none_of("unexpected", "sweeps that ended in an error that no user should see", culprits)


def sweeps(records: Records) -> Figure:
    """What became of the sweeps."""
    outcomes = Counter(line.outcome for line in records.sweep_lines)
    told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common()) or "none"
    return shown("sweeps", "sweeps, by what became of them", told)
