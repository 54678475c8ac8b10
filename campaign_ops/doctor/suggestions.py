"""What the profile could say and does not: columns by their names, and the word that finished campaigns carry."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import quoted
from campaign_ops.postgres.catalog import Catalog
from campaign_ops.profile.model import Profile

_FINISHED_WORD = re.compile(r"complet|finish|sent|done|succe|deliver|closed|ended", re.IGNORECASE)
_NAMES = {
    "started_at": re.compile(r"(sending)?(started|begun|launched)(at|on)?|start(time|date)", re.IGNORECASE),
    "completed_at": re.compile(r"(completed|finished|ended|done)(at|on)?|(end|completion)(time|date)", re.IGNORECASE),
    "updated_at": re.compile(r"(updated|modified)(at|on)?", re.IGNORECASE),
}
_EFFECTS = {
    "started_at": "when sending began is not known to us",
    "completed_at": "campaigns are completed without it",
    "updated_at": "reservations are released without touching it",
}


def candidates(catalog: Catalog, table: str, role: str) -> list[str]:
    """Columns of a table that by name and type could have this role."""
    moments = catalog.names(table, moments=True)
    return [name for name in moments if _NAMES[role].fullmatch(name.replace("_", ""))]


def unmapped(profile: Profile, catalog: Catalog) -> Iterator[Finding]:
    """Columns that the profile leaves out although their name says what they are."""
    campaign, reservation = profile.campaign, profile.reservation
    asked: list[tuple[str, str, str, str | None, Level]] = [
        ("campaign", campaign.table, "started_at", campaign.started_at, Level.NOTE),
        ("campaign", campaign.table, "completed_at", campaign.completed_at, Level.WARNING),
    ]
    if reservation is not None:
        asked.append(("reservation", reservation.table, "updated_at", reservation.updated_at, Level.NOTE))
    for part, table, role, mapped, level in asked:
        if mapped is None and (there := candidates(catalog, table, role)):
            what = f"{quoted(table)}.{quoted(there[0])} stands nowhere in the profile: {_EFFECTS[role]}"
            yield Finding("columns", level, what, f"set {part}.{role} to {there[0]!r} in the profile")


def done_word(profile: Profile, rows: Mapping[str, int], finished: Collection[str]) -> Finding | None:
    """Whether campaigns that are over carry the word that we would write; None where there is nothing to tell by.

    Args:
        profile: What we would write.
        rows: Words of campaigns in a sample, with how often each is there.
        finished: Those that rows with a moment of completion carry; empty where no column tells.
    """
    campaign = profile.campaign
    known = campaign.words
    ended = {known.sending, known.failed, *known.idle}
    ended |= {word for word in known.over if not _FINISHED_WORD.search(word)}  # cancelled ones are over too
    others = [word for word in finished if word not in ended]
    if not others:
        others = [word for word in rows if word not in ended and _FINISHED_WORD.search(word)]
    if not others:
        return None
    label = f"{quoted(campaign.table)}.{quoted(campaign.status)}"
    if known.done in rows:
        return Finding("done_word", Level.OK, f"{label}: finished campaigns say {known.done!r}")
    word = max(others, key=lambda one: rows.get(one, 0))
    what = f"{label}: finished campaigns say {word!r}, and none says {known.done!r}, which we would write"
    return Finding("done_word", Level.ERROR, what, f"set campaign.words.done to {word!r} in the profile")
