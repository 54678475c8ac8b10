"""Runs of the jobs: what they change on a real platform, and that their metadata is true."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from campaign_ops.core.model import Counters
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.orchestration.endings import refusals_of
from campaign_ops.postgres.database import STATE_SCHEMA
from campaign_ops.queries.metrics import platform_metrics
from tests.conftest import World, Worlds
from tests.orchestration.harness import (
    NOWHERE,
    PASSWORD,
    configured,
    contents,
    deployed,
    failures,
    materialized,
    metadata_of,
    plain,
    reconciled,
    run,
)
from tests.sweep.actors import counting_profile

SMS = {
    "stuck_campaigns",
    "recipient_status",
    "queue_state",
    "repair_plan",
    "completed_campaigns",
    "reenqueued_batches",
    "released_credits",
    "campaign_health",
}
PLAN = {"stuck_campaigns", "recipient_status", "queue_state", "repair_plan"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as dagster:  # the result holds all that a run reports
        yield dagster


def busy(world: World) -> World:
    """A platform with one campaign for each kind of repair, and one that needs a person."""
    app = world.app
    app.add_campaign("finished", succeeded=40, failed=2)
    app.add_reservation("with_it", campaign="finished", amount=42)
    app.add_campaign("lost", pending=700, succeeded=3)
    app.add_reservation("leaked", campaign="gone", amount=9, created_ago=hours(60))
    app.add_campaign("strange", words={"bounced": 4})
    world.queue.add(app.add_campaign("waiting", pending=5), "shop_north", app.pending_ids("waiting"))
    return world


def test_reconcile_materializes_every_asset_and_repairs_the_platform(sms: World, instance: dg.DagsterInstance) -> None:
    result = reconciled(busy(sms), instance)
    assert materialized(result) == SMS
    assert sms.app.campaign("finished")["status"] == "sent"
    assert {sms.app.reservation(label)["status"] for label in ("with_it", "leaked")} == {"released"}
    jobs = [job for job in sms.queue.live_job_ids() if sms.queue.campaign_of(job) == "lost"]
    there = [recipient for job in jobs for recipient in sms.queue.job_data(job)["recipientIds"]]
    assert sorted(there) == sms.app.pending_ids("lost")
    assert sms.app.campaign("strange")["status"] == "sending"


def test_the_numbers_in_metadata_are_those_of_the_rows(sms: World, instance: dg.DagsterInstance) -> None:
    result = reconciled(busy(sms), instance)
    stuck = metadata_of(result, "stuck_campaigns")
    assert (stuck["stuck"], stuck["stuck_over_alert"]) == (4, 4)
    shown = {record.data["campaign_id"] for record in stuck["campaigns"].records}
    assert shown == {"finished", "lost", "strange", "waiting"}
    status = metadata_of(result, "recipient_status")
    assert (status["total"], status["pending"], status["succeeded"], status["unknown"]) == (754, 705, 43, 4)
    queue = metadata_of(result, "queue_state")
    assert (queue["depth"], queue["workers"], queue["paused"]) == (1, 0, False)
    assert "No worker" in queue["in_words"]
    plan = metadata_of(result, "repair_plan")
    assert (plan["would_complete"], plan["would_reenqueue"], plan["would_release"]) == (1, 1, 1)
    assert plan["needs_person"] == 2
    completed, released = metadata_of(result, "completed_campaigns"), metadata_of(result, "released_credits")
    assert (completed["planned"], completed["done"], completed["released_with_them"]) == (1, 1, 1)
    assert (released["planned"], released["done"], released["credits"]) == (1, 1, 9.0)
    reenqueued = metadata_of(result, "reenqueued_batches")
    assert (reenqueued["done"], reenqueued["jobs"], reenqueued["recipients"]) == (1, 2, 700)
    health = metadata_of(result, "campaign_health")
    assert (health["completed"], health["reenqueued"], health["released"], health["stuck"]) == (1, 1, 2, 4)
    for asset in SMS:
        count = sms.rows(f"SELECT count(*) AS number FROM {STATE_SCHEMA}.{asset}")[0]["number"]
        assert metadata_of(result, asset)["dagster/row_count"] == count, asset


def test_tables_are_narrow_and_name_the_repair_that_an_undo_needs(sms: World, instance: dg.DagsterInstance) -> None:
    """Seen before: the reason, the last of nine columns, was cut off, and no page showed the number of a repair."""
    result = reconciled(busy(sms), instance)
    tables = {(asset, key): value for asset in SMS for key, value in tables_of(result, asset).items()}
    journal = sms.rows(f"SELECT id, kind, target FROM {STATE_SCHEMA}.repair WHERE parent_id IS NULL")
    steps = {"complete": "completed_campaigns", "reenqueue": "reenqueued_batches", "release": "released_credits"}
    assert {row["kind"] for row in journal} == set(steps)
    for row in journal:
        (shown,) = tables[steps[row["kind"]], "repairs"].records
        assert shown.data["repair"] == row["id"]
        assert str(shown.data["reason"]).startswith(f"{row['target']}: ")
    for name, value in tables.items():
        columns = [column.name for column in value.schema.columns]
        assert len(columns) <= 3, name
        assert columns[-1] in {"reason", "recipients", "name"}, name
    lines = {record.data["target"]: record.data for record in tables["repair_plan", "lines"].records}
    assert str(lines["strange"]["reason"]).startswith("needs a person: unknown_status: recipients have a status")


def tables_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dg.TableMetadataValue]:
    """The tables in the metadata of one asset."""
    values = metadata_of(result, asset).items()
    return {key: value for key, value in values if isinstance(value, dg.TableMetadataValue)}


def test_what_needs_a_person_comes_first_and_is_short_enough_to_be_shown(
    sms: World, instance: dg.DagsterInstance
) -> None:
    """Dagster hides Markdown of 1,000 characters behind a button, and opens it at its end."""
    for number in range(40):
        sms.app.add_campaign(f"strange_{number}", words={"bounced": 4})
    health = metadata_of(reconciled(busy(sms), instance), "campaign_health")
    assert next(iter(health)) == "needs_person_now"
    assert len(health["needs_person_now"]) < 1000
    assert "42 campaigns need a person" in health["needs_person_now"]
    assert "add them to the profile's `words`" in health["needs_person_now"]
    assert health["needs_person"] == 42


def test_reports_link_to_the_console_where_one_is_configured(
    sms: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CAMPAIGN_OPS_CONSOLE_URL", "https://ops.example.com")
    result = reconciled(busy(sms), instance)
    report = metadata_of(result, "campaign_health")["report"]
    assert "[console](https://ops.example.com/campaigns/sms?id=strange)" in report
    for asset, key in (("campaign_health", "needs_person_now"), ("repair_plan", "report")):
        assert "(https://ops.example.com/campaigns?platform=sms)" in metadata_of(result, asset)[key]
    graph = deployed(configured(sms)).resolve_asset_graph()
    links = {graph.get(key).metadata["console"].value for key in graph.get_all_asset_keys()}
    assert links == {"https://ops.example.com/campaigns?platform=sms"}
    monkeypatch.setenv("CAMPAIGN_OPS_CONSOLE_URL", "ops.example.com")
    graph = deployed(configured(sms)).resolve_asset_graph()
    assert not any("console" in graph.get(key).metadata for key in graph.get_all_asset_keys())
    assert "CAMPAIGN_OPS_CONSOLE_URL: holds no address that starts with http" in caplog.text


def test_the_plan_and_the_health_report_are_readable_markdown(sms: World, instance: dg.DagsterInstance) -> None:
    sms.app.add_campaign("odd", name="50% off | <b>now</b>", words={"bounced": 4})
    result = reconciled(busy(sms), instance)
    plan = metadata_of(result, "repair_plan")["report"]
    for text in (
        "## Would complete: 1",
        "## Would re-enqueue: 1",
        "## Needs a person: 3",
        "'bounced' (4)",
        "no_workers",
    ):
        assert text in plan
    assert "50% off \\| &lt;b>now&lt;/b>" in plan
    report = metadata_of(result, "campaign_health")["report"]
    assert "# sms: 5 stuck of 5 sending" in report
    assert sms.rows(f"SELECT markdown FROM {STATE_SCHEMA}.campaign_health")[0]["markdown"] == report


def test_the_second_run_over_the_same_platform_repairs_nothing(sms: World, instance: dg.DagsterInstance) -> None:
    reconciled(busy(sms), instance)
    before = contents(sms)
    again = reconciled(sms, instance)
    assert contents(sms) == before
    for asset in ("completed_campaigns", "reenqueued_batches", "released_credits"):
        assert metadata_of(again, asset)["done"] == 0
    assert metadata_of(again, "completed_campaigns")["in_words"] == "Nothing was planned."


def test_the_plan_job_stops_before_the_repairs_and_writes_nothing_to_the_platform(
    sms: World, instance: dg.DagsterInstance
) -> None:
    before = contents(busy(sms))
    result = run(deployed(configured(sms)), "sms__plan", instance)
    assert result.success
    assert materialized(result) == PLAN
    assert contents(sms) == before
    assert metadata_of(result, "repair_plan")["would_complete"] == 1


def test_a_sweep_is_stored_with_its_run_its_trigger_and_its_actor(sms: World, instance: dg.DagsterInstance) -> None:
    started = [
        ({}, "manual", "manual"),
        ({"user": "ada@example.com"}, "manual", "ada@example.com"),
        ({"dagster/schedule_name": "sms__reconcile_schedule"}, "schedule", "schedule"),
        ({"dagster/sensor_name": "sms__queue_backlog"}, "sensor", "sensor"),
    ]
    runs = [run(deployed(configured(sms)), "sms__plan", instance, tags=tags).run_id for tags, _, _ in started]
    rows = sms.rows(f"SELECT run_id, trigger, actor FROM {STATE_SCHEMA}.sweep ORDER BY id")
    assert [row["run_id"] for row in rows] == runs
    assert [(row["trigger"], row["actor"]) for row in rows] == [(trigger, actor) for _, trigger, actor in started]


def test_what_the_breaker_holds_back_is_reported_and_its_code_confirms_it_once(
    worlds: Worlds, instance: dg.DagsterInstance
) -> None:
    sms = worlds.make(policy={"breaker_floor": 1})
    for label in ("first", "second"):
        sms.app.add_campaign(label, succeeded=3)
    held = reconciled(sms, instance)
    completed = metadata_of(held, "completed_campaigns")
    assert (completed["planned"], completed["done"], completed["held_back"]) == (2, 0, 1)
    assert "Held back: would complete 2 of 2 sending campaigns" in completed["in_words"]
    report = metadata_of(held, "repair_plan")["report"]
    assert sms.app.campaign("first")["status"] == "sending"
    code = report.split("confirm: ")[1].split(",")[0]
    assert code in metadata_of(held, "campaign_health")["report"]
    by_config = {"resources": {"sms_platform": {"config": {"confirm": code, "by": "ada", "reason": "looked"}}}}
    only_planned = run(deployed(configured(sms)), "sms__plan", instance, run_config=by_config)
    assert metadata_of(only_planned, "repair_plan")["held_back"] == 1
    assert metadata_of(reconciled(sms, instance, run_config=by_config), "completed_campaigns")["done"] == 2
    assert sms.app.campaign("first")["status"] == "sent"
    for label in ("third", "fourth"):
        sms.app.add_campaign(label, succeeded=3)
    again = metadata_of(reconciled(sms, instance, run_config=by_config), "completed_campaigns")
    assert (again["done"], again["held_back"]) == (0, 1)
    assert "was used already, by ada" in again["in_words"]


def test_an_emptied_queue_is_confirmed_by_the_code_of_the_plan_and_not_by_a_plan(
    sms: World, instance: dg.DagsterInstance
) -> None:
    """A run of the plan alone changes nothing, whatever it is given."""
    sms.queue.add("other", "shop_north", ["r1"])
    sms.sweep()
    sms.queue.clear()
    sms.sweep()
    report = metadata_of(run(deployed(configured(sms)), "sms__plan", instance), "repair_plan")["report"]
    assert "## The queue was emptied" in report
    code = report.split("confirm: ")[1].split(",")[0]
    by_config = {"resources": {"sms_platform": {"config": {"confirm": code, "by": "ada", "reason": "looked"}}}}
    run(deployed(configured(sms)), "sms__plan", instance, run_config=by_config)
    emptied = "SELECT emptied FROM campaign_ops.queue_sighting"
    assert sms.rows(emptied) == [{"emptied": "it did not exist under this prefix"}]
    assert reconciled(sms, instance, run_config=by_config).success
    assert sms.rows(emptied) == [{"emptied": ""}]


def refused_run(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, why: str, next_step: str) -> None:
    """A refused sweep is a success without a result, and says so in the list of runs and on the asset's page."""
    assert result.success
    assert materialized(result) == set()
    assert instance.get_run_by_id(result.run_id).tags["campaign_ops/outcome"] == "refused"  # type: ignore[union-attr]
    observations = [event.event_specific_data.asset_observation for event in result.filter_events(is_observation)]  # type: ignore[union-attr]
    assert [observation.description for observation in observations] == refusals_of(result)
    assert observations
    for observation in observations:
        told = plain(observation.metadata)
        assert told["outcome"] == "refused"
        assert why in told["why"]
        assert next_step in told["next_step"]


