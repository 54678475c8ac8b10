"""The problems of a platform: from the records of its latest sweep, and from a look at its queue now.

A campaign belongs to one cause, by its verdict: one outage is one incident, however many campaigns wait for its end.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from campaign_ops.core.causes import OF_THE_QUEUE, Cause
from campaign_ops.core.errors import CampaignOpsError, DatabaseTimeout, DatabaseUnavailable
from campaign_ops.core.incidents import Look, Symptom
from campaign_ops.core.model import PATIENT, RepairKind, Verdict
from campaign_ops.core.next_steps import CAUSE_OF
from campaign_ops.core.policy import Policy
from campaign_ops.core.queue_state import QueueState
from campaign_ops.core.sighting import all_emptied
from campaign_ops.core.wording import counted, duration
from campaign_ops.journal.finished import FinishedSweep
from campaign_ops.platform import Platform
from campaign_ops.queries.latest import Latest, ask_latest
from campaign_ops.sweep.plan import read_queue_state
from campaign_ops.sweep.records import STEP_OF
from campaign_ops.sweep.rows import queue_of
from campaign_ops.watch.freshness import STALE_AFTER_SECONDS

log = logging.getLogger(__name__)

RESTARTS_AN_HOUR = 5
"""So many restarts or reconnects of a queue's workers in an hour, beyond one of each, are too many.

Each deployment of more than five workers, and each restart of Redis under them, was an incident.
"""
_BY_QUEUE = frozenset({RepairKind.COMPLETE, RepairKind.REENQUEUE})
_BY_ROW = (Cause.UNKNOWN_WORD, Cause.QUARANTINED, Cause.AMBIGUOUS, Cause.STUCK, Cause.CREDITS_LEAKED)
_NO_QUEUE = "the platform has no queue any more"
_HOLDS_NOTHING_BACK = "; no repair is held back by it: it ends once a person confirms that this is the queue"
_Row: TypeAlias = Mapping[str, Any]
_Campaigns: TypeAlias = Mapping[Cause, Sequence[_Row]]


def look_at(platform: Platform, *, stale_after_seconds: int = STALE_AFTER_SECONDS, ask_queue: bool = True) -> Look:
    """Look at a platform: what its latest sweep left, its queue now, and whether the database answers at all.

    Args:
        platform: The platform.
        stale_after_seconds: The age at which the last finished sweep is too old.
        ask_queue: Ask Redis, too; else the queue is as the sweep saw it.
    """
    try:
        if ask_queue:
            return look_and_keep(platform, stale_after_seconds=stale_after_seconds)
        return _look_from(platform, None, stale_after_seconds)
    except CampaignOpsError as error:
        return of_error(error)


def look_and_keep(platform: Platform, *, stale_after_seconds: int) -> Look:
    """Look, and keep what was seen of the queue and its workers.

    Raises:
        CampaignOpsError: The database did not answer; see `of_error`. Names of a queue for each tenant are there, too.
    """
    queue = read_queue_state(platform)
    if queue is not None:
        try:
            platform.database.run(lambda connection: platform.queue_looks.note(connection, queue.each))
        except CampaignOpsError as error:
            if is_away(error):
                raise
            log.warning("%s: the look at its queue was not kept: %s", platform.name, error)
    return _look_from(platform, queue, stale_after_seconds)


def is_away(error: CampaignOpsError) -> bool:
    """Return whether the database cannot be reached; one that waits for a lock may take other statements."""
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseTimeout)


def _look_from(platform: Platform, queue: QueueState | None, stale_after_seconds: int) -> Look:
    return ask_latest(platform, lambda latest: _look(platform, latest, queue, stale_after_seconds))


def of_error(error: CampaignOpsError) -> Look:
    """The look that an error of a platform's database amounts to."""
    cause = Cause.DATABASE_AWAY if isinstance(error, DatabaseUnavailable) else Cause.CONFIGURATION_BROKEN
    return Look((Symptom(cause, detail=str(error)),), {cause: ""})


