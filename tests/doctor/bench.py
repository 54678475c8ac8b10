"""Shared by the doctor's tests: least-privilege roles, statements run as the owner, selected findings."""

from __future__ import annotations

import itertools
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import sqlalchemy as sa

from campaign_ops.bullmq.queue import Queue, QueueAddress
from campaign_ops.doctor import Finding, Level, examine, grants
from campaign_ops.doctor.grants import quoted
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database, Timeouts
from tests.conftest import World

_roles = itertools.count(1)


@contextmanager
def owner(world: World) -> Iterator[psycopg.Connection]:
    """A connection of the tables' owner, each statement a transaction of its own."""
    conninfo = sa.make_url(world.url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


def run(world: World, *statements: str) -> None:
    """Run statements unchanged as the owner."""
    with owner(world) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def mend(world: World, *findings: Finding) -> None:
    """Run the remedies of the findings."""
    run(world, *(finding.mend for finding in findings))


def connect_as(world: World, user: str, **options: str) -> Platform:
    """Connect to the same platform as another role, or through another address."""
    url = sa.make_url(world.url).set(username=user).update_query_dict(options)
    old, queue = world.platform, None
    if world.queue_url is not None and old.profile.queue is not None:
        queue = Queue(QueueAddress(world.queue_url, world.queue.prefix), old.profile.queue)
    timeouts = Timeouts(statement_seconds=30, lock_seconds=1)
    platform = Platform(old.name, old.profile, old.policy, Database(url.render_as_string(False), timeouts), queue)
    world.created.append(platform)
    return platform


def least(world: World) -> str:
    """Continue as a new role with the rights of `grants` and no others, not even those of PUBLIC; return its name."""
    role = f'Ops "{next(_roles)}"'
    database = sa.make_url(world.url).database
    schema = quoted(world.platform.profile.db_schema)
    run(world, f"REVOKE ALL ON DATABASE {database} FROM PUBLIC", f"REVOKE ALL ON SCHEMA {schema}, public FROM PUBLIC")
    run(world, *grants(world.platform.profile, role))
    world.created.append(world.platform)
    world.platform = connect_as(world, role)
    return role


def fresh(world: World) -> list[Finding]:
    """Examine with new connections, which have the settings of new sessions."""
    world.platform.database.close()
    return examine(world.platform)


def complaints(findings: list[Finding]) -> list[Finding]:
    """Warnings and errors."""
    return [one for one in findings if one.level in (Level.WARNING, Level.ERROR)]


def of(findings: list[Finding], check: str) -> list[Finding]:
    """The findings of one check that are not ok."""
    return [one for one in findings if one.check == check and one.level is not Level.OK]


def the(findings: list[Finding], check: str) -> Finding:
    """The only finding of a check, ok or not."""
    (found,) = [one for one in findings if one.check == check]
    return found


@contextmanager
def pooler(world: World) -> Iterator[str]:
    """A directory with the socket of a pooler, which forwards everything under its own process id."""
    behind = sa.make_url(world.url).query
    target = f"{behind['host']}/.s.PGSQL.{behind.get('port', '5432')}"
    directory = Path(tempfile.mkdtemp(prefix="pooler"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/.s.PGSQL.{behind.get('port', '5432')}")
        listener.listen()
        threading.Thread(target=_serve, args=(listener, target), daemon=True).start()
        yield str(directory)
        listener.shutdown(socket.SHUT_RDWR)
    shutil.rmtree(directory)


def _serve(listener: socket.socket, target: str) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(target)
        for source, sink, greets in ((client, server, False), (server, client, True)):
            threading.Thread(target=_pass_on, args=(source, sink, greets), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, greets: bool) -> None:
    key_data = b"K" + struct.pack("!i", 12)
    with suppress(OSError), sink:  # the other direction may have closed both
        while data := source.recv(65_536):
            if greets and key_data in data:
                at = data.index(key_data) + len(key_data)
                data, greets = data[:at] + struct.pack("!i", 7) + data[at + 4 :], False
            sink.sendall(data)
