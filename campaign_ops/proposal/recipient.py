"""The recipient's part of the draft: columns and words. Columns of phone numbers and texts are not among them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from campaign_ops.postgres.relations import Column
from campaign_ops.postgres.survey import SurveyedTable, WordCount
from campaign_ops.profile.habits import COLUMNS, IN_FLIGHT, RECIPIENT_WORDS, folded
from campaign_ops.proposal.campaign import counters_of
from campaign_ops.proposal.draft import Draft
from campaign_ops.proposal.part import Part
from campaign_ops.proposal.tables import Choice, pick, place_of
from campaign_ops.proposal.words import counted, sort_words

_NEARLY_ALL = 0.9
_MUST = (("pending", "pending"), ("succeeded", "sent"), ("failed", "failed"))


def put_recipient(draft: Draft, choice: Choice, words: Sequence[WordCount], fewer: int) -> None:
    """Put the part into the draft.

    Args:
        draft: The draft.
        choice: The tables.
        words: The words of recipients.
        fewer: The number of the newest campaigns that have fewer rows than their total.
    """
    table = choice.recipient
    part = Part(draft, "recipient", table)
    if choice.recipient_rivals:
        note = f"or {', '.join(choice.recipient_rivals)}: of a campaign, a profile knows the recipients of one table"
        draft.put("recipient.table", table.name, note, unsure=True)
    by_key = choice.reference in table.parents
    reference = table.columns[choice.reference]
    part.column("campaign_id", reference, "a foreign key" if by_key else "by its name alone", unsure=not by_key)
    part.put_status()
    provider = provider_of(table)
    if provider is None:
        what = "no column says that the provider has a message; a recipient that is pending counts as not sent to"
        draft.put("recipient.provider_id", None, what, unsure=True)
    else:
        sent = sort_words(words, RECIPIENT_WORDS)[0]["succeeded"]
        rows, there = sum(count.rows for count in sent), sum(count.set.get(provider.name, 0) for count in sent)
        note = f"set in {there:,} of {rows:,} rows that were sent to"
        part.column("provider_id", provider, note, unsure=not rows or there < _NEARLY_ALL * rows)
    activity = moments_of(table)
    note = "" if activity else "no column says when a recipient moved, so that slow campaigns look stuck"
    draft.put("recipient.activity", activity, note, unsure=not activity)
    if rows_when_sent(choice, words, fewer):
        _put_rows_when_sent(part, fewer)
    _put_words(part, words)


def provider_of(table: SurveyedTable) -> Column | None:
    """The column of the provider's id: a text, and no reference to another table."""
    return pick(table, "provider_id", "text", {*table.parents, *filter(None, [table.key])})


def moments_of(table: SurveyedTable) -> list[str]:
    """The columns that show that a recipient moved."""
    names = [column.name for column in table.of_kind("moment")]
    return [name for name in names if any(pattern.fullmatch(folded(name)) for pattern in COLUMNS["activity"])]


def rows_when_sent(choice: Choice, words: Sequence[WordCount], fewer: int) -> bool:
    """Return whether rows seem to appear only when a recipient is sent to, so that the total is the campaign's own."""
    pending = sum(count.rows for count in sort_words(words, RECIPIENT_WORDS)[0]["pending"])
    messages = place_of("recipient", choice.recipient.name) == 2
    return bool(counters_of(choice.campaign)) and not pending and (fewer > 0 or messages)


def _put_rows_when_sent(part: Part, fewer: int) -> None:
    if about := pick(part.table, "about", "any", part.taken):
        part.column("about", about, "the person, so that a try and its retry are one recipient")
    if created_at := pick(part.table, "created_at", "moment", part.taken):
        part.column("created_at", created_at)
    evidence = (
        "campaigns have fewer rows than their total" if fewer else "no row is pending, and campaigns have counters"
    )
    part.draft.put("recipient.rows", "sent", f"rows appear when a recipient is sent to: {evidence}", unsure=True)


def _put_words(part: Part, words: Sequence[WordCount]) -> None:
    by_meaning, unknown = sort_words(words, RECIPIENT_WORDS)
    sample, note = f"in a sample of rows: {counted(words)}", ""
    if unknown:
        note = f"; in no list: {counted(unknown)}: a campaign with such recipients is reported, not repaired"
        if flying := [count.word for count in unknown if folded(count.word) in IN_FLIGHT]:
            note += f"; while a recipient is {flying[0]!r}, the provider may have the message"
    part.draft.note("recipient.words", sample + note, unsure=bool(unknown))
    missing = [instead for meaning, instead in _MUST if not by_meaning[meaning]]
    for meaning, instead in _MUST:
        there = [count.word for count in by_meaning[meaning]]
        what = "" if there else "no row has such a word; correct it"
        part.draft.put(f"recipient.words.{meaning}", there or [instead], what, unsure=not there)
    if missing and part.status.is_enum:
        part.draft.put("recipient.words.optional", missing, "the enum type does not have them")
