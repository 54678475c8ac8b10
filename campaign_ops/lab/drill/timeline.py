"""The state of the platform second by second, reconstructed afterwards from the ledger and the queue watcher."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import takewhile

from campaign_ops.lab.drill.checkers import Checkable, Records, read, stores_of
from campaign_ops.lab.drill.ledger import AGAIN, END, FAULT, SETTLING, UNDOING, Change, Mark

_FRESH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment. ``seconds`` from the beginning; ``live_jobs`` is None while the queue could not be read."""

    seconds: float
    sending: int
    stuck: int
    held: float
    live_jobs: int | None


@dataclass(frozen=True, slots=True)
class Span:
    """One fault, in seconds from the beginning; ``ends`` equals ``begins`` for a fault without duration."""

    name: str
    begins: float
    ends: float


def timeline(rig: Checkable, began: datetime) -> tuple[Sample, ...]:
    """A sample for every second from the beginning to the end of the drill (or to now)."""
    return tuple(samples(read(stores_of(rig)), began))


def samples(records: Records, began: datetime) -> Iterator[Sample]:
    """The samples of ``records``."""
    undoing = records.marked(UNDOING)
    until = undoing[0].at if undoing else records.now
    moments = [began + timedelta(seconds=number) for number in range(int((until - began).total_seconds()) + 1)]
    state, changes = _State(records), [change for change in records.changes if change.relation != "recipient"]
    next_change = 0
    for moment in moments:
        while next_change < len(changes) and (changes[next_change].at <= moment or not changes[next_change].role):
            state.apply(changes[next_change])
            next_change += 1
        seconds = (moment - began).total_seconds()
        held = float(state.held)
        yield Sample(seconds, len(state.touched), state.stuck(moment), held, _live(records, moment.timestamp()))


class _State:
    """Sending campaigns and held credits, replayed change by change."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.touched: dict[str, datetime] = {}
        self.held = Decimal(0)

    def apply(self, change: Change) -> None:
        """Apply one change."""
        names = self.records.names
        if change.relation == "reservation":
            self.held += names.held(change.new) - names.held(change.old)
        elif names.value("campaign", change.new, "status") == self.records.profile.campaign.words.sending:
            self.touched[change.key] = names.value("campaign", change.new, "updated_at")
        else:
            self.touched.pop(change.key, None)

    def stuck(self, moment: datetime) -> int:
        """The number of campaigns that are stuck at this moment."""
        limit = moment - self.records.policy.stuck_after
        return sum(touched < limit for touched in self.touched.values())


def _live(records: Records, at: float) -> int | None:
    depth = records.watched.depth
    place = bisect_right(depth, at, key=lambda sample: sample[0]) - 1
    return depth[place][1] if place >= 0 and at - depth[place][0] < _FRESH_SECONDS else None


def spans(marks: Sequence[Mark], began: datetime) -> list[Span]:
    """The faults among the marks: each from its last try to its end mark, unless its next injection comes first."""
    result: list[Span] = []
    over = settled_at(marks, began)
    for place, mark in enumerate(marks):
        if mark.kind == FAULT:
            own = [later for later in marks[place:] if later.kind in (FAULT, AGAIN, END) and later.text == mark.text]
            tries = [mark, *takewhile(lambda later: later.kind == AGAIN, own[1:])]
            begins = (tries[-1].at - began).total_seconds()
            later = own[len(tries)] if len(own) > len(tries) else mark
            ends = (later.at - began).total_seconds() if later.kind == END else begins
            result.append(Span(mark.text, begins, ends if over is None else max(begins, min(ends, over))))
    return result


def settled_at(marks: Sequence[Mark], began: datetime) -> float | None:
    """When the faults stopped, in seconds from the beginning."""
    return next(((mark.at - began).total_seconds() for mark in marks if mark.kind == SETTLING), None)
