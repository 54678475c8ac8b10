"""The whole content of a database schema or a Redis, as one comparable value: equal before and after is untouched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
import sqlalchemy as sa

TableRows = dict[str, tuple[str, ...]]
KeyValues = dict[str, tuple[str, Any]]


def database_fingerprint(connection: sa.Connection, schema: str) -> TableRows:
    """Return all rows of all tables of one schema, each row as PostgreSQL writes it, sorted."""
    connection.execute(sa.text("SET LOCAL timezone = 'UTC'"))
    names = sa.text("SELECT tablename FROM pg_tables WHERE schemaname = :schema ORDER BY 1")
    rows: TableRows = {}
    for name in connection.scalars(names, {"schema": schema}).all():
        table = sa.table(name, schema=schema).alias("t")
        # Not part of any table's columns: the row as a whole.
        row = sa.cast(sa.literal_column("t"), sa.Text).label("row")
        rows[name] = tuple(connection.scalars(sa.select(row).select_from(table).order_by(row)))
    return rows


def redis_fingerprint(url: str, pattern: str = "*") -> KeyValues:
    """Return type and value of every key that matches ``pattern``.

    Values, not DUMPs: reading a hash may move its buckets, and then the same content gives another DUMP.
    """
    with redis.Redis.from_url(url, decode_responses=True) as client:
        values: KeyValues = {}
        for key in sorted(client.scan_iter(pattern, count=1000)):
            kind = str(client.type(key))
            values[key] = (kind, _READERS[kind](client, key))
        return values


_READERS: dict[str, Callable[[redis.Redis, str], Any]] = {
    "string": lambda client, key: client.get(key),
    "list": lambda client, key: client.lrange(key, 0, -1),
    "hash": lambda client, key: client.hgetall(key),
    "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
    "set": lambda client, key: client.smembers(key),
    "stream": lambda client, key: client.xrange(key),
    "none": lambda _client, _key: None,  # expired meanwhile
}
