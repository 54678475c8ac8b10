"""The journal of sweeps and manual fixes, the newest repairs first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from campaign_ops.core.model import RepairKind
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns
from campaign_ops.postgres.clock import database_now


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of table ``repair``, and whether older ones exist."""

    repairs: list[Mapping[str, Any]]
    more: bool


def repairs(
    platform: Platform,
    *,
    campaign_id: str | None = None,
    tenant: str | None = None,
    kind: RepairKind | None = None,
    since: timedelta | datetime | None = None,
    before: int | None = None,
    tenants: Collection[str] | None = None,
    limit: int = 50,
) -> Page:
    """Return a page of the journal.

    Args:
        platform: The platform of the journal.
        campaign_id: Only of this campaign, in any spelling of its id.
        tenant: Only of this owner, in any spelling of its id.
        kind: Only of this kind.
        since: Only after this moment, or within this time before now by the database's clock.
        before: Only repairs with a lower number: the next page.
        tenants: Only of these owners; None for all.
        limit: The most rows to return.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """

    def _read(connection: sa.Connection) -> list[Mapping[str, Any]]:
        now = database_now(connection)
        return platform.journal.repairs(
            connection,
            campaign_id=None if campaign_id is None else _spelled(platform, connection, campaign_id),
            tenant=None if tenant is None else platform.own_tenant(connection, tenant),
            kind=None if kind is None else kind.value,
            since=now - since if isinstance(since, timedelta) else since,
            before=before,
            tenants=tenants,
            limit=limit + 1,
        )

    rows = platform.on_state(_read, read_only=True)
    return Page(rows[:limit], len(rows) > limit)


def code_was_used(platform: Platform, run_id: str) -> bool:
    """Return whether a run has used the code that it was given: the journal has it then."""
    used = repairs(platform, kind=RepairKind.CONFIRM, limit=1).repairs
    return bool(used) and used[0]["run_id"] == run_id


def _spelled(platform: Platform, connection: sa.Connection, campaign_id: str) -> str:
    """Return a campaign's id as the journal spells it; as it is where the campaign table cannot be read now."""
    tables = platform.readable_tables(connection)
    if tables is None or not tables.may_be_id(tables.campaign, campaign_id):
        return campaign_id
    return str(connection.scalar(campaigns.own_spelling(campaign_id, tables)))
