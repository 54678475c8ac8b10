"""Which tenant a campaign, a reservation or a repair belongs to: asked before a caller may see or touch it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from campaign_ops.journal.migrations import has_records
from campaign_ops.platform import Platform
from campaign_ops.postgres import reservations
from campaign_ops.sweep.evidence import campaign_by_id


class Subject(StrEnum):
    """What a request is about, as messages name it."""

    CAMPAIGN = "campaign"
    RESERVATION = "reservation"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True)
class Owner:
    """An existing subject; its tenant is empty where the platform has none."""

    tenant: str


def owner_of(platform: Platform, subject: Subject, subject_id: str) -> Owner | None:
    """Return the owner; None if there is no such campaign, reservation or repair.

    Raises:
        ProfileMismatch: The profile does not fit the database.
        Unavailable: The database is away.
    """
    read = {Subject.CAMPAIGN: _campaign, Subject.RESERVATION: _reservation, Subject.REPAIR: _repair}[subject]
    return platform.database.run(lambda connection: read(platform, connection, subject_id), read_only=True)


def own_tenant(platform: Platform, tenant: str | None) -> str | None:
    """A tenant's id as the platform spells it; None for none."""
    if tenant is None:
        return None
    return platform.database.run(lambda connection: platform.own_tenant(connection, tenant), read_only=True)


def _campaign(platform: Platform, connection: sa.Connection, campaign_id: str) -> Owner | None:
    campaign = campaign_by_id(platform, connection, campaign_id)
    return None if campaign is None else Owner(campaign.tenant)


def _reservation(platform: Platform, connection: sa.Connection, reservation_id: str) -> Owner | None:
    tables = platform.tables(connection)
    if tables.reservation is None or not tables.may_be_id(tables.reservations, reservation_id):
        return None
    row = connection.execute(reservations.by_id(tables), {"ids": [reservation_id]}).first()
    return None if row is None else Owner(row.tenant or "")


def _repair(platform: Platform, connection: sa.Connection, repair_id: str) -> Owner | None:
    is_number = repair_id.isdecimal() and len(repair_id) < len(str(2**63))
    if not is_number or not has_records(connection, platform.database.where):
        return None
    row = platform.journal.repair(connection, int(repair_id))
    return None if row is None else Owner(row["tenant"] or "")
