"""The address of a queue, the clients that connect to it, and the mapping of the driver's errors to ours.

No queue logic here: key names and commands are in `connection`, `reader` and `writer`.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from campaign_ops.bullmq import driver
from campaign_ops.core.errors import ConfigurationError, QueueUnavailable
from campaign_ops.core.outages import NETWORK, cause_of

if TYPE_CHECKING:
    import redis.asyncio

SENTINEL_SCHEME = "redis+sentinel"
SCHEMES = ("redis", "rediss", "unix", SENTINEL_SCHEME)
SENTINEL_PORT = 26379
READ_RETRIES = 1
UNREACHABLE = "Redis cannot be reached: "
log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class QueueAddress:
    """The address of a queue. Printing it never shows a password.

    Attributes:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://host:26379,host2:26379/mymaster/0``, with
            ``user:password@`` where the server requires it. Where the sentinels require credentials too, add
            ``?sentinel_username=…&sentinel_password=…``.
        prefix: BullMQ's key prefix; a cluster hash tag such as ``{bull}`` is fine.
        connect_timeout_seconds: Longest wait for a connection.
        read_timeout_seconds: Longest wait for an answer.

    Raises:
        ConfigurationError: The URL has none of these forms.
    """

    url: str = field(repr=False)
    prefix: str = "bull"
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        try:
            _endpoint(urlsplit(self.url))
            if urlsplit(self.url).query:
                # Only a connection object, which stays unconnected, parses the URL's query part.
                self.reading_client().connection_pool.make_connection()
        except (ValueError, TypeError):
            # The driver's own text may quote the part of the URL that holds the password.
            raise ConfigurationError(
                "the queue's URL is not one that Redis clients know",
                mend=f"write it as {', '.join(f'{scheme}://…' for scheme in SCHEMES)}, specials percent-encoded",
            ) from None

    @property
    def endpoint(self) -> str:
        """``host:port/db``, ``socket path/db`` or ``sentinels/master/db``; no credentials."""
        return _endpoint(urlsplit(self.url))

    def __repr__(self) -> str:
        return f"QueueAddress({self.endpoint}, prefix={self.prefix!r})"

    def reading_client(self) -> redis.Redis:
        """Make a synchronous client that connects on first use and repeats a command once when a connection breaks."""
        import redis.sentinel  # noqa: PLC0415 - see `driver`
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        options = self._options() | {"retry": Retry(NoBackoff(), READ_RETRIES)}
        if not self._by_sentinel:
            client: redis.Redis = redis.Redis.from_url(self.url, **options)
            return client
        hosts, name, own, of_sentinel = self._sentinel()
        make_sentinel: Any = redis.sentinel.Sentinel  # untyped in the driver
        sentinel = make_sentinel(hosts, sentinel_kwargs=of_sentinel, **options, **own)
        master: redis.Redis = sentinel.master_for(name)
        return master

    def writing_client(self) -> redis.asyncio.Redis:
        """Make an asynchronous client for BullMQ's own. It never repeats a command.

        A repeated add could find its job already sent and removed, and would send it again.
        """
        import redis.asyncio.retry  # noqa: PLC0415 - see `driver`
        import redis.asyncio.sentinel  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        options = self._options() | {"retry": redis.asyncio.retry.Retry(NoBackoff(), 0)}
        if not self._by_sentinel:
            return redis.asyncio.Redis.from_url(self.url, **options)
        hosts, name, own, of_sentinel = self._sentinel()
        make_sentinel: Any = redis.asyncio.sentinel.Sentinel  # untyped in the driver
        sentinel = make_sentinel(hosts, sentinel_kwargs=of_sentinel, **options, **own)
        master: redis.asyncio.Redis = sentinel.master_for(name)
        return master

    @property
    def _by_sentinel(self) -> bool:
        return urlsplit(self.url).scheme == SENTINEL_SCHEME

    def _options(self) -> dict[str, Any]:
        import redis  # noqa: PLC0415 - see `driver`

        # The driver names its library in two round trips of each new connection, unless told not to: by one option
        # since redis-py 7.1, by two before.
        named = {"driver_info"} & {*inspect.signature(redis.Redis).parameters} or {"lib_name", "lib_version"}
        return {
            "socket_connect_timeout": self.connect_timeout_seconds,
            "socket_timeout": self.read_timeout_seconds,
            "decode_responses": True,
            # A foreign job may hold bytes that are not UTF-8; they must survive the round trip unchanged.
            "encoding_errors": "surrogateescape",
            # Proxies and old servers do not know HELLO.
            "protocol": 2,
            **dict.fromkeys(named),
        }

    def _sentinel(self) -> tuple[list[tuple[str, int]], str, dict[str, Any], dict[str, Any]]:
        """Return the sentinels, the master's name, and the options for the master's and the sentinels' clients."""
        parts = urlsplit(self.url)
        name, database = _master(parts)
        own: dict[str, Any] = {"db": database}
        credentials = parts.netloc.rpartition("@")[0]
        if credentials:
            user, _, password = credentials.partition(":")
            own |= {"username": unquote(user) or None, "password": unquote(password) or None}
        query = parse_qs(parts.query)
        of_sentinel: dict[str, Any] = {
            "socket_connect_timeout": self.connect_timeout_seconds,
            "socket_timeout": self.connect_timeout_seconds,
            "protocol": 2,
            "username": query.get("sentinel_username", [None])[0],
            "password": query.get("sentinel_password", [None])[0],
        }
        return _sentinels(parts), name, own, of_sentinel


