"""The last look at each queue: its Redis process, its job counter, the database beside it, and the alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from campaign_ops.core.sighting import Sighting
from campaign_ops.journal import schema


class SightingLog:
    """The sightings of a platform's queues, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str) -> None:
        self.tables = tables

    def last(self, connection: sa.Connection) -> dict[str, Sighting]:
        """The last sighting of each queue, by its name."""
        return {name: Sighting(*values) for name, *values in connection.execute(self.known())}

    def known(self) -> sa.Select[*tuple[Any, ...]]:
        """The last sighting of each queue."""
        table = schema.queue_sighting.c
        columns = [table[field.name] for field in fields(Sighting)]
        return sa.select(table.queue, *columns).where(table.tables == self.tables)

    def note(self, connection: sa.Connection, sightings: Mapping[str, Sighting], at: datetime) -> None:
        """Record a look, by the statement of `noting`."""
        if (statement := self.noting(sightings, at)) is not None:
            connection.execute(statement)

    def noting(self, sightings: Mapping[str, Sighting], at: datetime) -> Insert | None:
        """The statement that records a look that began ``at`` this moment; None without sightings.

        It keeps every alarm: two concurrent plans may write in either order. A look older than the latest record
        changes nothing: a sweeper that hung for 4 s had read a job counter of 49, another had seen 51 meanwhile, and
        the queue was called emptied. If it really is empty, the next look sees it too.
        """
        if not sightings:
            return None
        rows = [
            {"tables": self.tables, "queue": name, **asdict(sighting)} for name, sighting in sorted(sightings.items())
        ]
        statement = insert(schema.queue_sighting).values(rows)
        new, old = statement.excluded, schema.queue_sighting.c
        names = ("server_id", "server_since", "server_trusted", "job_counter", "database_id")
        return statement.on_conflict_do_update(
            index_elements=["tables", "queue"],
            set_={
                **{name: new[name] for name in names},
                "emptied": sa.case((old.emptied != "", old.emptied), else_=new.emptied),
                "database_replaced": sa.or_(old.database_replaced, new.database_replaced),
                "seen_at": sa.func.now(),
            },
            where=old.seen_at <= at,
        )

    def trust(self, connection: sa.Connection, *, to_re_enqueue: bool) -> None:
        """Record that a person has confirmed a repair that relied on the queues as they are.

        Only a re-enqueue relies on the Redis process and on the database, too: completions of finished campaigns were
        confirmed while a restored one was not stuck yet, and 15 minutes later its recipients got a second message.
        """
        table = schema.queue_sighting
        more = {"server_trusted": True, "database_replaced": False} if to_re_enqueue else {}
        connection.execute(sa.update(table).where(table.c.tables == self.tables).values(emptied="", **more))
