"""Notifications that wait to be sent, in our own tables: written with the change that they tell of, sent after commit.

A notification is claimed and committed, then sent, then marked. A process that dies between sending and marking leaves
a claim without an outcome. After `LEASE` it is sent again: one that comes twice harms less than one that never comes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from campaign_ops.core.causes import Severity
from campaign_ops.core.notices import Message
from campaign_ops.journal import schema

LEASE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notification that is due. ``unsure``: an earlier try may have sent it."""

    id: int
    incident_id: int
    channel: str
    message: Message
    attempts: int
    unsure: bool
    last_error: str


class Outbox:
    """The notifications of one platform, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def add(
        self, connection: sa.Connection, incident_id: int, event_id: int, messages: Sequence[tuple[str, Message]]
    ) -> None:
        """Put messages, each for a channel, into the outbox; a channel gets an event once."""
        rows = [
            {
                "tables": self.tables,
                "incident_id": incident_id,
                "event_id": event_id,
                "channel": channel,
                "severity": message.severity.value,
                "over": message.over,
                "subject": message.subject,
                "body": message.body,
            }
            for channel, message in messages
        ]
        if rows:
            connection.execute(insert(schema.notification).values(rows).on_conflict_do_nothing())

    def told(self, connection: sa.Connection, incident_id: int) -> set[str]:
        """The channels that have a message about this incident and none since that it is over."""
        table = schema.notification.c
        query = sa.select(table.channel, table.over).where(table.incident_id == incident_id).order_by(table.id)
        last = {row.channel: row.over for row in connection.execute(query)}
        return {channel for channel, over in last.items() if not over}

    def lock(self, connection: sa.Connection) -> datetime:
        """Let no other process claim from this outbox before this transaction ends; the database's clock."""
        key = sa.func.hashtextextended(f"campaign_ops:outbox:{self.tables}", 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        now: datetime | None = connection.scalar(sa.select(sa.func.clock_timestamp()))
        assert now is not None
        return now

    def due(self, connection: sa.Connection, now: datetime, channels: Collection[str], *, limit: int) -> list[Waiting]:
        """The unclaimed notifications of these channels that may be sent now, the oldest first."""
        table = schema.notification.c
        free = sa.or_(table.claimed_at.is_(None), table.claimed_at < now - LEASE)
        query = (
            sa.select(schema.notification)
            .where(table.tables == self.tables, table.sent_at.is_(None), table.gave_up_at.is_(None))
            .where(table.not_before <= now, free, table.channel.in_(sorted(channels)))
            .order_by(table.id)
            .limit(limit)
        )
        return [_waiting(row) for row in connection.execute(query)]

    def older_than(self, connection: sa.Connection, now: datetime, moment: datetime) -> list[Waiting]:
        """The notifications that have waited since before a moment and that no other process is sending."""
        table = schema.notification.c
        free = sa.or_(table.claimed_at.is_(None), table.claimed_at < now - LEASE)
        query = (
            sa.select(schema.notification)
            .where(table.tables == self.tables, table.sent_at.is_(None), table.gave_up_at.is_(None))
            .where(table.created_at < moment, free)
        )
        return [_waiting(row) for row in connection.execute(query)]

    def sent_since(self, connection: sa.Connection, moment: datetime) -> dict[str, int]:
        """The number of messages by channel sent since, or being sent; several notifications may share a message."""
        table = schema.notification.c
        began = sa.func.coalesce(table.sent_at, table.claimed_at)
        query = (
            sa.select(table.channel, sa.func.count().label("messages"))
            .where(table.tables == self.tables, began > moment, table.sent_with.is_(None))
            .group_by(table.channel)
        )
        return {row.channel: row.messages for row in connection.execute(query)}

    def claim(self, connection: sa.Connection, ids: Collection[int], now: datetime) -> None:
        """Claim these, and count the attempt."""
        table = schema.notification
        values = {"claimed_at": now, "attempts": table.c.attempts + 1}
        connection.execute(sa.update(table).where(table.c.id.in_(list(ids))).values(values))

    def sent(self, connection: sa.Connection, ids: Sequence[int]) -> None:
        """Mark these as sent in one message: all but the first came with the first."""
        table = schema.notification
        sent_with = sa.case((table.c.id == ids[0], None), else_=ids[0])
        values = {"sent_at": sa.func.now(), "sent_with": sent_with, "claimed_at": None, "last_error": ""}
        connection.execute(sa.update(table).where(table.c.id.in_(list(ids))).values(values))

    def failed(self, connection: sa.Connection, ids: Collection[int], error: str, again_in: timedelta) -> None:
        """Let go of these until it is time to try again."""
        table = schema.notification
        values = {"claimed_at": None, "last_error": error, "not_before": sa.func.now() + again_in}
        connection.execute(sa.update(table).where(table.c.id.in_(list(ids))).values(values))

    def give_up(self, connection: sa.Connection, notification_id: int) -> None:
        """Never try this one again."""
        table = schema.notification
        values = {"gave_up_at": sa.func.now(), "claimed_at": None}
        connection.execute(sa.update(table).where(table.c.id == notification_id).values(values))

    def prune(self, connection: sa.Connection, days: int) -> None:
        """Forget the notifications that were sent or given up more than ``days`` ago."""
        table = schema.notification
        old = sa.func.now() - sa.func.make_interval(0, 0, 0, days)
        ended = sa.func.coalesce(table.c.sent_at, table.c.gave_up_at)
        connection.execute(sa.delete(table).where(table.c.tables == self.tables, ended < old))


def _waiting(row: sa.Row[Any]) -> Waiting:
    return Waiting(
        row.id,
        row.incident_id,
        row.channel,
        Message(row.subject, row.body, Severity(row.severity), over=row.over),
        row.attempts,
        row.claimed_at is not None,
        row.last_error,
    )
