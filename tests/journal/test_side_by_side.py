"""Two versions of the program over one schema, while one replaces the other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.core.errors import StateSchemaError
from campaign_ops.journal.migrations import HEAD, migrate
from campaign_ops.lab.servers.embedded import EmbeddedServers
from tests.conftest import World


def upgraded(world: World) -> None:
    """What the migration of a later version does: it adds columns and tables, and a revision that we do not know."""
    with world.app.engine.begin() as connection:
        for statement in (
            "ALTER TABLE campaign_ops.repair ADD COLUMN of_later text",
            "ALTER TABLE campaign_ops.sweep ADD COLUMN of_later integer NOT NULL DEFAULT 0",
            "CREATE TABLE campaign_ops.of_later (id bigint PRIMARY KEY)",
            "UPDATE campaign_ops.alembic_version SET version_num = '9999'",
        ):
            connection.execute(sa.text(statement))


def test_a_sweep_that_is_under_way_when_a_later_version_migrates_ends_as_it_began(sms: World) -> None:
    sms.app.add_campaign("done", succeeded=3)
    sms.app.add_reservation("held", campaign="done")
    sms.app.add_campaign("lost", pending=3)
    sweep = sms.begin()
    plan = sweep.make_plan()
    upgraded(sms)
    sweep.complete(plan)
    sweep.reenqueue(plan)
    sweep.release(plan)
    sweep.report(plan)
    assert sms.app.campaign("done")["status"] == "sent"
    assert sms.app.reservation("held")["status"] == "released"
    assert len(sms.queue.live_job_ids()) == 1
    (row,) = sms.rows("SELECT finished_at, of_later FROM campaign_ops.sweep")
    assert row["finished_at"] is not None
    assert {row["kind"] for row in sms.rows("SELECT kind FROM campaign_ops.repair")} == {
        "complete",
        "reenqueue",
        "release",
    }


@pytest.mark.parametrize("what", ["sweep", "migrate"])
def test_an_older_version_over_a_newer_schema_says_so_and_touches_nothing(sms: World, what: str) -> None:
    """It advised to run `campaign-ops migrate`, which ended in an error of alembic: no such revision."""
    sms.app.add_campaign("done", succeeded=3)
    upgraded(sms)
    with pytest.raises(StateSchemaError, match=f"9999, newer than {HEAD}") as refused:
        sms.sweep() if what == "sweep" else migrate(sms.platform.database)
    assert "install" in refused.value.mend
    assert sms.app.campaign("done")["status"] == "sending"
    assert sms.rows("SELECT * FROM campaign_ops.sweep") == []
    assert sms.rows("SELECT version_num FROM campaign_ops.alembic_version") == [{"version_num": "9999"}]


def test_the_way_back_is_a_dump_of_the_schema(sms: World, servers: EmbeddedServers, tmp_path: Path) -> None:
    """As docs/deployment.md has it: what was recorded before the dump is there again, what came after it is not."""
    sms.app.add_campaign("before", succeeded=3)
    sms.sweep()
    url = sa.make_url(sms.url).set(drivername="postgresql").render_as_string(hide_password=False)
    programs = servers.postgres._programs
    assert programs is not None
    dump = tmp_path / "campaign_ops.sql"
    subprocess.run([programs / "pg_dump", "--schema=campaign_ops", f"--file={dump}", url], check=True)
    upgraded(sms)
    with sms.app.engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA campaign_ops CASCADE"))
    subprocess.run([programs / "psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}", url], check=True)
    sms.platform.database.close()
    sms.app.add_campaign("after", succeeded=3)
    sms.sweep()
    assert sms.app.campaign("after")["status"] == "sent"
    assert [row["campaign_id"] for row in sms.rows("SELECT campaign_id FROM campaign_ops.repair ORDER BY id")] == [
        "before",
        "after",
    ]
