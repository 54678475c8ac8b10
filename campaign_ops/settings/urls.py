"""Connection URLs as operators write them, converted for our drivers. No message ever shows a part of one."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.exc import ArgumentError

from campaign_ops.bullmq.address import QueueAddress
from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.wording import nearest

MASK = "***"
_FORM = "postgresql://user:password@host:5432/database"
_SCHEMES = {"postgresql", "postgres", "postgresql+psycopg"}
# Prisma's own: PostgreSQL's client library refuses parameters that it does not know.
_PRISMA_ONLY = {"schema", "connection_limit", "pool_timeout", "pgbouncer", "socket_timeout", "statement_cache_size"}


def normal_database_url(secret: SecretStr) -> SecretStr:
    """Return the URL with our driver and without the parameters that only Prisma understands.

    Raises:
        ValueError: With the mistake and the mend, but no part of the URL.
    """
    url = _parse_database(secret.get_secret_value().strip())
    query = {key: value for key, value in url.query.items() if key not in _PRISMA_ONLY}
    if query.pop("sslaccept", "accept_invalid_certs") != "accept_invalid_certs":
        # Dropping it would leave a connection unverified that its owner wanted verified.
        raise ValueError("has sslaccept=strict, which only Prisma knows; write sslmode=verify-full and sslrootcert=...")
    known = sorted(option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults())
    for key in query:
        if key not in known:
            mend = nearest(key, known, or_all=False) or "take it out"
            raise ValueError(f"has the parameter {key}, which PostgreSQL does not know; {mend}")
    return SecretStr(url.set(drivername="postgresql+psycopg", query=query).render_as_string(hide_password=False))


def dagster_storage_url(secret: SecretStr) -> SecretStr:
    """Return the URL with psycopg2, which Dagster's storage needs, whatever driver it names.

    Raises:
        ValueError: With the mistake and the mend, but no part of the URL.
    """
    scheme, separator, rest = secret.get_secret_value().strip().partition("://")
    plain = SecretStr(f"{scheme.partition('+')[0]}{separator}{rest}")
    url = sa.make_url(normal_database_url(plain).get_secret_value())
    return SecretStr(url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False))


def prisma_schema(text: str) -> str | None:
    """Return Prisma's ``?schema=`` parameter; None without one, or if the URL cannot be read."""
    try:
        schema = _parse_database(text.strip()).query.get("schema")
    except ValueError:
        return None
    return schema if isinstance(schema, str) else None


def checked_queue_url(secret: SecretStr) -> SecretStr:
    """Return the URL if it is valid: ``redis``, ``rediss``, ``unix`` or ``redis+sentinel``.

    Raises:
        ValueError: With the mistake and the mend, but no part of the URL.
    """
    problem, url = "", secret.get_secret_value().strip()
    try:
        QueueAddress(url)
    except ConfigurationError as error:
        problem = str(error)
    if problem:
        raise ValueError(problem)
    return SecretStr(url)


def name_of_database(secret: SecretStr) -> str:
    """Return the name of the database that a URL leads to; empty text where a service names it."""
    return sa.make_url(secret.get_secret_value()).database or ""


def masked_database_url(secret: SecretStr) -> str:
    """Return the URL with every password masked."""
    url = sa.make_url(secret.get_secret_value())
    query = {key: MASK if "password" in key else value for key, value in url.query.items()}
    return url.set(drivername="postgresql", query=query).render_as_string(hide_password=True)


def masked_queue_url(secret: SecretStr, prefix: str) -> str:
    """Return the scheme and endpoint of the URL, credentials masked."""
    parts = urlsplit(secret.get_secret_value())
    who = f"{MASK}@" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{who}{QueueAddress(secret.get_secret_value(), prefix).endpoint}"


def _parse_database(text: str) -> sa.URL:
    scheme = text.partition("://")[0]
    if scheme not in _SCHEMES:
        if scheme.startswith(("postgresql+", "postgres+")):
            raise ValueError("names another driver; write postgresql://, psycopg 3 is always used")
        if scheme.startswith("prisma"):
            raise ValueError("is the address of a Prisma proxy; write the database's own, postgresql://...")
        raise ValueError(f"is not a PostgreSQL URL; write {_FORM}")
    try:
        # A second @ belongs to a password, whose rest would be taken for host and parameters.
        url = sa.make_url(text) if text.count("@") < 2 else None
    except (ArgumentError, ValueError):
        url = None
    if url is None:
        raise ValueError(
            f"cannot be read; write {_FORM} with special characters in user and password as %XX"
            " (several hosts: ?host=a:5432&host=b:5432)"
        )
    if not url.database and "service" not in url.query:
        raise ValueError(f"names no database; write {_FORM}")
    return url
