"""Credits that reservations hold: how much for each tenant now, and what the latest sweep has left."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_ops.journal.finished import latest_finished
from campaign_ops.journal.plan_pages import leaked_credits, reservations_left
from campaign_ops.platform import Platform
from campaign_ops.postgres import reservations
from campaign_ops.postgres.clock import database_now

SHOWN = 200


@dataclass(frozen=True, slots=True)
class TenantCredits:
    """One tenant: credits held now, those for campaigns in sending, and those that the latest sweep left leaked."""

    tenant: str
    reservations: int
    held: Decimal
    held_sending: Decimal
    leaked: Decimal


@dataclass(frozen=True, slots=True)
class Credits:
    """The credits of a platform.

    Attributes:
        at: The database's clock.
        held: What all tenants hold together.
        tenants: Those that hold most.
        swept_at: When the latest sweep finished; None when none has.
        left: Reservations that it left, as rows of its plan (``target``, ``tenant``, ``campaign_id``, ``kind``,
            ``reason``, ``needs_person``, ``amount``), those that need a person first.
    """

    at: datetime
    held: Decimal
    tenants: tuple[TenantCredits, ...]
    swept_at: datetime | None
    left: Sequence[Mapping[str, Any]]


def credits_of(platform: Platform, tenants: Collection[str] | None = None, *, limit: int = SHOWN) -> Credits | None:
    """Read the credits; None on a platform without reservations.

    Args:
        platform: The platform.
        tenants: Only of these; None for all.
        limit: The most tenants, and the most reservations, to return.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
        Unavailable: The database is away.
    """
    if platform.profile.reservation is None:
        return None

    def _read(connection: sa.Connection) -> Credits:
        tables = platform.tables(connection)
        latest = latest_finished(connection, platform.profile.tables_key)
        left = [] if latest is None else reservations_left(connection, latest.id, tenants=tenants, limit=limit)
        rows = connection.execute(reservations.held_totals(tables, tenants), {"limit": limit}).all()
        leaked = {} if latest is None else leaked_credits(connection, latest.id, tenants=tenants)
        return Credits(
            database_now(connection),
            Decimal(rows[0].held_by_all) if rows else Decimal(0),
            tuple(
                TenantCredits(
                    row.tenant or "",
                    row.reservations,
                    Decimal(row.held),
                    Decimal(row.held_sending),
                    leaked.get(row.tenant or "", Decimal(0)),
                )
                for row in rows
            ),
            None if latest is None else latest.finished_at,
            left,
        )

    return platform.on_state(_read, read_only=True)
