"""Figures about the watcher: one incident for each cause and none without one, each notification exactly once.

Whether a cause held is judged by the ledger's marks and by the plans of sweeps, not by the watcher's looks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from campaign_ops.core.causes import CAUSES, Cause
from campaign_ops.core.incidents import What
from campaign_ops.lab.drill.checkers.causes import (
    AFTERWARDS,
    DATABASE,
    FAULTS_OF,
    LATE,
    OF_A_PLAN,
    STALE,
    VERDICTS,
    causes_of,
    held,
    plans_until,
    spans,
)
from campaign_ops.lab.drill.checkers.figure import Figure, none_of, shown
from campaign_ops.lab.drill.checkers.incident_records import IncidentEvent, Notification
from campaign_ops.lab.drill.checkers.records import Records
from campaign_ops.lab.drill.checkers.rows import clock
from campaign_ops.lab.drill.receiver import Received
from campaign_ops.lab.drill.watcher import RULES

_BEGINS = (What.OPENED.value, What.REOPENED.value)
_MAYBE_TWICE = "This may have come before"
_UNRECORDED = "Not recorded: the database cannot be written"
_LOOKS = 3
_TIME_TO_NOTICE = timedelta(seconds=3)
_TIME_TO_STOP_SECONDS = 30
_UNTIL_PLANNED = timedelta(seconds=60)
"""How long after its end a fault may come into a plan: a campaign must be stuck, or re-enqueued in vain three times."""


def looked(records: Records) -> Figure:
    """The watcher's looks, up to the end: without them the absence of damage proves nothing."""
    what, looks = "looks of the watcher, up to the end", records.watching.files.looks
    if looks is None:
        return shown("looked", what, "the drill ran without a watcher")
    late = records.now.timestamp() - max(looks, default=0.0)
    holds = bool(looks) and late < _TIME_TO_STOP_SECONDS
    found = f"{len(looks)}" if holds or not looks else f"{len(looks)}, the last {late:.0f} s ago"
    return Figure("looked", what, "> 0", found, holds)


def noticed(records: Records) -> Figure:
    """Time from a fault to the notification at the receiver, by cause."""
    times: dict[Cause, list[float]] = defaultdict(list)
    for cause, at in _arrivals(records):
        felt = _UNTIL_PLANNED if cause in OF_A_PLAN else AFTERWARDS
        faults = spans(records, FAULTS_OF.get(cause, ()))
        if begins := [begin for begin, end in faults if begin <= at <= end + felt]:
            times[cause].append((at - max(begins)).total_seconds())
    found = [f"{cause} {median(seconds):.1f} s ({len(seconds)})" for cause, seconds in sorted(times.items())]
    what = "time from a fault to the notification of its cause, median"
    return shown("noticed", what, ", ".join(found) or "nothing was notified")


def incidents_doubled(records: Records) -> Figure:
    """Causes with two incidents at a time, or with one that was opened twice."""
    return none_of("incidents_doubled", "causes with two unresolved incidents at a time", _doubled(records))


def _doubled(records: Records) -> Iterator[str]:
    by_cause = defaultdict(list)
    for incident in records.watching.incidents:
        if incident.opened_at is not None:
            by_cause[incident.cause].append(incident)
    for incidents in by_cause.values():
        for before, after in pairwise(incidents):
            assert after.opened_at is not None
            # What comes back soon after its end is the same incident.
            again = before.resolved_at and before.resolved_at + timedelta(seconds=RULES.reopen_seconds)
            if again is None or after.opened_at < again:
                yield f"{after} opened at {clock(after.opened_at)} beside {before}"
    for cause, events in _events_of(records).items():
        for first, second in pairwise(events):
            if first.what in _BEGINS and second.what in _BEGINS:
                yield f"{cause}: {second.what} at {clock(second.at)}, without an end since {clock(first.at)}"


def incidents_false(records: Records) -> Figure:
    """Incidents that were opened although nothing shows that their cause held."""
    violations = (
        f"incident {event.incident_id} ({event.cause}) {event.what} at {clock(event.at)}: {event.reason}"
        for event in records.watching.events
        if event.what in _BEGINS and not held(records, event.cause, event.at)
    )
    return none_of("incidents_false", "incidents opened without their cause", violations)


def incidents_missed(records: Records) -> Figure:
    """Causes that held for long enough and have no incident."""
    return none_of("incidents_missed", "causes that held and opened no incident", _missed(records))


def _missed(records: Records) -> Iterator[str]:
    if records.watching.files.looks is None:
        return
    unresolved = {row.cause for row in records.watching.incidents if row.opened_at and row.resolved_at is None}
    for cause in VERDICTS.values():
        if cause not in unresolved and _lasted(records, cause):
            yield f"{cause}: in the last plans, for more than {_LOOKS} looks"
    finished = sorted(row.finished_at for row in records.sweeps.values() if row.finished_at is not None)
    for before, after in pairwise(finished):
        if after - before > STALE + _TIME_TO_NOTICE and _could_notice(records, before + STALE, after):
            known = [event for event in _events_of(records)[Cause.SWEEP_STALE] if event.at <= after + LATE]
            if not any(event.what in _BEGINS and (event is known[-1] or event.at >= before) for event in known):
                yield f"{Cause.SWEEP_STALE}: no sweep finished from {clock(before)} to {clock(after)}"


def _lasted(records: Records, cause: Cause) -> bool:
    """Return whether a cause has been in every plan since several looks."""
    since = None
    for sweep in reversed(plans_until(records, records.now, len(records.sweeps))):
        if cause not in causes_of(records, sweep):
            break
        since = sweep.finished_at
    looks = records.watching.files.looks or ()
    return since is not None and sum(at > since.timestamp() for at in looks) > _LOOKS


