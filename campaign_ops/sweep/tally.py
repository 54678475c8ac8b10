"""Recipients by the meaning of their status: many campaigns in one short statement, a large one in pieces.

One campaign of 1.5 million recipients once made the statement for all of them time out: nothing was repaired for any
campaign. A campaign that cannot be counted in time is reported, and keeps no other from being judged.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

import sqlalchemy as sa

from campaign_ops.core.errors import DatabaseTimeout
from campaign_ops.core.model import Campaign, Tally
from campaign_ops.core.paging import in_pages
from campaign_ops.platform import Platform
from campaign_ops.postgres import planner, recipients
from campaign_ops.postgres.bounded import Patience, bounded
from campaign_ops.postgres.tables import PlatformTables
from campaign_ops.profile.model import Profile

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1_000_000
"""Recipients in one statement, as far as the campaigns' counters tell their number."""
MEASURED_AT_ONCE = 100  # campaigns
LARGE = 50_000
"""Recipients of a campaign that is counted by itself, once a statement on many campaigns has taken too long."""


class Group(NamedTuple):
    """Recipients of one campaign that are alike."""

    campaign_id: str
    status: str | None
    accepted: bool
    standing: str
    number: int
    last_activity: datetime | None
    impossible: int


@dataclass(frozen=True, slots=True)
class Tallies:
    """Tallies by campaign, campaigns without recipients left out; and why the others could not be counted."""

    by_campaign: dict[str, Tally]
    uncounted: dict[str, str]


def tally_page(
    platform: Platform, connection: sa.Connection, campaigns: Sequence[Campaign], patience: Patience
) -> Tallies:
    """Count the recipients of these campaigns; see `Patience` for those that are too large for a short statement."""
    tallies = Tallies({}, {})
    ids: list[str] = []
    rows = 0
    for campaign in campaigns:
        expected = campaign.counters.total if campaign.counters is not None else 0
        if expected > ROWS_AT_ONCE:
            _tally_in_pieces(platform, connection, campaign.id, patience, tallies)
            continue
        if rows + expected > ROWS_AT_ONCE:
            _tally_together(platform, connection, ids, patience, tallies)
            ids, rows = [], 0
        ids.append(campaign.id)
        rows += expected
    if ids:
        _tally_together(platform, connection, ids, patience, tallies)
    return tallies


def _tally_together(
    platform: Platform, connection: sa.Connection, ids: Sequence[str], patience: Patience, tallies: Tallies
) -> None:
    if _tally_at_once(platform, connection, ids, tallies):
        return
    for some in in_pages(ids, MEASURED_AT_ONCE):
        large = _large_among(platform, connection, some)
        small = [campaign_id for campaign_id in some if campaign_id not in large]
        in_pieces = [*large] if not small or _tally_at_once(platform, connection, small, tallies) else some
        for campaign_id in in_pieces:
            _tally_in_pieces(platform, connection, campaign_id, patience, tallies)


def _tally_at_once(platform: Platform, connection: sa.Connection, ids: Sequence[str], tallies: Tallies) -> bool:
    """Count these campaigns' recipients in one statement; False where it takes too long."""
    tables = platform.tables(connection)
    try:
        with bounded(platform.database, connection):
            tallies.by_campaign.update(_added_up(tables, _groups(connection, tables, ids)))
    except DatabaseTimeout as error:
        log.warning("%s: %s campaigns could not be counted together: %s", platform.name, len(ids), error)
        return False
    return True


def _large_among(platform: Platform, connection: sa.Connection, ids: Sequence[str]) -> Collection[str]:
    """The campaigns with more than ``LARGE`` recipients; all of them if even that takes too long."""
    query = recipients.with_more_than(platform.tables(connection))
    try:
        with bounded(platform.database, connection), planner.by_index(connection):
            return set(connection.scalars(query, {"ids": list(ids), "number": LARGE}))
    except DatabaseTimeout:
        return ids


def _tally_in_pieces(
    platform: Platform, connection: sa.Connection, campaign_id: str, patience: Patience, tallies: Tallies
) -> None:
    tables = platform.tables(connection)
    query = recipients.kinds_of_rows(tables)
    numbers: Counter[tuple[str | None, bool, str]] = Counter()
    latest: datetime | None = None
    impossible = 0
    try:
        for piece in patience.stream(platform.database, connection, query, {"ids": [campaign_id]}):
            numbers.update(map(attrgetter("status", "accepted", "standing"), piece))
            moments = [row.moment for row in piece if row.moment is not None]
            latest = max([*moments, *([latest] if latest else [])], default=None)
            impossible += sum(row.impossible or False for row in piece)
    except DatabaseTimeout as error:
        log.warning("%s: the recipients of campaign %s could not be counted: %s", platform.name, campaign_id, error)
        tallies.uncounted[campaign_id] = f"its recipients could not be counted: {error.what}"
        return
    groups = [Group(campaign_id, *kind, number, latest, 0) for kind, number in numbers.items()]
    for tally in _added_up(tables, groups).values():
        tallies.by_campaign[campaign_id] = replace(tally, impossible=impossible)


def _groups(connection: sa.Connection, tables: PlatformTables, ids: Sequence[str]) -> Sequence[Group]:
    """The groups of these campaigns; counted once more, exactly, where moments are impossible: hardly ever any is."""
    for exact in (False, True):
        rows = connection.execute(recipients.tallies(tables, exact=exact), {"ids": list(ids)})
        groups = [Group(*row) for row in rows]
        if not any(group.impossible for group in groups):
            break
    return groups


def _added_up(tables: PlatformTables, groups: Sequence[Group]) -> dict[str, Tally]:
    """Recipients of each campaign by the meaning of their status."""
    tallies: dict[str, Tally] = {}
    for group in groups:
        so_far = tallies.get(group.campaign_id, Tally())
        latest = max(filter(None, (so_far.last_activity, group.last_activity)), default=None)
        so_far = replace(so_far, impossible=so_far.impossible + group.impossible, last_activity=latest)
        meaning = group.standing if group.standing in ("earlier", "repeated") else _meaning(tables.profile, group)
        if meaning is None:
            word = str(group.status)
            unknown = {**so_far.unknown, word: so_far.unknown.get(word, 0) + group.number}
            tallies[group.campaign_id] = replace(so_far, unknown=unknown)
        else:
            count = getattr(so_far, meaning) + group.number
            unsure = so_far.unsure + (group.number if group.standing == "unsure" else 0)
            tallies[group.campaign_id] = replace(so_far, **{meaning: count, "unsure": unsure})
    return tallies


def _meaning(profile: Profile, group: Group) -> str | None:
    """The count of `Tally` that a status belongs to; None for a word that the profile does not know."""
    words = profile.recipient.words
    if group.status in words.pending:
        return "accepted" if group.accepted else "pending"
    if group.status in words.succeeded:
        return "succeeded"
    return "failed" if group.status in words.failed else None
