"""`init`: drafts for platforms that it has never seen, loaded by the settings and judged by the doctor."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from campaign_ops.core.model import Counters
from campaign_ops.doctor import Finding, Level, examine
from campaign_ops.faces.cli import app
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.row_writer import minutes
from campaign_ops.profile.model import Profile
from campaign_ops.profile.queue import QueueProfile
from campaign_ops.proposal import Wish, configuration, propose
from campaign_ops.settings import PlatformSettings, connect, load_settings
from tests.conftest import World, Worlds
from tests.faces.cli.program import Program
from tests.shapes import SHAPES

_numbers = itertools.count(1)

# Names and words of nobody that this project knows.
FOREIGN = """
    CREATE SCHEMA outreach;
    CREATE TABLE outreach.accounts (id bigint PRIMARY KEY, name text);
    CREATE TYPE outreach.contact_state AS ENUM ('queued', 'sent', 'delivered', 'bounced', 'sending');
    CREATE TABLE outreach.blasts (
        id bigint PRIMARY KEY, account_id bigint NOT NULL REFERENCES outreach.accounts, title varchar(80) NOT NULL,
        body text NOT NULL, state varchar(20) NOT NULL, inserted_at timestamptz NOT NULL DEFAULT now(),
        last_modified timestamptz NOT NULL DEFAULT now(), finished_at timestamptz
    );
    CREATE TABLE outreach.blast_contacts (
        id bigint PRIMARY KEY, blast_id bigint NOT NULL REFERENCES outreach.blasts, phone text NOT NULL,
        state outreach.contact_state NOT NULL, twilio_sid text, sent_at timestamptz
    );
    CREATE TABLE outreach.orders (id bigint PRIMARY KEY, status text NOT NULL, total integer);
    CREATE TABLE outreach.order_items (id bigint PRIMARY KEY, order_id bigint REFERENCES outreach.orders, status text);
    INSERT INTO outreach.accounts VALUES (1, 'north');
    INSERT INTO outreach.blasts (id, account_id, title, body, state, finished_at, last_modified) VALUES
        (1, 1, 'spring', 'Hi', 'done', now(), now() - interval '1 day'),
        (2, 1, 'summer', 'Hi', 'processing', NULL, now() - interval '1 hour'),
        (3, 1, 'autumn', 'Hi', 'draft', NULL, now() - interval '2 days'),
        (4, 1, 'winter', 'Hi', 'stopped', NULL, now() - interval '2 days'),
        (5, 1, 'odd', 'Hi', 'on the moon', NULL, now() - interval '2 days');
    INSERT INTO outreach.blast_contacts
        SELECT n, 1 + n % 2, '+49' || n, CASE WHEN n % 2 = 0 THEN 'delivered' ELSE 'queued' END::outreach.contact_state,
               CASE WHEN n % 2 = 0 THEN 'SM' || n END, CASE WHEN n % 2 = 0 THEN now() - interval '1 day' END
        FROM generate_series(1, 40) AS n;
"""


@dataclass(frozen=True)
class Newcomer:
    """A person with a database, at a shell in an empty directory."""

    url: str
    home: Path

    def __call__(self, *words: object, **environment: str | None) -> Result:
        """Run `init`."""
        variables = {"DATABASE_URL": self.url, "REDIS_URL": None, "COLUMNS": "200", **environment}
        result = CliRunner(env=variables).invoke(app, ["init", str(self.home), *map(str, words)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    @property
    def written(self) -> str:
        """The configuration that it has written."""
        return (self.home / "campaign_ops.yaml").read_text(encoding="utf-8")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Rows of the database."""
        engine = sa.create_engine(self.url)
        with engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(sa.text(query))]
        engine.dispose()
        return rows


def with_tables(servers: EmbeddedServers, home: Path, statements: str) -> Newcomer:
    """One with a new database."""
    url = servers.postgres.create_database(f"outreach_{next(_numbers)}")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(statements))
    engine.dispose()
    return Newcomer(url, home)


