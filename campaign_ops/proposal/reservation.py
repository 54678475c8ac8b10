"""The part of the draft for credit reservations. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from campaign_ops.postgres.survey import WordCount
from campaign_ops.profile.habits import RESERVATION_WORDS
from campaign_ops.proposal.draft import Draft
from campaign_ops.proposal.part import Part, status_of
from campaign_ops.proposal.tables import Choice
from campaign_ops.proposal.words import counted, sort_words, usual


def put_reservation(draft: Draft, choice: Choice, words: Sequence[WordCount]) -> None:
    """Put the part into the draft; null where there are no reservations, or their words say nothing."""
    if choice.reservation is None:
        draft.put("reservation", None, "no table of credit reservations was found")
        return
    table, reference = choice.reservation
    by_meaning, unknown = sort_words(words, RESERVATION_WORDS)
    held, released = usual(by_meaning["held"]), usual(by_meaning["released"])
    if status_of(table).is_enum and not (held and released):
        what = f"{table.name} has the words {counted(words)}: which one holds credits, and which one frees them?"
        draft.put("reservation", None, what, unsure=True)
        return
    part = Part(draft, "reservation", table)
    part.taken.add(reference)
    part.needed("tenant", "any")
    part.column("campaign_id", table.columns[reference])
    part.needed("amount", "number")
    part.put_status()
    part.needed("created_at", "moment")
    for role in ("expires_at", "released_at", "updated_at"):
        part.picked(role, "moment")
    draft.note("reservation.words", f"in a sample of rows: {counted(words)}")
    part.word("held", held, "active")
    part.word("released", released, "released")
    others = [count for count in (*by_meaning["held"], *by_meaning["released"]) if count not in (held, released)]
    unlisted = counted([*others, *unknown]) if others or unknown else ""
    note = f"in no list: {unlisted}; put those under which nothing is set aside here" if unlisted else ""
    draft.put("reservation.words.over", [count.word for count in by_meaning["over"]], note, unsure=bool(unlisted))
