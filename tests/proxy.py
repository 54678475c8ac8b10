"""A way to a real Redis on which accidents happen: slow, cut in the middle of a request or an answer, frozen.

A request is what a client sends before it is answered: one command or a whole pipeline, one round trip either way.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Literal

CHUNK = 1 << 16
EXEC = b"*1\r\n$4\r\nEXEC\r\n"


@dataclass
class Accident:
    """What happens to the ``at``-th request that carries ``word``; Redis is out of reach from then on.

    ``before``: the request never arrives. ``reply``: Redis does it all, but only ``reply_bytes`` of its answer arrive.
    ``freeze``: Redis does it all, and nothing ever comes back.
    """

    word: bytes
    at: int = 1
    kind: Literal["before", "reply", "freeze"] = "reply"
    reply_bytes: int = 0


@dataclass
class Proxy:
    """Forwards to the Redis on ``target``; counts ``requests`` of all connections."""

    target: int
    delay_seconds: float = 0
    accident: Accident | None = None
    port: int = 0
    requests: int = 0
    happened: threading.Event = field(default_factory=threading.Event)
    _matched: int = 0
    _away: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def plan(self, accident: Accident) -> None:
        """Let it happen from now on."""
        self.accident, self._matched, self._away = accident, 0, False
        self.happened.clear()

    def heal(self) -> None:
        """Redis can be reached again, and nothing more happens."""
        self.accident, self._away = None, False

    def _strikes(self, request: bytes) -> Accident | None:
        """The accident, if it is this request's turn."""
        with self._lock:
            accident = self.accident
            if accident is None or accident.word not in request:
                return None
            self._matched += 1
            if self._matched != accident.at:
                return None
            self._away = True
            return accident

    def _serve(self, client: socket.socket) -> None:
        if self._away:
            return
        with socket.create_connection(("127.0.0.1", self.target)) as redis:
            answers = threading.Thread(target=self._answer, args=(redis, client), daemon=True)
            link = _Link()
            answers = threading.Thread(target=self._answer, args=(redis, client, link), daemon=True)
            answers.start()
            self._ask(client, redis, link)
            with contextlib.suppress(OSError):
                redis.shutdown(socket.SHUT_RDWR)
            answers.join()

    def _ask(self, client: socket.socket, redis: socket.socket, link: _Link) -> None:
        struck = False
        while chunk := _received(client):
            if link.answered.is_set():
                link.answered.clear()
                link.request = b""
                struck = False
            new = not link.request
            link.request += chunk
            if self._away and not link.request:
                return
            if new:
                with self._lock:
                    self.requests += 1
                time.sleep(self.delay_seconds)
            redis.sendall(chunk)
            del struck
