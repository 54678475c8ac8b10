"""Whether the rules were kept that make repairs safe: age, words, one job each, blast radius, giving up, the lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.checkers.figure import Figure, none_of
from campaign_ops.lab.drill.checkers.records import Records, Repair, SweepRow
from campaign_ops.lab.drill.checkers.rows import clock

LOOKING = timedelta(seconds=1)
"""A look and what follows from it may lie so far apart; what somebody commits meanwhile is nobody's mistake."""

NOTED_WITHIN = timedelta(seconds=5)


def in_two_jobs(records: Records) -> Figure:
    """Recipients whom we put into a job while they stood in another that lived."""
    what = "recipients in two live jobs at once, because we put them into another"
    return none_of("in_two_jobs", what, _doubled(records))


def _doubled(records: Records) -> Iterator[str]:
    restored = [one for one in records.excuses if one.kind == "restored"]
    for one in records.watched.doubled:
        at = datetime.fromtimestamp(one.at, UTC)
        # The jobs live again a moment before the note about them is written.
        if not any(mine.recipient_id == one.recipient_id and mine.at <= at + NOTED_WITHIN for mine in restored):
            yield f"{one.recipient_id}: in {', '.join(one.job_ids)} at {clock(at)}"


def beyond_breaker(records: Records) -> Figure:
    """Campaigns that a sweep completed or put back beyond the breaker, and no person had confirmed it."""
    return none_of(
        "beyond_breaker", "campaigns repaired beyond the breaker without confirmation", _beyond_breaker(records)
    )


def _beyond_breaker(records: Records) -> Iterator[str]:
    confirmed = {mark.text for mark in records.marked(ledger.CONFIRMED)}
    sending = _sending_over_time(records)
    for kind in ("complete", "reenqueue"):
        done: dict[int, list[Repair]] = {}
        for one in records.by_sweeps(kind):
            done.setdefault(one.sweep_id, []).append(one)
        for sweep_id, repairs in done.items():
            sweep, planned_at = records.sweeps[sweep_id], records.planned_at(sweep_id)
            if sweep.run_id in confirmed or planned_at is None:
                continue
            many = _most(sending, planned_at - LOOKING, repairs[0].at)
            suspect = kind == "reenqueue" and _suspect(records, planned_at)
            floor = 0 if suspect else records.policy.breaker_floor
            if len(repairs) > floor and len(repairs) > records.policy.breaker_share * many:
                why = ", Redis just restarted" if suspect else ""
                for one in repairs:
                    yield f"{one}: one of {len(repairs)} in a sweep, {many} sending{why}"


def _suspect(records: Records, planned_at: datetime) -> bool:
    """Whether Redis had lost data shortly before, and nobody has confirmed since that it may be believed."""
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
    """The highest step between two moments, the one that began before included."""
    before = [count for at, count in steps if at < since][-1:]
    return max([*before, *(count for at, count in steps if since <= at <= until)], default=0)


def too_young(records: Records) -> Figure:
    """Campaigns that a sweep repaired before they were untouched for ``stuck_after``."""
    limit = records.policy.stuck_after
    culprits = (
        f"{one}: touched {(at - touched).total_seconds():.2f} s before"
        for one, touched, at in touches(records)
        if at - touched < limit
    )
    return none_of("too_young", "campaigns repaired before they were stuck", culprits)


def touches(records: Records) -> Iterator[tuple[Repair, datetime, datetime]]:
    """(repair, when its campaign had been touched last, when it was written) of what sweeps completed or put back."""
    for one in records.by_sweeps("complete", "reenqueue"):
        seen = records.journaled.get(one.id)
        if seen is None:
            continue
        if one.kind == "complete":
            row = next((change.old for change in records.change_of.get((seen.txid, "campaign", one.target), ())), None)
        else:
            row = seen.campaign
            # Touched at the very moment: the repair was decided on the row as it was before.
            for change in records.campaign_changes.get(one.target, ()):
                if one.at - LOOKING < change.at <= seen.at and change.old is not None:
                    row = change.old
                    break
        touched = records.names.value("campaign", row, "updated_at")
        if touched is not None:
            yield one, touched, seen.at


