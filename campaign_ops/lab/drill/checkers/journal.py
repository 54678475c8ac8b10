"""Figures about the journal: it holds every change that campaign_ops made, and nothing that it did not make.

A change and its journal row must be in one transaction; that is how they are matched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from campaign_ops.core.wording import plural
from campaign_ops.journal.attempts import Closed
from campaign_ops.lab.drill import ledger
from campaign_ops.lab.drill.checkers.figure import Figure, none_of, shown
from campaign_ops.lab.drill.checkers.records import ROW_REPAIRS, Intent, Records, Repair
from campaign_ops.lab.drill.checkers.rows import Raw, clock
from campaign_ops.lab.drill.ledger import Change
from campaign_ops.lab.drill.queue_watcher import SeenJob

SEEN_WITHIN = timedelta(seconds=5)
"""An added job is sampled within this time; if Redis loses it sooner, it may never have been sampled."""


@dataclass(frozen=True, slots=True)
class _Effect:
    """The change of one row that a journal row claims for its transaction."""

    repair: Repair
    txid: int
    relation: str
    key: str
    before: Raw
    after: Raw


def journal(records: Records) -> Figure:
    """Changes without a journal row, journal rows without a change, and pairs that disagree."""
    violations = [*_unwitnessed(records), *_without_effect(records), *_without_row(records), *_jobs(records)]
    return none_of("journal", "repairs in the stores without a journal row, or journal rows without effect", violations)


def _effects(records: Records) -> Iterator[_Effect]:
    undone: dict[int, list[Repair]] = {}
    for repair in records.repairs:
        if repair.undone_by is not None and repair.kind in ROW_REPAIRS:
            undone.setdefault(repair.undone_by, []).append(repair)
    for repair in records.repairs:
        written = records.journaled.get(repair.id)
        if written is None:
            continue
        if repair.kind in ROW_REPAIRS:
            yield _Effect(repair, written.txid, _relation(repair), repair.target, repair.before, repair.after)
        for original in undone.get(repair.id, ()):
            relation, key = _relation(original), original.target
            yield _Effect(repair, written.txid, relation, key, original.after, original.before)


def _relation(repair: Repair) -> str:
    return "reservation" if repair.kind == "release" else "campaign"


def _unwitnessed(records: Records) -> Iterator[str]:
    existing = {repair.id for repair in records.repairs}
    for repair in records.repairs:
        if repair.id not in records.journaled:
            yield f"{repair}: the ledger has no record of this row"
    for repair_id in records.journaled.keys() - existing:
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
            yield f"the journal has no image of {effect.key} {when}"
        for difference in names.differences(relation, image, row):
            yield f"{when}, {difference}"
    for column in names.moved(relation, change.old, change.new, expected=effect.after):
        yield f'column "{column}" changed too'
    if effect.repair.kind == "release":
        amount: Decimal | None = names.value(relation, change.old, "amount")
        if effect.repair.amount != amount:
            yield f"the journal says {effect.repair.amount} credits, the row held {amount}"
        if (effect.repair.tenant or "") != names.text(relation, change.old, "tenant"):
            yield f"the journal says tenant {effect.repair.tenant}"


def _without_row(records: Records) -> Iterator[str]:
    journaled = {(effect.txid, effect.relation, effect.key) for effect in _effects(records)}
    for where, changes in records.change_of.items():
        if where not in journaled:
            for change in changes:
                yield f"{change.relation} {change.key}: changed by us at {clock(change.at)}, in no journal row"


def _jobs(records: Records) -> Iterator[str]:
    """Re-enqueues: every job of ours has an intent, and every confirmed intent was sampled as a job."""
    by_id = {intent.job_id: intent for intent in records.intents}
    finished = {sweep.id for sweep in records.sweeps.values() if sweep.finished_at is not None}
    confirmed = {repair.id for repair in records.repairs if repair.sweep_id in finished}
    for repair in records.repairs:
        if repair.kind == "reenqueue" and not records.intents_of.get(repair.id):
            yield f"{repair}: it has no intended job"
    for job_id, seen in records.watched.jobs.items():
        intent = by_id.get(job_id)
        if intent is None:
            yield f"job {job_id}: seen in the queue, but no intent has it"
        elif seen.recipient_ids is not None and not _as_intended(seen, intent, confirmed=intent.repair_id in confirmed):
            actual = f"{len(seen.recipient_ids)} recipients of {seen.campaign_id}"
            yield f"job {job_id}: {actual}, intended were {intent.recipients} of {intent.campaign_id}"
        elif intent.closed_as == Closed.NOT_ADDED and not _lost(records, datetime.fromtimestamp(seen.at, UTC)):
            yield f"job {job_id}: seen in the queue, and journaled as not added"
    for intent in records.intents:
        if intent.added_at is None or intent.job_id in records.watched.jobs:
            continue
        if records.now - intent.added_at > SEEN_WITHIN and not _lost(records, intent.added_at):
            yield f"job {intent.job_id}: journaled as added at {clock(intent.added_at)}, but never seen in the queue"


def _as_intended(seen: SeenJob, intent: Intent, *, confirmed: bool) -> bool:
    """Return whether a job matches its intent. Recipients may move after the intent; only a confirmation is exact."""
    if seen.recipient_ids is None or seen.campaign_id != intent.campaign_id:
        return False
    exact, number = confirmed and intent.added_at is not None, len(seen.recipient_ids)
    return number == intent.recipients if exact else number <= intent.recipients


def _lost(records: Records, added_at: datetime) -> bool:
    """Return whether Redis lost its data around that time."""
    return any(abs(mark.at - added_at) <= SEEN_WITHIN for mark in records.marked(ledger.REDIS_LOSS))


def ledger_whole(records: Records) -> Figure:
    """Rows that differ from the ledger's last image: a change bypassed it, and its other figures prove nothing."""
    return none_of("ledger_whole", "rows that changed without a ledger entry", _unrecorded(records))


def _unrecorded(records: Records) -> Iterator[str]:
    for relation, rows in records.rows.items():
        last = {change.key: change.new for change in records.of(relation)}
        for key in sorted(rows.keys() | last.keys()):
            if rows.get(key) != last.get(key):
                yield f"{relation} {key}: differs from the ledger's last entry"


def counted(records: Records) -> Figure:
    """The amount of work that the drill checked."""
    jobs: list[Intent] = [intent for intent in records.intents if intent.added_at is not None]
    kinds: dict[str, int] = {}
    for repair in records.repairs:
        kinds[repair.kind] = kinds.get(repair.kind, 0) + 1
    repairs = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "none"
    faults, missed = len(records.marked(ledger.FAULT)), len(records.marked(ledger.MISSED))
    injected = f"{plural(faults, 'fault')} ({missed} without effect)" if missed else plural(faults, "fault")
    found = f"{injected}, {records.sends} sends; repairs: {repairs}; {len(jobs)} jobs re-enqueued"
    return shown("counted", "faults, sends and repairs in this drill", found)
