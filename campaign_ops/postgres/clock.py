"""The database's clock, the only one that decides. Moments are aware, in UTC."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa


def database_now(connection: sa.Connection) -> datetime:
    """The moment at which the transaction began."""
    now: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
    return now


def database_instant(connection: sa.Connection) -> datetime:
    """This very moment, later than `database_now` in a long transaction."""
    now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return now
