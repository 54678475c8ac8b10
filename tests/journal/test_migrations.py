"""Schema campaign_ops: what the migrations make is what the program believes, and the views show the latest sweep."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from campaign_ops.core.errors import PermissionMissing, StateSchemaError
from campaign_ops.core.model import RepairKind
from campaign_ops.journal import migrations, schema
from campaign_ops.journal.attempts import AttemptLog
from campaign_ops.journal.binding import by_name, rekey
from campaign_ops.journal.incidents import IncidentLog
from campaign_ops.journal.journal import Entry, Journal
from campaign_ops.journal.migrations import HEAD, check_current, current, migrate
from campaign_ops.journal.sweeps import Author, SweepLog
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.postgres.database import STATE_SCHEMA, Database
from campaign_ops.queries.columns import columns_of

_numbers = itertools.count(1)


@pytest.fixture
def empty(servers: EmbeddedServers) -> Iterator[Database]:
    """A database without anything of ours."""
    database = Database(servers.postgres.create_database(f"migrating_{next(_numbers)}"))
    yield database
    database.close()


@pytest.fixture(scope="module")
def migrated(servers: EmbeddedServers) -> Iterator[sa.Engine]:
    url = servers.postgres.create_database("migrated")
    database = Database(url)
    migrate(database)
    database.close()
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(migrated: sa.Engine) -> Iterator[sa.Connection]:
    """To a migrated database; what is written is rolled back."""
    with migrated.connect() as connection:
        yield connection


def relations(connection: sa.Connection) -> dict[tuple[str, str], str]:
    query = sa.text(
        "SELECT nspname, relname, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
    )
    return {(row.nspname, row.relname): row.relkind for row in connection.execute(query)}


# -- migrating ------------------------------------------------------------------------------------------------------


def test_a_migrated_database_is_what_the_program_believes_it_to_be(connection: sa.Connection) -> None:
    context = MigrationContext.configure(
        connection,
        opts={
            "include_schemas": True,
            "include_name": lambda name, kind, _parents: kind != "schema" or name == STATE_SCHEMA,
            "version_table_schema": STATE_SCHEMA,
            "compare_type": True,
            "compare_server_default": True,
        },
    )
    assert compare_metadata(context, schema.metadata) == []


def test_migrating_says_from_where_to_where(empty: Database) -> None:
    assert migrate(empty) == (None, HEAD)


def test_migrating_twice_changes_nothing_the_second_time(empty: Database) -> None:
    migrate(empty)
    with empty.transaction() as connection:
        SweepLog("sms", "public.Campaign").begin(connection, "run", "test", "tests")
        before = relations(connection)
    assert migrate(empty) == (HEAD, HEAD)
    with empty.transaction() as connection:
        assert relations(connection) == before
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.sweep)) == 1


def test_two_that_migrate_at_once_do_it_once(empty: Database) -> None:
    found: list[tuple[str | None, str]] = []
    together = threading.Barrier(2)

    def work() -> None:
        together.wait(10)
        found.append(migrate(empty))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [(HEAD, HEAD), (None, HEAD)]


def test_a_role_that_could_write_incidents_may_record_looks_after_an_upgrade(empty: Database, modest: Database) -> None:
    """An upgrade had no step for rights: each look of such a role, and each probe of its service, failed after it."""
    upgrade_to(empty, "0008")
    with empty.transaction() as connection:
        connection.exec_driver_sql(
            "GRANT USAGE ON SCHEMA campaign_ops TO modest; GRANT SELECT ON ALL TABLES IN SCHEMA campaign_ops TO PUBLIC;"
            " GRANT INSERT, UPDATE, DELETE ON campaign_ops.incident TO modest"
        )
    migrate(empty)
    log = IncidentLog("sms", "public.Campaign")
    with modest.transaction() as connection:
        log.looked(connection, datetime(2026, 3, 1, tzinfo=UTC))
        log.looked(connection, datetime(2026, 3, 2, tzinfo=UTC))
        assert log.last_look(connection) == datetime(2026, 3, 2, tzinfo=UTC)


def test_everything_of_ours_stands_in_our_own_schema(connection: sa.Connection) -> None:
    assert {schema for schema, _ in relations(connection)} == {STATE_SCHEMA}


def test_a_migration_that_fails_leaves_nothing(empty: Database) -> None:
    with empty.transaction() as connection:
        connection.exec_driver_sql("CREATE SCHEMA campaign_ops; CREATE TABLE campaign_ops.sweep (somebody text)")
    with pytest.raises(Exception, match="sweep"):
        migrate(empty)
    with empty.transaction() as connection:
        assert set(relations(connection)) == {(STATE_SCHEMA, "sweep")}


@pytest.fixture
def modest(empty: Database) -> Iterator[Database]:
    """The empty database as a role that may create nothing in it."""
    with empty.transaction() as connection:
        create = "CREATE ROLE modest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL"
        connection.exec_driver_sql(f"DO $$ BEGIN {create}; END $$")
    made = Database(empty._engine.url.set(username="modest").render_as_string(hide_password=False))
    yield made
    made.close()


def test_a_role_that_may_not_create_a_schema_is_told_so(modest: Database) -> None:
    with pytest.raises(PermissionMissing):
        migrate(modest)


def test_a_schema_that_an_administrator_made_for_us_is_enough(empty: Database, modest: Database) -> None:
    """Least privilege: its own schema, and nothing in the database around it."""
    with empty.transaction() as connection:
        connection.exec_driver_sql("CREATE SCHEMA campaign_ops AUTHORIZATION modest")
    assert migrate(modest) == (None, HEAD)
    assert migrate(modest) == (HEAD, HEAD)


def test_a_missing_schema_and_an_older_one_ask_for_migrating(empty: Database) -> None:
    with empty.transaction() as connection:
        assert current(connection) is None
        with pytest.raises(StateSchemaError, match="does not exist") as missing:
            check_current(connection, "here")
    assert "migrate" in missing.value.mend
    migrate(empty)
    with empty.transaction() as connection:
        check_current(connection, "here")
        connection.exec_driver_sql("UPDATE campaign_ops.alembic_version SET version_num = '0000'")
        with pytest.raises(StateSchemaError, match="is at 0000") as older:
            check_current(connection, "here")
    assert "migrate" in older.value.mend


def alembic(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade_to(database: Database, revision: str) -> None:
    """The schema as an earlier release made it."""
    with database.transaction() as connection:
        connection.execute(sa.schema.CreateSchema(STATE_SCHEMA))
        command.upgrade(alembic(connection), revision)


OLD_ROWS = """
INSERT INTO campaign_ops.sweep (platform, run_id, trigger, actor)
    VALUES ('sms', 'a', 'cli', 'x'), ('mail', 'b', 'cli', 'x');