@contextmanager
def driver_errors_mapped(where: str) -> Iterator[None]:
    """Turn any error of the Redis driver or the network into `QueueUnavailable`."""
    try:
        yield
    except (driver.RedisError, OSError) as error:
        raise unavailable(error, where) from error


def unavailable(error: Exception, where: str) -> QueueUnavailable:
    """Return what an error of the driver or the network means, with its mend."""
    what, mend = _explain(error, where)
    return QueueUnavailable(what, where=where, mend=mend)


def error_in_script(text: str) -> driver.ResponseError:
    """Return the driver's error for a command's error inside a script; Redis before 7 puts the place before it."""
    text = re.sub(r"^(@user_script: ?\d+: ?)+", "", text).removeprefix("-")
    kinds = {"OOM": driver.OutOfMemoryError, "READONLY": driver.ReadOnlyError, "NOPERM": driver.NoPermissionError}
    if "The user executing the script can't run" in text or "ACL failure in script" in text:  # Redis 6.2, 7
        return driver.NoPermissionError(text)
    return kinds.get(text.split(" ")[0], driver.ResponseError)(text)


@cache
def _explanations() -> tuple[tuple[tuple[type[Exception], ...], str, str], ...]:
    """What the driver raises, its meaning, the mend. The first match counts: several are subclasses of later ones."""
    return (
        ((driver.BusyLoadingError,), "Redis is still loading its data", "wait until it has started"),
        (
            (driver.AuthenticationError, driver.AuthorizationError),
            "Redis does not let us in",
            "check user and password in the queue's URL",
        ),
        (
            (driver.NoPermissionError,),
            "the Redis user may not do this ({})",
            "grant the command or the key pattern to the user",
        ),
        (
            (driver.TimeoutError, TimeoutError),
            "Redis did not answer in time",
            "look at its load and at the network; the next try may succeed",
        ),
        (
            (driver.ReadOnlyError,),
            "this Redis is a read-only replica",
            "name the master, or the sentinels, in the queue's URL",
        ),
        (
            (driver.OutOfMemoryError,),
            "Redis is out of memory: it accepts no jobs and runs no transaction",
            "free memory or raise maxmemory",
        ),
        (
            (driver.MovedError, driver.ClusterError, driver.ClusterCrossSlotError),
            "this is one node of a Redis Cluster",
            "name an address that serves all the queue's keys",
        ),
        (
            (driver.ResponseError,),
            "Redis refused a command ({})",
            "check that queue name, prefix and database number are right",
        ),
    )


def _explain(error: Exception, where: str) -> tuple[str, str]:
    """Return what went wrong, and the mend."""
    # In a pipeline the driver puts the command before the text, arguments and all; a payload must not be shown.
    text = str(error).rpartition("caused error: ")[2].strip() or type(error).__name__
    log.info("%s: %s: %s", where, type(error).__name__, text)
    for kinds, what, mend in _explanations():
        if isinstance(error, kinds):
            return what.format(text), mend
    away = "the connection failed or was lost", "check that it runs and that the queue's URL is right"
    what, mend = cause_of(text, NETWORK, "queue_url") or away
    return UNREACHABLE + what, mend


def _endpoint(parts: SplitResult) -> str:
    """Return the address without credentials; ValueError where the URL has none."""
    if parts.scheme not in SCHEMES:
        raise ValueError
    query = parse_qs(parts.query)
    if parts.scheme == SENTINEL_SCHEME:
        name, database = _master(parts)
        return f"{','.join(f'{host}:{port}' for host, port in _sentinels(parts))}/{name}/{database}"
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError
        return f"{unquote(parts.path)}/{int(query.get('db', ['0'])[0])}"
    database = int(query.get("db", [parts.path.strip("/") or "0"])[0])
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}/{database}"


def _sentinels(parts: SplitResult) -> list[tuple[str, int]]:
    hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
    return [(_required(host.hostname), host.port or SENTINEL_PORT) for host in hosts]


def _master(parts: SplitResult) -> tuple[str, int]:
    name, _, database = parts.path.strip("/").partition("/")
    return _required(unquote(name)), int(database or 0)


def _required(value: str | None) -> str:
    if not value:
        raise ValueError
    return value
