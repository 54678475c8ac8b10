"""Whether the tool can be trusted, in figures: each a small function over what the stores and the ledger say.

The stores are read once, at one moment (`read`); a figure is a pure function of that. Nothing that the product says of
itself is believed where a store says it too.
"""

from __future__ import annotations

from collections.abc import Callable

from campaign_ops.lab.drill.checkers import holds, journal, rules, running, sending
from campaign_ops.lab.drill.checkers.figure import Figure
from campaign_ops.lab.drill.checkers.reading import WATCHED, read
from campaign_ops.lab.drill.checkers.records import Records, Stand, Stores, stores_of

__all__ = [
    "AT_ANY_TIME",
    "AT_THE_END",
    "WATCHED",
    "Figure",
    "Records",
    "Stand",
    "Stores",
    "audit",
    "damage_so_far",
    "read",
    "stores_of",
    "waiting_for_a_person",
]

Judge = Callable[[Records], Figure]

AT_ANY_TIME: tuple[Judge, ...] = (
    sending.sent_twice,
    sending.never_sent,
    sending.finished_or_revived,
    holds.credits_exact,
    journal.journal,
    rules.in_two_jobs,
    rules.beyond_breaker,
    rules.too_young,
    rules.unknown_repaired,
    rules.in_vain,
    sending.wrong_word,
    holds.released_too_soon,
    holds.left_held,
    rules.overlapping,
    running.too_long,
    running.slow_statements,
    running.starved,
    running.denied,
    running.unexpected,
    journal.ledger_whole,
)
"""Figures that may be judged while the drill still runs."""

AT_THE_END: tuple[Judge, ...] = (
    sending.sent_twice,
    sending.never_sent,
    sending.finished_or_revived,
    holds.credits_exact,
    holds.leaked,
    journal.journal,
    running.still_stuck,
    running.detection,
    running.repair_time,
    *(judge for judge in AT_ANY_TIME[5:]),
    running.settled,
    running.watched,
    sending.unknowable,
    running.sweeps,
    journal.counted,
)
"""Every figure, in the order of the scoreboard."""


def audit(stand: Stand) -> tuple[Figure, ...]:
    """Every figure, when the drill has settled."""
    records = read(stores_of(stand))
    return tuple(judge(records) for judge in AT_THE_END)


def damage_so_far(stand: Stand) -> tuple[Figure, ...]:
    """Those figures that may be judged while the drill still runs."""
    records = read(stores_of(stand))
    return tuple(judge(records) for judge in AT_ANY_TIME)


def waiting_for_a_person(stand: Stand) -> tuple[tuple[str, str], ...]:
    """(campaign, reason) of the stuck campaigns that the last sweep left to a person."""
    return running.waiting(read(stores_of(stand)))