def unknown_repaired(records: Records) -> Figure:
    """Campaigns that we repaired although a recipient had a word that nobody knows."""
    return none_of("unknown_repaired", "campaigns with an unknown word repaired", _unknown(records))


def _unknown(records: Records) -> Iterator[str]:
    since: dict[str, datetime] = {}
    for change in records.of("recipient"):
        if change.new is not None:
            since.setdefault(change.new["campaign_id"], change.at)
    completed = {(change.txid, change.key): change.people for change in records.of("campaign") if change.people}
    for one in records.repairs:
        seen = records.journaled.get(one.id)
        if seen is None or one.kind not in ("complete", "reenqueue"):
            continue
        if one.kind == "complete":
            people, known = completed.get((seen.txid, one.target)), True
        else:
            # A job is put back on the word of a look: what came after it, nobody could know.
            looked_at = records.planned_at(one.sweep_id) or one.at - LOOKING
            people, known = seen.people, one.target in since and since[one.target] < looked_at
        if people is not None and people.unknown and known:
            yield f"{one}: {people.unknown} recipients in a word that the profile does not know"


def in_vain(records: Records) -> Figure:
    """Campaigns put back more often than ``max_attempts`` without anybody having been sent to meanwhile."""
    return none_of("in_vain", "campaigns put back more often in vain than allowed", _in_vain(records))


def _in_vain(records: Records) -> Iterator[str]:
    most = records.policy.max_attempts
    streaks: Counter[str] = Counter()
    waiting: dict[str, int] = {}
    for one in records.repairs:
        if one.kind == "lift":
            streaks[one.target] = 0
        if one.kind != "reenqueue" or not _took_effect(records, one):
            continue
        seen = records.journaled.get(one.id)
        if seen is None or seen.people is None:
            continue
        left = seen.people.waiting
        if left < waiting.get(one.target, left + 1):
            streaks[one.target] = 0
        streaks[one.target] += _whole(records, one)
        # The sweep counted a little earlier than the ledger, and may have seen more of them waiting.
        planned = [row.unsent or 0 for row in records.plan_of.get(one.sweep_id, ()) if row.target == one.target]
        waiting[one.target] = max([left, *planned])
        if streaks[one.target] > most:
            yield f"{one}: for the {streaks[one.target]}th time, {left} recipients waiting all the while"


def _took_effect(records: Records, repair: Repair) -> bool:
    jobs = records.intents_of.get(repair.id, ())
    return any(job.added_at is not None or job.job_id in records.watched.jobs for job in jobs)


def _whole(records: Records, repair: Repair) -> bool:
    """Whether all that it meant was added: half an attempt is made whole by the next one."""
    return all(job.added_at is not None for job in records.intents_of.get(repair.id, ()))


def overlapping(records: Records) -> Figure:
    """Repairs that were written while not their sweep held the lock, and no fault had taken it away meanwhile."""
    return none_of("overlapping", "repairs written without holding the sweep lock", _overlapping(records))


def _overlapping(records: Records) -> Iterator[str]:
    kinds = (ledger.FAULT, ledger.AGAIN, ledger.END, ledger.REDIS_LOSS)
    faults = [mark.at for mark in records.marks if mark.kind in kinds]
    for one in records.repairs:
        seen = records.journaled.get(one.id)
        if seen is None or seen.lock_holder == seen.application:
            continue
        sweep: SweepRow = records.sweeps[one.sweep_id]
        if any(sweep.started_at - LOOKING <= at <= seen.at + LOOKING for at in faults):
            continue  # connections break, and a row's own premise guards it then
        whose = f"{seen.lock_holder} held" if seen.lock_holder else "nobody held"
        yield f"{one}: {whose} the sweep lock at {clock(seen.at)}"