def is_observation(event: dg.DagsterEvent) -> bool:
    return event.event_type is dg.DagsterEventType.ASSET_OBSERVATION


def test_a_repair_without_a_plan_is_refused_with_the_next_step(sms: World, instance: dg.DagsterInstance) -> None:
    """As when a person materializes that asset alone. Seen before: a red run, and a stack trace twice."""
    busy(sms)
    definitions = deployed(configured(sms))
    job = dg.define_asset_job("only_this", selection=[dg.AssetKey(["sms", "completed_campaigns"])])
    result = run(dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])), "only_this", instance)
    refused_run(instance, result, "there is no plan of this run", "make repair_plan first")
    assert sms.app.campaign("finished")["status"] == "sending"


def test_a_run_of_the_last_steps_alone_ends_no_sweep(sms: World, instance: dg.DagsterInstance) -> None:
    """As when a failed run is executed again from its failed step: it acts on the plan of that run, and has none.

    Seen before: its report said that the platform has no queue, `nothing_needs_a_person` passed, and for monitoring
    it was the latest sweep, without a stuck campaign.
    """
    sms.app.add_campaign("strange", words={"bounced": 4})
    definitions = deployed(configured(sms))
    reconciled(sms, instance)
    before = platform_metrics(sms.platform)
    assert before.sweep is not None
    assert before.sweep.need_person == 1
    sms.app.add_campaign("finished", succeeded=3)
    run(definitions, "sms__plan", instance)
    keys = [dg.AssetKey(["sms", name]) for name in ("completed_campaigns", "campaign_health")]
    last = dg.define_asset_job("last", selection=keys)
    result = run(dg.Definitions.merge(definitions, dg.Definitions(jobs=[last])), "last", instance)
    assert materialized(result) == {"completed_campaigns"}
    assert sms.app.campaign("finished")["status"] == "sent"
    (refusal,) = refusals_of(result)
    assert "this run has made no plan" in refusal
    assert platform_metrics(sms.platform).sweep == before.sweep


