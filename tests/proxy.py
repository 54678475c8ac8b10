"""A proxy to a real Redis that injects faults: slow, cut in the middle of a request or of an answer, frozen.

A request is what a client sends before it is answered: one command or a whole pipeline, one round trip either way.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from campaign_ops.lab.servers.listening import listening

CHUNK = 1 << 16
MULTI, EXEC = b"$5\r\nMULTI\r\n", b"$4\r\nEXEC\r\n"


@dataclass(frozen=True)
class Fault:
    """What happens to the ``at``-th request that contains ``word``. Redis is out of reach from then on.

    ``cut``: the request arrives in part. ``deaf``: Redis executes it, and ``reply_bytes`` of its answer arrive.
    ``freeze``: Redis executes it, nothing arrives, and the connection stays open.
    """

    word: bytes
    at: int = 1
    kind: Literal["cut", "deaf", "freeze"] = "deaf"
    reply_bytes: int = 0


@dataclass
class _Values:
    """One direction of a connection: the number of whole RESP values that have passed."""

    whole: int = 0
    rest: bytes = b""

    def feed(self, chunk: bytes) -> None:
        data, start = self.rest + chunk, 0
        while (end := _end(data, start)) > 0:
            self.whole, start = self.whole + 1, end
        self.rest = data[start:]


def _end(data: bytes, start: int) -> int:
    """The end of the RESP value at ``start``; -1 if it is not complete."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return -1
    kind, after = data[start : start + 1], line + 2
    if kind in (b"+", b"-", b":"):
        return after
    number = int(data[start + 1 : line])
    if kind == b"$":
        end = after + (number + 2 if number >= 0 else 0)
        return end if end <= len(data) else -1
    for _ in range(number):
        after = _end(data, after)
        if after < 0:
            return -1
    return after


@dataclass
class Proxy:
    """Forwards to the Redis on ``target``. ``requests`` counts those of all connections."""

    target: int
    port: int = 0
    delay_seconds: float = 0
    requests: int = 0
    injected: bool = False
    _fault: Fault | None = None
    _matches: int = 0
    _away: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def inject(self, fault: Fault) -> None:
        """Inject the fault when its request comes."""
        with self._lock:
            self._fault, self._matches, self._away, self.injected = fault, 0, False, False

    def heal(self) -> None:
        """Let Redis be reached again, without a fault."""
        with self._lock:
            self._fault, self._away = None, False

    def serve(self, client: socket.socket) -> None:
        """Carry one connection to its end."""
        if self._away:
            return
        with socket.create_connection(("127.0.0.1", self.target)) as redis, contextlib.suppress(OSError):
            self._carry(client, redis)

    def _carry(self, client: socket.socket, redis: socket.socket) -> None:
        asked, answered = _Values(), _Values()
        request, fault = b"", None
        while not self._away or fault:
            ready, _, _ = select.select([client, redis], [], [], 0.05)
            if redis in ready:
                chunk = redis.recv(CHUNK)
                if not chunk:
                    return
                answered.feed(chunk)
                if not fault:
                    client.sendall(chunk)
            if client in ready:
                if asked.whole == answered.whole and not asked.rest:
                    request = b""
                chunk = client.recv(CHUNK)
                if not chunk or (self._away and not fault):
                    return
                if not request:
                    self.requests += 1
                    time.sleep(self.delay_seconds)
                known, request = request, request + chunk
                fault = fault or self._strike(known, request)
                if fault and fault.kind == "cut":
                    return
                redis.sendall(chunk)
                asked.feed(chunk)
            if fault and not asked.rest and (MULTI not in request or request.endswith(EXEC)):
                self._end_badly(fault, client, redis)
                return

    def _strike(self, known: bytes, request: bytes) -> Fault | None:
        """The fault, if this request is the one; each request is counted once."""
        with self._lock:
            fault = self._fault
            if fault is None or fault.word not in request or fault.word in known:
                return None
            self._matches += 1
            if self._matches != fault.at:
                return None
            self._away = self.injected = True
            return fault

    def _end_badly(self, fault: Fault, client: socket.socket, redis: socket.socket) -> None:
        redis.shutdown(socket.SHUT_WR)  # Redis executes what it has read before it sees the end
        left = fault.reply_bytes
        while chunk := redis.recv(CHUNK):
            client.sendall(chunk[:left])
            left -= len(chunk[:left])
        while fault.kind == "freeze" and client.recv(CHUNK):
            pass


@contextmanager
def proxied(target: int, *, delay_seconds: float = 0) -> Iterator[Proxy]:
    """A proxy in front of the Redis on this port of 127.0.0.1."""
    proxy = Proxy(target, delay_seconds=delay_seconds)
    with listening(proxy.serve) as port:
        proxy.port = port
        yield proxy
