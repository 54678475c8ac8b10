"""What tells a database from the one that a restore or a failover puts in its place; on servers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign_ops.lab.servers.postgres import EmbeddedPostgres
from campaign_ops.postgres.database import Database
from campaign_ops.postgres.identity import database_id
from tests.lab.waiting import wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    # As a server that can be recovered from an archive has it; this archive is empty.
    with EmbeddedPostgres(tmp_path, settings={"wal_level": "replica", "restore_command": "false"}) as running:
        yield running


@pytest.fixture
def database(server: EmbeddedPostgres) -> Iterator[Database]:
    database = Database(server.create_database("app"))
    yield database
    database.close()


def test_a_crash_and_a_restart_change_nothing(server: EmbeddedPostgres, database: Database) -> None:
    before = database.run(database_id)
    assert before is not None
    for end in (server.kill, server.restart):
        database.close()
        end()
        server.start()
        assert database.run(database_id) == before


def test_a_recovery_from_the_archive_changes_it(server: EmbeddedPostgres, database: Database) -> None:
    """PostgreSQL's own: a failover and point-in-time recovery end in the same way, with another timeline."""
    before = database.run(database_id)
    database.close()
    assert server._home is not None
    (server._home / "data" / "recovery.signal").touch()
    server.restart()
    wait_until(lambda: database.run(database_id) is not None)  # not while it recovers
    assert database.run(database_id) != before


def test_a_copy_in_its_place_changes_it(server: EmbeddedPostgres, database: Database) -> None:
    before = database.run(database_id)
    database.close()
    server.create_database("dump", "app")
    server.drop_database("app")
    server.create_database("app", "dump")
    assert database.run(database_id) not in (before, None)


def test_a_host_that_does_not_tell_is_unknown_and_the_transaction_goes_on(database: Database) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC")
        connection.exec_driver_sql("CREATE ROLE modest")
        connection.exec_driver_sql("SET LOCAL ROLE modest")
        assert database_id(connection) is None
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