INSERT INTO campaign_ops.repair (platform, sweep_id, kind, campaign_id, target, reason, actor, run_id)
    SELECT platform, id, 'reenqueue', 'c1', 'c1', 'r', 'x', run_id FROM campaign_ops.sweep;
INSERT INTO campaign_ops.intent (job_id, platform, repair_id, campaign_id, attempt, batch, recipients)
    SELECT platform || '-job', platform, id, 'c1', 1, 0, 5 FROM campaign_ops.repair;
INSERT INTO campaign_ops.attempt (platform, campaign_id, total, last_at, held_by)
    VALUES ('sms', 'c1', 2, now(), 'anna'), ('mail', 'c1', 1, now(), NULL);
"""


def test_what_the_first_release_recorded_by_name_is_found_by_the_table_it_belongs_to(empty: Database) -> None:
    upgrade_to(empty, "0001")
    with empty.transaction() as connection:
        connection.exec_driver_sql(OLD_ROWS)
    assert migrate(empty) == ("0001", HEAD)
    with empty.transaction() as connection:
        rekey(connection, by_name("sms"), "public.Campaign")
    log, journal = AttemptLog("public.Campaign"), Journal("renamed", "public.Campaign")
    with empty.transaction() as connection:
        assert log.of(connection, ["c1"])["c1"].held_by == "anna"
        assert list(log.open_intents(connection)) == ["sms-job"]
        assert [row["platform"] for row in journal.repairs(connection)] == ["sms"]
        assert AttemptLog(by_name("mail")).of(connection, ["c1"])["c1"].total == 1


def test_of_two_records_of_one_campaign_what_holds_back_more_counts(empty: Database) -> None:
    """Two names for one table, from the days when each had records of its own."""
    upgrade_to(empty, "0001")
    with empty.transaction() as connection:
        connection.exec_driver_sql(OLD_ROWS)
    migrate(empty)
    with empty.transaction() as connection:
        for name in ("mail", "sms"):
            rekey(connection, by_name(name), "public.Campaign")
        (attempts,) = AttemptLog("public.Campaign").of(connection, ["c1"]).values()
        assert (attempts.total, attempts.held_by) == (2, "anna")
        assert sorted(AttemptLog("public.Campaign").open_intents(connection)) == ["mail-job", "sms-job"]


def test_a_reason_from_before_the_persons_had_a_column_of_its_own_stays_whole(empty: Database) -> None:
    """Parentheses in either part: a rule that splits it would put words into somebody's mouth."""
    upgrade_to(empty, "0002")
    both = "shop (north) called (nothing pending: 3 succeeded (1 accepted))"
    with empty.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO campaign_ops.sweep (platform, tables, run_id, trigger, actor, figures)"
            " VALUES ('sms', 'public.Campaign', 'a', 'cli', 'ann', '{\"completed_campaigns\": {}}')"
        )
        connection.exec_driver_sql(
            "INSERT INTO campaign_ops.repair (platform, tables, sweep_id, kind, target, reason, actor, run_id)"
            " SELECT 'sms', 'public.Campaign', id, 'complete', 'c1', %s, 'ann', 'a' FROM campaign_ops.sweep",
            (both,),
        )
    assert migrate(empty) == ("0002", HEAD)
    with empty.transaction() as connection:
        (row,) = Journal("sms", "public.Campaign").repairs(connection)
        assert (row["reason"], row["person_reason"]) == (both, None)
        shown = connection.exec_driver_sql("SELECT reason, person_reason FROM campaign_ops.completed_campaigns")
        assert shown.all() == [(both, None)]


