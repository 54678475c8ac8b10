"""The undo trial: undoes every repair that can still be undone, newest first, and checks the result with the ledger.

Runs after the checks, because it changes the stores. Undos that must be refused (the row has changed since) are tried
too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from campaign_ops.core.errors import CampaignOpsError, Refused
from campaign_ops.doctor.grants import qualified, quoted
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.undo import undo
from campaign_ops.lab.drill.checkers import Checkable, Figure, Records, Stores, read, stores_of
from campaign_ops.lab.drill.checkers.figure import EXAMPLES, none_of
from campaign_ops.lab.drill.checkers.journal import journal
from campaign_ops.lab.drill.checkers.records import ROW_REPAIRS, Repair
from campaign_ops.lab.drill.checkers.reservations import accounts
from campaign_ops.lab.drill.checkers.rows import Raw
from campaign_ops.lab.drill.ledger import UNDOING, Change
from campaign_ops.platform import Platform
from campaign_ops.sweep import Sweep, dry_run
from campaign_ops.sweep.confirm import confirmation

Place = tuple[str, str]
"""A row: its relation and its id."""


def undo_trial(rig: Checkable) -> tuple[Figure, ...]:
    """Undo everything that can be undone. No sweep may be running.

    Returns:
        Three figures: every row is restored; a later sweep leaves them alone; journal and credits are exact.
    """
    rig.ledger.note(UNDOING, "the undo trial")
    stores = stores_of(rig)
    with closing(rig.connect()) as platform:
        trial = _Trial(stores, platform, read(stores))
        for repair in reversed(trial.records.repairs):
            if repair.parent_id is None and repair.kind in (*ROW_REPAIRS, "reenqueue"):
                trial.undo(repair)
        again = trial.sweep()
    return (trial.figure(), again, _books(read(stores)))


@dataclass
class _Trial:
    """The counts and mistakes of one trial. ``rows`` are the rows it has restored."""

    stores: Stores
    platform: Platform
    records: Records
    tried: int = 0
    restored: int = 0
    refused: int = 0
    mistakes: list[str] = field(default_factory=list)
    rows: dict[Place, Raw | None] = field(default_factory=dict)

    def undo(self, repair: Repair) -> None:
        """Undo a repair together with its children; where that must be refused, undo the children on their own."""
        if _is_undone(self.stores, repair):
            return
        if repair.kind == "reenqueue":
            self._undo_reenqueue(repair)
            return
        children = [
            child
            for child in self.records.repairs
            if child.parent_id == repair.id and child.kind in ROW_REPAIRS and not _is_undone(self.stores, child)
        ]
        if not self._restore(repair, [repair, *children]):
            for child in children:
                self._restore(child, [child])

    def _restore(self, repair: Repair, together: Sequence[Repair]) -> bool:
        """Undo repairs that belong together. Returns false if that must be refused."""
        by_place = {_place(each): each for each in together}
        before = {place: _row(self.stores, place) for place in by_place}
        expected = {place: self._expected(each, before[place]) for place, each in by_place.items()}
        possible = None not in expected.values()
        error = self._undo(repair)
        after = {place: _row(self.stores, place) for place in by_place}
        if possible and error is None:
            wrong = _differences(expected, after)
            self.rows |= after
        elif possible:
            wrong = [f"refused although the row had not changed: {error}"]
        else:
            wrong = [] if isinstance(error, Refused) else [f"not refused although the row changed: {error or 'undone'}"]
            wrong += _differences(before, after)
        self._count(repair, wrong, len(together), possible=possible)
        return possible

    def _count(self, repair: Repair, wrong: Sequence[str], number: int, *, possible: bool = True) -> None:
        self.tried += number if possible or wrong else 0
        self.restored += number if possible and not wrong else 0
        self.refused += not possible and not wrong
        self.mistakes.extend(f"{repair}: {line}" for line in wrong)

    def _change(self, repair: Repair) -> Change | None:
        journaled = self.records.journaled.get(repair.id)
        changes = self.records.change_of.get((journaled.txid, *_place(repair)), ()) if journaled is not None else ()
        return changes[0] if len(changes) == 1 else None

    def _expected(self, repair: Repair, row: Raw | None) -> Raw | None:
        """The row as it must be after the undo; None if it has changed since the repair."""
        change = self._change(repair)
        if change is None or change.old is None or change.new is None or row is None:
            return None
        columns = self.records.names.columns[change.relation]
        kept = [columns[key] for key in repair.after]
        if any(row[column] != change.new[column] for column in kept):
            return None
        return {**row, **{column: change.old[column] for column in kept}}

    def _undo(self, repair: Repair) -> CampaignOpsError | None:
        person = Person("drill", "undo trial", f"undo-trial-{repair.id}", "drill")
        try:
            undo(self.platform, repair.id, person)
        except CampaignOpsError as error:
            return error
        return None

    def _undo_reenqueue(self, repair: Repair) -> None:
        """Undo a re-enqueue: no job that no worker ever took may be left, and its campaign must not change."""
        place = ("campaign", repair.target)
        row, jobs = _row(self.stores, place), [intent.job_id for intent in self.records.intents_of.get(repair.id, ())]
        error = self._undo(repair)
        wrong = [str(error)] if error is not None else []
        wrong += [f"job {job} is still waiting" for job in self._untaken(jobs)]
        wrong += _differences({place: row}, {place: _row(self.stores, place)})
        self._count(repair, wrong, 1)

    def _untaken(self, job_ids: Sequence[str]) -> list[str]:
        """Live jobs that no worker has taken; one that a worker gave back, to wait for others, has sent perhaps."""
        assert self.platform.queue is not None
        live = self.platform.queue.snapshot().live if job_ids else {}
        waiting = [job for job in job_ids if live.get(job, "active") != "active"]
        return [job for job, (taken_at,) in self.platform.queue.fields(waiting, "processedOn") if taken_at is None]

    def sweep(self) -> Figure:
        """Run one more sweep with a confirmed breaker: what a person has undone must stay undone."""
        code = confirmation(dry_run(self.platform, run_id="undo-trial-plan"), "drill", "the undo trial")
        Sweep(self.platform, run_id="undo-trial", trigger="drill", actor="drill", confirm=code).run()
        after = {place: _row(self.stores, place) for place in self.rows}
        return none_of("undone_stays", "undone repairs that a later sweep repeated", _differences(self.rows, after))

    def figure(self) -> Figure:
        """The share of undone repairs whose rows are as they were before the repair."""
        share = 100 * self.restored / self.tried if self.tried else 100
        found = f"{share:.0f} %" if share == 100 else f"{share:.1f} %"
        refused = f", {self.refused} rightly refused: changed since" if self.refused else ""
        return Figure(
            "undo",
            "undo of every reversible repair restores the row exactly",
            "100 %",
            f"{found} ({self.restored} of {self.tried}{refused})",
            not self.mistakes,
            tuple(self.mistakes[:EXAMPLES]),
        )


def _books(records: Records) -> Figure:
    """The journal and the credits after all undos."""
    by_tenant = accounts(records)
    wrong = [f"{tenant}: {line}" for tenant, account in by_tenant.items() for line in account.mistakes()]
    wrong += journal(records).examples
    return none_of("undo_books", "journal and credits that disagree after the undos", wrong)


def _place(repair: Repair) -> Place:
    return ("reservation" if repair.kind == "release" else "campaign", repair.target)


def _is_undone(stores: Stores, repair: Repair) -> bool:
    with stores.ledger.engine.connect() as connection:
        query = sa.text("SELECT undone_by IS NOT NULL FROM campaign_ops.repair WHERE id = :id")
        return bool(connection.scalar(query, {"id": repair.id}))


def _row(stores: Stores, place: Place) -> Raw | None:
    """The current row with all its columns."""
    relation, key = place
    profile = stores.ledger.profile
    part = profile.campaign if relation == "campaign" else profile.reservation
    assert part is not None
    table = qualified(profile, part.table)
    query = sa.text(f"SELECT to_jsonb(row)::text FROM {table} AS row WHERE {quoted(part.id)}::text = :key")
    with stores.ledger.engine.connect() as connection:
        text = connection.scalar(query, {"key": key})
    return None if text is None else json.loads(text, parse_float=Decimal)


def _differences(expected: Mapping[Place, Raw | None], found: Mapping[Place, Raw | None]) -> list[str]:
    lines = []
    for (relation, key), row in expected.items():
        is_now, must_be = found[relation, key] or {}, row or {}
        lines += [
            f'{relation} {key}: "{column}" is {is_now.get(column)}, must be {must_be.get(column)}'
            for column in must_be.keys() | is_now.keys()
            if is_now.get(column) != must_be.get(column)
        ]
    return lines
