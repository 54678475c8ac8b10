"""Servers that are away, refuse, are standbys, or stop answering half way: findings, never exceptions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from campaign_ops.core.policy import Policy
from campaign_ops.doctor import Finding, Level, examine
from campaign_ops.doctor.own_schema import own_schema
from campaign_ops.doctor.server import timeouts, version
from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.servers.embedded import EmbeddedPostgres
from campaign_ops.lab.shop.row_writer import RowWriter
from campaign_ops.platform import Platform
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.postgres.inspection import Server
from campaign_ops.profile.load import load_profile
from tests.conftest import World
from tests.doctor.bench import complaints, connect_as, least, of, owner, pooler, the


@pytest.fixture(scope="module")
def public_directory() -> Iterator[Path]:
    """A directory that the server's own user can read: pytest's are closed to it when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="campaign-ops-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def strict(public_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A server that asks for passwords, lets one user in from nowhere, and has a standby's settings."""
    directory = public_directory
    rules = directory / "pg_hba.conf"
    rules.write_text(
        "local all postgres trust\n"
        "local all shut_out reject\n"
        "local all all scram-sha-256\n"
        "host all all 127.0.0.1/32 trust\n"
    )
    rules.chmod(0o644)
    settings = {"hba_file": str(rules), "wal_level": "replica"}
    with EmbeddedPostgres(directory / "server", port=0, settings=settings) as server:
        url = server.create_database("closed")
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("CREATE ROLE ops LOGIN PASSWORD 'right-secret'")
            connection.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
            connection.execute("CREATE ROLE group_only")
            connection.execute("REVOKE ALL ON DATABASE closed FROM PUBLIC")
        yield server


def messenger_at(url: sa.URL) -> Platform:
    """A platform that sends in process, so that all findings are the database's."""
    database = Database(url.render_as_string(hide_password=False), Timeouts(connect_seconds=2))
    return Platform("messenger", load_profile("messenger"), Policy(), database, None)


def unreachable(url: sa.URL) -> Finding:
    """The only finding about a database to which no connection can be made."""
    platform = messenger_at(url)
    database, queue = examine(platform)
    assert (database.check, database.level, queue.check) == ("database", Level.ERROR, "queue")
    assert database.mend
    for theirs in ("FATAL", "psycopg", "connection to server", "Errno", "secret"):
        assert theirs not in database.what + database.mend
    return database


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"port": 1}, "nothing listens there"),
        ({"host": "no.such.host.invalid"}, "host name is not known"),
        ({"database": "nowhere"}, "no such database"),
        ({"username": "nobody"}, "the user was refused"),
        ({"username": "group_only"}, "the user was refused"),
        ({"username": "crowded"}, "no connection left"),
        ({"username": "ops", "database": "closed"}, "may not connect to it"),
        ({"query": {"sslmode": "require"}}, "no encrypted connection"),
    ],
)
def test_each_way_of_not_being_reachable_is_told_apart(
    strict: EmbeddedPostgres, changes: dict[str, object], words: str
) -> None:
    assert words in unreachable(sa.make_url(strict.url(tcp=True)).set(**changes)).what  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"username": "ops", "password": "wrong-secret"}, "password was refused"),
        ({"username": "ops"}, "password was refused"),
        ({"username": "shut_out"}, "pg_hba.conf"),
        ({"query": {"host": "/nowhere"}}, "no such socket"),
    ],
)
def test_each_way_of_being_refused_is_told_apart(
    strict: EmbeddedPostgres, changes: dict[str, object], words: str
) -> None:
    assert words in unreachable(sa.make_url(strict.url()).set(**changes)).what  # type: ignore[arg-type]


def test_the_right_password_gets_in(strict: EmbeddedPostgres) -> None:
    platform = messenger_at(sa.make_url(strict.url()).set(username="ops", password="right-secret"))
    assert the(examine(platform), "database").level is Level.OK
    platform.close()


