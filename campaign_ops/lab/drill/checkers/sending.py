"""Figures about recipients: none sent twice, none forgotten, and no campaign ended too early or with a wrong status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise, zip_longest

from campaign_ops.lab.drill.checkers.figure import Figure, none_of, shown
from campaign_ops.lab.drill.checkers.records import Records, Send
from campaign_ops.lab.drill.checkers.rows import clock
from campaign_ops.lab.drill.environment.workforce import LOOSE
from campaign_ops.lab.drill.ledger import Change


def sent_twice(records: Records) -> Figure:
    """Recipients sent to again by workers that keep the contract, except those whose first send could not be known."""
    violations = (
        _describe_both(first, second)
        for first, second in _again(records)
        if not _unknowable(records, first, second)
        and not _loosely(records, first, second)
        and not let_again(records, second.recipient_id, first.at, second.at)
    )
    return none_of("sent_twice", "recipients sent twice by contract-obeying workers", violations)


def unknowable(records: Records) -> Figure:
    """Recipients sent to again after their worker had died and Redis had lost its claim."""
    lines = [_describe_both(*both) for both in _again(records) if _unknowable(records, *both)]
    what = "recipients sent again after a worker died and Redis lost its claim"
    return shown("unknowable", what, str(len(lines)), lines)


def let_again(records: Records, recipient: str, since: datetime, until: datetime) -> bool:
    """Return whether a person let this recipient be sent to again in this time."""
    decisions = (repair for repair in records.repairs if repair.kind == "send_again" and since < repair.at < until)
    return any(recipient in repair.after.get("ids", ()) for repair in decisions)


def sent_loosely(records: Records) -> Figure:
    """Recipients sent to again that a worker without claims had sent to, or whose claim had expired.

    Those that a job of ours caused are in a figure of their own.
    """
    lines = [
        _describe_both(*both)
        for both in _again(records)
        if not _unknowable(records, *both) and _loosely(records, *both)
    ]
    what = "recipients sent again by the application's own crashes, without a claim"
    return shown("sent_loosely", what, str(len(lines)), lines)


def _loosely(records: Records, first: Send, second: Send) -> bool:
    """Return whether no claim kept the second send from being made: no worker took one, or it had expired."""
    if first.worker.startswith(LOOSE) or second.worker.startswith(LOOSE):
        return True
    claims = [claim for claim in records.claims.get(first.recipient_id, ()) if claim.at <= first.at]
    return bool(claims) and claims[-1].until <= second.at


def _again(records: Records) -> Iterator[tuple[Send, Send]]:
    """Pairs of sends; what the provider rejected, and the application tries again, was not sent."""
    for sends in records.sent_again.values():
        yield from ((first, second) for first, second in pairwise(sends) if first.accepted)


def _unknowable(records: Records, first: Send, second: Send) -> bool:
    return any(
        excuse.kind == "unknowable"
        and excuse.recipient_id == second.recipient_id
        and first.at <= excuse.at <= second.at
        for excuse in records.excuses
    )


def _describe_both(first: Send, second: Send) -> str:
    return f"{second.recipient_id} of {second.campaign_id}: {_describe(first)}, again {_describe(second)}"


def _describe(send: Send) -> str:
    return f"{clock(send.at)} by {send.worker} from job {send.job_id or '?'}"


def never_sent(records: Records) -> Figure:
    """Recipients that are still pending in campaigns that campaign_ops completed."""
    violations = (
        f"{recipient} of {campaign}, set to {records.profile.campaign.words.done} by us"
        for campaign, recipient in records.never_sent
        if _ended_by_us(records, campaign)
    )
    return none_of("never_sent", "recipients never sent although their campaign ended `sent`", violations)


def _ended_by_us(records: Records, campaign: str) -> bool:
    """Return whether the campaign's current status was written by campaign_ops."""
    for change in reversed(records.campaign_changes.get(campaign, ())):
        if _word(records, change, "old") != _word(records, change, "new"):
            return records.is_ours(change)
    return False


def finished_or_revived(records: Records) -> Figure:
    """Campaigns that campaign_ops ended with pending recipients, or changed although they were not sending."""
    violations = [*_finished_with_pending(records), *_revived(records)]
    return none_of(
        "finished_or_revived", "campaigns finished with pending recipients, or cancelled ones revived", violations
    )


def _finished_with_pending(records: Records) -> Iterator[str]:
    for change in completed_by_us(records):
        if change.recipients is not None and change.recipients.waiting:
            word, left = _word(records, change, "new"), change.recipients.waiting
            yield f"{change.key}: set to {word} at {clock(change.at)} with {left} recipients pending"


def overtaken(records: Records) -> Figure:
    """Campaigns that campaign_ops completed while an open transaction had set recipients of theirs back to pending."""
    what = "campaigns completed while an open transaction had given them work"
    return none_of("overtaken", what, _overtaken(records))


def _overtaken(records: Records) -> Iterator[str]:
    pending: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for moves in records.moves.values():
        for move, after in zip_longest(moves, moves[1:]):
            if move.waits:
                pending[move.campaign_id].append((move.at, records.now if after is None else after.at))
    for change in completed_by_us(records):
        # Where the completion could read them, it is a figure of its own.
        if change.recipients is not None and not change.recipients.waiting:
            since = [begin for begin, end in pending[change.key] if begin < change.at < end]
            if since:
                yield f"{change.key}: completed at {clock(change.at)}, {len(since)} pending since {clock(min(since))}"


def _revived(records: Records) -> Iterator[str]:
    sending = records.profile.campaign.words.sending
    undone = _undone(records)
    for change in records.of("campaign"):
        if records.is_ours(change) and (change.txid, change.key) not in undone:
            before, after = _word(records, change, "old"), _word(records, change, "new")
            if before != sending:
                yield f"{change.key}: was {before}, set to {after} by us at {clock(change.at)}"


def _undone(records: Records) -> set[tuple[int, str]]:
    """(transaction, campaign) of undos: they set a campaign that we had completed back to sending."""
    undos = {
        repair.id: records.journaled[repair.id].txid for repair in records.repairs if repair.id in records.journaled
    }
    return {
        (undos[repair.undone_by], repair.target)
        for repair in records.repairs
        if repair.undone_by in undos and repair.kind in ("complete", "recount")
    }


def wrong_word(records: Records) -> Figure:
    """Campaigns whose final status, set by us, contradicts their recipients, or that we ended without recipients."""
    return none_of("wrong_word", "campaigns given a status that contradicts their recipients", _wrong_words(records))


def _wrong_words(records: Records) -> Iterator[str]:
    words = records.profile.campaign.words
    for change in completed_by_us(records):
        counts, word = change.recipients, _word(records, change, "new")
        if counts is None or records.profile.campaign.counters is not None:
            continue  # counters may include recipients whose rows are gone
        if not counts.succeeded and not counts.failed:
            if records.policy.empty_campaigns == "report":
                yield f"{change.key}: set to {word} at {clock(change.at)}, and it has no recipients"
        elif word != (words.done if counts.succeeded or words.failed is None else words.failed):
            yield f"{change.key}: set to {word} with {counts.succeeded} sent and {counts.failed} failed"


def completed_by_us(records: Records) -> Iterator[Change]:
    """Changes by campaign_ops from sending to a final status."""
    words = records.profile.campaign.words
    for change in records.of("campaign"):
        ended = _word(records, change, "old") == words.sending and _word(records, change, "new") in words.all_over
        if ended and records.is_ours(change):
            yield change


def _word(records: Records, change: Change, image: str) -> str:
    return records.names.text("campaign", change.old if image == "old" else change.new, "status")
