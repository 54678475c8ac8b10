"""The seam to PostgreSQL: every trouble arises on a real server and comes out as an error of ours, without secrets."""

from __future__ import annotations

import itertools
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
import tenacity.nap

from campaign_ops.core.errors import (
    CampaignOpsError,
    ConfigurationError,
    Conflict,
    DatabaseTimeout,
    DatabaseUnavailable,
    PermissionMissing,
    ProfileMismatch,
    Refused,
    StatementRejected,
    StateSchemaError,
    Unavailable,
)
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.postgres.database import Database, Timeouts
from campaign_ops.postgres.errors import mapped

PASSWORD, WRONG_PASSWORD = "correct-horse", "battery-staple"
PHONE = "+15550199"
Connect = Callable[..., Database]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def url(servers: EmbeddedServers) -> str:
    """A database with two rows to fight over; every session in it finds a deadlock quickly."""
    made = servers.postgres.create_database("seam")
    engine = sa.create_engine(made, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in (
            "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL CHECK (balance >= 0), phone text UNIQUE)",
            "CREATE TABLE noted (what text)",
            "INSERT INTO account VALUES (1, 0, NULL), (2, 0, NULL)",
            "ALTER DATABASE seam SET deadlock_timeout = '20ms'",
            "ALTER DATABASE seam SET timezone = 'Asia/Kolkata'",
            "ALTER DATABASE seam SET default_transaction_isolation = 'serializable'",
            "ALTER DATABASE seam SET datestyle = 'SQL, DMY'",
            "ALTER DATABASE seam SET intervalstyle = 'sql_standard'",
            "CREATE ROLE stranger LOGIN",
            "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0",
            f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'",
        ):
            connection.exec_driver_sql(statement)
        hba = Path(connection.exec_driver_sql("SHOW hba_file").scalar_one())
        hba.write_text("local all locked scram-sha-256\nlocal all barred reject\n" + hba.read_text())
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        loaded = "SELECT count(*) FROM pg_hba_file_rules WHERE 'barred' = ANY(user_name)"
        assert connection.exec_driver_sql(loaded).scalar_one() == 1
    engine.dispose()
    time.sleep(0.1)  # the server has been told to read the file again, and reads it when it gets to it
    return made


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    """Makes databases with these timeouts; ``change`` rewrites the URL."""
    with ExitStack() as stack:

        def make(change: Callable[[str], str] = str, **timeouts: float) -> Database:
            database = Database(change(url), Timeouts(**timeouts))
            stack.callback(database.close)
            return database

        yield make


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries do not wait."""
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda _seconds: None))


def as_user(user: str, password: str = "") -> Callable[[str], str]:
    return lambda url: url.replace("postgres@", f"{user}:{password}@" if password else f"{user}@")


def run(database: Database, statement: str, **binds: object) -> sa.CursorResult[tuple[object, ...]]:
    with database.transaction() as connection:
        return connection.execute(sa.text(statement), binds)


def note(connection: sa.Connection, what: str) -> None:
    connection.execute(sa.text("INSERT INTO noted VALUES (:what)"), {"what": what})


def notes(database: Database, what: str) -> int:
    """How often it was noted."""
    with database.transaction() as connection:
        count = sa.text("SELECT count(*) FROM noted WHERE what = :what")
        return int(connection.execute(count, {"what": what}).scalar_one())


def all_told(error: BaseException) -> str:
    """Everything that anybody could print of an error: itself, its traceback, and what hangs on it, hidden or not."""
    told, left = ["".join(traceback.format_exception(error))], [error]
    while left:
        one = left.pop()
        told += [str(one), repr(one), repr(one.args), repr(vars(one))]
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
    return "\n".join(told)


# -- connecting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (as_user("locked", WRONG_PASSWORD), ConfigurationError, "the password was refused"),
        (as_user("locked"), ConfigurationError, "the password was refused"),
        (as_user("nobody", PASSWORD), ConfigurationError, "the user was refused"),
        (as_user("barred", PASSWORD), ConfigurationError, "pg_hba.conf"),
        (lambda url: url.replace("/seam", "/nowhere"), ConfigurationError, "there is no such database"),
        (as_user("crowded", PASSWORD), DatabaseUnavailable, "no connection left"),
        (lambda _: f"postgresql+psycopg://u:{PASSWORD}@127.0.0.1:1/x", DatabaseUnavailable, "nothing listens there"),
        (
            lambda _: f"postgresql+psycopg://u:{PASSWORD}@no.such.invalid/x",
            DatabaseUnavailable,
            "name is not known",
        ),
        (
            lambda _: f"postgresql+psycopg://u:{PASSWORD}@/x?host=/no/such/dir",
            DatabaseUnavailable,
            "no such socket",
        ),
    ],
)
def test_a_connection_that_cannot_be_made_is_one_clear_line_without_the_password(
    connect: Connect, change: Callable[[str], str], kind: type[CampaignOpsError], words: str
) -> None:
    database = connect(change)
    with pytest.raises(kind) as caught:
        run(database, "SELECT 1")
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert caught.value.where == database.where
    assert caught.value.mend
    for secret in (PASSWORD, WRONG_PASSWORD):
        assert secret not in all_told(caught.value)
        assert secret not in repr(database) + repr(vars(database))


def test_a_mistake_in_the_url_is_not_tried_again(connect: Connect) -> None:
    database, tries = connect(as_user("locked", WRONG_PASSWORD)), []

    def work() -> None:
        tries.append(1)
        run(database, "SELECT 1")

    with pytest.raises(ConfigurationError):
        database.retrying(work)
    assert len(tries) == 1


def test_the_right_password_is_let_in(connect: Connect) -> None:
    assert run(connect(as_user("locked", PASSWORD)), "SELECT 1") is not None


def test_nothing_is_connected_to_before_the_first_transaction() -> None:
    Database("postgresql+psycopg://u@no.such.invalid/x").close()


def test_a_host_that_takes_the_call_and_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        database = Database(f"postgresql+psycopg://u:{PASSWORD}@127.0.0.1:{port}/x", Timeouts(connect_seconds=1))
        with pytest.raises(DatabaseUnavailable) as caught:  # by its own limit: the test's is an error of another kind
            run(database, "SELECT 1")
    assert PASSWORD not in all_told(caught.value)


def test_several_hosts_are_named_as_they_were_written() -> None:
    database = Database("postgresql+psycopg://u:p@/shop?host=a:5432&host=b:6432")
    assert database.where == "a:5432,b:6432/shop"


# -- a transaction --------------------------------------------------------------------------------------------------


def test_a_transaction_is_utc_and_sees_what_others_committed_whatever_the_server_s_defaults(connect: Connect) -> None:
    database = connect()
    with database.transaction() as connection:
        show = "SELECT current_setting('timezone'), current_setting('transaction_isolation')"
        assert tuple(connection.exec_driver_sql(show).one()) == ("UTC", "read committed")
        before = connection.exec_driver_sql("SELECT count(*) FROM noted").scalar_one()
        run(connect(), "INSERT INTO noted VALUES ('meanwhile')")
        assert connection.exec_driver_sql("SELECT count(*) FROM noted").scalar_one() == before + 1


def test_moments_are_read_whatever_style_the_server_writes_them_in(connect: Connect) -> None:
    """The driver reads ISO only: on a server with another style every sweep failed."""
    row = run(connect(), "SELECT timestamptz '2026-02-01 03:04:05+00' AS at, interval '90 s' AS length").one()
    assert (row.at, row.length) == (datetime(2026, 2, 1, 3, 4, 5, tzinfo=UTC), timedelta(seconds=90))


def test_nothing_of_a_transaction_stays_with_its_connection(connect: Connect) -> None:
    """PgBouncer in transaction mode gives the same connection to somebody else afterwards."""
    database = connect(statement_seconds=7, lock_seconds=3)
    names = (
        "statement_timeout",
        "lock_timeout",
        "application_name",
        "timezone",
        "transaction_read_only",
        "row_security",
    )
    show = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    with sa.create_engine(database._engine.url).connect() as fresh:
        untouched = tuple(fresh.exec_driver_sql(show).one())
    with database.transaction(read_only=True) as connection:
        inside = tuple(connection.exec_driver_sql(show).one())
        for _ in range(10):
            connection.execute(sa.text("SELECT balance FROM account WHERE id = :id"), {"id": 1})
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one() == 0
    assert inside[:2] == ("7s", "3s")
    with database._engine.connect() as connection:
        assert tuple(connection.exec_driver_sql(show).one()) == untouched


def test_an_error_in_the_work_leaves_nothing_behind_and_passes_unchanged(connect: Connect) -> None:
    database = connect()

    def work(connection: sa.Connection) -> None:
        note(connection, "half done")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        database.run(work)
    assert notes(database, "half done") == 0


def test_a_read_only_transaction_cannot_write(connect: Connect) -> None:
    with pytest.raises(CampaignOpsError), connect().transaction(read_only=True) as connection:
        connection.exec_driver_sql("INSERT INTO noted VALUES ('never')")


# -- statements that fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("INSERT INTO account VALUES (3, 0, :phone), (4, 0, :phone)", "account_phone_key"),
        ("INSERT INTO account VALUES (3, NULL, :phone)", "balance"),
        ("INSERT INTO account VALUES (3, -1, :phone)", "account_balance_check"),
        ("INSERT INTO account VALUES (3, 1 / 0, :phone)", "division by zero"),
        ("SELECT cast(:phone AS text) FROM account WHERE nonsense(1)", "nonsense"),
    ],
)
def test_a_refused_statement_says_why_but_quotes_no_row_and_no_value(
    connect: Connect, statement: str, words: str
) -> None:
    with pytest.raises(StatementRejected) as caught:
        run(connect(), statement, phone=PHONE)
    assert words in str(caught.value)
    assert PHONE not in all_told(caught.value)


def test_a_trigger_s_words_are_one_line(connect: Connect) -> None:
    with pytest.raises(StatementRejected) as caught:
        run(connect(), "DO $$ BEGIN RAISE EXCEPTION E'no sending\\non Sundays'; END $$")
    assert "no sending on Sundays (P0001)" in str(caught.value)


def test_a_refused_statement_is_not_worth_trying_again(connect: Connect) -> None:
    database, tries = connect(), []

    def work(connection: sa.Connection) -> None:
        tries.append(1)
        connection.exec_driver_sql("SELECT 1 / 0")

    with pytest.raises(StatementRejected) as caught:
        database.run(work)
    assert len(tries) == 1
    assert not isinstance(caught.value, Unavailable)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT * FROM campaign_ops.sweep", StateSchemaError),
        ("CREATE TABLE campaign_ops.more (id int)", StateSchemaError),
        ('SELECT * FROM public."Campaign"', ProfileMismatch),
        ('SELECT * FROM public."Campaign" AS campaign_ops_cover', ProfileMismatch),
        ("SELECT nothing_of_the_kind FROM account", ProfileMismatch),
    ],
)
def test_what_is_missing_is_said_to_be_ours_or_the_platform_s(
    connect: Connect, statement: str, kind: type[CampaignOpsError]
) -> None:
    with pytest.raises(kind) as caught:
        run(connect(), statement)
    assert caught.value.mend


def test_a_missing_privilege_names_the_table_and_the_mend(connect: Connect) -> None:
    with pytest.raises(PermissionMissing) as caught:
        run(connect(as_user("stranger")), "UPDATE account SET balance = 1")
    assert "account" in str(caught.value)
    assert "doctor" in caught.value.mend


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: f"postgresql+psycopg://u:{PASSWORD}@127.0.0.1:99999/x", "not a port number"),
        (lambda url: f"{url}&sslmode=maybe", "a parameter of the URL"),
        (lambda url: f"{url}&no_such_option=1", "a parameter of the URL"),
        (lambda url: f"{url}&target_session_attrs=anybody", "a parameter of the URL"),
    ],
)
def test_a_url_that_can_never_work_is_no_outage(connect: Connect, change: Callable[[str], str], words: str) -> None:
    """Measured before: told as an outage, and tried three times."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        run(connect(change), "SELECT 1")
    assert PASSWORD not in all_told(caught.value)


def test_a_url_that_points_at_redis_says_that_it_is_not_postgresql(connect: Connect, servers: EmbeddedServers) -> None:
    """Redis waits for the end of a line, so the driver only sees that no answer comes."""
    url = f"postgresql+psycopg://u:p@127.0.0.1:{sa.make_url(servers.redis.url()).port}/x"
    with pytest.raises(ConfigurationError, match="not PostgreSQL"):
        run(connect(lambda _: url, connect_seconds=2), "SELECT 1")


def test_a_server_that_takes_no_writes_is_the_wrong_server(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="default_transaction_read_only"):
        run(connect(), "SET TRANSACTION READ ONLY; INSERT INTO noted VALUES ('never')")


# -- time and conflict ----------------------------------------------------------------------------------------------


def test_a_statement_that_takes_too_long_is_stopped(connect: Connect) -> None:
    with pytest.raises(DatabaseTimeout, match="statement"):
        run(connect(statement_seconds=0.1), "SELECT pg_sleep(3600)")


def test_a_lock_that_is_not_to_be_had_is_not_waited_for_longer_than_told(connect: Connect) -> None:
    locking = "SELECT balance FROM account WHERE id = 1 FOR UPDATE"
    with connect().transaction() as connection:
        connection.exec_driver_sql(locking)
        with pytest.raises(DatabaseTimeout, match="lock") as caught:
            run(connect(lock_seconds=0.1), locking)
    assert not isinstance(caught.value, Conflict)


def test_a_transaction_that_stood_idle_for_too_long_may_be_tried_again(connect: Connect) -> None:
    def sleep_over_it() -> None:
        with connect(statement_seconds=0.04).transaction() as connection:
            time.sleep(0.5)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(DatabaseTimeout, match="idle"):
        sleep_over_it()


def test_of_two_that_lock_each_other_out_one_has_a_conflict(connect: Connect) -> None:
    both_hold, found = threading.Barrier(2), []

    def work(first: int, second: int) -> None:
        add = sa.text("UPDATE account SET balance = balance WHERE id = :id")
        try:
            with connect(lock_seconds=10).transaction() as connection:
                connection.execute(add, {"id": first})
                both_hold.wait(10)
                connection.execute(add, {"id": second})
        except CampaignOpsError as error:
            found.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (error,) = found
    assert type(error) is Conflict
    assert "deadlock" in str(error)


def test_a_serialization_failure_is_a_conflict(url: str, connect: Connect) -> None:
    engine = sa.create_engine(url, isolation_level="REPEATABLE READ")
    touch = "UPDATE account SET balance = balance WHERE id = 1"
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM account")
        run(connect(), touch)
        with pytest.raises(Conflict), mapped("here"):
            connection.exec_driver_sql(touch)
    engine.dispose()


# -- trying again ---------------------------------------------------------------------------------------------------


KILL_MYSELF = "SELECT pg_terminate_backend(pg_backend_pid())"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("moment", ["before", "after", "from outside"])
def test_work_whose_connection_is_killed_is_done_again_and_happens_once(connect: Connect, moment: str) -> None:
    database, tries = connect(), []

    def work(connection: sa.Connection) -> None:
        tries.append(1)
        first = len(tries) == 1
        if first and moment == "before":
            connection.exec_driver_sql(KILL_MYSELF)
        note(connection, moment)
        if first and moment == "after":
            connection.exec_driver_sql(KILL_MYSELF)
        if first and moment == "from outside":  # noticed no earlier than at the commit
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            run(connect(), "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)

    database.run(work)
    assert len(tries) == 2
    assert notes(database, moment) == 1


@pytest.mark.usefixtures("at_once")
def test_work_is_tried_three_times_and_no_more(connect: Connect) -> None:
    database, tries = connect(), []

    def work(connection: sa.Connection) -> None:
        tries.append(1)
        connection.exec_driver_sql(KILL_MYSELF)

    with pytest.raises(DatabaseUnavailable):
        database.run(work)
    assert len(tries) == 3


@pytest.mark.usefixtures("at_once")
def test_two_that_locked_each_other_out_both_get_their_work_done(connect: Connect) -> None:
    both_hold = threading.Barrier(2)
    tries: list[int] = []

    def work(connection: sa.Connection, first: int, second: int) -> None:
        tries.append(first)
        add = sa.text("UPDATE account SET balance = balance + 1 WHERE id = :id")
        connection.execute(add, {"id": first})
        if tries.count(first) == 1:
            both_hold.wait(10)
        connection.execute(add, {"id": second})

    with connect().transaction() as connection:
        before = connection.exec_driver_sql("SELECT sum(balance) FROM account").scalar_one()
    threads = [
        threading.Thread(target=connect(lock_seconds=10).run, args=(lambda it, pair=pair: work(it, *pair),))
        for pair in ((1, 2), (2, 1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connect().transaction() as connection:
        assert connection.exec_driver_sql("SELECT sum(balance) FROM account").scalar_one() == before + 4
    assert len(tries) >= 3


def test_a_refusal_of_ours_is_never_tried_again(connect: Connect) -> None:
    tries = []

    def work(_connection: sa.Connection) -> None:
        tries.append(1)
        raise Refused("3 of 5 recipients still pending")

    with pytest.raises(Refused):
        connect().run(work)
    assert len(tries) == 1


def test_a_connection_that_died_in_the_pool_does_not_count_as_a_try(connect: Connect) -> None:
    database = connect()
    with database.transaction() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    run(connect(), "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
    with database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
