"""Middleware: what every request meets before its route and every answer after it.

Bodies are small and requests are few: both are limited. A request that a browser sends for another site is refused,
whatever it carries. Answers carry headers that let no script but ours run and no other page frame ours.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from campaign_ops.core.tokens import parse
from campaign_ops.faces.http.gate import COOKIE, Asker, Gate
from campaign_ops.faces.http.problems import MAX_BODY_BYTES, Problem, too_large

log = logging.getLogger(__name__)

READS_PER_MINUTE = 600
CHANGES_PER_MINUTE = 60
STRANGERS_PER_MINUTE = 30
"""Requests of one address that were answered with 401, without a token and with one: more of them are guesses."""
GUESSES_PER_MINUTE = 5
"""The same with one token: the next ones ask no database, and do not use up what is left to other tokens."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Protection:
    """Limits, security headers and the refusal of requests from other sites.

    Args:
        app: The application.
        answer: Makes the answer to a request that is refused.
        gate: Recognises tokens.
        loopback_only: The service runs without authentication: only names of this machine are answered, so that a page
            whose name was pointed at it (DNS rebinding) reaches nothing.
    """

    def __init__(
        self, app: ASGIApp, *, answer: Callable[[Request, Problem], Response], gate: Gate, loopback_only: bool
    ) -> None:
        self._app, self._answer, self._gate, self._loopback_only = app, answer, gate, loopback_only
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._refusal(scope)
        if problem is not None:
            await self._answer(Request(scope), problem)(scope, receive, _with_headers(send, scope))
            return
        body = _Limited(receive)

        async def _send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                for guess in self._limits_of_guesses(scope):
                    self._limiter.hit(*guess)
            await send(message)

        # HEAD is answered as GET is; the server leaves the body out. Monitors ask /api/health with it.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await self._app(asked, body, _with_headers(_send, scope))

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback_only and _name(host) not in LOOPBACK:
            detail = "this service runs without authentication and answers to names of this machine only"
            return Problem(421, "misdirected", detail, "open it as http://127.0.0.1")
        unsafe = scope["method"] not in SAFE_METHODS
        if unsafe and _from_another_site(headers, host):
            return Problem(
                403, "another_site", "the request comes from another site", "send it from the console itself"
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            return too_large()
        return self._limited(scope, headers, unsafe=unsafe)

    def _limited(self, scope: Scope, headers: Headers, *, unsafe: bool) -> Problem | None:
        if scope["path"].startswith("/static/"):
            return None
        asker = self._asker(scope)
        is_known = asker is not None and self._gate.knows(asker)
        if not is_known and not all(self._limiter.test(*guess) for guess in self._limits_of_guesses(scope)):
            return _too_many("too many requests of this address carried no valid token")
        limit = RateLimitItemPerMinute(CHANGES_PER_MINUTE if unsafe else READS_PER_MINUTE)
        sender = _sender(scope, headers) or _address(scope)
        if not self._limiter.hit(limit, "changes" if unsafe else "reads", sender):
            return _too_many(f"more than {limit.amount} requests a minute")
        return None

    def _asker(self, scope: Scope) -> Asker | None:
        try:
            return self._gate.asker(Request(scope))
        except Problem:
            return None

    def _limits_of_guesses(self, scope: Scope) -> list[tuple[RateLimitItemPerMinute, str, str]]:
        """The limits that a request counts towards where it is answered with 401.

        Behind a proxy all have one address. So requests without a token keep none with a token out, and those that the
        gate has recognised before are not limited by others' guesses.
        """
        strangers, asker = RateLimitItemPerMinute(STRANGERS_PER_MINUTE), self._asker(scope)
        if asker is None and scope["path"] != "/login":  # whose form has a token
            return [(strangers, "stranger", _address(scope))]
        limits = [(strangers, "guess", _address(scope))]
        if asker is not None:
            secret = hashlib.sha256(asker.secret.encode()).hexdigest()
            limits.append((RateLimitItemPerMinute(GUESSES_PER_MINUTE), "guess of", secret))
        return limits


class _Limited:
    """The receiver of a request, which reads no more than a body may hold."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._bytes = receive, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > MAX_BODY_BYTES:
            raise HTTPException(413)  # the only kind of error that passes through the reading of a body
        return message


def _with_headers(send: Send, scope: Scope) -> Send:
    async def _send(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if not scope["path"].startswith("/static/"):
                headers.setdefault("Cache-Control", "no-store" if "set-cookie" in headers else "private, no-cache")
        await send(message)

    return _send


def _from_another_site(headers: Headers, host: str) -> bool:
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


def _sender(scope: Scope, headers: Headers) -> str:
    """The public part of the token that a request carries; nothing is checked here."""
    _, _, text = headers.get("authorization", "").partition(" ")
    parts = parse(text.strip())
    if parts is None:
        parts = parse(Request(scope).cookies.get(COOKIE, ""))
    return hashlib.sha256("_".join(parts).encode()).hexdigest() if parts is not None else ""


def _too_many(detail: str) -> Problem:
    return Problem(429, "too_many", detail, "wait a minute", headers={"Retry-After": "60"})
