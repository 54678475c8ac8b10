"""Missing and excessive rights: each is found, and its mend is the statement that corrects it."""

from __future__ import annotations

import pytest

from campaign_ops.doctor import Level, examine
from campaign_ops.doctor.grants import quoted
from tests.conftest import World
from tests.doctor.bench import complaints, fresh, least, mend, of, run, the

# The right revoked from a least-privilege role, the check that reports it, and the words it must name.
MISSING = {
    "one column": ('REVOKE SELECT ("name") ON "Campaign" FROM {}', "rights", '"name"'),
    "a whole table": ('REVOKE ALL ON "CampaignRecipient" FROM {}', "rights", '"mittoMessageId", "sentAt"'),
    "a column to write": ('REVOKE UPDATE ("releasedAt") ON "CreditReservation" FROM {}', "rights", '"releasedAt"'),
    "the platform's schema": ("REVOKE USAGE ON SCHEMA public FROM {}", "rights", '"public"'),
    "our schema": ("REVOKE USAGE ON SCHEMA campaign_ops FROM {}", "journal", "may not use schema"),
    "our version": ("REVOKE SELECT ON campaign_ops.alembic_version FROM {}", "journal", "alembic_version"),
    "the journal": ("REVOKE INSERT, UPDATE ON campaign_ops.repair FROM {}", "journal", "repair"),
    "a history": ("REVOKE DELETE ON campaign_ops.queue_state_history FROM {}", "journal", "queue_state_history"),
    "a view": ("REVOKE SELECT ON campaign_ops.campaign_health FROM {}", "journal", "campaign_health"),
}

# The right granted in excess, and the words that report it.
EXCESS = {
    "deleting": ('GRANT INSERT, DELETE, TRUNCATE ON "Campaign" TO {}', "DELETE, INSERT, TRUNCATE"),
    "everything": ('GRANT ALL ON "CampaignRecipient" TO {}', "TRUNCATE, UPDATE"),
    "writing every column": ('GRANT UPDATE ON "CreditReservation" TO {}', "may UPDATE on"),
    "writing one column": ('GRANT UPDATE ("name") ON "Campaign" TO {}', 'UPDATE ("name")'),
    "inserting one column": ('GRANT INSERT ("name"), UPDATE ("name") ON "Campaign" TO {}', 'INSERT ("name"), UPDATE'),
    "what everybody may": ('GRANT UPDATE, DELETE ON "Campaign" TO PUBLIC', "through PUBLIC"),
    "a group's right": ('GRANT DELETE ON "Campaign" TO editors; GRANT editors TO {}', 'through "editors"'),
    "writing all data": ("GRANT pg_write_all_data TO {}", "pg_write_all_data"),
    "making roles": ("ALTER ROLE {} CREATEROLE CREATEDB", "CREATEROLE, CREATEDB"),
}


@pytest.mark.parametrize(("taken", "check", "named"), MISSING.values(), ids=MISSING)
def test_a_right_that_is_missing_is_found_and_granted(sms: World, taken: str, check: str, named: str) -> None:
    role = least(sms)
    run(sms, taken.format(quoted(role)))
    found = complaints(examine(sms.platform))
    assert {(one.check, one.level) for one in found} == {(check, Level.ERROR)}
    assert named in " ".join(one.what for one in found)
    mend(sms, *found)
    assert complaints(examine(sms.platform)) == []
    sms.app.add_campaign(succeeded=1)
    assert sms.sweep().figures()["completed"] == 1


def test_the_right_to_temporary_tables_is_asked_for(sms: World) -> None:
    role = least(sms)
    (database,) = [row["name"] for row in sms.rows("SELECT current_database() AS name")]
    run(sms, f"REVOKE TEMPORARY ON DATABASE {database} FROM {quoted(role)}")
    (found,) = complaints(examine(sms.platform))
    assert "temporary" in found.what
    mend(sms, found)
    assert complaints(examine(sms.platform)) == []


@pytest.mark.parametrize(("given", "named"), EXCESS.values(), ids=EXCESS)
def test_a_right_too_many_is_found_and_revoked_and_a_sweep_goes_on_working(
    sms: World, given: str, named: str, editors: str
) -> None:
    role = least(sms)
    run(sms, given.replace("editors", editors).format(quoted(role)))
    (found,) = complaints(examine(sms.platform))
    assert found.level is Level.WARNING
    assert named.replace("editors", editors) in found.what
    mend(sms, found)
    assert complaints(examine(sms.platform)) == []
    sms.app.add_campaign(succeeded=1)
    assert sms.sweep().figures()["completed"] == 1