@pytest.fixture
def stranger(servers: EmbeddedServers, tmp_path: Path) -> Newcomer:
    """One with the foreign schema."""
    return with_tables(servers, tmp_path, FOREIGN)


def drafted(path: Path, monkeypatch: pytest.MonkeyPatch, url: str, queue_url: str | None = None) -> PlatformSettings:
    """The only platform of a drafted file, as the program loads it."""
    monkeypatch.setenv("DATABASE_URL", url)
    if queue_url is not None:
        monkeypatch.setenv("REDIS_URL", queue_url)
    return load_settings(path).platform()


def judged(settings: PlatformSettings) -> list[Finding]:
    """What the doctor finds wrong with the profile; rights, indexes and the missing journal are not the draft's."""
    others = ("rights", "excess", "role", "index", "journal", "server", "session", "foreign_key", "pooler", "timeouts")
    with closing(connect(settings)) as platform:
        found = examine(platform)
    return [
        finding for finding in found if finding.level in (Level.WARNING, Level.ERROR) and finding.check not in others
    ]


def test_a_foreign_schema_gets_its_tables_columns_and_words(
    stranger: Newcomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tables of orders have keys, statuses and a foreign key as well; their names say that they are none."""
    result = stranger()
    assert result.exit_code == 5, result.output
    settings = drafted(stranger.home / "campaign_ops.yaml", monkeypatch, stranger.url)
    profile = settings.profile
    assert (profile.db_schema, profile.campaign.table, profile.recipient.table) == (
        "outreach",
        "blasts",
        "blast_contacts",
    )
    campaign, recipient = profile.campaign, profile.recipient
    columns = campaign.id, campaign.tenant, campaign.name, campaign.status, campaign.updated_at, campaign.completed_at
    assert columns == ("id", "account_id", "title", "state", "last_modified", "finished_at")
    assert (campaign.words.sending, campaign.words.done) == ("processing", "done")
    assert (campaign.words.failed, campaign.words.over, campaign.words.idle) == (None, ("stopped",), ("draft",))
    assert (recipient.id, recipient.campaign_id, recipient.status) == ("id", "blast_id", "state")
    assert (recipient.provider_id, recipient.activity, recipient.rows) == ("twilio_sid", ("sent_at",), "all")
    assert recipient.words.pending == ("queued",)
    assert recipient.words.succeeded == ("sent", "delivered")
    assert recipient.words.failed == ("bounced",)
    assert (profile.reservation, profile.queue) == (None, None)


def test_what_a_draft_does_not_know_is_marked_and_blocks(stranger: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word of unknown meaning is in no list; the doctor says so, and nothing else of the draft is wrong."""
    stranger()
    lines = stranger.written.splitlines()
    assert any("# unsure: " in line and "on the moon 1" in line for line in lines)
    assert any("# unsure: " in line and "sending 0" in line and "the provider may have" in line for line in lines)
    settings = drafted(stranger.home / "campaign_ops.yaml", monkeypatch, stranger.url)
    assert [(finding.check, finding.level) for finding in judged(settings)] == [("words", Level.WARNING)] * 2


def test_a_draft_ends_with_what_the_doctor_says_and_the_next_commands(stranger: Newcomer) -> None:
    output = stranger("--name", "outreach").output
    assert "3 keys marked as unsure: campaign.words.idle, recipient.words, queue\n" in output
    assert "every table, column and word of profile outreach exists" in output
    assert "`campaign-ops plan`" in output


def test_nothing_is_read_of_phone_numbers_and_texts_and_nothing_is_changed(stranger: Newcomer) -> None:
    before = stranger.rows("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables")
    output = stranger("--stdout").output
    assert "+49" not in output
    assert "phone" not in output
    assert "body" not in output
    assert stranger.rows("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables") == before
    assert list(stranger.home.iterdir()) == []


def test_the_password_is_not_in_the_files(stranger: Newcomer) -> None:
    with_password = sa.make_url(stranger.url).set(username="postgres", password="hunter2")
    result = stranger(DATABASE_URL=with_password.render_as_string(hide_password=False))
    assert result.exit_code == 5, result.output
    assert "hunter2" not in stranger.written + result.output
    assert "database_url: ${DATABASE_URL}" in stranger.written


def test_files_that_exist_are_kept_unless_force_is_given(stranger: Newcomer) -> None:
    kept = stranger.home / "dagster.yaml"
    kept.write_text("mine")
    refused = stranger("--dagster")
    assert refused.exit_code == 2
    assert "--force" in refused.output
    assert [path.name for path in stranger.home.iterdir()] == ["dagster.yaml"]
    assert kept.read_text() == "mine"
    assert stranger("--no-dagster").exit_code == 5
    assert kept.read_text() == "mine"
    assert stranger("--dagster", "--force").exit_code == 5
    assert yaml.safe_load(kept.read_text())["storage"]["custom"]["class"] == "Storage"
    assert (stranger.home / "workspace.yaml").exists()


def test_a_directory_that_cannot_be_written_is_one_line(stranger: Newcomer) -> None:
    """It was a traceback, after a minute of reading on a large database."""
    (stranger.home / "file").write_text("mine")
    result = replace(stranger, home=stranger.home / "file")()
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert "file: cannot be written: " in line


@pytest.mark.parametrize(
    ("words", "environment", "what"),
    [
        ([], {"DATABASE_URL": None}, "DATABASE_URL: is not set"),
        (["--database-url-from", "postgresql://u:hunter2@h/db"], {}, "takes the name of a variable"),
        ([], {"DATABASE_URL": "mysql://h/db"}, "DATABASE_URL: is not a PostgreSQL URL"),
        ([], {"REDIS_URL": "hunter2"}, "REDIS_URL: the queue's URL is not one"),
        (["--campaign-table", "blast"], {}, "--campaign-table: there is no table 'blast'"),
        (["--name", "My Shop"], {}, "--name: 'My Shop' is no name of a platform"),
        (["--schema", "public"], {}, "no table looks like campaigns with recipients"),
    ],
)
def test_a_mistake_is_one_line_with_its_mend(
    words: list[str], environment: dict[str, str | None], what: str, stranger: Newcomer
) -> None:
    result = stranger(*words, **environment)
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert what in line
    assert "hunter2" not in line


def test_tables_that_a_person_names_are_taken(stranger: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are called; what their columns do not say is marked."""
    assert stranger("--campaign-table", "orders", "--recipient-table", "order_items").exit_code == 5
    profile = drafted(stranger.home / "campaign_ops.yaml", monkeypatch, stranger.url).profile
    assert (profile.campaign.table, profile.recipient.table, profile.recipient.campaign_id) == (
        "orders",
        "order_items",
        "order_id",
    )


def lived_in(worlds: Worlds, profile: str, shape: str) -> World:
    """A shop with campaigns and recipients under every word."""
    world = worlds.make(profile, shape=SHAPES[shape], migrated=False)
    known, recipients = world.platform.profile.campaign.words, world.platform.profile.recipient
    words = dict.fromkeys((*recipients.words.succeeded, *recipients.words.failed), 3)
    if recipients.rows == "sent":
        world.app.add_campaign("sending", words=words, counters=Counters(total=40, succeeded=9, failed=3))
    else:
        world.app.add_campaign("sending", pending=6, words=words)
    world.app.add_campaign("done", status=known.done, completed_ago=minutes(5), succeeded=5, failed=1)
    for word in {*known.all_known} - {known.sending, known.done}:
        world.app.add_campaign(status=word)
    if world.platform.profile.reservation:
        world.app.add_reservation(campaign="sending")
        world.app.add_reservation(campaign="done", status=world.platform.profile.reservation.words.released)
    return world


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("profile", ["sms", "messenger"])
def test_a_shop_of_any_shape_gets_its_own_profile(
    profile: str, shape: str, worlds: Worlds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the help of the built-in profiles, and with text, uuid, integer and bigint ids."""
    world = lived_in(worlds, profile, shape)
    wish = Wish("shop", SecretStr(world.url), built_in=False)
    path = tmp_path / "campaign_ops.yaml"
    path.write_text(configuration("shop", propose(wish), where="here", database="DATABASE_URL", queue="REDIS_URL"))
    settings = drafted(path, monkeypatch, world.url)
    assert judged(settings) == []
    assert differences(settings.profile, world.platform.profile) <= EXPECTED[profile]
    assert (settings.profile.recipient.rows, settings.profile.queue) == (world.platform.profile.recipient.rows, None)


def differences(ours: Profile, theirs: Profile) -> set[str]:
    """The keys in which two profiles differ, except for the queue, which a database does not show."""
    mine, built_in = (flat(profile.model_dump(exclude={"name", "queue"})) for profile in (ours, theirs))
    return {key for key in {*mine, *built_in} if mine.get(key) != built_in.get(key)}


def flat(values: object, path: str = "") -> dict[str, object]:
    """Nested values by their path; lists as sets, since the order of words says nothing."""
    if not isinstance(values, dict):
        return {path: frozenset(values) if isinstance(values, tuple) else values}
    return {key: value for name, below in values.items() for key, value in flat(below, f"{path}.{name}").items()}


# The built-in profile of messengers serves more than one table: it names columns and words that some do not have.
EXPECTED: dict[str, set[str]] = {
    "sms": set(),
    "messenger": {
        ".campaign.words.optional",
        ".recipient.words.optional",
        ".recipient.words.pending",
        ".recipient.about",
        ".recipient.created_at",
    },
}


def test_a_platform_that_a_built_in_profile_fits_gets_that_one(
    worlds: Worlds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = lived_in(worlds, "sms", "prisma")
    assert world.queue_url is not None
    result = Newcomer(world.url, tmp_path)("--no-dagster", "--name", "sms", REDIS_URL=world.queue_url)
    assert result.exit_code == 0, result.output
    settings = drafted(tmp_path / "campaign_ops.yaml", monkeypatch, world.url, world.queue_url)
    assert settings.profile == world.platform.profile
    assert settings.queue_prefix == world.queue.prefix
    assert judged(settings) == []


def test_the_queue_is_recognised_by_the_ids_in_its_jobs(
    worlds: Worlds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = lived_in(worlds, "sms", "bigint")
    world.queue.add(world.app.id("sending"), "shop_north", world.app.recipient_ids("sending")[:3])
    world.queue.add_other("cleanUp", {"olderThan": 3})
    assert world.queue_url is not None
    wish = Wish("shop", SecretStr(world.url), SecretStr(world.queue_url), built_in=False)
    path = tmp_path / "campaign_ops.yaml"
    path.write_text(configuration("shop", propose(wish), where="here", database="DATABASE_URL", queue="REDIS_URL"))
    settings = drafted(path, monkeypatch, world.url, world.queue_url)
    queue = settings.profile.queue
    assert queue is not None
    assert (queue.name, queue.job, queue.payload) == ("sms-send", "sendBulkSMS", world.queue.profile.payload)
    assert settings.queue_prefix == world.queue.prefix


def test_a_sweep_by_the_draft_puts_the_lost_batch_of_a_foreign_platform_back(
    stranger: Newcomer, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its database and one old job in its queue: names, payload, ids as numbers and a constant."""
    payload = {"blastId": "{campaign_id}", "accountId": "{tenant}", "contactIds": "{recipient_ids}", "region": "eu"}
    theirs = QueueProfile(name="outbox", job="deliverBatch", payload=payload, options={"attempts": 4})
    queue = ShopQueue(servers.redis.url(), f"outreach{next(_numbers)}", theirs, numeric_ids=True)
    with closing(queue):
        for ids in (["2", "4"], ["6", "8"]):
            queue.add("1", "1", ids)
        queue.fail_waiting("gone")
        result = stranger("--no-dagster", REDIS_URL=servers.redis.url())
        assert "queue.markers" in result.output
        drafted(stranger.home / "campaign_ops.yaml", monkeypatch, stranger.url, servers.redis.url())
        program = Program(stranger.home / "campaign_ops.yaml")
        assert program("migrate").exit_code == 0
        swept = program("reconcile")
        assert swept.exit_code == 0, swept.output
        jobs = [queue.job_data(job_id) for job_id in queue.live_job_ids()]
        queue.clear()
    pending = {row[0] for row in stranger.rows("SELECT id FROM outreach.blast_contacts WHERE state = 'queued'")}
    assert {contact for job in jobs for contact in job.pop("contactIds")} == pending
    assert jobs == [{"blastId": 2, "accountId": 1, "region": "eu"}] * 10  # of two contacts, as the application's


MAILINGS = """
    CREATE TABLE {0}_campaigns (
        id int PRIMARY KEY, team_id int, name text, updated_at timestamp,
        status text NOT NULL CHECK (status IN ('draft', 'sending', 'sent', 'cancelled'))
    );
    CREATE TABLE {0}_recipients (
        id int PRIMARY KEY, {0}_campaign_id int REFERENCES {0}_campaigns, delivered_at timestamp,
        status varchar(9) NOT NULL CHECK (status IN ('waiting', 'delivered', 'bounced'))
    );
"""


def test_words_that_a_check_allows_are_known_before_there_are_rows(
    servers: EmbeddedServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newcomer = with_tables(servers, tmp_path, MAILINGS.format("mail"))
    assert newcomer("--no-dagster").exit_code == 5
    profile = drafted(tmp_path / "campaign_ops.yaml", monkeypatch, newcomer.url).profile
    assert (profile.campaign.words.sending, profile.campaign.words.done) == ("sending", "sent")
    assert (profile.campaign.words.over, profile.campaign.words.idle) == (("cancelled",), ("draft",))
    words = profile.recipient.words
    assert (words.pending, words.succeeded, words.failed) == (("waiting",), ("delivered",), ("bounced",))


def test_of_two_likely_tables_the_one_with_rows_is_taken_and_the_other_is_named(
    servers: EmbeddedServers, tmp_path: Path
) -> None:
    rows = "INSERT INTO sms_campaigns VALUES (1, 1, 'a', now(), 'sending');"
    rows += "INSERT INTO sms_recipients VALUES (1, 1, NULL, 'waiting');"
    newcomer = with_tables(servers, tmp_path, MAILINGS.format("mail") + MAILINGS.format("sms") + rows)
    newcomer("--no-dagster")
    assert "table: sms_campaigns  # unsure: or mail_campaigns: one platform for each" in newcomer.written


def test_of_two_schemas_with_the_same_tables_the_one_with_rows_is_taken_and_the_other_is_named(
    servers: EmbeddedServers, tmp_path: Path
) -> None:
    """Seen before: the first by its name, as if it were the only one, with or without a built-in profile."""
    rows = "INSERT INTO mail_campaigns VALUES (1, 1, 'a', now(), 'sending');"
    rows += "INSERT INTO mail_recipients VALUES (1, 1, NULL, 'waiting');"
    statements = "".join(
        f"CREATE SCHEMA {schema}; SET LOCAL search_path = {schema};" + MAILINGS.format("mail") + more
        for schema, more in (("archive", ""), ("live", rows))
    )
    newcomer = with_tables(servers, tmp_path, statements)
    newcomer("--no-dagster")
    assert "table: mail_campaigns  # unsure: or archive.mail_campaigns: one platform for each" in newcomer.written
    newcomer("--no-dagster", "--campaign-table", "mail_campaigns", "--force")
    assert "table: mail_campaigns  # unsure: or archive.mail_campaigns: one platform for each" in newcomer.written
    newcomer("--no-dagster", "--schema", "archive", "--force")
    assert "table: mail_campaigns\n" in newcomer.written


def test_of_several_statuses_and_recipient_tables_none_is_taken_for_sure(servers: EmbeddedServers) -> None:
    """A campaign is over once the recipients of one table are settled, by one column: the other choice is named."""
    url = with_tables(
        servers,
        Path(),
        """
        CREATE TABLE campaigns (id int PRIMARY KEY, team_id int, name text, updated_at timestamp, approval_status text);
        CREATE TABLE sms_recipients (
            id int PRIMARY KEY, campaign_id int REFERENCES campaigns, sent_at timestamp, status text, state text
        );
        CREATE TABLE mail_recipients (id int PRIMARY KEY, campaign_id int REFERENCES campaigns, status text);
        INSERT INTO campaigns VALUES (1, 1, 'spring', now(), 'approved');
        INSERT INTO sms_recipients VALUES (1, 1, NULL, 'pending', 'confirmed');
        """,
    ).url
    keys = propose(Wish("shop", SecretStr(url))).keys
    unsure = {".".join(path): (key.value, key.note) for path, key in keys.items() if key.unsure}
    assert unsure["campaign.status"] == ("approval_status", "by its name alone")
    assert unsure["recipient.status"] == ("status", "or state")
    note = "or mail_recipients: of a campaign, a profile knows the recipients of one table"
    assert unsure["recipient.table"] == ("sms_recipients", note)


def test_a_built_in_profile_that_fits_two_schemas_takes_the_one_with_rows_and_names_the_other(worlds: Worlds) -> None:
    world = lived_in(worlds, "sms", "prisma")
    with world.app.engine.begin() as connection:
        for table in ("Campaign", "CampaignRecipient", "CreditReservation"):
            connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS archive")
            connection.exec_driver_sql(f'CREATE TABLE archive."{table}" (LIKE public."{table}" INCLUDING ALL)')
    draft = propose(Wish("shop", SecretStr(world.url)))
    assert draft.keys[("schema",)].value == "public"
    assert draft.keys[("schema",)].note == "or archive: one platform for each"
    assert draft.unsure == ["schema", "queue"]


def test_a_role_that_may_read_few_columns_is_enough(stranger: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it may not read is not in the draft."""
    engine = sa.create_engine(stranger.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            """
            DROP ROLE IF EXISTS drafter; CREATE ROLE drafter LOGIN; GRANT USAGE ON SCHEMA outreach TO drafter;
            GRANT SELECT (id, account_id, title, state, last_modified) ON outreach.blasts TO drafter;
            GRANT SELECT (id, blast_id, state) ON outreach.blast_contacts TO drafter;
            """
        )
    engine.dispose()
    url = sa.make_url(stranger.url).set(username="drafter").render_as_string(hide_password=False)
    result = stranger(DATABASE_URL=url)
    assert result.exit_code == 5, result.output
    campaign = drafted(stranger.home / "campaign_ops.yaml", monkeypatch, url).profile.campaign
    assert (campaign.table, campaign.updated_at, campaign.completed_at) == ("blasts", "last_modified", None)


def test_rows_that_a_policy_hides_are_reported_and_no_draft_is_written(stranger: Newcomer) -> None:
    engine = sa.create_engine(stranger.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            """
            DROP ROLE IF EXISTS tenant; CREATE ROLE tenant LOGIN; GRANT USAGE ON SCHEMA outreach TO tenant;
            GRANT SELECT ON ALL TABLES IN SCHEMA outreach TO tenant;
            ALTER TABLE outreach.blasts ENABLE ROW LEVEL SECURITY;
            """
        )
    engine.dispose()
    url = sa.make_url(stranger.url).set(username="tenant").render_as_string(hide_password=False)
    result = stranger(DATABASE_URL=url)
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert "row-level security" in line
    assert list(stranger.home.iterdir()) == []


def test_foreign_text_ends_no_line_and_adds_no_key(
    servers: EmbeddedServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status words stand in comments: one with an end of line in it could have written configuration."""
    odd = ["a\nqueue: {}", "b\u2028x", "c\x85y", "${HOME}", "d: #e", "null"]
    words = ",".join(f"'{word}'" for word in odd)
    newcomer = with_tables(
        servers,
        tmp_path,
        f"""
        CREATE TABLE campaigns (
            id int PRIMARY KEY, "${{team}}: #1" int, name text, updated_at timestamp, status text NOT NULL
        );
        CREATE TABLE "recip\nients" (id int PRIMARY KEY, campaign_id int REFERENCES campaigns, status text NOT NULL);
        INSERT INTO campaigns
            SELECT n, 1, 'x', now(), word FROM unnest(ARRAY[{words}]) WITH ORDINALITY AS each (word, n);
        """,
    )
    assert newcomer("--no-dagster").exit_code == 5
    profile = drafted(tmp_path / "campaign_ops.yaml", monkeypatch, newcomer.url).profile
    assert (profile.recipient.table, profile.campaign.tenant) == ("recip\nients", "${team}: #1")
    assert profile.queue is None


def test_texts_in_jobs_are_not_copied_into_the_draft(stranger: Newcomer, servers: EmbeddedServers) -> None:
    """A constant that workers need is, and a key with a dot stays one key."""
    payload = {
        "to.blast": "{campaign_id}",
        "contactIds": "{recipient_ids}",
        "lane": "bulk",
        "text": "Hello",
        "greeting": "Hello there, people",
        "nested": "x",
    }
    theirs = QueueProfile(name="outbox", job="deliver", payload=payload)
    with closing(ShopQueue(servers.redis.url(), f"texts{next(_numbers)}", theirs, numeric_ids=True)) as queue:
        for ids in (["2"], ["4"]):
            queue.add("1", "1", ids)
        output = stranger("--stdout", REDIS_URL=servers.redis.url()).output
        queue.clear()
    assert "Hello" not in output
    queue_part = yaml.safe_load(output)["platforms"][0]["profile"]["queue"]
    assert queue_part["payload"] == {
        "to.blast": "{campaign_id}",
        "contactIds": "{recipient_ids}",
        "lane": "bulk",
        "nested": "x",
    }
    assert "jobs also carry text, greeting" in output


@pytest.mark.parametrize(("word", "doubted"), [("sending", False), ("active", True)])
def test_a_word_that_may_last_for_months_is_marked(
    word: str, doubted: bool, servers: EmbeddedServers, tmp_path: Path
) -> None:
    """A campaign that is `active` until its owner stops it would be completed between two of its mailings."""
    newcomer = with_tables(servers, tmp_path, MAILINGS.format("mail").replace("'sending'", f"'{word}'"))
    output = newcomer("--stdout").output
    (line,) = [line for line in output.splitlines() if f"sending: {word}" in line]
    assert ("# unsure" in line) == doubted


def test_of_several_queues_the_one_whose_ids_exist_is_taken_and_the_others_are_named(
    stranger: Newcomer, servers: EmbeddedServers
) -> None:
    """Another application's numbers are ids here, too. A second queue that is not read would be sent from twice."""
    payload = {"blastId": "{campaign_id}", "contactIds": "{recipient_ids}"}
    theirs = [QueueProfile(name=name, job="deliver", payload=payload) for name in ("a-other", "outbox")]
    other, own = (ShopQueue(servers.redis.url(), f"several{next(_numbers)}", each, numeric_ids=True) for each in theirs)
    with closing(other), closing(own):
        other.add("2", "1", ["2", "900", "901"])
        own.add("2", "1", ["2", "4", "6"])
        output = stranger("--stdout", REDIS_URL=servers.redis.url()).output
        other.clear()
        own.clear()
    assert "name: outbox\n" in output
    assert f"also: []  # unsure: {other.prefix}:a-other" in output
