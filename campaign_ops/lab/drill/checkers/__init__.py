"""The figures of the scoreboard, each a pure function of what the stores, the ledger and the queue watcher recorded.

reading, records   everything is read once, at one moment, into plain values; rows reads row images
sending            recipients: none sent twice, none forgotten
reservations       credits, to the last decimal
journal            the journal against the changes and jobs
putting_back       whom a re-enqueue's jobs list, and when they may be added again
safety             the rules that make a repair safe
people             what a person has undone
liveness           what is stuck at the end, times, bounds, errors
watching           incidents and notifications; incident_records reads them, causes judges what held
counters           the platform beside: nothing completed too early, nothing finished left open
worlds             what shows that the platform was as the drill's worlds say

A new property is a function here, listed below, with its damage planted in test_checkers.py and a row in docs/drill.md.
What campaign_ops reports about itself is not used where a store shows the same fact. Checkers change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from campaign_ops.lab.drill.checkers import (
    journal,
    liveness,
    people,
    putting_back,
    reservations,
    safety,
    sending,
    watching,
)
from campaign_ops.lab.drill.checkers.figure import Figure
from campaign_ops.lab.drill.checkers.reading import WATCHED, read
from campaign_ops.lab.drill.checkers.records import Checkable, Records, Stores, stores_of

__all__ = [
    "AT_ANY_TIME",
    "AT_THE_END",
    "WATCHED",
    "Checkable",
    "Figure",
    "Records",
    "Stores",
    "check_all",
    "check_so_far",
    "read",
    "stores_of",
    "waiting_for_a_person",
]

Checker = Callable[[Records], Figure]

AT_ANY_TIME: tuple[Checker, ...] = (
    sending.sent_twice,
    sending.never_sent,
    sending.finished_or_revived,
    reservations.credits_exact,
    journal.journal,
    safety.in_two_jobs,
    putting_back.put_back_sent,
    putting_back.put_back_marked,
    putting_back.caused_again,
    putting_back.not_cooled,
    safety.beyond_breaker,
    safety.alarm_ignored,
    safety.too_young,
    safety.unknown_repaired,
    safety.repaired_in_doubt,
    safety.in_vain,
    safety.finished_in_queue,
    people.held_repaired,
    sending.overtaken,
    sending.wrong_word,
    reservations.released_too_soon,
    reservations.left_held,
    safety.overlapping,
    safety.added_unlocked,
    liveness.too_long,
    liveness.slow_statements,
    liveness.starved,
    liveness.denied,
    liveness.unexpected,
    journal.ledger_whole,
    watching.incidents_doubled,
    watching.incidents_false,
    watching.notified_twice,
)
"""Figures that can be checked while the drill is still running."""

AT_THE_END: tuple[Checker, ...] = (
    sending.sent_twice,
    sending.never_sent,
    sending.finished_or_revived,
    reservations.credits_exact,
    reservations.leaked,
    journal.journal,
    liveness.still_stuck,
    liveness.detection,
    liveness.repair_time,
    *(checker for checker in AT_ANY_TIME[5:]),
    liveness.settled,
    liveness.watched,
    watching.incidents_missed,
    watching.incidents_left,
    watching.not_notified,
    watching.looked,
    watching.noticed,
    watching.notified,
    sending.unknowable,
    sending.sent_loosely,
    liveness.sweeps,
    journal.counted,
)
"""All figures, in the order of the scoreboard."""


def check_all(rig: Checkable) -> tuple[Figure, ...]:
    """All figures, after the drill has settled."""
    records = read(stores_of(rig))
    return tuple(checker(records) for checker in AT_THE_END)


def check_so_far(rig: Checkable) -> tuple[Figure, ...]:
    """The figures that can be checked while the drill is still running."""
    records = read(stores_of(rig))
    return tuple(checker(records) for checker in AT_ANY_TIME)


def waiting_for_a_person(rig: Checkable) -> tuple[tuple[str, str], ...]:
    """(campaign, reason) of the stuck campaigns that the last sweep left for a person."""
    return liveness.waiting(read(stores_of(rig)))
