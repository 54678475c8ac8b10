"""A channel that answers slowly gets a message once: what it has taken is not sent again for its late answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from campaign_ops.core.causes import Severity
from campaign_ops.core.notices import Message
from campaign_ops.watch.channels import Channel
from campaign_ops.watch.sending import send

MESSAGE = Message("a subject", "a body", Severity.WARNING)
ANSWERS_AFTER_SECONDS = 5.0
"""More than the 4 s that apprise waits by default; seen in a drill on a busy machine."""


@pytest.fixture
def url() -> Iterator[str]:
    """A web server that answers late."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


class _Slow(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(ANSWERS_AFTER_SECONDS)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_a_channel_may_take_as_long_as_the_page_about_safety_says(url: str) -> None:
    assert send(Channel(name="slow", url=SecretStr(url)), MESSAGE) == ""


@pytest.mark.slow
def test_a_shorter_time_in_the_url_holds(url: str) -> None:
    assert send(Channel(name="slow", url=SecretStr(f"{url}?rto=1")), MESSAGE) != ""
