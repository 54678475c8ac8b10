"""Evidence from the database: the stuck campaigns, their recipients by state, and what our own tables know of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import sqlalchemy as sa

from campaign_ops.core.errors import DatabaseTimeout
from campaign_ops.core.model import Attempts, Campaign, Counters, Evidence, Tally
from campaign_ops.core.paging import in_pages
from campaign_ops.platform import Platform
from campaign_ops.postgres import campaigns, planner, recipients, reservations
from campaign_ops.postgres.bounded import Patience, bounded
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.sweep.progress import doing
from campaign_ops.sweep.tally import tally_page

PAGE = 1000  # campaigns per statement
_SHARED = "campaigns of several tenants have this id, so it is not known whose its recipients are"


def stuck_campaigns(
    platform: Platform, connection: sa.Connection, only: Collection[str] | None, *, any_age: bool
) -> Iterator[Campaign]:
    """Stuck campaigns, the longest untouched first; of ``only`` those that are still stuck, undated ones included."""
    tables = platform.tables(connection)
    binds: dict[str, object] = {"stuck_after_seconds": platform.policy.stuck_after_seconds}
    if only is not None:
        query = campaigns.stuck_among(tables, any_age=any_age)
        for page in in_pages(sorted(only), PAGE):
            yield from map(campaign_of, connection.execute(query, {**binds, "ids": page}))
        return
    after: dict[str, object] = {}
    while True:
        query = campaigns.stuck(tables, first=not after, any_age=any_age)
        rows = list(connection.execute(query, {**binds, **after, "limit": PAGE}))
        yield from map(campaign_of, rows)
        if len(rows) < PAGE:
            return
        after = {"after_at": rows[-1].updated_at_exact, "after_id": rows[-1].id}


def stuck_undated(platform: Platform, connection: sa.Connection, *, any_age: bool) -> Iterator[Campaign]:
    """Stuck campaigns whose ``updated_at`` tells no age: rarely any, so they are read only if some were counted."""
    binds: dict[str, object] = {"stuck_after_seconds": platform.policy.stuck_after_seconds}
    after: dict[str, object] = {}
    while True:
        query = campaigns.stuck_undated(platform.tables(connection), first=not after, any_age=any_age)
        rows = list(connection.execute(query, {**binds, **after, "limit": PAGE}))
        yield from map(campaign_of, rows)
        if len(rows) < PAGE:
            return
        after = {"after_id": rows[-1].id}


def without_pending(
    platform: Platform, connection: sa.Connection, stuck: Sequence[Campaign], *, beside: Collection[str]
) -> list[Campaign]:
    """Those of the campaigns that may be finished, and those of ``beside``; all where that takes too long to know."""
    tables = platform.tables(connection)
    if platform.profile.recipient.rows == "sent":  # then nothing is known from rows that do not exist yet
        return list(stuck)
    others = [campaign.id for campaign in stuck if campaign.id not in beside]
    try:
        with bounded(platform.database, connection), planner.by_index(connection):
            pending = set(connection.scalars(recipients.with_pending(tables), {"ids": others}))
    except DatabaseTimeout:
        return list(stuck)
    return [campaign for campaign in stuck if campaign.id not in pending]


def campaign_of(row: sa.Row[tuple[object, ...]]) -> Campaign:
    """A campaign from a row of `campaigns.campaign_columns`."""
    counters = None if row.total is None else Counters(row.total, row.succeeded, row.failed)
    return Campaign(
        row.id,
        row.tenant or "",
        row.name or "",
        row.status,
        row.updated_at if row.updated_at_exact is not None else row.started_at or row.created_at,
        row.started_at,
        counters,
        updated_at_exact=row.updated_at_exact,
        impossible=row.impossible,
    )


def campaign_by_id(platform: Platform, connection: sa.Connection, campaign_id: str) -> Campaign | None:
    """One campaign, whatever its status; None if there is none, or the text cannot be an id of this platform."""
    tables = platform.tables(connection)
    if not tables.may_be_id(tables.campaign, campaign_id):
        return None
    row = connection.execute(campaigns.by_id(tables), {"ids": [campaign_id]}).first()
    return None if row is None else campaign_of(row)


def read_evidence(
    platform: Platform,
    connection: sa.Connection,
    campaigns: Sequence[Campaign],
    before: int | None,
    *,
    remembers: bool,
    patience: Patience | None = None,
) -> list[Evidence]:
    """The evidence of each campaign, without what the queue says; of our own tables only where it ``remembers``."""
    patience = patience or Patience()
    tables = platform.tables(connection)
    when_sent = platform.profile.recipient.rows == "sent"
    people_known = "about" in tables.recipient.c
    evidence: list[Evidence] = []
    shared = several_tenants(campaigns)
    for page in in_pages(campaigns, PAGE):
        doing(platform.name, "counting the recipients of campaigns", len(evidence), len(campaigns))
        ids = [campaign.id for campaign in page]
        tallies = tally_page(platform, connection, page, patience)
        attempts = platform.attempts.of(connection, ids) if remembers else {}
        earlier = platform.sweeps.pending_before(connection, ids, before=before) if remembers else {}
        strange = _strange_holds(connection, tables, ids)
        for campaign in page:
            pending_before, observed_before_at = earlier.get(campaign.id, (None, None))
            evidence.append(
                Evidence(
                    campaign=campaign,
                    tally=tallies.by_campaign.get(campaign.id, Tally()),
                    uncounted=tallies.uncounted.get(campaign.id, _SHARED if campaign.id in shared else ""),
                    rows_when_sent=when_sent,
                    people_known=people_known,
                    attempts=attempts.get(campaign.id, Attempts()),
                    pending_before=pending_before,
                    observed_before_at=observed_before_at,
                    strange_holds=strange.get(campaign.id, ()),
                )
            )
    return evidence


def several_tenants(campaigns: Iterable[Campaign]) -> set[str]:
    """The ids that campaigns of several tenants share, where each tenant counts its own."""
    owner: dict[str, str] = {}
    return {campaign.id for campaign in campaigns if owner.setdefault(campaign.id, campaign.tenant) != campaign.tenant}


def _strange_holds(connection: sa.Connection, tables: PlatformTables, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The words of the reservations of each campaign that has some, and none with a known word."""
    if tables.reservation is None:
        return {}
    rows = connection.execute(reservations.strange_holds(tables), {"ids": list(ids)})
    return {row.campaign_id: tuple(row.words) for row in rows}
