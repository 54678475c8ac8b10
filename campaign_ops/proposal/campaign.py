"""The campaign's part of the draft: columns, counters and words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from campaign_ops.postgres.relations import Column
from campaign_ops.postgres.survey import SurveyedTable, WordCount
from campaign_ops.profile.habits import CAMPAIGN_WORDS, VAGUE, folded
from campaign_ops.proposal.draft import Draft
from campaign_ops.proposal.part import Part
from campaign_ops.proposal.tables import Choice, pick
from campaign_ops.proposal.words import counted, sort_words, usual

COUNTERS = ("total", "succeeded", "failed")


def put_campaign(draft: Draft, choice: Choice, words: Sequence[WordCount]) -> None:
    """Put the part into the draft."""
    table = choice.campaign
    part, counters = Part(draft, "campaign", table), counters_of(table)
    if choice.rivals:
        draft.put("campaign.table", table.name, f"or {', '.join(choice.rivals)}: one platform for each", unsure=True)
    part.taken |= {column.name for column in counters.values()}
    part.needed("tenant", "any")
    part.needed("name", "text")
    part.put_status()
    part.needed("updated_at", "moment", "every change by the application must touch it")
    for role in ("created_at", "started_at"):
        part.picked(role, "moment")
    completed_at = part.picked("completed_at", "moment")
    for role, column in counters.items():
        draft.put(f"campaign.counters.{role}", column.name)
    _put_words(part, words, completed_at)


def counters_of(table: SurveyedTable) -> Mapping[str, Column]:
    """The campaign's own counts by role; empty where not all of them are there."""
    found = {role: column for role in COUNTERS if (column := pick(table, role, "integer"))}
    return found if len(found) == len(COUNTERS) else {}


def _put_words(part: Part, words: Sequence[WordCount], completed_at: Column | None) -> None:
    by_meaning, unknown = sort_words(words, CAMPAIGN_WORDS)
    part.draft.note("campaign.words", f"in a sample of rows: {counted(words)}")
    sending = by_meaning["sending"]
    doubt = f"or {counted(sending[1:])}" if sending[1:] else ""
    if sending and folded(sending[0].word) in VAGUE:
        doubt = "is every such campaign being sent, and over once all its recipients are settled?"
    part.word("sending", next(iter(sending), None), "sending", doubt)
    done = usual(by_meaning["done"], set_column=completed_at.name if completed_at else None)
    rivals = [count for count in by_meaning["done"] if count is not done]
    part.word("done", done, "completed", f"or {counted(rivals)}" if rivals else "")
    failed = [count.word for count in by_meaning["failed"]]
    part.draft.put("campaign.words.failed", next(iter(failed), None))
    over = [*(count.word for count in rivals), *failed[1:], *(count.word for count in by_meaning["over"])]
    part.draft.put("campaign.words.over", over)
    unlisted = [*sending[1:], *unknown]
    note = f"in no list: {counted(unlisted)}; put each into over (nothing is sent any more) or idle" if unlisted else ""
    part.draft.put("campaign.words.idle", [count.word for count in by_meaning["idle"]], note, unsure=bool(unlisted))
