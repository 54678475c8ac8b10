"""Who asks, and what they may do on which platform.

Three ways in: a token in the ``Authorization`` header; the same token in a session cookie, for people; or the name that
a trusted proxy has authenticated. A token is known by each platform's own database, so it may hold on one platform and
not on another. Without authentication the service runs on loopback only, for one person at their own machine.
"""

from __future__ import annotations

import hashlib
import ipaddress
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from starlette.requests import Request

from campaign_ops.access import authenticate
from campaign_ops.core.errors import CampaignOpsError, DatabaseUnavailable
from campaign_ops.core.tokens import Scope, Token, parse
from campaign_ops.faces.http.pool import PlatformPool
from campaign_ops.faces.http.problems import Problem, problem_of

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

COOKIE = "campaign_ops_session"
REMEMBERED_SECONDS = 10
"""How long a recognised token is believed for reads. Changes always ask the database."""
AWAY_SECONDS = 5
"""How long reads do not ask a database again that is away: three attempts to connect take a second or more."""
_REMEMBERED = 10_000


class Way(StrEnum):
    """The way in that a request took."""

    TOKEN = "token"  # noqa: S105 - not a password
    SESSION = "session"
    PROXY = "proxy"
    OPEN = "open"


@dataclass(frozen=True)
class Proxy:
    """A proxy that authenticates people and names them in a header.

    Attributes:
        networks: The addresses that it connects from; the header counts from nowhere else.
        header: The header with the person's name.
        scopes: What the people who come through it may do, on all platforms.
    """

    networks: tuple[Network, ...]
    header: str = "X-Forwarded-User"
    scopes: frozenset[Scope] = frozenset({Scope.READ})

    def trusts(self, address: str) -> bool:
        """Return whether a connection from this address is the proxy's."""
        try:
            return any(ipaddress.ip_address(address) in network for network in self.networks)
        except ValueError:
            return False


@dataclass(frozen=True)
class Access:
    """The ways in. ``open_as``: no token is asked for, and this is the actor; loopback only."""

    open_as: str | None = None
    proxy: Proxy | None = None


@dataclass(frozen=True)
class Asker:
    """One request's origin, before any platform is asked whether it knows the token.

    Attributes:
        way: How it came in.
        address: Where it connected from.
        name: The actor, where it is known without a database.
        scopes: What it may do, likewise.
        secret: The token's text; empty without one.
    """

    way: Way
    address: str
    name: str = ""
    scopes: frozenset[Scope] = frozenset()
    secret: str = field(default="", repr=False)


