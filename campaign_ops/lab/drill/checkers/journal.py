"""Whether the journal is the truth: every change of ours stands in it, and everything in it was done.

A change and its journal row must be of one transaction; that is how they are matched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from campaign_ops.core.wording import plural
from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.checkers.figure import Figure, none_of, shown
from campaign_ops.lab.drill.checkers.records import ROW_REPAIRS, Intent, Records, Repair
from campaign_ops.lab.drill.checkers.rows import Raw, clock
from campaign_ops.lab.drill.ledger import Change
from campaign_ops.lab.drill.queue_watcher import SeenJob

SEEN_WITHIN = timedelta(seconds=5)
"""A job that was added is seen within this time; what Redis loses sooner after may have been seen by nobody."""


@dataclass(frozen=True, slots=True)
class _Effect:
    """What a journal row says that its transaction did to one row."""

    repair: Repair
    txid: int
    relation: str
    key: str
    before: Raw
    after: Raw


def journal(records: Records) -> Figure:
    """Changes without a journal row, journal rows without a change, and those that do not say the same."""
    culprits = [*_unwitnessed(records), *_without_effect(records), *_without_row(records), *_jobs(records)]
    return none_of("journal", "repairs in the stores without a journal row, or journal rows without effect", culprits)


def _effects(records: Records) -> Iterator[_Effect]:
    undone: dict[int, list[Repair]] = {}
    for one in records.repairs:
        if one.undone_by is not None and one.kind in ROW_REPAIRS:
            undone.setdefault(one.undone_by, []).append(one)
    for one in records.repairs:
        seen = records.journaled.get(one.id)
        if seen is None:
            continue
        if one.kind in ROW_REPAIRS:
            yield _Effect(one, seen.txid, _relation(one), one.target, one.before, one.after)
        for taken_back in undone.get(one.id, ()):
            relation, key = _relation(taken_back), taken_back.target
            yield _Effect(one, seen.txid, relation, key, taken_back.after, taken_back.before)


def _relation(repair: Repair) -> str:
    return "reservation" if repair.kind == "release" else "campaign"


def _unwitnessed(records: Records) -> Iterator[str]:
    there = {one.id for one in records.repairs}
    for one in records.repairs:
        if one.id not in records.journaled:
            yield f"{one}: the ledger did not see this row being written"
    for repair_id in records.journaled.keys() - there:
        yield f"repair {repair_id}: its row is gone from the journal"


def _without_effect(records: Records) -> Iterator[str]:
    for effect in _effects(records):
        changes = records.change_of.get((effect.txid, effect.relation, effect.key), ())
        if len(changes) != 1:
            many = "no change" if not changes else f"{len(changes)} changes"
            yield f"{effect.repair}: {many} of {effect.relation} {effect.key} in its transaction"
            continue
        for line in _disagreements(records, effect, changes[0]):
            yield f"{effect.repair}: {line}"


def _disagreements(records: Records, effect: _Effect, change: Change) -> Iterator[str]:
    names, relation = records.names, effect.relation
    for when, image, row in (("before", effect.before, change.old), ("after", effect.after, change.new)):
        if not image:
            yield f"the journal holds nothing of {effect.key} {when}"
        for difference in names.differences(relation, image, row):
            yield f"{when}, {difference}"
    for column in names.moved(relation, change.old, change.new, but=effect.after):
        yield f'column "{column}" changed too'
    if effect.repair.kind == "release":
        amount: Decimal | None = names.value(relation, change.old, "amount")
        if effect.repair.amount != amount:
            yield f"the journal says {effect.repair.amount} credits, the row held {amount}"
        if (effect.repair.tenant or "") != names.text(relation, change.old, "tenant"):
            yield f"the journal says tenant {effect.repair.tenant}"


def _without_row(records: Records) -> Iterator[str]:
    told = {(effect.txid, effect.relation, effect.key) for effect in _effects(records)}
    for where, changes in records.change_of.items():
        if where not in told:
            for change in changes:
                yield f"{change.relation} {change.key}: changed by us at {clock(change.at)}, in no journal row"


def _jobs(records: Records) -> Iterator[str]:
    """Re-enqueues: every job of ours in an intent, and every confirmed intent seen as a job."""
    by_id = {intent.job_id: intent for intent in records.intents}
    finished = {sweep.id for sweep in records.sweeps.values() if sweep.finished_at is not None}
    confirmed = {one.id for one in records.repairs if one.sweep_id in finished}
    for one in records.repairs:
        if one.kind == "reenqueue" and not records.intents_of.get(one.id):
            yield f"{one}: it meant to add no job at all"
    for job_id, seen in records.watched.jobs.items():
        intent = by_id.get(job_id)
        if intent is None:
            yield f"job {job_id}: seen in the queue, and nobody meant to add it"
        elif seen.recipients is not None and not _as_meant(seen, intent, confirmed=intent.repair_id in confirmed):
            was = f"{seen.recipients} recipients of {seen.campaign_id}"
            yield f"job {job_id}: {was}, and meant were {intent.recipients} of {intent.campaign_id}"
    for intent in records.intents:
        if intent.added_at is None or intent.job_id in records.watched.jobs:
            continue
        if records.now - intent.added_at > SEEN_WITHIN and not _lost(records, intent.added_at):
            yield f"job {intent.job_id}: journaled as added at {clock(intent.added_at)}, and never seen in the queue"


def _as_meant(seen: SeenJob, intent: Intent, *, confirmed: bool) -> bool:
    """Whether a job is what its intent says. Recipients may move after the intent: only a confirmation counts them."""
    if seen.recipients is None or seen.campaign_id != intent.campaign_id:
        return False
    exact = confirmed and intent.added_at is not None
    return seen.recipients == intent.recipients if exact else seen.recipients <= intent.recipients


def _lost(records: Records, added_at: datetime) -> bool:
    """Whether Redis lost its data about then."""
    return any(abs(mark.at - added_at) <= SEEN_WITHIN for mark in records.marked(ledger.REDIS_LOSS))


def ledger_whole(records: Records) -> Figure:
    """Rows that are not as the ledger saw them last: somebody got past it, and its word is worth nothing."""
    return none_of("ledger_whole", "rows that changed without the ledger seeing it", _unseen(records))


def _unseen(records: Records) -> Iterator[str]:
    for relation, rows in records.rows.items():
        last = {change.key: change.new for change in records.of(relation)}
        for key in sorted(rows.keys() | last.keys()):
            if rows.get(key) != last.get(key):
                yield f"{relation} {key}: not as the ledger saw it last"


def counted(records: Records) -> Figure:
    """How much there was to judge."""
    jobs: list[Intent] = [intent for intent in records.intents if intent.added_at is not None]
    kinds: dict[str, int] = {}
    for one in records.repairs:
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "none"
    faults, missed = len(records.marked(ledger.FAULT)), len(records.marked(ledger.MISSED))
    hit = f"{plural(faults, 'fault')} ({missed} of them met nothing)" if missed else plural(faults, "fault")
    found = f"{hit}, {records.sends} sends; repairs: {told}; {len(jobs)} jobs put back"
    return shown("counted", "what there was to judge", found)
