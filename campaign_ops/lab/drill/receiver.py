"""The receiver of the watcher's notifications: a web server on loopback that keeps every message in a file.

Independent of the outbox, with which the checkers compare it.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

RECEIVED = "received.jsonl"
WATCH_LOG = "watch.log"
"""The receiver's file and the watcher's log in the work directory."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message; ``at`` in seconds since 1970."""

    at: float
    subject: str
    body: str


class Receiver:
    """A webhook. A context manager.

    Args:
        path: The file to which each message is appended, one JSON object a line.

    Attributes:
        before_answer: Called once, with the next message in the file and not yet answered; then forgotten.
    """

    def __init__(self, path: Path) -> None:
        self.before_answer: Callable[[], object] | None = None
        self._path = path
        self._lock = threading.Lock()
        path.touch()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.take(body["title"], body["message"])
                with contextlib.suppress(OSError):  # the sender was killed
                    self.send_response(200)
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The channel's URL, as apprise writes it."""
        return f"json://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, subject: str, body: str) -> None:
        """Keep a message."""
        line = json.dumps({"at": time.time(), "subject": subject, "body": body})
        with self._lock:
            with self._path.open("a", encoding="utf-8") as lines:
                lines.write(f"{line}\n")
            interruption, self.before_answer = self.before_answer, None
        if interruption is not None:
            interruption()


def read_received(path: Path) -> tuple[Received, ...]:
    """Read every message that has come so far; empty if there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return tuple(Received(**json.loads(line)) for line in lines)