def test_a_run_that_is_executed_again_has_no_outcome_of_the_refused_one(
    sms: World, instance: dg.DagsterInstance
) -> None:
    """Dagster copies the tags: the sweep that succeeded was refused in the list of runs, and for incidents."""
    inherited = {"campaign_ops/outcome": "refused"}
    again = run(deployed(configured(sms)), "sms__reconcile", instance, tags=inherited)
    assert materialized(again) == SMS
    assert instance.get_run_by_id(again.run_id).tags["campaign_ops/outcome"] == "executed again"  # type: ignore[union-attr]
    config = {"resources": {"sms_platform": {"config": {"confirm": "x"}}}}
    refused = run(deployed(configured(sms)), "sms__reconcile", instance, tags=inherited, run_config=config)
    refused_run(instance, refused, "who confirms, and why?", "add `by` and `reason`")


@pytest.mark.parametrize(
    "confirmation", [{"confirm": "x"}, {"confirm": "x", "by": "ada"}, {"confirm": "x", "reason": "y"}]
)
def test_a_confirmation_without_person_and_reason_is_refused(
    sms: World, instance: dg.DagsterInstance, confirmation: dict[str, str]
) -> None:
    result = run(
        deployed(configured(sms)),
        "sms__reconcile",
        instance,
        run_config={"resources": {"sms_platform": {"config": confirmation}}},
    )
    refused_run(instance, result, "who confirms, and why?", "add `by` and `reason`")
    assert sms.rows(f"SELECT 1 FROM {STATE_SCHEMA}.sweep") == []