def test_a_standby_is_told_from_its_primary(strict: EmbeddedPostgres) -> None:
    url = strict.create_database("standing_by")
    RowWriter.connect(url, load_profile("messenger"), create=True).close()
    platform = messenger_at(sa.make_url(url))
    migrate(platform.database)
    assert the(examine(platform), "primary").level is Level.OK
    platform.close()
    assert strict._home is not None
    assert strict._child is not None
    signal = strict._home / "data" / "standby.signal"
    strict._child.stop()
    signal.touch()
    try:
        strict._child.start()  # a standby is never "ready", which is what starting it the usual way waits for
        deadline = time.monotonic() + 120
        while (findings := examine(platform))[0].level is not Level.OK:
            assert time.monotonic() < deadline, findings
        found = the(findings, "primary")
        assert found.level is Level.ERROR
        assert "standby" in found.what
        assert the(findings, "profile").level is Level.OK
    finally:
        platform.close()
        strict._child.stop()
        signal.unlink()
        strict.start()


def test_a_database_that_is_away_does_not_keep_the_queue_from_being_examined(sms: World) -> None:
    platform = connect_as(sms, "postgres", host="/nowhere")
    findings = examine(platform)
    assert [one.check for one in findings[:2]] == ["database", "queue"]
    assert [one.level for one in findings[:2]] == [Level.ERROR, Level.OK]
    assert the(findings, "queue_depth").level is Level.OK


def test_a_connection_that_is_lost_in_the_middle_leaves_what_was_found_before(
    sms: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*arguments: Any) -> Any:
        with owner(sms) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle in transaction'"
            )
        return own_schema(*arguments)

    monkeypatch.setattr("campaign_ops.doctor.examination.own_schema", cut_off)
    findings = examine(sms.platform)
    assert the(findings, "clock").level is Level.OK
    lost = [one for one in findings if one.check == "database" and one.level is Level.ERROR]
    assert len(lost) == 1
    assert "lost in the middle" in lost[0].what
    assert not of(findings, "journal")
    assert the(findings, "queue_depth").level is Level.OK


def test_a_locked_table_costs_its_own_checks_alone(sms: World) -> None:
    least(sms)
    sms.app.add_campaign(succeeded=1)
    with owner(sms) as connection:
        connection.execute('VACUUM ANALYZE "Campaign", "CampaignRecipient", "CreditReservation"')
        connection.execute('BEGIN; LOCK TABLE "CampaignRecipient" IN ACCESS EXCLUSIVE MODE')
        findings = examine(sms.platform)
        connection.execute("ROLLBACK")
    (found,) = complaints(findings)
    assert found.what.startswith("not examined: the query took too long or met a lock")
    assert the(findings, "application_clock").level is Level.OK


def test_a_pooler_in_between_is_noticed_and_does_no_harm(sms: World) -> None:
    role = least(sms)
    assert the(examine(sms.platform), "pooler").level is Level.OK
    with pooler(sms) as directory:
        platform = connect_as(sms, role, host=directory)
        findings = examine(platform)
        platform.close()
    assert the(findings, "pooler").level is Level.NOTE
    assert complaints(findings) == []


@pytest.mark.parametrize(
    ("number", "level", "words"),
    [(130_004, Level.ERROR, "13 is older"), (140_000, Level.OK, "14.0"), (180_004, Level.OK, "18.4")],
)
def test_a_server_that_is_too_old_is_refused(number: int, level: Level, words: str) -> None:
    server = Server(
        number, False, "d", "r", False, False, False, False, True, "UTC", timedelta(0), False, None, None, False
    )
    found = version(server)
    assert found.level is level
    assert words in found.what


@pytest.mark.parametrize(
    ("ours", "level"),
    [
        (Timeouts(), Level.OK),
        (Timeouts(lock_seconds=60), Level.WARNING),
        (Timeouts(statement_seconds=3), Level.WARNING),
    ],
)
def test_timeouts_that_make_no_sense_together_are_warned_of(ours: Timeouts, level: Level) -> None:
    assert timeouts(ours).level is level
