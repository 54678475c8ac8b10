"""Undo one repair. Sweeps never repeat a repair that a person has undone.

Campaigns, reservations and holds are restored exactly: everything that one repair changed, or nothing. Recipients taken
as sent are restored one by one, except those that changed since. A re-enqueue has no row to restore: its jobs that no
worker has taken yet are removed from the queue. `core.undoing` defines which kinds can be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import NotFound, Refused, StatementRejected
from campaign_ops.core.model import Attempts, RepairKind, Suspect
from campaign_ops.core.undoing import UNDOING, Restores, why_not
from campaign_ops.core.wording import plural
from campaign_ops.fixes.balance import held_again
from campaign_ops.fixes.fix import Fix, Person, author_of, half_made, locked, set_word
from campaign_ops.fixes.target import is_of
from campaign_ops.journal.journal import Entry
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns, guarded, recipients
from campaign_ops.postgres.clock import database_now


def undo(
    platform: Platform, repair_id: int, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Undo one repair, together with the repairs of the same transaction.

    Raises:
        NotFound: No such repair, or another tenant's.
        Refused: It was undone already, cannot be undone, or its row changed since.
    """
    repair = _find(platform, repair_id, tenant)
    what = f"{repair['kind']} of {repair['target']}"
    if dry_run:
        said = platform.database.run(lambda connection: _foretell(platform, connection, repair), read_only=True)
        return Fix(repair["target"], False, f"would undo {what} ({repair['reason']}){said}")
    with locked(platform):
        if _restores(repair) is Restores.QUEUE:
            return _take_jobs_back(platform, repair, person)
        repair_ids, said = platform.database.run(lambda connection: _restore(platform, connection, repair_id, person))
    return Fix(repair["target"], True, f"undid {what}{said}", tuple(repair_ids))


def _find(platform: Platform, repair_id: int, tenant: str | None) -> Mapping[str, Any]:
    where = f"repair {repair_id}"

    def _read(connection: sa.Connection) -> Mapping[str, Any] | None:
        repair = platform.journal.repair(connection, repair_id)
        return repair if repair and is_of(platform, connection, repair["tenant"], tenant) else None

    repair = platform.on_state(_read, read_only=True)
    if repair is None:
        raise NotFound("there is no such repair", where=where, mend="`campaign-ops history` lists them")
    if platform.database.run(lambda connection: _begun_undo(platform, connection, repair), read_only=True) is None:
        _check_open(repair)
    return repair


def _foretell(platform: Platform, connection: sa.Connection, repair: Mapping[str, Any]) -> str:
    """Refuse what `_restore` would refuse; otherwise return what the person should know before."""
    restores = _restores(repair)
    if restores is Restores.RECIPIENTS:
        ids = repair["after"]["ids"]
        row = connection.execute(campaigns.by_id(platform.tables(connection)), {"ids": [repair["target"]]}).first()
        _check_sending(platform, repair, row is not None and row.status == platform.profile.campaign.words.sending)
        as_left = list(connection.scalars(recipients.as_taken(platform.tables(connection)), _taken(repair, ids)))
        if not as_left:
            raise _changed(repair, repair["id"])
        return _share(len(as_left), len(ids))
    if restores is Restores.HOLD:
        if platform.attempts.held(connection, [repair["target"]]):
            raise _changed(repair, repair["id"])
        return ""
    if restores is Restores.QUEUE and platform.queue is None:
        raise _no_queue(repair)
    if restores is not Restores.ROWS:
        return ""
    together = _together(platform, connection, repair)
    for each in together:
        query = guarded.as_left(_table(platform, connection, each), each["target"], after=_with_credits(each, "after"))
        if connection.execute(query).first() is None:
            raise _changed(each, repair["id"])
    return held_again(platform, connection, repair["id"], together)


