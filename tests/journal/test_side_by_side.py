"""Two versions of the program over one schema, while one replaces the other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.core.errors import StateSchemaError
from campaign_ops.fixes.fix import Person
from campaign_ops.fixes.reenqueue import reenqueue_one
from campaign_ops.journal.migrations import HEAD, migrate
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.queries.metrics import platform_metrics
from campaign_ops.queries.status import campaign_status
from campaign_ops.sweep.report import dry_run
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


def test_a_sweep_over_a_newer_schema_still_knows_who_is_marked(sms: World) -> None:
    """It took our records for absent, so the three counted as missing, and it put back none of the six."""
    sms.app.add_campaign("lost", pending=6)
    marked = sorted(sms.app.pending_ids("lost"))[:3]
    sms.queue.mark(marked)
    sweep = sms.begin()
    plan = sweep.make_plan()
    assert sms.platform.queue is not None
    sms.platform.queue.forget_marks(marked)
    upgraded(sms)
    sweep.reenqueue(plan)
    (job,) = sms.queue.live_job_ids()
    assert not set(marked) & set(sms.queue.job_data(job)["recipientIds"])


def test_nothing_is_planned_or_tried_out_over_an_older_schema(sms: World) -> None:
    """Our records cannot be read there, and were taken for absent: a campaign in quarantine was planned again."""
    sms.app.add_campaign("lost", pending=3)
    sms.sweep()
    with sms.app.engine.begin() as connection:
        connection.execute(sa.text("UPDATE campaign_ops.alembic_version SET version_num = '0007'"))
    reading: list[Callable[[], object]] = [
        lambda: dry_run(sms.platform, run_id="x"),
        lambda: campaign_status(sms.platform),
        lambda: reenqueue_one(sms.platform, "lost", Person("ann", "why", "y"), dry_run=True),
    ]
    for read in reading:
        with pytest.raises(StateSchemaError, match=f"at 0007, not {HEAD}") as refused:
            read()
        assert "migrate" in refused.value.mend
    metrics = platform_metrics(sms.platform)
    assert metrics.database_up
    assert metrics.sweep is None
    assert "0007" in metrics.error


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
