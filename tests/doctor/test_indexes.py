"""Indexes: equivalent ones are accepted, and every mend is the statement that builds or removes one."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from campaign_ops.doctor import Level, examine
from tests.conftest import World
from tests.doctor.bench import complaints, least, mend, of, owner, run

MANY = 12_000


INDEX = "CampaignRecipient_campaignId_status_idx"
RECIPIENTS = '"CampaignRecipient"'


@pytest.fixture
def large(sms: World) -> World:
    """A platform with many recipients."""
    least(sms)
    sms.app.add_campaign(succeeded=MANY)
    run(sms, f"ANALYZE {RECIPIENTS}")
    return sms


def about_recipients(world: World) -> list[Any]:
    return [one for one in of(examine(world.platform), "index") if RECIPIENTS in one.what]


def test_a_missing_index_is_built_by_its_mend(large: World) -> None:
    run(large, f'DROP INDEX "{INDEX}"')
    (found,) = about_recipients(large)
    assert found.level is Level.WARNING
    assert found.mend == f'CREATE INDEX CONCURRENTLY ON "public".{RECIPIENTS} ("campaignId", "status")'
    mend(large, found)
    assert about_recipients(large) == []


def test_a_missing_index_does_not_matter_on_a_small_table(sms: World) -> None:
    run(sms, f'DROP INDEX "{INDEX}"', 'DROP INDEX "Campaign_status_updatedAt_idx"')
    found = of(examine(sms.platform), "index")
    assert len(found) == 3  # held credits have no index of their own in Prisma's schema
    assert {one.level for one in found} == {Level.NOTE}
    assert all("does not matter yet" in one.what for one in found)
    mend(sms, *found)
    assert of(examine(sms.platform), "index") == []


@pytest.mark.parametrize(
    ("index", "level", "words"),
    [
        ('("campaignId", status, "sentAt")', None, ""),
        ('("campaignId") INCLUDE (status)', Level.NOTE, "serves less well"),
        ('(status, "campaignId")', Level.NOTE, "serves less well"),
        ('USING hash ("campaignId")', Level.NOTE, "serves less well"),
        ("""("campaignId") WHERE status = 'pending'""", Level.NOTE, "only WHERE (status = 'pending'"),
        ("""("campaignId", status) WHERE "sentAt" IS NULL""", Level.NOTE, "only WHERE"),
        ("""(id) WHERE "campaignId" IS NOT NULL AND status = 'sent'""", Level.WARNING, "has no index"),
        ("(status)", Level.WARNING, "has no index"),
        ('(lower("campaignId"), status)', Level.WARNING, "has no index"),
        ('USING brin ("campaignId", status)', Level.WARNING, "has no index"),
    ],
)
def test_an_equivalent_index_is_accepted(large: World, index: str, level: Level | None, words: str) -> None:
    run(large, f'DROP INDEX "{INDEX}"', f"CREATE INDEX ON {RECIPIENTS} {index}")
    found = about_recipients(large)
    assert [one.level for one in found] == ([level] if level else [])
    assert all(words in one.what for one in found)
    mend(large, *found)
    assert about_recipients(large) == []


def test_an_id_that_nothing_keeps_unique_is_warned_of(sms: World) -> None:
    least(sms)
    run(sms, 'ALTER TABLE "CampaignRecipient" DROP CONSTRAINT "CampaignRecipient_pkey"')
    (found,) = complaints(examine(sms.platform))
    assert "no unique index" in found.what
    mend(sms, found)
    assert complaints(examine(sms.platform)) == []


def test_an_index_that_failed_half_way_is_reported_and_rebuilt(sms: World) -> None:
    least(sms)
    sms.app.add_campaign("one", name="twice")
    sms.app.add_campaign("two", name="twice")
    build = 'CREATE UNIQUE INDEX CONCURRENTLY by_name ON "Campaign" (name)'
    for statement in (build, "REINDEX INDEX CONCURRENTLY by_name"):
        with pytest.raises(psycopg.errors.UniqueViolation):
            run(sms, statement)
    broken, leftover = complaints(examine(sms.platform))
    assert (broken.mend, leftover.mend) == (
        'REINDEX INDEX CONCURRENTLY "public"."by_name"',
        'DROP INDEX CONCURRENTLY "public"."by_name_ccnew"',
    )
    run(sms, """UPDATE "Campaign" SET name = 'once' WHERE id = 'one'""")
    mend(sms, broken, leftover)
    assert complaints(examine(sms.platform)) == []


def test_an_index_that_is_being_built_is_only_noted(sms: World) -> None:
    with owner(sms) as blocking, owner(sms) as building:
        blocking.execute('BEGIN; LOCK TABLE "Campaign" IN ROW EXCLUSIVE MODE')
        build = threading.Thread(target=building.execute, args=(b'CREATE INDEX CONCURRENTLY ON "Campaign" (name)',))
        build.start()
        deadline = datetime.now(UTC) + timedelta(seconds=10)
        while not (found := [one for one in of(examine(sms.platform), "index") if "being built" in one.what]):
            assert datetime.now(UTC) < deadline
        blocking.execute("COMMIT")
        build.join()
    assert [one.level for one in found] == [Level.NOTE]


def test_a_partitioned_table_is_examined_as_a_whole(sms: World) -> None:
    least(sms)
    run(
        sms,
        'ALTER TABLE "CampaignRecipient" RENAME TO old_recipient',
        'CREATE TABLE "CampaignRecipient" (LIKE old_recipient) PARTITION BY HASH (id)',
        'CREATE TABLE part PARTITION OF "CampaignRecipient" FOR VALUES WITH (MODULUS 1, REMAINDER 0)',
        'GRANT SELECT ON "CampaignRecipient" TO PUBLIC',
    )
    sms.app.add_campaign(succeeded=MANY)
    run(sms, "ANALYZE part")
    no_id, no_campaign = complaints(examine(sms.platform))
    assert f"about {MANY} rows" in no_campaign.what
    assert "partitioned" in no_campaign.what
    assert "CONCURRENTLY" not in no_campaign.mend
    mend(sms, no_id, no_campaign)
    assert complaints(examine(sms.platform)) == []
