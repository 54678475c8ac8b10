"""Figures about the rules that make repairs safe: age, unknown statuses, coverage, breaker, quarantine, sweep lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.checkers.figure import Figure, none_of
from campaign_ops.lab.drill.checkers.records import Records, Repair, SweepRow
from campaign_ops.lab.drill.checkers.rows import clock
from campaign_ops.lab.drill.checkers.sending import completed_by_us

LOOKING = timedelta(seconds=1)
"""The longest time between an observation and the write based on it; commits within it are not violations."""

AFTER_LOSS = timedelta(seconds=30)
"""The longest time for which a fix, or a sweep that sleeps, may go on writing rows after its lock was lost; it adds no
job, and each row that it writes is guarded."""
NOTED_WITHIN = timedelta(seconds=5)


def in_two_jobs(records: Records) -> Figure:
    """Recipients that we added to a job while another live job had them."""
    what = "recipients that a re-enqueue put into a second live job"
    lines = (f"{recipient}: in {', '.join(job_ids)} at {clock(at)}" for at, recipient, job_ids in doubled(records))
    return none_of("in_two_jobs", what, lines)


def doubled(records: Records) -> Iterator[tuple[datetime, str, Sequence[str]]]:
    """(time, recipient, jobs) of each recipient that we added to a second live job."""
    restored = [excuse for excuse in records.excuses if excuse.kind == "restored"]
    for double in records.watched.doubled:
        at, recipient = datetime.fromtimestamp(double.at, UTC), double.recipient_id
        # The jobs are live again a moment before the note about them is written.
        if not any(excuse.recipient_id == recipient and excuse.at <= at + NOTED_WITHIN for excuse in restored):
            yield at, recipient, double.job_ids


def beyond_breaker(records: Records) -> Figure:
    """Campaigns that a sweep completed or re-enqueued beyond the breaker's limit without a person's confirmation."""
    return none_of(
        "beyond_breaker", "campaigns repaired beyond the breaker without confirmation", _beyond_breaker(records)
    )


def _beyond_breaker(records: Records) -> Iterator[str]:
    confirmed = {mark.text for mark in records.marked(ledger.CONFIRMED)}
    sending = _sending_over_time(records)
    for kind in ("complete", "reenqueue"):
        by_sweep: dict[int, list[Repair]] = {}
        for repair in records.by_sweeps(kind):
            by_sweep.setdefault(repair.sweep_id, []).append(repair)
        for sweep_id, repairs in by_sweep.items():
            sweep, planned_at = records.sweeps[sweep_id], records.planned_at(sweep_id)
            if sweep.run_id in confirmed or planned_at is None:
                continue
            many = _most(sending, planned_at - LOOKING, repairs[0].at)
            suspect = kind == "reenqueue" and _suspect(records, planned_at)
            floor = 0 if suspect else records.policy.breaker_floor
            if len(repairs) > floor and len(repairs) > records.policy.breaker_share * many:
                why = ", Redis just restarted" if suspect else ""
                for repair in repairs:
                    yield f"{repair}: one of {len(repairs)} in a sweep, {many} sending{why}"


def alarm_ignored(records: Records) -> Figure:
    """Campaigns that a sweep re-enqueued after the queue had been emptied, before a person confirmed anything."""
    what = "campaigns re-enqueued into an emptied queue without confirmation"
    return none_of("alarm_ignored", what, _alarms_ignored(records))


def _alarms_ignored(records: Records) -> Iterator[str]:
    looked = [sweep.finished_at for sweep in records.sweeps.values() if sweep.planned and sweep.finished_at]
    # A queue that no sweep has looked at before it was emptied looks like a new one.
    known = min(looked, default=records.now)
    emptied = [mark.at for mark in records.marked(ledger.REDIS_LOSS) if mark.text == ledger.EMPTIED]
    losses = [at for at in emptied if at > known]
    confirmed = [mark.at for mark in records.marked(ledger.CONFIRMED)]
    for repair in records.by_sweeps("reenqueue"):
        intended = [job.intended_at for job in records.intents_of.get(repair.id, ()) if job.added_at is not None]
        before = [at for at in losses if intended and at < min(intended)]
        if before and not any(before[-1] < at < min(intended) for at in confirmed):
            yield f"{repair}: intended at {clock(min(intended))}, the queue was emptied at {clock(before[-1])}"


def _suspect(records: Records, planned_at: datetime) -> bool:
    """Return whether Redis had lost data shortly before, without a confirmation since."""
    confirmed = [mark.at for mark in records.marked(ledger.CONFIRMED)]
    losses = [mark.at for mark in records.marked(ledger.REDIS_LOSS) if mark.at < planned_at]
    if not losses or any(losses[-1] < at < planned_at for at in confirmed):
        return False
    return planned_at - losses[-1] < records.policy.stuck_after + records.policy.cooldown


def _sending_over_time(records: Records) -> list[tuple[datetime, int]]:
    word, names, count = records.profile.campaign.words.sending, records.names, 0
    steps: list[tuple[datetime, int]] = []
    for change in records.of("campaign"):
        count += names.text("campaign", change.new, "status") == word
        count -= names.text("campaign", change.old, "status") == word
        steps.append((change.at, count))
    return steps


def _most(steps: Sequence[tuple[datetime, int]], since: datetime, until: datetime) -> int:
    """The highest count between two moments, including the count at the first."""
    before = [count for at, count in steps if at < since][-1:]
    return max([*before, *(count for at, count in steps if since <= at <= until)], default=0)


def too_young(records: Records) -> Figure:
    """Campaigns that a sweep repaired before they had been untouched for ``stuck_after``."""
    limit = records.policy.stuck_after
    violations = (
        f"{repair}: touched {(at - touched).total_seconds():.2f} s before"
        for repair, touched, at in touches(records)
        if at - touched < limit
    )
    return none_of("too_young", "campaigns repaired before they were stuck", violations)


def touches(records: Records) -> Iterator[tuple[Repair, datetime, datetime]]:
    """(repair, last change of its campaign before it, time of the write) of completions and re-enqueues by sweeps."""
    for repair in records.by_sweeps("complete", "reenqueue"):
        written = records.journaled.get(repair.id)
        if written is None:
            continue
        if repair.kind == "complete":
            changes = records.change_of.get((written.txid, "campaign", repair.target))
            row = changes[0].old if changes else None
        else:
            row = written.campaign
            # Touched during the repair: it was decided on the row as it was before.
            for change in records.campaign_changes.get(repair.target, ()):
                if repair.at - LOOKING < change.at <= written.at and change.old is not None:
                    row = change.old
                    break
        touched = records.names.value("campaign", row, "updated_at")
        if touched is not None:
            yield repair, touched, written.at


def unknown_repaired(records: Records) -> Figure:
    """Campaigns that we repaired although a recipient had an unknown status."""
    return none_of("unknown_repaired", "campaigns repaired despite an unknown recipient status", _unknown(records))


def _unknown(records: Records) -> Iterator[str]:
    since: dict[str, datetime] = {}
    for change in records.of("recipient"):
        if change.new is not None:
            since.setdefault(change.new["campaign_id"], change.at)
    completed = {(change.txid, change.key): change.recipients for change in records.of("campaign") if change.recipients}
    for repair in records.repairs:
        written = records.journaled.get(repair.id)
        if written is None or repair.kind not in ("complete", "reenqueue"):
            continue
        if repair.kind == "complete":
            counts, known = completed.get((written.txid, repair.target)), True
        else:
            # A re-enqueue relies on its observation: a status that came later could not be known.
            looked_at = records.planned_at(repair.sweep_id) or repair.at - LOOKING
            counts, known = written.recipients, repair.target in since and since[repair.target] < looked_at
        if counts is not None and counts.unknown and known:
            yield f"{repair}: {counts.unknown} recipients with a status that the profile does not know"


def finished_in_queue(records: Records) -> Figure:
    """Campaigns that we ended while a live job listed them, from a moment before to a moment after."""
    what = "campaigns completed while a live job listed them"
    return none_of("finished_in_queue", what, _finished_in_queue(records))


def _finished_in_queue(records: Records) -> Iterator[str]:
    for change in completed_by_us(records):
        for begun in _seen_since(records.watched.busy, change.key, change.at):
            yield f"{change.key}: completed at {clock(change.at)}, in a live job since {clock(begun)}"


def _seen_since(spans: Mapping[str, Mapping[float, float]], campaign: str, at: datetime) -> Iterator[datetime]:
    """The begin of each of the queue watcher's spans of a campaign that lasted at a moment, and a moment before."""
    for since, until in spans.get(campaign, {}).items():
        begun, ended = (datetime.fromtimestamp(moment, UTC) for moment in (since, until))
        if begun < at - LOOKING and at < ended:
            yield begun


