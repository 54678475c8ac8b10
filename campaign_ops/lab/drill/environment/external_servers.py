"""Servers that a person gives to the drill: whether they look like somebody's, and cleaning up behind ourselves.

Nothing is written before all of it has been looked at. What the drill makes has names of its own, and only that is
removed in the end.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import redis
import sqlalchemy as sa
from pydantic import SecretStr

from campaign_ops.bullmq.address import driver_errors_mapped
from campaign_ops.core.errors import ConfigurationError, Refused
from campaign_ops.doctor.grants import literal, qualified, quoted
from campaign_ops.lab.drill.ledger import SCHEMA as LEDGER_SCHEMA
from campaign_ops.lab.shop.provider import SCHEMA as PROVIDER_SCHEMA
from campaign_ops.postgres.database import STATE_SCHEMA
from campaign_ops.postgres.errors import mapped
from campaign_ops.profile.model import Profile
from campaign_ops.settings.urls import normal_database_url

PREFIX = "drill"
"""BullMQ's key prefix on a given Redis."""
_THROW_AWAY = re.compile(r"test|drill|throw[-_]?away|tmp|scratch", re.IGNORECASE)
_MEND = "give servers made for this, or say --throw-away if nobody will miss what is in them"
_MAY_MAKE_ROLES = sa.text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
_OUR_SCHEMAS = (STATE_SCHEMA, PROVIDER_SCHEMA, LEDGER_SCHEMA)


def database_url(text: str) -> str:
    """A PostgreSQL URL as our driver takes it; over TCP, since not everything of the drill speaks through a socket.

    Raises:
        ConfigurationError: It cannot be read, or names no host.
    """
    problem, url = "", ""
    try:
        url = normal_database_url(SecretStr(text)).get_secret_value()
    except ValueError as error:
        problem = f"--database-url {error}"  # with its mend
    if not problem and not sa.make_url(url).host:
        problem = "--database-url names no host; write postgresql://user:password@127.0.0.1:5432/drill"
    if problem:
        raise ConfigurationError(problem)
    return url


def redis_url(text: str) -> str:
    """A Redis URL, as it is.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        redis.ConnectionPool.from_url(text).make_connection()  # it stays unconnected
    except (ValueError, TypeError):
        # The driver's own text may quote the part that holds the password.
        raise ConfigurationError("--redis-url cannot be read", mend="write redis://127.0.0.1:6379/0") from None
    return text


def check_database(url: str, role: str, *, throw_away: bool) -> None:
    """Refuse a database that may be somebody's, unless it may be thrown away, and one that is of no use.

    ``role`` is the one that the drill is going to make.

    Raises:
        Refused: With all that speaks against it, in one line.
        ConfigurationError: The URL's role may not make another.
        DatabaseUnavailable: It cannot be reached.
    """
    parsed = sa.make_url(url)
    where = f"{parsed.host}:{parsed.port or 5432}/{parsed.database}"
    found = [] if throw_away else list(_address_doubts(parsed.host))
    if not throw_away and not _THROW_AWAY.search(parsed.database or ""):
        found.append("its name does not say test, drill, throw-away, tmp or scratch")
    if not found:
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
        with mapped(where), engine.connect() as connection:
            found += [] if throw_away else _database_doubts(connection, role)
            may_make_roles = connection.scalar(_MAY_MAKE_ROLES)
    if found:
        raise Refused(f"this database looks like production: {', '.join(found)}", where=where, mend=_MEND)
    if not may_make_roles:
        raise ConfigurationError(
            "this role may not create roles", where=where, mend="give the drill a superuser of a throw-away server"
        )


def _database_doubts(connection: sa.Connection, role: str) -> Iterator[str]:
    tables = connection.scalar(
        sa.text(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
        )
    )
    if tables:
        yield f"there are {tables} tables in it"
    others = connection.scalar(
        sa.text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    )
    if others:
        yield f"{others} others are connected to it"
    if _has_role(connection, role):
        yield f"its server has a role {role}"


def check_redis(url: str, *, throw_away: bool) -> None:
    """Refuse a Redis that may be somebody's, unless it may be thrown away.

    Raises:
        Refused: With all that speaks against it, in one line.
        QueueUnavailable: It cannot be reached.
    """
    with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5, decode_responses=True) as client:
        told = client.connection_pool.connection_kwargs
        host, port = told.get("host"), told.get("port")
        where = f"{host}:{port}" if host else str(told.get("path"))
        found = [] if throw_away else list(_address_doubts(host))
        if not found:
            with driver_errors_mapped(where):
                client.ping()
                found += [] if throw_away else _redis_doubts(client)
    if found:
        raise Refused(f"this Redis looks like production: {', '.join(found)}", where=where, mend=_MEND)


def _redis_doubts(client: redis.Redis) -> Iterator[str]:
    keyspace: dict[str, Any] = client.info("keyspace")
    keys = sum(int(one["keys"]) for one in keyspace.values())
    if keys:
        yield f"there are {keys} keys in it"
    replication: dict[str, Any] = client.info("replication")
    if replication["role"] != "master" or replication["connected_slaves"]:
        yield "it is one of several replicas"
    me = str(client.client_id())
    others = [one for one in client.client_list() if str(one["id"]) != me]
    if others:
        yield f"{len(others)} others are connected to it"


def _address_doubts(host: str | None) -> Iterator[str]:
    if host is None or host == "localhost" or host.startswith("/"):  # this machine, or a socket of it
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        yield "it is on another machine"


def remove_from_database(connection: sa.Connection, profile: Profile, role: str) -> None:
    """Drop everything that a drill makes in a database, whether it is all there or not."""
    for schema in _OUR_SCHEMAS:
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")
    tables = [profile.recipient.table, profile.campaign.table]
    if profile.reservation is not None:
        tables.append(profile.reservation.table)
    for table in tables:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {qualified(profile, table)} CASCADE")
    if _has_role(connection, role):
        connection.exec_driver_sql(f"DROP OWNED BY {quoted(role)}")
        connection.exec_driver_sql(f"DROP ROLE {quoted(role)}")


def _has_role(connection: sa.Connection, role: str) -> bool:
    return bool(connection.scalar(sa.text("SELECT true FROM pg_roles WHERE rolname = :role"), {"role": role}))


def set_password(connection: sa.Connection, role: str, password: str) -> None:
    """Let the role in on a server that asks for passwords."""
    connection.exec_driver_sql(f"ALTER ROLE {quoted(role)} PASSWORD {literal(password)}")


def remove_from_redis(url: str, prefix: str, markers: tuple[str, ...]) -> None:
    """Delete the keys of a drill: its queue's and its workers' markers."""
    patterns = [f"{prefix}:*", *(marker.replace("{recipient_id}", "*") for marker in markers)]
    with redis.Redis.from_url(url) as client:
        for pattern in patterns:
            for key in client.scan_iter(pattern, count=1000):
                client.delete(key)
