"""What was last seen of each queue: its Redis process, its job counter, and whether it was found emptied."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from campaign_ops.core.sighting import Sighting
from campaign_ops.platform import state


class SightingLog:
    """The sightings of one platform's queue, kept under its campaign table. Takes an open connection everywhere."""

    def __init__(self, tables: str, queue: str) -> None:
        self.tables = tables
        self.queue = queue

    def last(self, connection: sa.Connection) -> Sighting | None:
        """What is remembered of the queue; None before the first look."""
        table = state.queue_sighting.c
        row = connection.execute(
            sa.select(
                table.server_id, table.server_since, table.server_trusted, table.job_counter, table.emptied
            ).where(table.tables == self.tables, table.queue == self.queue)
        ).first()
        return Sighting(*row) if row is not None else None

    def noting(self, sighting: Sighting) -> Insert:
        """The statement that remembers a look. It forgets no alarm: two plans at once may write in either order."""
        statement = insert(state.queue_sighting).values(
            tables=self.tables,
            queue=self.queue,
            server_id=sighting.server_id,
            server_since=sighting.server_since,
            server_trusted=sighting.server_trusted,
            job_counter=sighting.job_counter,
            emptied=sighting.emptied,
        )
        new, old = statement.excluded, state.queue_sighting.c
        names = ("server_id", "server_since", "server_trusted", "job_counter")
        return statement.on_conflict_do_update(
            index_elements=["tables", "queue"],
            set_={
                **{name: new[name] for name in names},
                "emptied": sa.case((old.emptied != "", old.emptied), else_=new.emptied),
                "seen_at": sa.func.now(),
            },
        )

    def trust(self, connection: sa.Connection) -> None:
        """Note that a person has confirmed a repair that relied on the queue as it is."""
        table = state.queue_sighting
        connection.execute(
            sa.update(table)
            .where(table.c.tables == self.tables, table.c.queue == self.queue)
            .values(server_trusted=True, emptied="")
        )