def repaired_in_doubt(records: Records) -> Figure:
    """Campaigns that a sweep repaired while a live job that it could not understand had named them for a moment."""
    what = "campaigns repaired while a job that cannot be understood named them"
    return none_of("repaired_in_doubt", what, _repaired_in_doubt(records))


def _repaired_in_doubt(records: Records) -> Iterator[str]:
    moments = [(repair.target, repair.at, str(repair)) for repair in records.by_sweeps("complete")]
    for repair in records.by_sweeps("reenqueue"):
        jobs = [job for job in records.intents_of.get(repair.id, ()) if job.added_at is not None]
        moments += [(repair.target, job.intended_at, f"{repair}, job {job.job_id}") for job in jobs]
    for campaign, at, what in moments:
        for begun in _seen_since(records.watched.unclear, campaign, at):
            yield f"{what}: at {clock(at)}, named by such a job since {clock(begun)}"


def in_vain(records: Records) -> Figure:
    """Campaigns re-enqueued more often than ``max_attempts`` without a recipient being sent to in between."""
    return none_of("in_vain", "campaigns re-enqueued without progress more often than allowed", _in_vain(records))


def _in_vain(records: Records) -> Iterator[str]:
    most = records.policy.max_attempts
    streaks: Counter[str] = Counter()
    waiting: dict[str, int] = {}
    by_sweeps = {repair.id for repair in records.by_sweeps("reenqueue")}
    for repair in records.repairs:
        if repair.kind == "lift":
            streaks[repair.target] = 0
        if repair.id not in by_sweeps or not _took_effect(records, repair):
            continue
        written = records.journaled.get(repair.id)
        if written is None or written.recipients is None:
            continue
        left = written.recipients.waiting
        if left < waiting.get(repair.target, left + 1):
            streaks[repair.target] = 0
        streaks[repair.target] += _whole(records, repair)
        # The sweep counted a little earlier than the ledger, and may have seen more recipients waiting.
        planned = [row.unsent or 0 for row in records.plan_of.get(repair.sweep_id, ()) if row.target == repair.target]
        waiting[repair.target] = max([left, *planned])
        if streaks[repair.target] > most:
            yield f"{repair}: attempt {streaks[repair.target]} without progress, {left} recipients still waiting"


