"""The profile against the database: tables, columns and status words, triggers, policies and foreign keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from campaign_ops.core.errors import ProfileMismatch
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import qualified, quoted
from campaign_ops.postgres.catalog import Catalog
from campaign_ops.postgres.inspection import Server, Table
from campaign_ops.profile.model import Profile


def misfits(error: ProfileMismatch) -> Iterator[Finding]:
    """Return a finding for each table, column or word that differs from the profile."""
    for problem in error.problems:
        what, _, instead = problem.partition("; ")
        yield Finding(
            "profile", Level.ERROR, what, f"correct the profile: {instead}" if instead else "correct the profile"
        )


def fits(profile: Profile) -> Finding:
    """Return the finding that everything in the profile exists."""
    return Finding("profile", Level.OK, f"every table, column and word of profile {profile.name} exists")


def status_columns(profile: Profile) -> list[tuple[str, str, str]]:
    """Return the status columns in which an unknown word blocks repairs, as (role in the profile, table, column).

    The reservation's is not among them: a reservation under any other word than held holds nothing.
    """
    campaign, recipient = profile.campaign, profile.recipient
    return [("campaign", campaign.table, campaign.status), ("recipient", recipient.table, recipient.status)]


def enum_words(catalog: Catalog, table: str, column: str) -> tuple[str, ...] | None:
    """Return the words that a status column can hold; None for a text column, which can hold any."""
    found = catalog.column(table, column)
    return found.words if found.is_enum else None


def strange_holds(profile: Profile, words: Collection[str]) -> Finding:
    """Report status words of reservations that the profile does not know: their credits are never released."""
    reservation = profile.reservation
    assert reservation is not None
    label = f"{quoted(reservation.table)}.{quoted(reservation.status)}"
    strange = sorted(set(words) - set(reservation.words.all_known))
    if not strange:
        return Finding("words", Level.OK, f"{label}: the profile knows every word in a sample of rows")
    what = f"{label}: the profile does not know {_shown(strange)}; credits under such a word are never released"
    mend = f"put the words that hold nothing into reservation.words.over; held is {reservation.words.held!r} now"
    if reservation.words.held in words:
        return Finding("words", Level.WARNING, what, mend)
    what += f", and no row has {reservation.words.held!r}"
    return Finding("words", Level.ERROR, what, f"correct reservation.words.held, or {mend}")


def _shown(words: list[str]) -> str:
    return ", ".join(words[:12]) + (f" and {len(words) - 12} more" if len(words) > 12 else "")


def strange_words(profile: Profile, role: str, words: Collection[str], *, sampled: bool) -> Finding:
    """Report words of one status column that the profile does not know."""
    table, column = next((table, column) for held, table, column in status_columns(profile) if held == role)
    label = f"{quoted(table)}.{quoted(column)}"
    known: Collection[str]
    if role == "campaign":
        known, lists = profile.campaign.words.all_known, "over (done, if finished campaigns carry it) or idle"
        effect = "such campaigns count neither as sending nor as over, and their credits are only reported"
    else:
        known, lists = profile.recipient.words.all_known, "pending, succeeded or failed"
        effect = "a campaign with such recipients is reported, not repaired"
    strange = sorted(set(words) - set(known))
    if not strange:
        where = "in a sample of rows" if sampled else "of its enum type"
        return Finding("words", Level.OK, f"{label}: the profile knows every word {where}")
    what = f"{label}: the profile does not know {_shown(strange)}; {effect}"
    if sampled and not set(words) & set(known):
        what += f"; and no row has any of its words ({', '.join(known)})"
        return Finding("words", Level.ERROR, what, f"correct {role}.words of the profile")
    return Finding("words", Level.WARNING, what, f"put them into {role}.words.{lists} of the profile")


def row_security(server: Server, tables: dict[str, Table]) -> Iterator[Finding]:
    """Report policies that may hide rows: a hidden pending recipient makes a campaign look finished."""
    hidden = [quoted(table.name) for table in tables.values() if table.row_security]
    if not hidden:
        yield Finding("row_security", Level.OK, "no policy hides rows from this role")
    for name in hidden:
        what = f"row level security may hide rows of {name}, so unfinished campaigns may look finished: no sweep starts"
        yield Finding("row_security", Level.ERROR, what, f"ALTER ROLE {quoted(server.role)} BYPASSRLS")


def triggers(profile: Profile, tables: dict[str, Table]) -> Iterator[Finding]:
    """Report triggers that fire on our repairs, too."""
    written = [profile.campaign.table, *([profile.reservation.table] if profile.reservation else [])]
    for name in written:
        if names := ", ".join(map(quoted, tables[name].triggers)):
            yield Finding("triggers", Level.NOTE, f"repairs of {quoted(name)} fire its triggers too: {names}")


def recipient_ids(profile: Profile, catalog: Catalog) -> Iterator[Finding]:
    """Report that recipients may have no id, where a queue's jobs name them."""
    table, column = profile.recipient.table, profile.recipient.id
    if profile.queue is not None and catalog.column(table, column).nullable:
        what = f"{quoted(table)}.{quoted(column)} may be NULL: a campaign with such a pending recipient is not repaired"
        mend = f"ALTER TABLE {qualified(profile, table)} ALTER COLUMN {quoted(column)} SET NOT NULL"
        yield Finding("recipient_ids", Level.NOTE, what, mend)


def foreign_key(profile: Profile, *, there: bool) -> Finding:
    """Report whether a foreign key orders the insertion of recipients and the completion of their campaign."""
    child, parent = profile.recipient.table, profile.campaign.table
    if there:
        return Finding("foreign_key", Level.OK, f"{quoted(child)} references {quoted(parent)}")
    what = (
        f"{quoted(child)} does not reference {quoted(parent)}: recipients that are inserted while their campaign"
        " is being completed are not noticed"
    )
    mend = (
        f"ALTER TABLE {qualified(profile, child)} ADD FOREIGN KEY ({quoted(profile.recipient.campaign_id)})"
        f" REFERENCES {qualified(profile, parent)} ({quoted(profile.campaign.id)}) NOT VALID"
    )
    return Finding("foreign_key", Level.NOTE, what, mend)
