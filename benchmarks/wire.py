"""A TCP proxy in front of a server: counts the round trips that clients wait for, and makes each take longer.

A round trip is a request and its answer, whatever the protocol: bytes from the client after bytes from the server.
Opening a connection is one, too. Several requests sent at once are one, as the client waits once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import sqlalchemy as sa

from campaign_ops.lab.servers.listening import listening

CHUNK = 1 << 16


@dataclass
class Wire:
    """The way to one server. ``round_trips`` counts those of all connections, and ``connections`` is part of it."""

    reach: Callable[[], socket.socket]
    delay_seconds: float = 0
    port: int = 0
    connections: int = 0
    round_trips: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        """Count from zero."""
        with self._lock:
            self.connections = self.round_trips = 0

    def serve(self, client: socket.socket) -> None:
        """Carry one connection to its end."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self.connections += 1
        self._round_trip()
        with contextlib.suppress(OSError), self.reach() as server:
            self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        answered = True
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for source, target in ((server, client), (client, server)):
                if source not in ready:
                    continue
                chunk = source.recv(CHUNK)
                if not chunk:
                    return
                if source is client and answered and not _is_farewell(chunk):
                    self._round_trip()
                answered = source is server
                target.sendall(chunk)

    def _round_trip(self) -> None:
        with self._lock:
            self.round_trips += 1
        time.sleep(self.delay_seconds)


def _is_farewell(chunk: bytes) -> bool:
    """Return whether a client of PostgreSQL ends the connection: it waits for no answer."""
    return chunk == b"X\x00\x00\x00\x04"


def to_postgres(url: str) -> socket.socket:
    """Connect to the PostgreSQL of an SQLAlchemy URL."""
    address = sa.make_url(url)
    directory = address.query.get("host")
    if directory is None:
        return socket.create_connection((address.host or "127.0.0.1", address.port or 5432))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{directory}/.s.PGSQL.{address.query.get('port', 5432)}")
    return connection


def to_redis(url: str) -> socket.socket:
    """Connect to the Redis of a URL."""
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "127.0.0.1", address.port or 6379))


def through(way: Wire, url: str) -> str:
    """The URL of a server by way of a wire."""
    scheme, rest = url.split("://", 1)
    user, _, _ = rest.rpartition("@")
    path = urlsplit(url).path
    return f"{scheme}://{f'{user}@' if user else ''}127.0.0.1:{way.port}{path}"


@contextmanager
def wire(reach: Callable[[], socket.socket], *, delay_seconds: float = 0) -> Iterator[Wire]:
    """Open a port of 127.0.0.1 that leads to the server that ``reach`` connects to."""
    way = Wire(reach, delay_seconds)
    with listening(way.serve) as port:
        way.port = port
        yield way