def _look(platform: Platform, latest: Latest, queue: QueueState | None, stale_after_seconds: int) -> Look:
    sweep = latest.finished()
    look = Look(judged={Cause.DATABASE_AWAY: "", Cause.CONFIGURATION_BROKEN: ""})
    look |= _age(latest, sweep, stale_after_seconds)
    emptied = _emptied(latest, _names(latest, sweep, queue)) if platform.queue is not None else ""
    campaigns: _Campaigns = {}
    if sweep is not None and "repair_plan" in sweep.figures:  # a run of Dagster may be of some steps only
        held = _held_back(sweep.figures, emptied=bool(emptied))
        # A plan may hold 20,000 releases, and a watcher reads it each minute.
        without = RepairKind.RELEASE if RepairKind.RELEASE.value not in held else None
        rows = latest.rows_of("repair_plan", sweep.id, without=without)
        campaigns = _by_cause(rows, latest.repaired_by(sweep.id), held, platform.policy)
        symptoms = [_concerning(cause, campaigns[cause]) for cause in _BY_ROW if campaigns.get(cause)]
        if why := "; ".join(
            f"{kind} held back: {why}" for kind, (cause, why) in held.items() if cause is Cause.BREAKER
        ):
            symptoms.append(_concerning(Cause.BREAKER, campaigns.get(Cause.BREAKER, ()), why))
        look |= Look(tuple(symptoms), dict.fromkeys((*_BY_ROW, Cause.BREAKER), f"sweep {sweep.id}"))
    if platform.queue is not None:
        held_up = campaigns.get(Cause.QUEUE_EMPTIED, ())
        symptom = _concerning(Cause.QUEUE_EMPTIED, held_up, emptied if held_up else emptied + _HOLDS_NOTHING_BACK)
        look |= Look((symptom,) if emptied else (), {Cause.QUEUE_EMPTIED: ""})
        look |= _queue(latest, sweep, queue, campaigns, platform.policy)
        look |= _restarts(latest)
    else:  # it may have been taken out of the profile while something was wrong with it
        look |= Look((), dict.fromkeys(OF_THE_QUEUE, ""), dict.fromkeys(OF_THE_QUEUE, _NO_QUEUE))
    return look


def _age(latest: Latest, sweep: FinishedSweep | None, stale_after_seconds: int) -> Look:
    if sweep is None:
        # A platform that was set up a minute ago has none either.
        symptom = Symptom(Cause.SWEEP_STALE, detail="no sweep has finished yet", lasting_seconds=stale_after_seconds)
        return Look((symptom,), {Cause.SWEEP_STALE: ""})
    seconds = int((latest.now() - sweep.finished_at).total_seconds())
    stale = (Symptom(Cause.SWEEP_STALE, detail=f"the last sweep finished {duration(seconds)} ago"),)
    return Look(stale if seconds > stale_after_seconds else (), {Cause.SWEEP_STALE: ""})


def _restarts(latest: Latest) -> Look:
    """Workers that restart again and again, from what the looks of the last hour noticed."""
    health = latest.workers()
    often = {queue.queue: queue.restarts_last_hour for queue in health if queue.restarts_again >= RESTARTS_AN_HOUR}
    detail = "; ".join(f"queue {queue}: {restarts} restarts in the last hour" for queue, restarts in often.items())
    symptoms = (Symptom(Cause.WORKERS_RESTARTING, count=sum(often.values()), detail=detail),) if often else ()
    return Look(symptoms, {Cause.WORKERS_RESTARTING: ""} if health else {})


def _by_cause(
    rows: Sequence[_Row], repaired: set[tuple[str, str]], held: Mapping[str, tuple[Cause, str]], policy: Policy
) -> _Campaigns:
    """The lines of a plan by cause, the longest stuck first, apart from what the plan's sweep repaired."""
    stuck = {row["target"] for row in rows if row["verdict"]}
    groups = defaultdict(list)
    for row in rows:
        if (row["kind"], row["target"]) in repaired:
            continue
        if row["kind"] in held:
            groups[held[row["kind"]][0]].append(row)
        elif cause := _cause_of(row, stuck, policy):
            groups[cause].append(row)
    for group in groups.values():
        group.sort(key=lambda row: (-(row["stuck_seconds"] or 0), row["target"]))
    return groups


def _cause_of(row: _Row, stuck: Collection[str], policy: Policy) -> Cause | None:
    if row["kind"] == RepairKind.RECOUNT:
        return None
    if not row["verdict"]:
        # No sweep will release it. While its campaign is stuck, that is what is wrong.
        return Cause.CREDITS_LEAKED if row["needs_person"] and row["campaign_id"] not in stuck else None
    verdict = Verdict(row["verdict"])
    if verdict in CAUSE_OF:
        return CAUSE_OF[verdict]
    old = (row["stuck_seconds"] or 0) > policy.alert_after_seconds
    return Cause.STUCK if old and verdict not in PATIENT else None