def test_tokens_can_be_added_to_the_schema_of_the_release_before_and_taken_away_again(empty: Database) -> None:
    upgrade_to(empty, "0005")
    with empty.transaction() as connection:
        before = relations(connection)
        SweepLog("sms", "public.Campaign").begin(connection, "run", "test", "tests")
    assert migrate(empty) == ("0005", HEAD)
    with empty.transaction() as connection:
        added = {name for _, name in relations(connection).keys() - before.keys()}
        assert {"token", "idempotency", "audit"} <= added
        command.downgrade(alembic(connection), "0005")
    with empty.transaction() as connection:
        assert relations(connection) == before
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.sweep)) == 1
    assert migrate(empty) == ("0005", HEAD)


# -- what the views show --------------------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAMPAIGN = {"campaign_id": "c1"}
ROWS: dict[str, dict[str, Any]] = {
    "stuck_campaigns": {**CAMPAIGN, "status": "sending", "updated_at": NOW, "stuck_seconds": 3600},
    "recipient_status": {
        **CAMPAIGN,
        **dict.fromkeys(("total", "unsent", "pending", "accepted", "succeeded", "failed", "unknown"), 1),
        "drift": "",
    },
    "queue_state": {"queue": "sms-send"},
    "repair_plan": {"kind": "none", "target": "c1", "reason": "because", "needs_person": False},
    "campaign_health": {"report": {}, "markdown": "# fine"},
}
REPAIRS = {
    "completed_campaigns": RepairKind.COMPLETE,
    "reenqueued_batches": RepairKind.REENQUEUE,
    "released_credits": RepairKind.RELEASE,
}
VIEWS = [*ROWS, *REPAIRS]


def sweep(connection: sa.Connection, view: str, run: str, found: int, *, platform: str = "sms") -> Author:
    """A sweep that makes one step and finds so much."""
    sweeps, journal = SweepLog(platform, f"{platform}.Campaign"), Journal(platform, f"{platform}.Campaign")
    author = sweeps.begin(connection, run, "test", "tests")
    assert author is not None
    if view in ROWS:
        table = next(table for table in schema.HISTORIES if table.name == f"{view}_history")
        sweeps.add_history(connection, table, author, NOW, [ROWS[view]] * found)
    else:
        entries = [Entry(REPAIRS[view], f"t{n}", f"{run} {n}", "shop", "because") for n in range(found)]
        repair_ids = journal.record(connection, author, entries)
        if view == "reenqueued_batches" and repair_ids:
            batch = {"campaign_id": "c1", "attempt": 1, "batch": 0, "recipients": 5}
            intents = [{**batch, "job_id": f"{platform}-{run}-{one}", "repair_id": one} for one in repair_ids]
            AttemptLog(f"{platform}.Campaign").add_intents(connection, intents)
    sweeps.add_figures(connection, author.sweep_id, {view: {"found": found}})
    return author


