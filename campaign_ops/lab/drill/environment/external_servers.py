"""Servers that a person passes to the drill: checks that they are not production, and cleanup.

Nothing is written before every check has passed. Everything that the drill creates has its own names, and only that is
removed at the end.
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
from campaign_ops.core.wording import plural
from campaign_ops.doctor.grants import literal, qualified, quoted
from campaign_ops.lab.drill.ledger import SCHEMA as LEDGER_SCHEMA
from campaign_ops.lab.shop.provider import SCHEMA as PROVIDER_SCHEMA
from campaign_ops.postgres.database import STATE_SCHEMA
from campaign_ops.postgres.errors import mapped
from campaign_ops.profile.model import Profile
from campaign_ops.settings.urls import normal_database_url

PREFIX = "drill"
"""BullMQ's key prefix on an external Redis."""
_THROW_AWAY = re.compile(r"test|drill|throw[-_]?away|tmp|scratch", re.IGNORECASE)
_MEND = "use servers made for this, or --throw-away if their data may be lost"
_MAY_CREATE_ROLES = sa.text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
_OUR_SCHEMAS = (STATE_SCHEMA, PROVIDER_SCHEMA, LEDGER_SCHEMA)


def database_url(text: str) -> str:
    """A PostgreSQL URL for our driver, over TCP: not every part of the drill can use a socket.

    Raises:
        ConfigurationError: It cannot be parsed, or names no host.
    """
    problem, url = "", ""
    try:
        url = normal_database_url(SecretStr(text)).get_secret_value()
    except ValueError as error:
        problem = f"--database-url {error}"  # the error names its fix
    if not problem and not sa.make_url(url).host:
        problem = "--database-url names no host; write postgresql://user:password@127.0.0.1:5432/drill"
    if problem:
        raise ConfigurationError(problem)
    return url


def redis_url(text: str) -> str:
    """A Redis URL, unchanged.

    Raises:
        ConfigurationError: It cannot be parsed.
    """
    try:
        redis.ConnectionPool.from_url(text).make_connection()  # does not connect
    except (ValueError, TypeError):
        # The driver's own message may quote the part that holds the password.
        raise ConfigurationError("--redis-url cannot be read", mend="write redis://127.0.0.1:6379/0") from None
    return text


def check_database(url: str, role: str, *, throw_away: bool) -> None:
    """Refuse a database that may be in use, unless it may be thrown away, and one whose role cannot create roles.

    ``role`` is the role that the drill will create.

    Raises:
        Refused: Lists every doubt in one line.
        ConfigurationError: The URL's role may not create roles.
        DatabaseUnavailable: It cannot be reached.
    """
    parsed = sa.make_url(url)
    where = f"{parsed.host}:{parsed.port or 5432}/{parsed.database}"
    doubts = [] if throw_away else list(_address_doubts(parsed.host))
    if not throw_away and not _THROW_AWAY.search(parsed.database or ""):
        doubts.append("its name does not contain test, drill, throw-away, tmp or scratch")
    if not doubts:
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
        with mapped(where), engine.connect() as connection:
            doubts += [] if throw_away else _database_doubts(connection, role)
            may_create_roles = connection.scalar(_MAY_CREATE_ROLES)
    if doubts:
        raise Refused(f"this database looks like production: {', '.join(doubts)}", where=where, mend=_MEND)
    if not may_create_roles:
        raise ConfigurationError(
            "this role may not create roles", where=where, mend="connect as a superuser of a throw-away server"
        )


def _database_doubts(connection: sa.Connection, role: str) -> Iterator[str]:
    tables = connection.scalar(
        sa.text(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
        )
    )
    if tables:
        yield f"it has {plural(tables, 'table')}"
    others = connection.scalar(
        sa.text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    )
    if others:
        yield f"it has {plural(others, 'other connection')}"
    if _has_role(connection, role):
        yield f"its server already has a role {role}"


def check_redis(url: str, *, throw_away: bool) -> None:
    """Refuse a Redis that may be in use, unless it may be thrown away.

    Raises:
        Refused: Lists every doubt in one line.
        QueueUnavailable: It cannot be reached.
    """
    with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5, decode_responses=True) as client:
        address = client.connection_pool.connection_kwargs
        host, port = address.get("host"), address.get("port")
        where = f"{host}:{port}" if host else str(address.get("path"))
        doubts = [] if throw_away else list(_address_doubts(host))
        if not doubts:
            with driver_errors_mapped(where):
                client.ping()
                doubts += [] if throw_away else _redis_doubts(client)
    if doubts:
        raise Refused(f"this Redis looks like production: {', '.join(doubts)}", where=where, mend=_MEND)


def _redis_doubts(client: redis.Redis) -> Iterator[str]:
    keyspace: dict[str, Any] = client.info("keyspace")
    keys = sum(int(database["keys"]) for database in keyspace.values())
    if keys:
        yield f"it has {plural(keys, 'key')}"
    replication: dict[str, Any] = client.info("replication")
    if replication["role"] != "master" or replication["connected_slaves"]:
        yield "it is replicated"
    own_id = str(client.client_id())
    others = [entry for entry in client.client_list() if str(entry["id"]) != own_id]
    if others:
        yield f"it has {plural(len(others), 'other connection')}"


def _address_doubts(host: str | None) -> Iterator[str]:
    if host is None or host == "localhost" or host.startswith("/"):  # this machine, or a socket on it
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        yield "it is on another machine"


def remove_from_database(connection: sa.Connection, profile: Profile, role: str) -> None:
    """Drop everything that a drill creates in a database; what does not exist is skipped."""
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
    """Set the role's password, for servers that require one."""
    connection.exec_driver_sql(f"ALTER ROLE {quoted(role)} PASSWORD {literal(password)}")


def remove_from_redis(url: str, prefix: str, markers: tuple[str, ...]) -> None:
    """Delete the keys of a drill: those of its queue, and its workers' markers."""
    patterns = [f"{prefix}:*", *(marker.replace("{recipient_id}", "*") for marker in markers)]
    with redis.Redis.from_url(url) as client:
        for pattern in patterns:
            for key in client.scan_iter(pattern, count=1000):
                client.delete(key)