def _took_effect(records: Records, repair: Repair) -> bool:
    jobs = records.intents_of.get(repair.id, ())
    return any(job.added_at is not None or job.job_id in records.watched.jobs for job in jobs)


def _whole(records: Records, repair: Repair) -> bool:
    """Return whether all its intended jobs were added: a partial attempt is completed by the next one."""
    return all(job.added_at is not None for job in records.intents_of.get(repair.id, ()))


def overlapping(records: Records) -> Figure:
    """Repairs written while their sweep did not hold the lock, although no fault had taken it away."""
    return none_of("overlapping", "repairs written without holding the sweep lock", _overlapping(records))


def _overlapping(records: Records) -> Iterator[str]:
    kinds = (ledger.FAULT, ledger.AGAIN, ledger.END, ledger.REDIS_LOSS, ledger.LOCK_LOSS)
    faults = [mark.at for mark in records.marks if mark.kind in kinds]
    losses = records.marked(ledger.LOCK_LOSS)
    for repair in records.repairs:
        written = records.journaled.get(repair.id)
        if written is None or written.lock_holder == written.application:
            continue
        # A person's fix is journaled as begun only after it has looked, perhaps without the lock by then.
        if any(loss.text == written.application and loss.at < written.at < loss.at + AFTER_LOSS for loss in losses):
            continue
        sweep: SweepRow = records.sweeps[repair.sweep_id]
        if any(sweep.started_at - LOOKING <= at <= written.at + LOOKING for at in faults):
            continue  # a broken connection loses the lock; the premise in the write still guards the row
        holder = written.lock_holder or "no process"
        yield f"{repair}: {holder} held the sweep lock at {clock(written.at)}"


def added_unlocked(records: Records) -> Figure:
    """Jobs that a sweep added when it had lost the lock for more than a moment."""
    return none_of("added_unlocked", "jobs added after their sweep had lost the lock", _added_unlocked(records))


def _added_unlocked(records: Records) -> Iterator[str]:
    for loss in records.marked(ledger.LOCK_LOSS):
        for repair in records.by_sweeps("reenqueue"):
            written = records.journaled.get(repair.id)
            if (
                written is None
                or written.application != loss.text
                or records.sweeps[repair.sweep_id].started_at > loss.at
            ):
                continue
            seen = [records.watched.jobs.get(job.job_id) for job in records.intents_of.get(repair.id, ())]
            if late := [job for job in seen if job and job.at > (loss.at + LOOKING).timestamp()]:
                yield f"{repair}: {len(late)} of its jobs were added after {clock(loss.at)}"