def test_what_the_database_refuses_for_one_campaign_is_reported_and_stops_no_other(
    sms: World, instance: dg.DagsterInstance
) -> None:
    for label in ("sound", "stubborn"):
        sms.app.add_campaign(label, succeeded=3)
    with sms.app.engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF OLD.id = 'stubborn' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;"
                ' CREATE TRIGGER refuse BEFORE UPDATE ON "Campaign" FOR EACH ROW EXECUTE FUNCTION refuse()'
            )
        )
    completed = metadata_of(reconciled(sms, instance), "completed_campaigns")
    assert (completed["done"], completed["failed"]) == (1, 1)
    assert "Could not complete stubborn" in completed["in_words"]
    assert "not this one" in completed["in_words"]
    assert sms.app.campaign("sound")["status"] == "sent"


def test_raised_counters_are_reported_with_their_numbers(worlds: Worlds, instance: dg.DagsterInstance) -> None:
    world = worlds.make(counting_profile())
    world.app.add_campaign("behind", succeeded=5, pending=4, counters=Counters(total=9, succeeded=2, failed=0))
    result = reconciled(world, instance)
    completed = metadata_of(result, "completed_campaigns")
    assert completed["recounted"] == 1
    assert "sent 2 -> 5" in completed["recounted_in_words"]
    assert "sent counter 2, rows 5" in metadata_of(result, "recipient_status")["in_words"]


