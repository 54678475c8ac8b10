"""Release one reservation."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import RepairKind
from campaign_ops.core.plan import PlanItem
from campaign_ops.fixes.fix import Fix, Person, already_made, author_of, locked
from campaign_ops.fixes.target import find_reservation
from campaign_ops.journal.journal import Entry
from campaign_ops.platform import Platform
from campaign_ops.sweep.credits import judge_one
from campaign_ops.sweep.release import release_page


def release_one(
    platform: Platform, reservation_id: str, person: Person, *, tenant: str | None = None, dry_run: bool = False
) -> Fix:
    """Release one reservation that nothing needs any more.

    Raises:
        NotFound: No such reservation, or another tenant's.
        Refused: It is not held, or its campaign may still need it.
    """
    held = find_reservation(platform, reservation_id, tenant)
    reservation_id = held.id
    where = f"reservation {reservation_id}"
    decision = judge_one(platform, held)
    if not decision.release:
        raise Refused(f"{held.amount} credits stay held: {decision.reason}", where=where)
    if dry_run:
        message = f"would release {held.amount} credits: {decision.reason}"
        return Fix(reservation_id, False, message, covers={"amount": held.amount})
    item = PlanItem(
        RepairKind.RELEASE, reservation_id, held.campaign_id, held.tenant, where, decision.reason, amount=held.amount
    )
    with locked(platform):

        def _write(connection: sa.Connection) -> tuple[list[Entry], list[int]]:
            author = author_of(platform, connection, person)
            return release_page(platform, author, connection, [item], by_person=True)

        _, repair_ids = platform.database.run(_write)
        repair_ids = repair_ids or already_made(platform, person, RepairKind.RELEASE, reservation_id)
    if not repair_ids:
        raise Refused("it changed while we looked; nothing was done", where=where, mend="look again")
    return Fix(reservation_id, True, f"released {held.amount} credits of {where}", tuple(repair_ids))