def _together(platform: Platform, connection: sa.Connection, repair: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the repair and those of the same transaction that are not undone yet."""
    children = platform.journal.children(connection, repair["id"])
    together = [repair, *(child for child in children if _restores(child) is Restores.ROWS)]
    return [each for each in together if each["undone_by"] is None]


def _table(platform: Platform, connection: sa.Connection, repair: Mapping[str, Any]) -> sa.Table:
    tables = platform.tables(connection)
    return tables.reservations if repair["kind"] == RepairKind.RELEASE else tables.campaign


def _with_credits(repair: Mapping[str, Any], image: str) -> dict[str, Any]:
    """Return the columns of a row, with the credits of a reservation, which a release does not write."""
    return {**repair[image], **({"amount": repair["amount"]} if repair["kind"] == RepairKind.RELEASE else {})}


def _changed(repair: Mapping[str, Any], repair_id: int) -> Refused:
    return Refused(
        f"{repair['kind']} of {repair['target']}: the row is no longer as the repair left it; nothing was undone",
        where=f"repair {repair_id}",
        mend="it was changed since; correct it in the application",
    )


def _no_queue(repair: Mapping[str, Any]) -> Refused:
    return Refused("this platform no longer has a queue", where=f"repair {repair['id']}")


def _restores(repair: Mapping[str, Any]) -> Restores:
    return UNDOING[RepairKind(repair["kind"])].restores


def _check_open(repair: Mapping[str, Any]) -> None:
    if why := why_not(repair):
        raise Refused(why, where=f"repair {repair['id']}")


def _begun_undo(platform: Platform, connection: sa.Connection, repair: Mapping[str, Any]) -> int | None:
    """Return the journaled undo of a re-enqueue whose removal of jobs was not recorded: it may be repeated."""
    if _restores(repair) is not Restores.QUEUE or repair["undone_by"] is None:
        return None
    undo_row = platform.journal.repair(connection, repair["undone_by"])
    return int(undo_row["id"]) if undo_row is not None and "removed" not in undo_row["after"] else None


def _restore(platform: Platform, connection: sa.Connection, repair_id: int, person: Person) -> tuple[list[int], str]:
    """Restore what a repair and those of its transaction changed; return the undo's number and its message."""
    journal = platform.journal
    repair = journal.repair(connection, repair_id, lock=True)
    assert repair is not None
    ours = journal.made(connection, person.run_id, RepairKind.UNDO, repair["target"])
    if repair["undone_by"] in ours:
        return ours, ""  # it was committed before, but the answer was lost
    _check_open(repair)
    together, restored = [repair], repair["before"]
    restores = _restores(repair)
    if restores is Restores.RECIPIENTS:
        restored = _give_back(platform, connection, repair)
        back, all_ = sum(map(len, restored["ids_by_status"].values())), len(repair["after"]["ids"])
        said = f"{_share(back, all_)}; a person has to decide about them again"
    elif restores is Restores.HOLD:
        if not platform.attempts.put_back(connection, repair["target"], Attempts(**repair["before"])):
            raise _changed(repair, repair_id)
        said = "; sweeps leave it alone from now on"
    else:
        together = _together(platform, connection, repair)
        credits_held = held_again(platform, connection, repair_id, together)
        _restore_rows(platform, connection, repair_id, together)
        also = f" and {len(together) - 1} more of the same transaction" if len(together) > 1 else ""
        said = f"{also}{credits_held}; sweeps leave it alone from now on"
    entry = Entry(
        RepairKind.UNDO,
        repair["target"],
        repair["campaign_id"],
        repair["tenant"],
        f"undid repair {repair_id}",
        before=repair["after"],
        after=restored,
        parent_id=repair_id,
    )
    undo_ids = journal.record(connection, author_of(platform, connection, person), [entry])
    journal.mark_undone(connection, [each["id"] for each in together], undo_ids[0])
    if repair["kind"] in (RepairKind.COMPLETE, RepairKind.RECOUNT):
        platform.attempts.hold(connection, repair["target"], person.name, f"undid repair {repair_id}: {person.reason}")
    return undo_ids, said


def _restore_rows(
    platform: Platform, connection: sa.Connection, repair_id: int, together: Sequence[Mapping[str, Any]]
) -> None:
    """Restore the rows of these repairs: all of them, or none."""
    for repair in together:
        table = _table(platform, connection, repair)
        as_left = guarded.as_left(table, repair["target"], after=_with_credits(repair, "after"))
        statement = guarded.restore(table, repair["target"], before=repair["before"], after=repair["after"])
        if connection.execute(as_left).first() is None or connection.execute(statement).first() is None:
            raise _changed(repair, repair_id)
        before, after = _with_credits(repair, "before"), _with_credits(repair, "after")
        if connection.execute(guarded.restored(table, repair["target"], before=before, after=after)).first() is None:
            triggers = guarded.update_triggers(connection, statement)
            raise StatementRejected(
                f"{repair['target']} does not stay as it was before the repair; {triggers}",
                where=f"repair {repair_id}",
                mend="nothing was undone; let the trigger pass the change, or correct the row in the application",
            )


def _give_back(platform: Platform, connection: sa.Connection, repair: Mapping[str, Any]) -> dict[str, Any]:
    """Restore the status of recipients that were taken as sent, except those that changed since."""
    tables, campaign_id = platform.tables(connection), repair["target"]
    sending = connection.scalar(campaigns.lock_sending(tables), {"ids": [campaign_id]})
    _check_sending(platform, repair, sending is not None)
    given_back = {
        word: set_word(connection, recipients.give_back(word, tables), _taken(repair, ids), word)
        for word, ids in repair["before"]["ids_by_status"].items()
    }
    suspects = [Suspect(campaign_id, recipient) for ids in given_back.values() for recipient in ids]
    if not suspects:
        raise _changed(repair, repair["id"])
    now = database_now(connection)
    platform.ambiguous.remember(connection, suspects, seen_at=now)
    return {"ids_by_status": given_back}


def _taken(repair: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    return {"ids": list(ids), "taken_at": repair["at"]}


def _check_sending(platform: Platform, repair: Mapping[str, Any], sending: bool) -> None:
    if not sending:
        raise Refused(
            f"its campaign is not {platform.profile.campaign.words.sending!r} now: its recipients would stay unsent",
            where=f"repair {repair['id']}",
            mend="if we completed it, undo that first: `campaign-ops history --campaign ID`",
        )


def _share(back: int, of_all: int) -> str:
    moved = f"; {of_all - back} changed since and stay" if back < of_all else ""
    return f": {plural(back, 'recipient')} pending again{moved}"


def _take_jobs_back(platform: Platform, repair: Mapping[str, Any], person: Person) -> Fix:
    """Remove the jobs that no worker has taken; hold the campaign first, so that no sweep adds them again."""
    queue, journal, campaign_id = platform.queue, platform.journal, repair["target"]
    if queue is None:
        raise _no_queue(repair)

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
    with half_made(f"sweeps leave campaign {campaign_id} alone from now on, but its jobs may still be in the queue"):
        queue.mind([repair["tenant"] or ""])
        removed = queue.remove_waiting(job_ids)
    outcome = {"jobs": len(job_ids), "removed": len(removed)}
    platform.database.run(lambda connection: journal.set_after(connection, undo_id, outcome))
    message = f"removed {len(removed)} of {len(job_ids)} jobs of campaign {campaign_id}"
    if len(removed) < len(job_ids):
        message += f"; {len(job_ids) - len(removed)} had been taken by a worker or are gone"
    return Fix(campaign_id, True, f"{message}; sweeps leave it alone from now on", (undo_id,))
