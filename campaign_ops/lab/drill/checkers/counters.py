"""Figures about the platform beside, which keeps counters: its application's plan against what sweeps completed.

The other figures that fit a platform without a queue are computed for it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from campaign_ops.lab.drill.checkers import journal, liveness, reservations, safety, sending
from campaign_ops.lab.drill.checkers.figure import Figure, none_of
from campaign_ops.lab.drill.checkers.records import Records
from campaign_ops.lab.drill.checkers.rows import clock
from campaign_ops.lab.drill.ledger import PLANNED, SENT_OUT


def too_early(records: Records) -> Figure:
    """Campaigns that we completed while their application still had recipients to send to, by its own plan."""
    violations = (
        f"{change.key}: completed at {clock(change.at)} with recipients that were not sent to"
        for change in sending.completed_by_us(records)
        if not _sent_out(records, change.key, change.at)
    )
    return none_of("too_early", "campaigns completed before all recipients were sent to", violations)


def left_open(records: Records) -> Figure:
    """Campaigns that are still sending although all of their recipients were sent to."""
    return none_of("left_open", "finished campaigns that are still sending after 3 more sweeps", _left_open(records))


def _left_open(records: Records) -> Iterator[str]:
    word = records.profile.campaign.words.sending
    plan = {row.target: f": {row.verdict}: {row.reason}" for row in records.plan}
    for key, row in records.rows["campaign"].items():
        if records.names.text("campaign", row, "status") == word and _sent_out(records, key, records.now):
            yield f"{key}{plan.get(key, ': in no plan')}"


def _sent_out(records: Records, campaign: str, at: datetime) -> bool:
    """Return whether the last run that was planned until then had nobody left to send to."""
    kinds = [mark.kind for mark in records.marks if mark.text == campaign and mark.at <= at]
    return [kind for kind in kinds if kind in (PLANNED, SENT_OUT)][-1:] == [SENT_OUT]


_AT_ANY_TIME: tuple[Callable[[Records], Figure], ...] = (
    too_early,
    sending.finished_or_revived,
    reservations.credits_exact,
    reservations.released_too_soon,
    reservations.left_held,
    journal.journal,
    journal.ledger_whole,
    safety.too_young,
    liveness.unexpected,
)
_AT_THE_END = (*_AT_ANY_TIME, reservations.leaked, left_open)


def check_beside(records: Records, *, at_the_end: bool) -> tuple[Figure, ...]:
    """The figures of the platform beside; ``at_the_end``: it has settled."""
    return of_platform_beside(check(records) for check in (_AT_THE_END if at_the_end else _AT_ANY_TIME))


def of_platform_beside(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """The same figures under names that tell them from the first platform's."""
    return tuple(replace(one, key=f"beside_{one.key}", what=f"beside: {one.what}") for one in figures)
