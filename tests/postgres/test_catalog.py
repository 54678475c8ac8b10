"""Does the profile fit the database? Asked of real catalogs; every transaction is rolled back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_ops.core.errors import ProfileMismatch
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.schema import PlatformShape, create_tables
from campaign_ops.postgres import recipients
from campaign_ops.postgres.catalog import Catalog, read_catalog
from campaign_ops.postgres.needs import needs
from campaign_ops.postgres.tables import PlatformTables, tables_of
from campaign_ops.profile.load import load_profile
from campaign_ops.profile.model import Profile
from tests.shapes import SHAPES, SNAKE


@pytest.fixture(scope="module")
def engine(servers: EmbeddedServers) -> Iterator[sa.Engine]:
    made = sa.create_engine(servers.postgres.create_database("catalogs"))
    yield made
    made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def tables(connection: sa.Connection) -> sa.Connection:
    """With the tables of an SMS platform as Prisma makes them."""
    create_tables(connection, load_profile("sms"))
    return connection


def sms(**parts: dict[str, Any] | str | None) -> Profile:
    """The shipped profile with some names changed."""
    raw = load_profile("sms").model_dump(by_alias=True)
    for name, value in parts.items():
        raw[name] = {**raw[name], **value} if isinstance(value, dict) else value
    return Profile.model_validate(raw)


def read(connection: sa.Connection, profile: Profile | None = None) -> Catalog:
    return read_catalog(connection, profile or load_profile("sms"), "here")


def problems(connection: sa.Connection, profile: Profile | None = None) -> list[str]:
    with pytest.raises(ProfileMismatch) as caught:
        read(connection, profile)
    assert caught.value.where.endswith("on here")
    assert "nothing was touched" in caught.value.mend
    return caught.value.problems


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["sms", "messenger"])
def test_a_shipped_profile_fits_every_shape_of_its_platform(
    connection: sa.Connection, name: str, shape: PlatformShape
) -> None:
    profile = load_profile(name)
    create_tables(connection, profile, shape)
    catalog = read(connection, profile)
    assert {(need.table, need.column) for need in needs(profile)} <= catalog.columns.keys()
    assert catalog.column(profile.campaign.table, profile.campaign.status).is_enum is (shape.statuses == "enum")
    assert catalog.numeric_ids(profile) is shape.numeric_ids


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_names_that_need_quoting_in_another_schema_fit_as_well(connection: sa.Connection, shape: PlatformShape) -> None:
    create_tables(connection, SNAKE, shape)
    assert {(need.table, need.column) for need in needs(SNAKE)} <= read(connection, SNAKE).columns.keys()


# -- what is missing, and what is there instead ---------------------------------------------------------------------


def test_a_missing_table_is_named_with_the_nearest_that_is_there(tables: sa.Connection) -> None:
    (problem,) = problems(tables, sms(recipient={"table": "campaign_recipient"}))
    assert 'table "campaign_recipient" is not in schema "public"' in problem
    assert 'did you mean "CampaignRecipient"?' in problem


def test_a_table_of_another_schema_is_found_there(tables: sa.Connection) -> None:
    found = problems(tables, sms(schema="shop"))
    assert len(found) == 3
    assert all('not in schema "shop", but in schema "public"' in problem for problem in found)


def test_an_empty_database_is_told_from_a_wrong_name(connection: sa.Connection) -> None:
    assert all(problem.endswith("there is none") for problem in problems(connection))


def test_a_missing_column_is_named_with_its_role_and_the_nearest_that_is_there(tables: sa.Connection) -> None:
    (problem,) = problems(tables, sms(campaign={"updated_at": "updated_at"}))
    assert '"Campaign"."updated_at" (campaign.updated_at) is missing' in problem
    assert 'did you mean "updatedAt"?' in problem
    assert '"shopId"' not in problem
    assert "shopId" in problem, "and what else there is"


def test_every_column_that_a_profile_can_name_is_looked_for() -> None:
    """One that is not checked is found missing by a statement, half way through a sweep."""
    named = {name for part in (SNAKE.campaign, SNAKE.recipient, SNAKE.reservation) for name in _names(part)}
    assert {need.column for need in needs(SNAKE)} == named


def _names(part: object) -> list[str]:
    """The column names in a part of a profile."""
    found: list[str] = []
    for key, value in vars(part).items():
        if key in ("table", "words", "rows") or value is None:
            continue
        found += _names(value) if hasattr(value, "model_fields_set") else [value] if isinstance(value, str) else value
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('ALTER TABLE "Campaign" ALTER status TYPE int USING 1', "is of type int4; text or an enum is needed"),
        ('ALTER TABLE "Campaign" ALTER "updatedAt" TYPE text', "is of type text; a timestamp is needed"),
        ('ALTER TABLE "Campaign" ALTER "updatedAt" TYPE date', "is of type date; a timestamp is needed"),
        ('ALTER TABLE "CampaignRecipient" ALTER "sentAt" TYPE text', "(recipient.activity[0]) is of type text"),
        ('ALTER TABLE "CreditReservation" ALTER amount TYPE text', "is of type text; a number is needed"),
        ('ALTER TABLE "CreditReservation" ALTER id TYPE numeric USING 1', "text, uuid or an integer is needed"),
    ],
)
def test_a_column_of_the_wrong_type_is_named_with_the_type_that_is_there(
    tables: sa.Connection, change: str, words: str
) -> None:
    tables.exec_driver_sql(change)
    assert words in "; ".join(problems(tables))


def test_a_word_that_the_enum_does_not_have_is_named_with_the_nearest_that_it_has(connection: sa.Connection) -> None:
    create_tables(connection, sms(), PlatformShape(statuses="enum"))
    words = load_profile("sms").campaign.words.model_copy(update={"done": "Sent", "over": ("withdrawn",)})
    found = problems(connection, sms(campaign={"words": words.model_dump()}))
    assert len(found) == 2
    assert "'Sent' is not a word of enum CampaignStatus" in found[0]
    assert 'did you mean "sent"?' in found[0]
    assert "'withdrawn'" in found[1]
    assert "there are: sending, sent, failed, cancelled" in found[1]


def test_everything_that_does_not_fit_is_said_at_once(tables: sa.Connection) -> None:
    profile = sms(
        campaign={"name": "title"}, recipient={"table": "Recipients"}, reservation={"amount": "credits", "id": "key"}
    )
    assert len(problems(tables, profile)) == 4


def test_an_id_type_that_was_written_down_is_held_to(tables: sa.Connection) -> None:
    assert all("is of type text; uuid is needed" in problem for problem in problems(tables, sms(id_type="uuid")))
    assert read(tables, sms(id_type="text")) is not None


@pytest.mark.parametrize("table", ["CampaignRecipient", "CreditReservation"])
def test_ids_that_cannot_be_compared_are_refused_before_anything_is_touched(tables: sa.Connection, table: str) -> None:
    """PostgreSQL has no ``uuid = text``: found by a statement, every campaign would fail one by one."""
    for other in tables.scalars(sa.text("SELECT conname FROM pg_constraint WHERE contype = 'f'")).all():
        tables.exec_driver_sql(f'ALTER TABLE "CampaignRecipient" DROP CONSTRAINT "{other}"')
    tables.exec_driver_sql(f'ALTER TABLE "{table}" ALTER "campaignId" TYPE uuid USING NULL')
    (problem,) = problems(tables)
    assert f'"{table}"."campaignId"' in problem
    assert "is of type uuid" in problem
    assert '"Campaign"."id" (campaign.id) of type text' in problem


@pytest.mark.parametrize(("ours", "theirs"), [("int4", "int8"), ("varchar(30)", "text"), ("char(25)", "varchar")])
def test_ids_of_one_family_may_differ_in_width(connection: sa.Connection, ours: str, theirs: str) -> None:
    create_tables(connection, sms(), PlatformShape(ids="integer"))
    connection.exec_driver_sql(f'ALTER TABLE "CreditReservation" ALTER "campaignId" TYPE {theirs}')
    connection.exec_driver_sql(
        'ALTER TABLE "CampaignRecipient" DROP CONSTRAINT "CampaignRecipient_campaignId_fkey";'
        f' ALTER TABLE "CampaignRecipient" ALTER "campaignId" TYPE {theirs};'
        f' ALTER TABLE "Campaign" ALTER id TYPE {ours}'
    )
    assert read(connection) is not None


def test_a_column_that_is_named_for_two_things_is_refused_by_name(tables: sa.Connection) -> None:
    (problem,) = problems(tables, sms(campaign={"name": "id"}))
    assert '"Campaign"."id" is named twice (campaign.id, campaign.name)' in problem


# -- what the catalog tells the statements --------------------------------------------------------------------------


@pytest.mark.parametrize("type_name", ["text", "varchar", "varchar(40)", "char(40)", "bpchar", "name"])
def test_a_bound_word_reaches_a_column_of_any_text_type_whole(tables: sa.Connection, type_name: str) -> None:
    """``CAST('sending' AS character)`` is ``s``: nothing would ever be stuck."""
    tables.exec_driver_sql(f'ALTER TABLE "Campaign" ALTER status TYPE {type_name}')
    tables.exec_driver_sql(
        """INSERT INTO "Campaign" (id, "shopId", name, status, "updatedAt") VALUES ('c', 's', 'n', 'sending', now())"""
    )
    campaign = PlatformTables(sms(), read(tables)).campaign
    found = sa.select(sa.func.count()).where(
        campaign.c.status == sa.bindparam("word", "sending", type_=campaign.c.status.type)
    )
    assert tables.scalar(found) == 1


def test_partitioned_tables_fit(tables: sa.Connection) -> None:
    tables.exec_driver_sql(
        'ALTER TABLE "CampaignRecipient" RENAME TO old;'
        'CREATE TABLE "CampaignRecipient" (LIKE old) PARTITION BY HASH ("campaignId");'
        'CREATE TABLE part PARTITION OF "CampaignRecipient" FOR VALUES WITH (MODULUS 1, REMAINDER 0)'
    )
    assert read(tables) is not None


def test_a_dropped_column_is_gone(tables: sa.Connection) -> None:
    tables.exec_driver_sql('ALTER TABLE "Campaign" DROP name; ALTER TABLE "Campaign" ADD title text')
    (problem,) = problems(tables)
    assert '"Campaign"."name" (campaign.name) is missing' in problem
    assert "title" in problem
    assert "pg.dropped" not in problem


def test_the_columns_that_a_sweep_writes_and_may_not_are_named(tables: sa.Connection) -> None:
    tables.exec_driver_sql("CREATE ROLE reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    tables.exec_driver_sql('GRANT UPDATE (status) ON "Campaign" TO reader; SET LOCAL ROLE reader')
    assert sorted(read(tables).not_writable(sms())) == [
        '"Campaign"."updatedAt"',
        '"CreditReservation"."releasedAt"',
        '"CreditReservation"."status"',
    ]


def test_no_more_is_to_be_written_than_status_counters_and_moments() -> None:
    """Least privilege: UPDATE on a handful of columns."""
    written = {need.role for name in ("sms", "messenger") for need in needs(load_profile(name)) if need.written}
    assert written == {
        "campaign.status",
        "campaign.updated_at",
        "campaign.completed_at",
        "campaign.counters.succeeded",
        "campaign.counters.failed",
        "reservation.status",
        "reservation.released_at",
    }


def test_a_profile_is_checked_without_a_right_to_the_tables(tables: sa.Connection) -> None:
    """What is missing is a privilege then, not a column."""
    tables.exec_driver_sql("CREATE ROLE outsider; SET LOCAL ROLE outsider")
    assert not read(tables).column("Campaign", "status").may_select


def test_words_that_a_profile_calls_optional_may_be_missing_from_an_enum(connection: sa.Connection) -> None:
    """The built-in messenger profile knows SENT campaigns and QUEUED messages, which not every such platform has."""
    profile = load_profile("messenger")
    create_tables(connection, profile, PlatformShape(statuses="enum"))
    for table, kind, word in (("Campaign", "CampaignStatus", "SENT"), ("Message", "MessageStatus", "QUEUED")):
        connection.exec_driver_sql(f"ALTER TYPE \"{kind}\" RENAME VALUE '{word}' TO 'ELSE'")
        assert word not in read(connection, profile).column(table, "status").words
    tables = PlatformTables(profile, read(connection, profile))
    assert connection.scalar(sa.select(sa.func.count()).where(recipients.is_pending(tables))) == 0


def test_a_number_is_an_id_only_where_the_column_can_hold_it(connection: sa.Connection) -> None:
    for ids, bits in (("integer", 31), ("bigint", 63)):
        profile = sms(schema=f"of_{ids}")
        create_tables(connection, profile, PlatformShape(ids=ids))  # type: ignore[arg-type]
        tables = PlatformTables(profile, read(connection, profile))
        may_be = [tables.may_be_id(tables.campaign, str(one)) for one in (2**bits - 1, 2**bits, -(2**bits), "9" * 5000)]
        assert may_be == [True, False, True, False]
    create_tables(connection, sms())
    tables = PlatformTables(sms(), read(connection))
    assert not tables.may_be_id(tables.campaign, "caf\udce9")


def test_the_tables_of_a_catalog_are_kept_until_it_changes(tables: sa.Connection) -> None:
    """The next sweep of the process then finds its statements compiled."""
    kept = tables_of(sms(), read(tables))
    assert tables_of(sms(), read(tables)) is kept
    tables.exec_driver_sql('ALTER TABLE "Campaign" ALTER "updatedAt" TYPE timestamptz')
    changed = tables_of(sms(), read(tables))
    kind = changed.campaign.c.updated_at.type
    assert isinstance(kind, sa.DateTime)
    assert kind.timezone


# -- relations that show only some of the rows ----------------------------------------------------------------------

RENAME = 'ALTER TABLE "CampaignRecipient" RENAME TO all_recipients;'
PARTS = {
    "a view": (
        f"""{RENAME} CREATE VIEW "CampaignRecipient" AS SELECT * FROM all_recipients WHERE status <> 'pending'""",
        r'"CampaignRecipient" in schema "public" is a view.*; name the table behind it: all_recipients',
    ),
    "a materialized view": (
        f'{RENAME} CREATE MATERIALIZED VIEW "CampaignRecipient" AS SELECT * FROM all_recipients',
        "is a materialized view.*; name the table behind it: all_recipients",
    ),
    "a partition": (
        (
            f'{RENAME} CREATE TABLE parts (LIKE all_recipients) PARTITION BY LIST ("campaignId");'
            ' CREATE TABLE "CampaignRecipient" PARTITION OF parts DEFAULT'
        ),
        "is one partition.*; name parts",
    ),
    "a partition of a partition": (
        (
            f'{RENAME} CREATE TABLE parts (LIKE all_recipients) PARTITION BY LIST ("campaignId");'
            " CREATE TABLE below PARTITION OF parts DEFAULT PARTITION BY LIST (id);"
            ' CREATE TABLE "CampaignRecipient" PARTITION OF below DEFAULT'
        ),
        "is one partition.*; name parts",
    ),
    "a child": (
        f'{RENAME} CREATE TABLE "CampaignRecipient" () INHERITS (all_recipients)',
        "has only a part of the rows of all_recipients; name that table",
    ),
    "a foreign table": (
        (
            f"{RENAME} CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far;"
            ' CREATE FOREIGN TABLE "CampaignRecipient" (id text, "campaignId" text) SERVER away'
        ),
        "is a foreign table.*; connect to the server that has the table",
    ),
    "a table with a part elsewhere": (
        (
            "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far;"
            ' CREATE FOREIGN TABLE archive () INHERITS ("CampaignRecipient") SERVER away'
        ),
        "has a part on another server, archive.*; detach that part",
    ),
}


@pytest.mark.parametrize(("made", "said"), PARTS.values(), ids=PARTS)
def test_what_shows_only_some_of_the_rows_is_refused(tables: sa.Connection, made: str, said: str) -> None:
    """Pending recipients that a view leaves out made their campaign look finished."""
    tables.exec_driver_sql(made)
    (problem,) = problems(tables)
    assert re.search(said, problem)


WHOLE = {
    "a partitioned table": (
        f'{RENAME} CREATE TABLE "CampaignRecipient" (LIKE all_recipients) PARTITION BY LIST ("campaignId");'
        ' CREATE TABLE below PARTITION OF "CampaignRecipient" DEFAULT'
    ),
    "a table with children": 'CREATE TABLE child () INHERITS ("CampaignRecipient")',
    "a child of a general table": ('CREATE TABLE base (id text); ALTER TABLE "CampaignRecipient" INHERIT base'),
}


@pytest.mark.parametrize("made", WHOLE.values(), ids=WHOLE)
def test_what_shows_all_rows_is_taken(tables: sa.Connection, made: str) -> None:
    tables.exec_driver_sql(made)
    assert read(tables).row_security == ()


def test_policies_of_a_partition_do_not_matter_to_those_who_ask_the_whole(tables: sa.Connection) -> None:
    tables.exec_driver_sql(WHOLE["a partitioned table"])
    tables.exec_driver_sql("ALTER TABLE below ENABLE ROW LEVEL SECURITY; ALTER TABLE below FORCE ROW LEVEL SECURITY")
    tables.exec_driver_sql("CREATE ROLE visitor; GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor")
    tables.exec_driver_sql("SET LOCAL ROLE visitor")
    assert read(tables).row_security == ()