def _could_notice(records: Records, since: datetime, until: datetime) -> bool:
    """Return whether the watcher looked, and the database was not disturbed."""
    looks = records.watching.files.looks or ()
    disturbed = any(begin <= until and since <= end + AFTERWARDS for begin, end in spans(records, DATABASE))
    return not disturbed and any((since + LATE).timestamp() < at < until.timestamp() for at in looks)


def incidents_left(records: Records) -> Figure:
    """Incidents that are not resolved although their cause is gone: at the end only what waits for a person may be."""
    plans = plans_until(records, records.now)
    waiting = causes_of(records, plans[-1]) if plans else frozenset()
    unresolved = [row for row in records.watching.incidents if row.opened_at and row.resolved_at is None]
    left = [str(row) for row in unresolved if row.cause not in waiting]
    figure = none_of("incidents_left", "incidents not resolved although their cause is gone", left)
    persons = len(unresolved) - len(left)
    found = f"{figure.found} (+ {persons} for a person)" if persons else figure.found
    return Figure(figure.key, figure.what, figure.must_be, found, figure.holds, figure.examples)


def notified_twice(records: Records) -> Figure:
    """Messages at the receiver that no row of the outbox accounts for.

    One may come once more where the watcher died between sending and noting that it was sent; it says so. What could
    not be written to the outbox was notified directly, and is opened and resolved in turns in the life of a watcher.
    """
    watching = records.watching
    rows = Counter((row.subject, row.body) for row in watching.notifications)
    tries = sum(row.attempts - 1 for row in watching.notifications if row.attempts > 1)
    again = [message for message in watching.files.received if _MAYBE_TWICE in message.body]
    once = [message for message in watching.files.received if message not in again and _UNRECORDED not in message.body]
    surplus = Counter((message.subject, message.body) for message in once) - rows
    violations = [f"{number} too many: {subject}" for (subject, _), number in surplus.items()]
    violations += [f"again, without a second try: {message.subject}" for message in again[tries:]]
    violations += _told_twice(records)
    figure = none_of("notified_twice", "notifications that arrived twice without saying so", violations)
    found = f"{figure.found} ({len(again)} may have come before, and said so)" if again else figure.found
    return Figure(figure.key, figure.what, figure.must_be, found, figure.holds, figure.examples)


def _told_twice(records: Records) -> Iterator[str]:
    """Direct messages of the same opening or end, one after the other, from one life of a watcher."""
    deaths = [
        (begin.timestamp(), end.timestamp())
        for begin, end in spans(records, ("stop_watcher", "kill_watcher_after_send"))
    ]
    direct: dict[str, list[Received]] = defaultdict(list)
    for message in records.watching.files.received:
        if _UNRECORDED in message.body:
            direct[message.subject.rpartition(": ")[2]].append(message)
    for messages in direct.values():
        for first, second in pairwise(messages):
            same = _is_end(first) == _is_end(second)
            if same and not any(begin <= second.at and first.at <= end for begin, end in deaths):
                yield f"twice: {second.subject}"


def _is_end(message: Received) -> bool:
    return ": resolved: " in message.subject


def not_notified(records: Records) -> Figure:
    """Notifications that have not arrived, after the drill has settled."""
    arrived = Counter((message.subject, _plain(message)) for message in records.watching.files.received)
    missing = Counter((row.subject, row.body) for row in records.watching.notifications) - arrived
    violations = [f"{number} missing: {subject}" for (subject, _), number in missing.items()]
    violations += [f"not sent: {row.subject}" for row in records.watching.notifications if row.sent_at is None]
    return none_of("not_notified", "notifications that never arrived", violations)


def notified(records: Records) -> Figure:
    """The incidents by cause, and the messages at the receiver."""
    causes = Counter(event.cause for event in records.watching.events if event.what in _BEGINS)
    received = records.watching.files.received
    direct = sum(_UNRECORDED in message.body for message in received)
    words = ", ".join(f"{number} x {cause}" for cause, number in sorted(causes.items())) or "none"
    found = f"{words}; {len(received)} messages, {direct} of them sent while the database was away"
    return shown("notified", "incidents opened, and messages at the receiver", found)


# -- marks, events, arrivals ----------------------------------------------------------------------------------------


def _events_of(records: Records) -> dict[Cause, list[IncidentEvent]]:
    """The openings and ends of each cause's incidents, in order."""
    events: dict[Cause, list[IncidentEvent]] = defaultdict(list)
    for event in records.watching.events:
        if event.what in (*_BEGINS, What.RESOLVED):
            events[event.cause].append(event)
    return events


def _arrivals(records: Records) -> Iterator[tuple[Cause, datetime]]:
    """(cause, arrival) of every opening that was notified, with those that could not be recorded."""
    rows: dict[int, Notification] = {row.event_id: row for row in records.watching.notifications}
    received, zone = records.watching.files.received, records.now.tzinfo
    for event in records.watching.events:
        row = rows.get(event.id)
        if event.what in _BEGINS and row is not None:
            at = [
                message.at
                for message in received
                if (message.subject, _plain(message)) == (row.subject, row.body)
                and message.at >= event.at.timestamp() - LATE.total_seconds()
            ]
            if at:
                yield event.cause, datetime.fromtimestamp(min(at), zone)
    for message in received:
        if _UNRECORDED in message.body and not _is_end(message):
            cause = next((cause for cause in Cause if CAUSES[cause].words in message.subject), None)
            if cause is not None:
                yield cause, datetime.fromtimestamp(message.at, zone)


def _plain(message: Received) -> str:
    """The text without the line that it may have come before."""
    return "\n".join(line for line in message.body.split("\n") if not line.startswith(_MAYBE_TWICE))