def _concerning(cause: Cause, rows: Sequence[_Row], detail: str = "") -> Symptom:
    """A symptom that these rows of the plan are behind."""
    return Symptom(
        cause,
        count=len(rows),
        campaigns=tuple(dict.fromkeys(row["campaign_id"] for row in rows if row["campaign_id"])),
        tenants=tuple(sorted({row["tenant"] for row in rows if row["tenant"]})),
        detail=detail or (f"{rows[0]['target']}: {rows[0]['reason']}" if rows else ""),
    )


def _held_back(figures: Mapping[str, Any], *, emptied: bool) -> dict[str, tuple[Cause, str]]:
    """The kinds of repair that a breaker really held back, with the cause and the breaker's words.

    A plan that a person has confirmed shows its breakers, too: the repairing steps say what was done. What relies on a
    queue that was emptied is held back by that.
    """
    steps = {kind: figures[step] for kind, step in STEP_OF.items() if figures.get(step, {}).get("tripped")}
    return {
        kind.value: (Cause.QUEUE_EMPTIED if emptied and kind in _BY_QUEUE else Cause.BREAKER, step["held_back"])
        for kind, step in steps.items()
    }


def _emptied(latest: Latest, names: Collection[str]) -> str:
    """Say how one of these queues was emptied, until a person confirms that it may be believed; else empty text."""
    return all_emptied({name: sighting for name, sighting in latest.sightings().items() if name in names})


def _names(latest: Latest, sweep: FinishedSweep | None, queue: QueueState | None) -> set[str]:
    """The queues that are read: of another one that was emptied, no plan has anything to confirm."""
    if queue is not None:
        return {part.name for part in queue.each}
    return set() if sweep is None else {queue_of(row).name for row in latest.rows_of("queue_state", sweep.id)}


def _queue(
    latest: Latest,
    sweep: FinishedSweep | None,
    now: QueueState | None,
    campaigns: _Campaigns,
    policy: Policy,
) -> Look:
    """The queue as it is now, unless the sweep, which read more of it, found what must not be acted on."""
    plan = sweep.figures.get("repair_plan", {}) if sweep is not None else {}
    unclear = plan.get("queue_problem") and not plan.get("queue_away")
    if now is not None and (now.problem or not unclear):
        read = now.parts if now.put_back else now.each  # where no tenant sends, there is no queue to wait in
        return _of_queues(read, now.problem or "", campaigns, policy, "")
    if sweep is None or not plan:
        return Look()
    parts = [queue_of(row) for row in latest.rows_of("queue_state", sweep.id)]
    problem = plan.get("queue_problem") or next((part.problem for part in parts if part.problem), None)
    return _of_queues(parts, problem or "", campaigns, policy, f"sweep {sweep.id}")


def _of_queues(parts: Sequence[QueueState], problem: str, campaigns: _Campaigns, policy: Policy, evidence: str) -> Look:
    """The problems of queues read at one moment. Workers are judged only where Redis lists them."""

    def concerning(cause: Cause, detail: str) -> Symptom:
        return _concerning(cause, campaigns.get(cause, ()), detail)

    if problem:
        return Look((concerning(Cause.QUEUE_UNREADABLE, problem),), {Cause.QUEUE_UNREADABLE: evidence})
    judged = [Cause.QUEUE_UNREADABLE, Cause.QUEUE_PAUSED, Cause.BACKLOG]
    symptoms = []
    if paused := [part for part in parts if part.paused and part.live]:
        symptoms.append(concerning(Cause.QUEUE_PAUSED, _waiting(paused)))
    if all(part.workers is not None for part in parts):
        judged.append(Cause.NO_WORKERS)
        if idle := [part for part in parts if part.workers == 0 and part.depth and not part.paused]:
            symptom = concerning(Cause.NO_WORKERS, _waiting(idle))
            symptoms.append(replace(symptom, count=sum(part.depth for part in idle)))
    depth = sum(part.depth for part in parts)
    if depth > policy.backlog_limit:
        detail = f"{depth:,} jobs wait, more than {policy.backlog_limit:,}"
        symptoms.append(Symptom(Cause.BACKLOG, count=depth, detail=detail))
    return Look(tuple(symptoms), dict.fromkeys(judged, evidence))


def _waiting(parts: Sequence[QueueState]) -> str:
    return "; ".join(f"queue {part.name}: {counted(part.depth, 'job')} waiting" for part in parts)
