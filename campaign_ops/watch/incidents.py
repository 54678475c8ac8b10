"""Update a platform's incidents after a look, and do what a person asks for. One transaction each.

Several watchers may update at once: they take turns, and looks that follow each other quickly count as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from campaign_ops.core.errors import NotFound, Refused
from campaign_ops.core.incidents import UNRESOLVED, Change, Incident, Look, Rules, State, What, judge, resolved
from campaign_ops.journal.migrations import check_current
from campaign_ops.platform import Platform
from campaign_ops.watch.channels import Notify

WATCH = "watch"
_NO_CHANNELS = Notify()
_RULES = Rules()


def update(platform: Platform, look: Look, notify: Notify = _NO_CHANNELS, *, rules: Rules = _RULES) -> list[Change]:
    """Judge a look, and write incidents, events and notifications, all of it or nothing.

    Args:
        platform: What was looked at.
        look: The result of `symptoms.look_at`.
        notify: The channels.
        rules: Looks and times.

    Returns:
        The changes, including those of incidents whose looks were only counted.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
        Unavailable: The database went away; nothing was written.
    """

    def _update(connection: sa.Connection) -> list[Change]:
        check_current(connection, platform.database.where)
        log = platform.incidents
        now = log.lock(connection)
        log.looked(connection, now)
        known = log.known(connection, now - timedelta(seconds=rules.reopen_seconds))
        return [_written(platform, connection, change, notify) for change in judge(known, look, rules, now)]

    return platform.database.run(_update)


def _written(platform: Platform, connection: sa.Connection, change: Change, notify: Notify) -> Change:
    log, incident = platform.incidents, change.incident
    if change.discarded:
        assert incident.id is not None
        log.discard(connection, incident.id)
        return change
    incident = replace(incident, id=log.write(connection, incident))
    if change.what is not None:
        channels = notify if change.notified else _NO_CHANNELS
        _noted(platform, connection, incident, change.what, channels, reason=change.why)
    if incident.state in (State.OPEN, State.ACKNOWLEDGED):
        _tell_new_owners(platform, connection, incident, notify)
    return replace(change, incident=incident)


def _tell_new_owners(platform: Platform, connection: sa.Connection, incident: Incident, notify: Notify) -> None:
    """Tell owners whom an open incident begins to concern: to them it is new, whoever has acknowledged it."""
    assert incident.id is not None
    if not notify.of_owners(platform.name, incident, ()).channels:
        return
    late = notify.of_owners(platform.name, incident, platform.outbox.told(connection, incident.id))
    if late.channels:
        messages = late.messages(platform.name, incident, What.OPENED)
        event_id = platform.incidents.note(
            connection, incident.id, What.REPEATED, incident, actor=WATCH, reason="it concerns another owner now"
        )
        platform.outbox.add(connection, incident.id, event_id, messages)


def _noted(
    platform: Platform,
    connection: sa.Connection,
    incident: Incident,
    what: What,
    notify: Notify = _NO_CHANNELS,
    *,
    actor: str = WATCH,
    reason: str = "",
) -> int:
    """Record an event, and put its notifications into the outbox; return the event's number."""
    assert incident.id is not None
    evidence = reason or incident.detail
    event_id = platform.incidents.note(connection, incident.id, what, incident, actor=actor, reason=evidence)
    by = f"{actor}: {reason}" if reason else ""
    told = platform.outbox.told(connection, incident.id) if what is What.RESOLVED and notify.channels else ()
    messages = notify.messages(platform.name, incident, what, by=by, told=told)
    platform.outbox.add(connection, incident.id, event_id, messages)
    return event_id


def acknowledge(platform: Platform, incident_id: int, *, by: str, reason: str) -> Incident:
    """Acknowledge an incident: a person has taken it on, and it is not notified again unless it gets worse.

    Raises:
        NotFound: No such incident.
        Refused: It is over, or was never more than suspected.
    """

    def _acknowledge(incident: Incident, _: datetime) -> Incident:
        return replace(incident, state=State.ACKNOWLEDGED, silenced_until=None)

    return _handle(platform, incident_id, What.ACKNOWLEDGED, _acknowledge, by=by, reason=reason)


def silence(platform: Platform, incident_id: int, *, until: timedelta | datetime, by: str, reason: str) -> Incident:
    """Silence an incident until a moment, or for a time: nothing is sent before, unless it gets worse.

    Raises:
        NotFound: No such incident.
        Refused: It is over, was never more than suspected, or the moment has passed.
    """

    def _silence(incident: Incident, now: datetime) -> Incident:
        end = now + until if isinstance(until, timedelta) else until
        if end <= now:
            raise Refused("that moment has passed", where=f"incident {incident_id}", mend="name a later one")
        return replace(incident, state=State.SILENCED, silenced_until=end)

    return _handle(platform, incident_id, What.SILENCED, _silence, by=by, reason=reason)


def resolve(platform: Platform, incident_id: int, notify: Notify = _NO_CHANNELS, *, by: str, reason: str) -> Incident:
    """End an incident. If its cause holds, new looks reopen it.

    Raises:
        NotFound: No such incident.
        Refused: It is over, or was never more than suspected.
    """
    return _handle(platform, incident_id, What.RESOLVED, resolved, notify, by=by, reason=reason)


def _handle(
    platform: Platform,
    incident_id: int,
    what: What,
    change: Callable[[Incident, datetime], Incident],
    notify: Notify = _NO_CHANNELS,
    *,
    by: str,
    reason: str,
) -> Incident:
    tried: list[int] = []  # the events of this call

    def _change(connection: sa.Connection) -> Incident:
        check_current(connection, platform.database.where)
        log = platform.incidents
        now = log.lock(connection)
        before = log.find(connection, incident_id)
        where = f"incident {incident_id}"
        if before is None:
            mend = "`campaign-ops incidents` lists them"
            raise NotFound(f"platform {platform.name} has no such incident", where=where, mend=mend)
        if tried and any(event["id"] in tried for event in log.events(connection, incident_id)):
            return before  # the answer to the first commit was lost
        if before.state not in UNRESOLVED:
            raise Refused(f"is {before.state}, not open", where=where)
        after = change(before, now)
        log.write(connection, after, handled_by=by, handled_at=now, handled_reason=reason)
        tried.append(_noted(platform, connection, after, what, notify, actor=by, reason=reason))
        return after

    return platform.database.run(_change)
