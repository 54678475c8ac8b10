"""Real receivers of notifications on loopback: a mail server and a webhook."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from pydantic import SecretStr

from campaign_ops.watch.channels import Channel

SECRET = "hunter2"


@dataclass
class Received:
    """What came in, in its order. ``status`` is what a webhook answers; ``hold`` keeps it from answering."""

    url: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    hold: threading.Event | None = None

    def channel(self, name: str = "oncall", **options: Any) -> Channel:
        """A channel that leads here."""
        return Channel(name=name, url=SecretStr(self.url), **options)

    @property
    def subjects(self) -> list[str]:
        return [message["title"] for message in self.messages]


@contextmanager
def webhook() -> Iterator[Received]:
    """A server that takes JSON by POST."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if received.hold is not None:
                received.hold.wait(20)
            if received.status == 200:
                received.messages.append(body)
            self.send_response(received.status)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its signature
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Received(f"json://127.0.0.1:{server.server_port}/{SECRET}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def mail_server() -> Iterator[Received]:
    """A server that takes mail."""
    port = free_port()
    received = Received(f"mailto://127.0.0.1:{port}?from=ops@example.com&to=ann@example.com")

    class Handler:
        async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd calls it
            message = email.message_from_bytes(envelope.content, policy=email.policy.default)
            body = message.get_body(("plain", "html"))
            assert body is not None
            received.messages.append(
                {"title": message["Subject"], "to": envelope.rcpt_tos, "message": body.get_content()}
            )
            return "250 taken"

    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield received
    finally:
        controller.stop()


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