def shown(connection: sa.Connection, view: str) -> list[tuple[str, int]]:
    """(platform, sweep) of every row that a view shows."""
    rows = connection.exec_driver_sql(f"SELECT platform, sweep_id FROM campaign_ops.{view} ORDER BY 1, 2")
    return [(row.platform, row.sweep_id) for row in rows]


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_the_latest_sweep_only_also_when_it_found_nothing(connection: sa.Connection, view: str) -> None:
    first = sweep(connection, view, "first", 2)
    assert shown(connection, view) == [("sms", first.sweep_id)] * 2
    second = sweep(connection, view, "second", 1)
    assert shown(connection, view) == [("sms", second.sweep_id)]
    sweep(connection, view, "third", 0)
    assert shown(connection, view) == []
    history = connection.exec_driver_sql(f"SELECT count(*) FROM campaign_ops.{view}_history").scalar_one()
    assert history == 3


@pytest.mark.parametrize("view", VIEWS)
def test_a_sweep_that_has_not_come_to_a_step_leaves_its_view_as_it_was(connection: sa.Connection, view: str) -> None:
    """Steps of one run may be minutes apart; an empty table in between would look like good news."""
    first = sweep(connection, view, "first", 1)
    other = next(name for name in VIEWS if name != view)
    sweep(connection, other, "second", 1)
    assert shown(connection, view) == [("sms", first.sweep_id)]


@pytest.mark.parametrize("view", VIEWS)
def test_two_platforms_in_one_database_do_not_hide_each_other(connection: sa.Connection, view: str) -> None:
    sms = sweep(connection, view, "first", 1)
    other = sweep(connection, view, "first", 1, platform="another")
    assert shown(connection, view) == [("another", other.sweep_id), ("sms", sms.sweep_id)]
    sweep(connection, view, "second", 0, platform="another")
    assert shown(connection, view) == [("sms", sms.sweep_id)]


def test_a_step_that_is_made_again_replaces_what_it_found_before(connection: sa.Connection) -> None:
    sweep(connection, "stuck_campaigns", "run", 3)
    author = sweep(connection, "stuck_campaigns", "run", 1)
    assert shown(connection, "stuck_campaigns") == [("sms", author.sweep_id)]


def test_every_asset_of_the_pipeline_has_its_view(connection: sa.Connection) -> None:
    views = {name for (_, name), kind in relations(connection).items() if kind == "v"}
    assert set(VIEWS) | {f"{name}_history" for name in REPAIRS} == views


def test_each_repair_is_shown_by_the_view_of_its_kind_alone(connection: sa.Connection) -> None:
    sweeps, journal = SweepLog("sms", "public.Campaign"), Journal("sms", "public.Campaign")
    author = sweeps.begin(connection, "run", "test", "tests")
    assert author is not None
    journal.record(connection, author, [Entry(kind, "t", "c1", "shop", "because") for kind in RepairKind])
    for view in REPAIRS:
        sweeps.add_figures(connection, author.sweep_id, {view: {}})
    counts = {view: len(shown(connection, view)) for view in REPAIRS}
    assert counts == {"completed_campaigns": 1, "reenqueued_batches": 0, "released_credits": 1}


def test_the_revision_that_the_program_names_is_the_newest_one() -> None:
    assert ScriptDirectory.from_config(alembic()).get_current_head() == HEAD


@pytest.mark.parametrize("view", REPAIRS)
def test_a_view_of_repairs_has_the_columns_that_dagster_and_the_docs_name(connection: sa.Connection, view: str) -> None:
    """A view cannot take a column in its middle: a migration that forgets one, or its history, is found here."""
    for relation in (view, f"{view}_history"):
        rows = connection.exec_driver_sql(f"SELECT * FROM campaign_ops.{relation}")
        assert list(rows.keys()) == [column.name for column in columns_of(view)]


@pytest.mark.parametrize("view", REPAIRS)
def test_a_view_of_repairs_shows_the_evidence_apart_from_what_a_person_said(
    connection: sa.Connection, view: str
) -> None:
    journal = Journal("sms", "sms.Campaign")
    begun = SweepLog("sms", "sms.Campaign").begin(connection, "run", "test", "ann")
    assert begun is not None
    author = replace(begun, person_reason="TICKET-1 (again)")
    repair_ids = journal.record(connection, author, [Entry(REPAIRS[view], "t", "c1", "shop", "3 succeeded")])
    intent = {"campaign_id": "c1", "attempt": 1, "batch": 0, "recipients": 5, "job_id": "j", "repair_id": repair_ids[0]}
    AttemptLog("sms.Campaign").add_intents(connection, [intent])
    rows = connection.exec_driver_sql(f"SELECT reason, person_reason FROM campaign_ops.{view}_history").all()
    assert ("3 succeeded", "TICKET-1 (again)") in rows
