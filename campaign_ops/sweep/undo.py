"""Take one repair back: the row exactly as it was, or nothing. Sweeps leave alone what a person has undone.

A re-enqueue has no row to restore: its jobs that no worker has taken yet are removed from the queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import NotFound, Refused
from campaign_ops.core.model import RepairKind
from campaign_ops.platform import repairs
from campaign_ops.platform.journal import Entry
from campaign_ops.platform.migrations import check_current
from campaign_ops.platform.platform import Platform
from campaign_ops.sweep.manual import Fix, Person, author_of, locked

_ROWS = (RepairKind.COMPLETE, RepairKind.RELEASE, RepairKind.RECOUNT)


def undo(
    platform: Platform, repair_id: int, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Undo one repair, together with what was done along with it.

    Raises:
        NotFound: No such repair, or another tenant's.
        Refused: It is undone already, cannot be undone, or its row was changed since.
    """
    repair = _find(platform, repair_id, tenant)
    what = f"{repair['kind']} of {repair['target']}"
    if dry_run:
        _check_rows(platform, repair)
        return Fix(repair["target"], False, f"would undo {what} ({repair['reason']})")
    with locked(platform):
        if repair["kind"] == RepairKind.REENQUEUE:
            return _take_jobs_back(platform, repair, person)
        repair_ids, rows = platform.database.run(lambda connection: _restore(platform, connection, repair_id, person))
    also = f" and {rows - 1} more of the same transaction" if rows > 1 else ""
    return Fix(repair["target"], True, f"undid {what}{also}; sweeps leave it alone from now on", tuple(repair_ids))


def _find(platform: Platform, repair_id: int, tenant: str | None) -> Mapping[str, Any]:
    def _read(connection: sa.Connection) -> Mapping[str, Any] | None:
        check_current(connection, platform.database.where)
        return platform.journal.repair(connection, repair_id)

    where = f"repair {repair_id}"
    repair = platform.database.run(_read, read_only=True)
    if repair is None or (tenant is not None and repair["tenant"] != tenant):
        raise NotFound("there is no such repair", where=where, mend="`campaign-ops history` lists them")
    if platform.database.run(lambda connection: _begun_undo(platform, connection, repair), read_only=True) is None:
        _check_open(repair)
    return repair


def _check_rows(platform: Platform, repair: Mapping[str, Any]) -> None:
    """Refuse now what `_restore` would refuse then."""

    def _read(connection: sa.Connection) -> None:
        for one in _together(platform, connection, repair):
            query = repairs.as_left(_table(platform, connection, one), one["target"], after=one["after"])
            if connection.execute(query).first() is None:
                raise _changed(one, repair["id"])

    if repair["kind"] in _ROWS:
        platform.database.run(_read, read_only=True)


def _together(platform: Platform, connection: sa.Connection, repair: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The repair and those made with it that are not undone yet."""
    children = [one for one in platform.journal.children(connection, repair["id"]) if one["kind"] in _ROWS]
    return [one for one in (repair, *children) if one["undone_by"] is None]


def _table(platform: Platform, connection: sa.Connection, repair: Mapping[str, Any]) -> sa.Table:
    tables = platform.tables(connection)
    return tables.reservations if repair["kind"] == RepairKind.RELEASE else tables.campaign


def _changed(repair: Mapping[str, Any], repair_id: int) -> Refused:
    return Refused(
        f"{repair['kind']} of {repair['target']}: the row is no longer as the repair left it; nothing was undone",
        where=f"repair {repair_id}",
        mend="somebody changed it since; correct it in the application",
    )


def _check_open(repair: Mapping[str, Any]) -> None:
    where = f"repair {repair['id']}"
    if repair["undone_by"] is not None:
        raise Refused(f"it was undone already, by repair {repair['undone_by']}", where=where)
    if repair["kind"] not in (*_ROWS, RepairKind.REENQUEUE):
        raise Refused(f"a repair of kind {repair['kind']} cannot be undone", where=where)


def _begun_undo(platform: Platform, connection: sa.Connection, repair: Mapping[str, Any]) -> int | None:
    """The undo of a re-enqueue that was journaled and whose removal nobody has seen: it may be done again."""
    if repair["kind"] != RepairKind.REENQUEUE or repair["undone_by"] is None:
        return None
    undo_row = platform.journal.repair(connection, repair["undone_by"])
    return int(undo_row["id"]) if undo_row is not None and "removed" not in undo_row["after"] else None


def _restore(platform: Platform, connection: sa.Connection, repair_id: int, person: Person) -> tuple[list[int], int]:
    """Put back the rows of a repair and of those made with it; all of them, or none."""
    journal = platform.journal
    repair = journal.repair(connection, repair_id, lock=True)
    assert repair is not None
    ours = journal.made(connection, person.run_id, RepairKind.UNDO, repair["target"])
    if repair["undone_by"] in ours:
        return ours, 1  # the commit before was lost on its way back
    _check_open(repair)
    together = _together(platform, connection, repair)
    for one in together:
        table = _table(platform, connection, one)
        statement = repairs.restore(table, one["target"], before=one["before"], after=one["after"])
        if connection.execute(statement).first() is None:
            raise _changed(one, repair_id)
    entry = Entry(
        RepairKind.UNDO,
        repair["target"],
        repair["campaign_id"],
        repair["tenant"],
        f"undid repair {repair_id}",
        before=repair["after"],
        after=repair["before"],
        parent_id=repair_id,
    )
    undo_ids = journal.record(connection, author_of(platform, connection, person), [entry])
    journal.mark_undone(connection, [one["id"] for one in together], undo_ids[0])
    if repair["kind"] != RepairKind.RELEASE:
        platform.attempts.hold(connection, repair["target"], person.name, f"undid repair {repair_id}: {person.reason}")
    return undo_ids, len(together)


def _take_jobs_back(platform: Platform, repair: Mapping[str, Any], person: Person) -> Fix:
    """Remove the jobs that no worker has taken; hold the campaign first, so that no sweep adds them anew."""
    queue, journal, campaign_id = platform.queue, platform.journal, repair["target"]
    if queue is None:
        raise Refused("this platform has no queue any more", where=f"repair {repair['id']}")

    def _intend(connection: sa.Connection) -> tuple[int, list[str]]:
        current = journal.repair(connection, repair["id"], lock=True)
        assert current is not None
        begun = _begun_undo(platform, connection, current)
        if begun is not None:
            return begun, platform.attempts.job_ids(connection, repair["id"])
        _check_open(current)
        entry = Entry(
            RepairKind.UNDO,
            campaign_id,
            campaign_id,
            repair["tenant"],
            f"undid repair {repair['id']}",
            parent_id=repair["id"],
        )
        undo_id = journal.record(connection, author_of(platform, connection, person), [entry])[0]
        journal.mark_undone(connection, [repair["id"]], undo_id)
        platform.attempts.hold(connection, campaign_id, person.name, f"undid repair {repair['id']}: {person.reason}")
        return undo_id, platform.attempts.job_ids(connection, repair["id"])

    undo_id, job_ids = platform.database.run(_intend)
    removed = queue.remove_waiting(job_ids)
    outcome = {"jobs": len(job_ids), "removed": len(removed)}
    platform.database.run(lambda connection: journal.set_after(connection, undo_id, outcome))
    message = f"removed {len(removed)} of {len(job_ids)} jobs of campaign {campaign_id}"
    if len(removed) < len(job_ids):
        message += f"; {len(job_ids) - len(removed)} had been taken by a worker or are gone"
    return Fix(campaign_id, True, f"{message}; sweeps leave it alone from now on", (undo_id,))