class Gate:
    """Recognises who asks.

    Args:
        pool: The platforms, whose databases know the tokens.
        names: The names of all platforms.
        access: The ways in.
    """

    def __init__(self, pool: PlatformPool, names: tuple[str, ...], access: Access) -> None:
        self._pool, self._names, self._access = pool, names, access
        self._remembered: dict[tuple[str, str], tuple[float, Token | None]] = {}
        self._away: dict[str, tuple[float, DatabaseUnavailable]] = {}
        self._valid: set[str] = set()
        self._lock = threading.Lock()

    def knows(self, asker: Asker) -> bool:
        """Return whether the asker was recognised, by whatever platform and however long ago. Asks no database."""
        return asker.way in (Way.PROXY, Way.OPEN) or _hash(asker) in self._valid

    def asker(self, request: Request) -> Asker:
        """Return who sent a request.

        Raises:
            Problem: 401 where it carries nothing, or something that is not a token.
        """
        address = request.client.host if request.client is not None else ""
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, text = header.partition(" ")
            if scheme.lower() != "bearer" or parse(text.strip()) is None:
                raise unauthorized("the Authorization header holds no token of ours")
            return Asker(Way.TOKEN, address, secret=text.strip())
        proxy = self._access.proxy
        if proxy is not None and proxy.trusts(address):
            name = _utf8(request.headers.get(proxy.header, "")).strip()
            if name:
                return Asker(Way.PROXY, address, name[:200], proxy.scopes)
        cookie = request.cookies.get(COOKIE, "")
        if parse(cookie) is not None:
            return Asker(Way.SESSION, address, secret=cookie)
        if self._access.open_as is not None:
            return Asker(Way.OPEN, address, self._access.open_as, frozenset(Scope))
        raise unauthorized("this needs a token")

    def on(self, asker: Asker, platform: str, *, fresh: bool = False) -> Token | None:
        """Return what the asker may do on a platform; None where it is not known there.

        Args:
            asker: Who asks.
            platform: The platform's name.
            fresh: Ask the database, whatever is remembered.

        Raises:
            CampaignOpsError: It is not known: the platform's database is away, or its entry broken.
        """
        if asker.way in (Way.PROXY, Way.OPEN):
            return Token("", asker.name, asker.scopes, None, datetime.now(UTC), "")
        key = (platform, _hash(asker))
        now = time.monotonic()
        if not fresh and (known := self._remembered.get(key)) is not None and known[0] > now:
            return known[1]
        until, away = self._away.get(platform, (0.0, None))
        if not fresh and away is not None and until > now:
            raise away.with_traceback(None)
        try:
            with self._pool.reading(platform) as connected:
                token = authenticate(connected, asker.secret)
        except DatabaseUnavailable as error:
            self._away[platform] = (time.monotonic() + AWAY_SECONDS, error)
            raise
        with self._lock:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = (now + REMEMBERED_SECONDS, token)
            if len(self._valid) >= _REMEMBERED:
                self._valid.clear()
            if token is not None:
                self._valid.add(key[1])
        return token

    def everywhere(self, asker: Asker) -> Iterator[tuple[str, Token]]:
        """The platforms on which the asker is known, with what it may do there.

        Raises:
            Problem: 401 where none knows it, 503 where none could be asked.
        """
        known, _ = self.reach(asker)
        yield from known.items()

    def reach(self, asker: Asker) -> tuple[dict[str, Token], list[str]]:
        """The platforms on which the asker is known; and those that could not be asked, unless they did not know it.

        A platform that cannot be asked now and knew the asker before is the last of the known ones. Nothing can be read
        there, and a page that left it out would hide that.

        Raises:
            Problem: As `everywhere`.
        """
        known: dict[str, Token] = {}
        before: dict[str, Token] = {}
        errors: dict[str, CampaignOpsError] = {}
        unasked = []
        for name in self._names:
            try:
                token = self.on(asker, name)
            except CampaignOpsError as error:
                errors[name] = error
                _, last = self._remembered.get((name, _hash(asker)), (0, None))
                if last is not None:
                    before[name] = last
                elif (name, _hash(asker)) not in self._remembered:
                    unasked.append(name)
                continue
            if token is not None:
                known[name] = token
        if known or before:
            return known | before, unasked
        if errors:
            raise problem_of(next(iter(errors.values())))
        self._valid.discard(_hash(asker))
        raise unauthorized("no platform knows this token")

    def allowed(self, asker: Asker, scope: Scope) -> dict[str, Token]:
        """The platforms on which the asker may do this.

        Raises:
            Problem: 401 and 503 as `everywhere`; 403 where the asker is known and may not.
        """
        known = dict(self.everywhere(asker))
        may = {name: token for name, token in known.items() if token.may(scope)}
        if not may:
            raise forbidden(scope)
        return may


def _utf8(header: str) -> str:
    """A header as UTF-8, which proxies send; the framework reads Latin-1, and Jörg was journaled as JÃ¶rg."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _hash(asker: Asker) -> str:
    return hashlib.sha256(asker.secret.encode()).hexdigest()


def unauthorized(detail: str) -> Problem:
    """The answer to a request without a valid token."""
    mend = "send `Authorization: Bearer ops_…`; `campaign-ops token create` makes a token"
    return Problem(401, "unauthorized", detail, mend, headers={"WWW-Authenticate": 'Bearer realm="campaign_ops"'})


def forbidden(scope: Scope) -> Problem:
    """The answer to a request beyond its token's scopes."""
    return Problem(403, "forbidden", f"this needs the scope {scope.value}", "ask for a token with that scope")
