"""What recipients got: nobody twice, nobody nothing, and no campaign called over that was not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from campaign_ops.lab.drill.checkers.figure import Figure, none_of, shown
from campaign_ops.lab.drill.checkers.records import Records, Send
from campaign_ops.lab.drill.checkers.rows import clock
from campaign_ops.lab.drill.ledger import Change


def sent_twice(records: Records) -> Figure:
    """Recipients sent to again, but for those of whom nobody could know that they had been sent to."""
    culprits = (
        f"{second.recipient_id} of {second.campaign_id}: {_told(first)}, again {_told(second)}"
        for first, second in _again(records)
        if not _unknowable(records, first, second)
    )
    return none_of("sent_twice", "recipients sent twice by contract-obeying workers", culprits)


def unknowable(records: Records) -> Figure:
    """Recipients sent to again whose worker had died in between and whose claim Redis had lost."""
    found = [
        f"{second.recipient_id} of {second.campaign_id}: {_told(first)}, again {_told(second)}"
        for first, second in _again(records)
        if _unknowable(records, first, second)
    ]
    what = "sent again after a worker died unheard and Redis lost its claim"
    return shown("unknowable", what, str(len(found)), found)


def _again(records: Records) -> Iterator[tuple[Send, Send]]:
    for sends in records.sent_again.values():
        yield from pairwise(sends)


def _unknowable(records: Records, first: Send, second: Send) -> bool:
    return any(
        one.kind == "unknowable" and one.recipient_id == second.recipient_id and first.at <= one.at <= second.at
        for one in records.excuses
    )


def _told(send: Send) -> str:
    return f"{clock(send.at)} by {send.worker} from job {send.job_id or '?'}"


def never_sent(records: Records) -> Figure:
    """Recipients who wait still, in campaigns that we called sent."""
    culprits = (
        f"{recipient} of {campaign}, called {records.profile.campaign.words.done} by us"
        for campaign, recipient in records.never_sent
        if _ended_by_us(records, campaign)
    )
    return none_of("never_sent", "recipients never sent although their campaign ended `sent`", culprits)


def _ended_by_us(records: Records, campaign: str) -> bool:
    """Whether it was we who gave the campaign the word that it has."""
    for change in reversed(records.campaign_changes.get(campaign, ())):
        if _word(records, change, "old") != _word(records, change, "new"):
            return records.is_ours(change)
    return False


def finished_or_revived(records: Records) -> Figure:
    """Campaigns that we called over with somebody waiting, or that were not ours to touch because nobody sent them."""
    culprits = [*_finished_with_pending(records), *_revived(records)]
    return none_of(
        "finished_or_revived", "campaigns finished with pending recipients, or cancelled ones revived", culprits
    )


def _finished_with_pending(records: Records) -> Iterator[str]:
    for change in completed_by_us(records):
        if change.people is not None and change.people.waiting:
            word, left = _word(records, change, "new"), change.people.waiting
            yield f"{change.key}: called {word} at {clock(change.at)} with {left} recipients pending"


def _revived(records: Records) -> Iterator[str]:
    sending = records.profile.campaign.words.sending
    undone = _undone(records)
    for change in records.of("campaign"):
        if records.is_ours(change) and (change.txid, change.key) not in undone:
            before, after = _word(records, change, "old"), _word(records, change, "new")
            if before != sending:
                yield f"{change.key}: was {before}, and we made it {after} at {clock(change.at)}"


def _undone(records: Records) -> set[tuple[int, str]]:
    """(transaction, campaign) of undos: they put a campaign back to sending that we had called over."""
    undos = {one.id: records.journaled[one.id].txid for one in records.repairs if one.id in records.journaled}
    return {
        (undos[one.undone_by], one.target)
        for one in records.repairs
        if one.undone_by in undos and one.kind in ("complete", "recount")
    }


def wrong_word(records: Records) -> Figure:
    """Campaigns that we gave another word than their recipients say, or ended though they had none."""
    return none_of("wrong_word", "campaigns given a word that their recipients do not bear out", _wrong_words(records))


def _wrong_words(records: Records) -> Iterator[str]:
    words = records.profile.campaign.words
    for change in completed_by_us(records):
        people, word = change.people, _word(records, change, "new")
        if people is None or records.profile.campaign.counters is not None:
            continue  # counters may know of recipients whose rows are gone
        if not people.well and not people.failed:
            if records.policy.empty_campaigns == "report":
                yield f"{change.key}: called {word} at {clock(change.at)}, and it has no recipients"
        elif word != (words.done if people.well or words.failed is None else words.failed):
            yield f"{change.key}: called {word} with {people.well} sent and {people.failed} failed"


def completed_by_us(records: Records) -> Iterator[Change]:
    """Changes with which we called a campaign over that was being sent."""
    words = records.profile.campaign.words
    for change in records.of("campaign"):
        ended = _word(records, change, "old") == words.sending and _word(records, change, "new") in words.all_over
        if ended and records.is_ours(change):
            yield change


def _word(records: Records, change: Change, image: str) -> str:
    return records.names.text("campaign", change.old if image == "old" else change.new, "status")