def test_an_unreadable_queue_is_reported_and_no_repair_that_depends_on_it_is_made(
    worlds: Worlds, instance: dg.DagsterInstance
) -> None:
    sms = worlds.make(queue_url=f"redis://:{PASSWORD}@127.0.0.1:1/0")
    busy(sms)
    result = reconciled(sms, instance)
    queue = metadata_of(result, "queue_state")
    assert "depth" not in queue
    assert "could not be relied on" in queue["in_words"]
    assert metadata_of(result, "completed_campaigns")["done"] == 0
    assert metadata_of(result, "reenqueued_batches")["done"] == 0
    metadata = [str(metadata_of(result, asset)) for asset in SMS]
    assert not any(PASSWORD in text for text in metadata)


def test_a_platform_that_is_down_fails_alone_with_one_line(sms: World, instance: dg.DagsterInstance) -> None:
    away = configured(sms, name="away", database_url=SecretStr(NOWHERE))
    definitions = deployed(configured(busy(sms)), away)
    failed = run(definitions, "away__reconcile", instance)
    assert not failed.success
    lines = failures(failed)
    assert lines
    for line in lines:
        assert line.startswith("127.0.0.1:1/nowhere: ")
        assert "nothing listens there; start the server" in line
        assert "\n" not in line
    log = "".join(str(event) for event in instance.all_logs(failed.run_id))
    assert "psycopg" not in log
    assert PASSWORD not in log
    assert materialized(run(definitions, "sms__reconcile", instance)) == SMS


def test_a_platform_without_our_schema_fails_with_the_command_to_run(
    worlds: Worlds, instance: dg.DagsterInstance
) -> None:
    sms = worlds.make(migrated=False)
    failed = run(deployed(configured(sms)), "sms__reconcile", instance)
    assert not failed.success
    assert all(line.endswith("run `campaign-ops migrate`") for line in failures(failed))


def test_no_connection_is_left_open_after_a_run(sms: World, instance: dg.DagsterInstance) -> None:
    reconciled(busy(sms), instance)
    sms.app.close()
    open_ones = "SELECT count(*) AS number FROM pg_stat_activity WHERE datname = current_database()"
    deadline = time.monotonic() + 5
    while (number := sms.rows(open_ones)[0]["number"]) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)  # a server process needs a moment to end
    assert number == 1
