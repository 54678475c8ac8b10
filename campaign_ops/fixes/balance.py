"""The check that a tenant still has the credits that an undo would hold again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.errors import Refused
from campaign_ops.core.model import RepairKind
from campaign_ops.platform import Platform
from campaign_ops.postgres import reservations


def held_again(
    platform: Platform, connection: sa.Connection, repair_id: int, together: Sequence[Mapping[str, Any]]
) -> str:
    """Return in words what undoing these repairs does to credits; empty if none were released.

    Raises:
        Refused: A tenant has spent them in the meantime.
    """
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    for repair in together:
        if repair["kind"] == RepairKind.RELEASE:
            wanted[repair["tenant"] or ""] += Decimal(repair["amount"] or 0)
    if not wanted:
        return ""
    tables = platform.tables(connection)
    again = f"; {sum(wanted.values()):,} credits held again"
    if tables.balance is None:
        return f"{again}; this profile cannot tell whether the tenant still has them"
    query = reservations.free_credits(tables.balance, tables)
    left = {row.tenant: Decimal(row.left) for row in connection.execute(query, {"ids": list(wanted)})}
    for tenant, amount in wanted.items():
        if tenant not in left or left[tenant] < amount:
            has = f"has {left[tenant]:,} left" if tenant in left else "has no balance"
            raise Refused(
                f"{amount:,} credits would be held again, and tenant {tenant} {has}; nothing was undone",
                where=f"repair {repair_id}",
                mend="the credits were spent in the meantime; correct it in the application",
            )
    return again
