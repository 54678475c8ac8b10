"""Incidents and their events, in our own tables. Takes an open connection everywhere.

An event commits with the change that it records and with the notifications of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.causes import Cause, Severity
from campaign_ops.core.incidents import Incident, State, What
from campaign_ops.journal import schema

_FIELDS = tuple(field.name for field in fields(Incident) if field.name != "id")


class IncidentLog:
    """The incidents of one platform: written with its name, for people, and kept under its campaign table."""

    def __init__(self, platform: str, tables: str) -> None:
        self.platform = platform
        self.tables = tables

    def lock(self, connection: sa.Connection) -> datetime:
        """Let no other process judge or change these incidents before this transaction ends; the database's clock."""
        key = sa.func.hashtextextended(f"campaign_ops:incidents:{self.tables}", 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        # After the lock: the transaction may have begun long before it was ours.
        now: datetime | None = connection.scalar(sa.select(sa.func.clock_timestamp()))
        assert now is not None
        return now

    def looked(self, connection: sa.Connection, at: datetime) -> None:
        """Record that a watcher has looked."""
        statement = insert(schema.watcher_look).values(tables=self.tables, looked_at=at)
        connection.execute(statement.on_conflict_do_update(index_elements=["tables"], set_={"looked_at": at}))

    def last_look(self, connection: sa.Connection) -> datetime | None:
        """The moment of a watcher's last look; None before the first."""
        table = schema.watcher_look.c
        at: datetime | None = connection.scalar(sa.select(table.looked_at).where(table.tables == self.tables))
        return at

    def known(self, connection: sa.Connection, since: datetime) -> dict[Cause, Incident]:
        """By cause, the incident that is not resolved, else the latest resolved since, or suspected again."""
        table = schema.incident.c
        recent = sa.or_(table.resolved_at.is_(None), table.resolved_at > since, table.bad_looks > 0)
        query = sa.select(schema.incident).where(table.tables == self.tables, recent).order_by(table.id)
        rows = sorted(connection.execute(query), key=lambda row: row.resolved_at is None)
        return {incident.cause: incident for incident in map(_incident, rows)}

    def find(self, connection: sa.Connection, incident_id: int) -> Incident | None:
        """One incident by its number."""
        table = schema.incident.c
        query = sa.select(schema.incident).where(table.tables == self.tables, table.id == incident_id)
        row = connection.execute(query).one_or_none()
        return None if row is None else _incident(row)

    def write(self, connection: sa.Connection, incident: Incident, **handled: object) -> int:
        """Insert or update an incident; return its number. ``handled`` holds the columns ``handled_…``."""
        values = {name: _plain(getattr(incident, name)) for name in _FIELDS} | handled | {"platform": self.platform}
        if incident.id is not None:
            connection.execute(sa.update(schema.incident).where(schema.incident.c.id == incident.id).values(values))
            return incident.id
        statement = sa.insert(schema.incident).values(tables=self.tables, **values).returning(schema.incident.c.id)
        return int(connection.execute(statement).scalar_one())

    def discard(self, connection: sa.Connection, incident_id: int) -> None:
        """Forget a suspicion that came to nothing."""
        connection.execute(sa.delete(schema.incident).where(schema.incident.c.id == incident_id))

    def note(
        self,
        connection: sa.Connection,
        incident_id: int,
        what: What,
        incident: Incident,
        *,
        actor: str,
        reason: str = "",
    ) -> int:
        """Record an event of an incident; return its number."""
        row = {
            "incident_id": incident_id,
            "what": what.value,
            "actor": actor,
            "reason": reason,
            "severity": incident.severity.value,
            "count": incident.count,
        }
        statement = sa.insert(schema.incident_event).values(row).returning(schema.incident_event.c.id)
        return int(connection.execute(statement).scalar_one())

    def page(self, connection: sa.Connection, *, everything: bool, limit: int) -> list[Mapping[str, Any]]:
        """Rows of ``incident``: the unresolved ones, or everything that is kept.

        The open ones first, then the newest: behind a hundred that are over, one that had come back was not shown.
        """
        table = schema.incident.c
        unresolved = table.state.not_in([State.SUSPECTED.value, State.RESOLVED.value])
        order = ((table.state == State.OPEN.value).desc(), unresolved.desc(), table.id.desc())
        query = sa.select(schema.incident).where(table.tables == self.tables).order_by(*order).limit(limit)
        if not everything:
            query = query.where(unresolved)
        return [dict(row) for row in connection.execute(query).mappings()]

    def row(self, connection: sa.Connection, incident_id: int) -> Mapping[str, Any] | None:
        """The row of one incident, as `page` reads it."""
        table = schema.incident.c
        query = sa.select(schema.incident).where(table.tables == self.tables, table.id == incident_id)
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else dict(row)

    def open_counts(self, connection: sa.Connection) -> dict[tuple[str, str], int]:
        """How many incidents are not resolved, by cause and severity; acknowledged and silenced ones count."""
        table = schema.incident.c
        query = (
            sa.select(table.cause, table.severity, sa.func.count())
            .where(table.tables == self.tables, table.state.not_in([State.SUSPECTED.value, State.RESOLVED.value]))
            .group_by(table.cause, table.severity)
        )
        return {(cause, severity): number for cause, severity, number in connection.execute(query)}

    def events(self, connection: sa.Connection, incident_id: int) -> list[Mapping[str, Any]]:
        """The events of one incident, the oldest first."""
        table = schema.incident_event
        query = sa.select(table).where(table.c.incident_id == incident_id).order_by(table.c.id)
        return [dict(row) for row in connection.execute(query).mappings()]

    def prune(self, connection: sa.Connection, days: int) -> None:
        """Forget incidents that ended more than ``days`` ago, with all that happened to them."""
        table = schema.incident
        old = table.c.resolved_at < sa.func.now() - sa.func.make_interval(0, 0, 0, days)
        connection.execute(sa.delete(table).where(table.c.tables == self.tables, old))


def merge(connection: sa.Connection, old: str, new: str) -> None:
    """Prepare moving incidents to another key: where both keys have an unresolved one of a cause, end the moved one."""
    table, there = schema.incident, schema.incident.alias("there")
    both = sa.exists().where(there.c.tables == new, there.c.cause == table.c.cause, there.c.resolved_at.is_(None))
    mine = sa.and_(table.c.tables == old, table.c.resolved_at.is_(None))
    ended = {"state": State.RESOLVED.value, "resolved_at": sa.func.now()}
    connection.execute(sa.update(table).where(mine, both).values(ended))


def _incident(row: sa.Row[Any]) -> Incident:
    values = {name: getattr(row, name) for name in _FIELDS}
    notified = values["notified_severity"]
    return Incident(
        **values
        | {
            "id": row.id,
            "cause": Cause(values["cause"]),
            "severity": Severity(values["severity"]),
            "state": State(values["state"]),
            "notified_severity": None if notified is None else Severity(notified),
            "campaigns": tuple(values["campaigns"]),
            "tenants": tuple(values["tenants"]),
        }
    )


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value.value if isinstance(value, Cause | Severity | State) else value
