"""The metrics of a platform, as Prometheus reads them: parsed back with its own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from campaign_ops.core.causes import Cause
from campaign_ops.core.incidents import Symptom
from campaign_ops.faces.metrics import FAMILIES, CachedExposition, Sample, samples
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.queries.metrics import platform_metrics
from campaign_ops.watch.incidents import acknowledge, resolve
from tests.conftest import World, Worlds
from tests.faces.cli.program import AWAY, BROKEN, configured
from tests.watch.looking import open_one, watch

STATEMENTS = 10
Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Found:
    """Every sample by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Found, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def scraped(directory: Path, *entries: Any) -> Found:
    result = configured(directory, *entries)("metrics")
    assert result.exit_code == 0, result.stderr
    return parsed(result.stdout)


def test_the_runbooks_three_names_stand_as_they_are(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("lost", pending=3, updated_ago=hours(2))
    sms.app.add_campaign("slow", pending=5, succeeded=5, updated_ago=hours(2), moved_ago=hours(0))
    sms.queue.add("slow", "shop_north", sms.app.pending_ids("slow"), batch_size=1)
    sms.sweep(trigger="schedule")
    found = scraped(tmp_path, sms)
    assert value(found, "campaigns_stuck", platform="sms", verdict="jobs_lost") == 1
    assert value(found, "campaigns_stuck", platform="sms", verdict="progressing") == 1
    assert value(found, "queue_sms_waiting", platform="sms") == 5
    assert value(found, "reconciliation_jobs_completed_total", platform="sms", outcome="done") == 1
    assert value(found, "campaigns_stuck_over_alert", platform="sms") == 1, "one that progresses raises no alarm"
    assert value(found, "campaign_ops_repairs_total", platform="sms", kind="reenqueue", trigger="schedule") == 1
    assert value(found, "campaign_ops_source_up", platform="sms", source="database") == 1
    assert value(found, "campaign_ops_source_up", platform="sms", source="queue") == 1
    assert value(found, "campaign_ops_queue_jobs", platform="sms", queue="sms-send", state="wait") == 5


def test_what_is_not_known_has_no_sample(worlds: Worlds, tmp_path: Path) -> None:
    """Before the first sweep nothing is known of campaigns and queue; without reservations nothing of credits."""
    sms, messenger = worlds.make("sms"), worlds.make("messenger")
    messenger.sweep()
    found = scraped(tmp_path, sms, messenger)
    assert {name for name, labels in found if ("platform", "sms") in labels} == {"campaign_ops_source_up"}
    of_messenger = {name for name, labels in found if ("platform", "messenger") in labels}
    assert "campaigns_sending" in of_messenger
    assert not of_messenger & {"campaign_ops_credits_held", "queue_sms_waiting", "campaign_ops_workers"}


def test_a_queue_that_is_away_is_down_and_not_empty(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms", queue_url="redis://127.0.0.1:1/0")
    world.app.add_campaign("c", pending=2)
    world.sweep()
    found = scraped(tmp_path, world)
    assert value(found, "campaign_ops_source_up", platform="sms", source="queue") == 0
    assert value(found, "queue_sms_waiting", platform="sms") is None
    assert value(found, "campaigns_stuck", platform="sms", verdict="queue_unreadable") == 1
    assert value(found, "reconciliation_jobs_completed_total", platform="sms", outcome="source_away") == 1


def test_a_database_that_is_away_leaves_the_other_platforms_their_figures(sms: World, tmp_path: Path) -> None:
    sms.sweep()
    program = configured(tmp_path, sms, AWAY, BROKEN)
    result = program("metrics")
    found = parsed(result.stdout)
    assert value(found, "campaigns_sending", platform="sms") == 0
    assert value(found, "campaign_ops_source_up", platform="away", source="database") == 0
    assert {name for name, labels in found if ("platform", "away") in labels} == {"campaign_ops_source_up"}
    assert value(found, "campaign_ops_source_up", platform="broken", source="configuration") == 0
    assert "broken" in result.stderr


def test_credits_that_are_held_and_those_held_for_nothing(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("going", pending=1, updated_ago=hours(0))
    sms.app.add_reservation("held", campaign="going", amount=30)
    sms.app.add_campaign("over", status="sent", succeeded=1)
    sms.app.add_reservation("leaked", campaign="over", amount=12)
    sms.begin(trigger="schedule").make_plan()
    sms.sweep()
    found = scraped(tmp_path, sms)
    assert value(found, "campaign_ops_credits_held", platform="sms") == 30
    assert value(found, "campaign_ops_credits_leaked", platform="sms") == 0, "the sweep released them"
    sms.app.add_reservation("expired", campaign="going", expires_in=hours(-1))
    assert sms.sweep().figures()["reservations_need_person"] == 1
    assert value(scraped(tmp_path, sms), "campaigns_need_person", platform="sms") == 0
    assert FAMILIES["campaigns_need_person"].help.startswith("Campaigns that")


def test_incidents_are_counted_until_they_are_resolved(sms: World, tmp_path: Path) -> None:
    sms.sweep()
    number = open_one(sms, Symptom(Cause.STUCK, count=3))
    labels = {"platform": "sms", "cause": "stuck", "severity": "warning"}
    assert value(scraped(tmp_path, sms), "campaign_ops_incidents_open", **labels) == 1
    acknowledge(sms.platform, number, by="ann", reason="on it")
    assert value(scraped(tmp_path, sms), "campaign_ops_incidents_open", **labels) == 1
    resolve(sms.platform, number, by="ann", reason="done")
    assert value(scraped(tmp_path, sms), "campaign_ops_incidents_open", **labels) is None


def test_incidents_are_as_old_as_the_last_look_of_a_watcher(sms: World, tmp_path: Path) -> None:
    """When it had died, campaign_ops_incidents_open stayed as it was, and nothing said so."""
    name = "campaign_ops_last_look_timestamp_seconds"
    assert value(scraped(tmp_path, sms), name, platform="sms") is None
    watch(sms)
    (look,) = sms.rows("SELECT looked_at FROM campaign_ops.watcher_look")
    assert value(scraped(tmp_path, sms), name, platform="sms") == look["looked_at"].timestamp()


def test_a_breaker_is_tripped_while_it_holds_something_back(messenger: World, tmp_path: Path) -> None:
    """The sweep in which a person had confirmed its plan was called held back until the next one: an alert fired."""
    for number in range(12):
        messenger.app.add_campaign(f"c{number}", succeeded=2)
    for sweep, tripped in ((messenger.sweep, 1), (messenger.confirmed_sweep, 0)):
        sweep()
        found = scraped(tmp_path, messenger)
        assert value(found, "campaign_ops_breaker_tripped", platform="messenger", kind="complete") == tripped


def test_every_family_says_what_it_is_and_names_no_campaign_or_tenant(sms: World, tmp_path: Path) -> None:
    sms.app.add_campaign("secret_campaign", pending=3)
    sms.sweep()
    text = configured(tmp_path, sms)("metrics").stdout
    assert "secret_campaign" not in text
    assert "shop_north" not in text
    for family in FAMILIES.values():
        assert family.help.endswith(".")
        assert not {"campaign", "tenant"} & {*family.labels}


def test_a_scrape_reads_the_same_number_of_statements_at_any_size(sms: World) -> None:
    """A thousand stuck campaigns after 90 days of sweeps cost what three cost at first."""
    statements: list[str] = []
    for number in range(3):
        sms.app.add_campaign(f"c{number}", pending=1)
    sms.sweep()

    @sa.event.listens_for(sms.platform.database._engine, "before_cursor_execute")
    def _count(_c: Any, _cu: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    platform_metrics(sms.platform)
    few, statements[:] = len(statements), []
    latest = "(SELECT max(id) FROM campaign_ops.sweep)"
    sms.rows(
        "INSERT INTO campaign_ops.repair_plan_history"
        " (platform, sweep_id, observed_at, kind, target, reason, needs_person, verdict, stuck_seconds)"
        f" SELECT 'sms', {latest}, now(), 'none', 'more' || n, '', false, 'jobs_lost', 9999"
        " FROM generate_series(1, 1000) AS n RETURNING target"
    )
    sms.rows(
        "INSERT INTO campaign_ops.sweep (platform, tables, run_id, trigger, actor, started_at, finished_at, figures)"
        " SELECT platform, tables, run_id || n, trigger, actor, started_at - n * interval '10 min',"
        " finished_at - n * interval '10 min', figures FROM campaign_ops.sweep, generate_series(1, 12960) AS n"
        " RETURNING id"
    )
    statements.clear()
    read = platform_metrics(sms.platform)
    assert len(statements) == few == STATEMENTS
    assert read.sweep is not None
    assert read.sweep.stuck["jobs_lost"] == 1003


def test_an_exposition_is_kept_for_some_seconds() -> None:
    readings: list[int] = []

    def read() -> list[tuple[str, list[Sample]]]:
        readings.append(1)
        return [("sms", [Sample("campaigns_sending", len(readings))])]

    cached = CachedExposition(read, seconds=60)
    assert cached() == cached()
    assert readings == [1]
    fresh = CachedExposition(read, seconds=0)
    assert fresh() != fresh()


@pytest.mark.parametrize("migrated", [True, False])
def test_a_platform_without_our_schema_is_up_and_nothing_else_is_known(worlds: Worlds, *, migrated: bool) -> None:
    world = worlds.make("sms", migrated=migrated)
    read = platform_metrics(world.platform)
    assert read.database_up
    assert bool(read.error) is not migrated
    assert [sample.family for sample in samples(read)] == ["campaign_ops_source_up"]