@pytest.fixture
def editors(sms: World) -> str:
    """A group of its own for each test: roles belong to the whole server."""
    name = f"editors_{sms.queue.prefix}"
    run(sms, f"CREATE ROLE {name} NOLOGIN")
    return name


@pytest.mark.parametrize(
    "given",
    [
        'GRANT SELECT ON "CampaignRecipient" TO {}',
        'GRANT SELECT (phone, id) ON "CampaignRecipient" TO PUBLIC',
        "GRANT pg_read_all_data TO {}",
    ],
    ids=["table", "column", "all data"],
)
def test_being_able_to_read_phone_numbers_is_noted(sms: World, given: str) -> None:
    role = least(sms)
    run(sms, given.format(quoted(role)))
    (note,) = of(examine(sms.platform), "excess")
    assert note.level is Level.NOTE
    mend(sms, note)
    assert of(examine(sms.platform), "excess") == []
    assert complaints(examine(sms.platform)) == []


@pytest.mark.parametrize("by_way_of_a_group", [False, True])
def test_owning_a_table_is_warned_of(sms: World, editors: str, by_way_of_a_group: bool) -> None:
    role = least(sms)
    new_owner = editors if by_way_of_a_group else quoted(role)
    run(sms, f'ALTER TABLE "Campaign" OWNER TO {new_owner}')
    if by_way_of_a_group:
        run(sms, f"GRANT {editors} TO {quoted(role)}")
    (found,) = complaints(examine(sms.platform))
    assert 'anything with "Campaign"' in found.what
    assert ("member of its owner" in found.what) is by_way_of_a_group
    assert "migrate --grants" in found.mend


def test_a_role_that_is_not_inherited_gives_nothing(sms: World, editors: str) -> None:
    role = least(sms)
    run(sms, f'GRANT DELETE ON "Campaign" TO {editors}', f"GRANT {editors} TO {quoted(role)} WITH INHERIT FALSE")
    assert complaints(examine(sms.platform)) == []


def test_a_dropped_table_of_the_journal_is_reported(sms: World) -> None:
    least(sms)
    run(sms, "DROP TABLE campaign_ops.campaign_health_history CASCADE")
    (found,) = complaints(examine(sms.platform))
    assert "campaign_health_history is gone" in found.what


def test_an_older_schema_asks_for_migrating(sms: World) -> None:
    least(sms)
    run(sms, "UPDATE campaign_ops.alembic_version SET version_num = '0000'")
    (found,) = complaints(examine(sms.platform))
    assert found.check == "journal"
    assert "at 0000" in found.what
    assert "campaign-ops migrate" in found.mend


def test_rows_that_a_policy_may_hide_are_warned_of(sms: World) -> None:
    """A hidden pending recipient makes its campaign look finished."""
    least(sms)
    run(sms, 'ALTER TABLE "CampaignRecipient" ENABLE ROW LEVEL SECURITY')
    (found,) = complaints(examine(sms.platform))
    assert found.check == "row_security"
    mend(sms, found)
    assert complaints(examine(sms.platform)) == []
    assert the(examine(sms.platform), "row_security").level is Level.OK


@pytest.mark.parametrize(
    ("setting", "level", "words"),
    [
        ("default_transaction_read_only = on", Level.ERROR, "read only"),
        ("transaction_timeout = '90s'", Level.WARNING, "after 90 s"),
    ],
)
def test_defaults_of_a_session_that_would_stop_a_sweep_are_found(
    sms: World, setting: str, level: Level, words: str
) -> None:
    role = least(sms)
    run(sms, f"ALTER ROLE {quoted(role)} SET {setting}")
    (found,) = complaints(fresh(sms))
    assert (found.check, found.level) == ("session", level)
    assert words in found.what
    mend(sms, found)
    assert complaints(fresh(sms)) == []


def test_a_role_with_too_few_connections_for_a_sweep_is_found(sms: World) -> None:
    role = least(sms)
    run(sms, f"ALTER ROLE {quoted(role)} CONNECTION LIMIT 2")
    (found,) = complaints(fresh(sms))
    assert (found.check, found.level) == ("session", Level.ERROR)
    assert "2 connections, and a sweep needs 3" in found.what
