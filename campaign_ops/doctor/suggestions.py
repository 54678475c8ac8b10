"""Improvements of the profile: columns that it leaves out, and the word that finished campaigns carry."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import quoted
from campaign_ops.postgres.catalog import Catalog
from campaign_ops.profile.habits import COLUMNS, folded
from campaign_ops.profile.model import Profile

_FINISHED_WORD = re.compile(r"complet|finish|sent|done|succe|deliver|closed|ended", re.IGNORECASE)
_EFFECTS = {
    "started_at": "the start of sending is unknown",
    "completed_at": "campaigns are completed without it",
    "updated_at": "reservations are released without touching it",
}


def candidates(catalog: Catalog, table: str, role: str) -> list[str]:
    """Return the columns of a table that by name and type could have this role."""
    moments = catalog.names(table, moments=True)
    return [name for name in moments if COLUMNS[role][0].fullmatch(folded(name))]


def unmapped(profile: Profile, catalog: Catalog) -> Iterator[Finding]:
    """Report columns that the profile leaves out although their name shows what they are."""
    campaign, reservation = profile.campaign, profile.reservation
    asked: list[tuple[str, str, str, str | None, Level]] = [
        ("campaign", campaign.table, "started_at", campaign.started_at, Level.NOTE),
        ("campaign", campaign.table, "completed_at", campaign.completed_at, Level.WARNING),
    ]
    if reservation is not None:
        asked.append(("reservation", reservation.table, "updated_at", reservation.updated_at, Level.NOTE))
    for part, table, role, mapped, level in asked:
        if mapped is None and (there := candidates(catalog, table, role)):
            what = f"{quoted(table)}.{quoted(there[0])} is not in the profile: {_EFFECTS[role]}"
            yield Finding("columns", level, what, f"set {part}.{role} to {there[0]!r} in the profile")


def done_word(profile: Profile, rows: Mapping[str, int], finished: Collection[str]) -> Finding | None:
    """Report whether finished campaigns carry the word that we would write; None if there is no evidence.

    Args:
        profile: The profile with the word that we would write.
        rows: Words of campaigns in a sample, and the number of rows of each.
        finished: The words of rows with a moment of completion; empty if there is no such column.
    """
    campaign = profile.campaign
    known = campaign.words
    ended = {known.sending, known.failed, *known.idle}
    ended |= {word for word in known.over if not _FINISHED_WORD.search(word)}  # cancelled campaigns are over, too
    others = [word for word in finished if word not in ended]
    if not others:
        others = [word for word in rows if word not in ended and _FINISHED_WORD.search(word)]
    if not others:
        return None
    label = f"{quoted(campaign.table)}.{quoted(campaign.status)}"
    if known.done in rows:
        return Finding("done_word", Level.OK, f"{label}: finished campaigns carry {known.done!r}")
    word = max(others, key=lambda other: rows.get(other, 0))
    what = f"{label}: finished campaigns carry {word!r}, and none carries {known.done!r}, which we would write"
    return Finding("done_word", Level.ERROR, what, f"set campaign.words.done to {word!r} in the profile")
