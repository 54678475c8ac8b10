"""The asset checks: each fails for its own subject only, with a description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import redis
import sqlalchemy as sa

from campaign_ops.core.model import Counters
from campaign_ops.lab.shop.row_writer import hours, minutes
from campaign_ops.postgres.database import STATE_SCHEMA
from tests.conftest import World, Worlds
from tests.orchestration.harness import check_of, configured, deployed, reconciled, run

EVALUATED = dg.DagsterEventType.ASSET_CHECK_EVALUATION


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as dagster:  # the result holds the evaluations
        yield dagster


def checked(world: World, instance: dg.DagsterInstance, name: str, **changes: Any) -> dg.AssetCheckEvaluation:
    """The result of one check alone, as when a person runs it from its page."""
    definitions = deployed(configured(world, **changes))
    key = next(key for key in definitions.resolve_asset_graph().asset_check_keys if key.name == name)
    job = dg.define_asset_job("only_this", selection=dg.AssetSelection.checks(key))
    alone = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    result = run(alone, "only_this", instance)
    (check,) = result.get_asset_check_evaluations()
    return check


def state(world: World, statement: str) -> None:
    """Change our own tables, as time or an accident would."""
    with world.platform.database.transaction() as connection:
        connection.execute(sa.text(statement))


def test_after_a_sweep_over_a_healthy_platform_every_check_passes(sms: World, instance: dg.DagsterInstance) -> None:
    sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_reservation("leaked", campaign="gone", created_ago=hours(60))
    evaluations = reconciled(sms, instance).get_asset_check_evaluations()
    assert {(check.asset_key.path[-1], check.check_name) for check in evaluations} == {
        ("stuck_campaigns", "nothing_stuck_for_long"),
        ("queue_state", "queue_was_read"),
        ("repair_plan", "no_recipient_in_two_jobs"),
        ("released_credits", "no_leaked_reservation"),
        ("campaign_health", "nothing_needs_a_person"),
        ("campaign_health", "sweep_is_fresh"),
    }
    assert {(check.passed, check.description) for check in evaluations} == {(True, "All is well.")}


def test_a_campaign_that_is_stuck_for_long_fails_the_check_unless_the_sweep_has_completed_it(
    sms: World, instance: dg.DagsterInstance
) -> None:
    sms.app.add_campaign("finished", succeeded=3, updated_ago=minutes(50))
    sms.app.add_campaign("strange", words={"bounced": 1}, updated_ago=minutes(50))
    sms.app.add_campaign("young", words={"bounced": 1}, updated_ago=minutes(20))
    check = check_of(reconciled(sms, instance), "nothing_stuck_for_long")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "1 stuck for more than 30 min: strange"
    assert check.metadata["stuck_over_alert"].value == 1
    assert check.metadata["ids"].value == "strange"


def test_what_only_a_person_can_mend_is_an_error_with_ids_and_next_steps(
    sms: World, instance: dg.DagsterInstance
) -> None:
    """Seen before: a quarantined campaign was a yellow dot, and its id was on another page."""
    for number in range(12):
        sms.app.add_campaign(f"strange_{number:02}", words={"bounced": 1})
    sms.app.add_campaign("empty")
    sms.app.add_campaign("finished", succeeded=3)
    result = reconciled(sms, instance)
    check = check_of(result, "nothing_needs_a_person")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert (check.description or "").startswith("13 campaigns need a person: ")
    assert (check.description or "").endswith(" and 3 more")
    assert check.metadata["needs_person"].value == 13
    assert str(check.metadata["ids"].value).endswith(" and 3 more")
    first, second = (str(check.metadata[f"next_step_{number}"].value) for number in (1, 2))
    assert first.startswith("unknown_status: strange_00, strange_01, strange_02 and 9 more; next: ")
    assert first.endswith("add them to the profile's `words`")
    assert second.startswith("empty: empty: sending, but without a single recipient; next: find out why")
    logged = [event.message or "" for event in result.all_events if event.event_type is EVALUATED]
    assert any("strange_00" in line for line in logged)
    graph = deployed(configured(sms)).resolve_asset_graph()
    assert not any(graph.get_check_spec(key).blocking for key in graph.asset_check_keys)


def test_a_breaker_that_holds_repairs_back_is_an_error_until_they_are_confirmed(
    worlds: Worlds, instance: dg.DagsterInstance
) -> None:
    world = worlds.make("sms", policy={"breaker_floor": 1})
    for label in ("first", "second"):
        world.app.add_campaign(label, succeeded=3)
    check = check_of(reconciled(world, instance), "nothing_needs_a_person")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert (check.description or "").startswith("complete held back: would complete 2 of 2 sending campaigns")
    assert "`campaign-ops plan --platform sms`" in str(check.metadata["next_step_1"].value)
    world.confirmed_sweep()
    assert checked(world, instance, "nothing_needs_a_person").passed


def test_credits_that_a_plan_found_leaked_and_no_sweep_released_fail_the_check(
    sms: World, instance: dg.DagsterInstance
) -> None:
    sms.app.add_reservation("leaked", campaign="gone", created_ago=hours(60))
    assert run(deployed(configured(sms)), "sms__plan", instance).success
    check = checked(sms, instance, "no_leaked_reservation")
    assert (check.passed, check.description) == (False, "1 reservations still held for nothing: leaked")


def test_leaked_credits_that_are_left_to_later_sweeps_fail_the_check(
    worlds: Worlds, instance: dg.DagsterInstance
) -> None:
    world = worlds.make("sms", policy={"max_releases_per_sweep": 1})
    for number in range(3):
        world.app.add_reservation(f"leaked_{number}", campaign="gone", created_ago=hours(60))
    check = check_of(reconciled(world, instance), "no_leaked_reservation")
    assert not check.passed
    assert check.description == "2 more reservations held for nothing are left to later sweeps"


def test_counters_that_differ_from_the_rows_fail_the_check(messenger: World, instance: dg.DagsterInstance) -> None:
    messenger.app.add_campaign("ahead", succeeded=3, counters=Counters(total=9, succeeded=5, failed=0))
    messenger.app.add_campaign("behind", succeeded=3, counters=Counters(total=9, succeeded=1, failed=0))
    check = check_of(reconciled(messenger, instance), "counters_agree")
    assert not check.passed
    assert check.description is not None
    assert check.description.startswith(
        "2 with counters that differ from their rows: ahead (sent counter 5, rows 3), behind"
    )


def test_a_recipient_in_two_live_jobs_fails_the_check(sms: World, instance: dg.DagsterInstance) -> None:
    campaign = sms.app.add_campaign("doubled", pending=4)
    for _ in range(2):
        sms.queue.add(campaign, "shop_north", sms.app.pending_ids(campaign)[:3])
    check = check_of(reconciled(sms, instance), "no_recipient_in_two_jobs")
    assert (check.passed, check.severity, check.metadata["doubled"].value) == (False, dg.AssetCheckSeverity.ERROR, 3)
    assert check.description == "1 with recipients in two live jobs: doubled"


def test_a_queue_that_could_not_be_read_fails_its_check_and_its_jobs_are_unknown(
    sms: World, instance: dg.DagsterInstance
) -> None:
    """Measured before: the run and every check passed, `no_recipient_in_two_jobs` with "All is well."."""
    sms.queue_url = "redis://127.0.0.1:1/0"
    result = reconciled(sms, instance)
    read = check_of(result, "queue_was_read")
    assert (read.passed, read.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "Redis cannot be reached" in (read.description or "")
    doubled = check_of(result, "no_recipient_in_two_jobs")
    assert (doubled.passed, doubled.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (doubled.description or "").startswith("unknown: the queue could not be read")
    assert dict(doubled.metadata) == {}


def test_a_queue_that_may_only_be_read_needs_a_person(sms: World, instance: dg.DagsterInstance) -> None:
    with redis.Redis.from_url(sms.queue.url) as client:
        client.hset(sms.queue.key("meta"), "version", "bullmq:9.0.0")
    read = check_of(reconciled(sms, instance), "queue_was_read")
    assert (read.passed, read.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "campaign-ops doctor --platform sms" in str(read.metadata["next_step_1"].value)


def test_before_any_sweep_the_checks_are_unknown(sms: World, instance: dg.DagsterInstance) -> None:
    for name in ("nothing_stuck_for_long", "no_recipient_in_two_jobs", "no_leaked_reservation", "queue_was_read"):
        check = checked(sms, instance, name)
        assert (check.passed, check.description) == (False, "unknown: no sweep has looked yet"), name


def test_no_sweep_for_three_ticks_of_the_schedule_fails_the_check(sms: World, instance: dg.DagsterInstance) -> None:
    sms.sweep()
    assert checked(sms, instance, "sweep_is_fresh").passed
    state(sms, f"UPDATE {STATE_SCHEMA}.sweep SET finished_at = now() - interval '31 minutes'")
    check = checked(sms, instance, "sweep_is_fresh")
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert check.description == "the last sweep finished 31 min ago; 3 ticks of the schedule have passed since"
    assert checked(sms, instance, "sweep_is_fresh", schedule="0 * * * *").passed


def test_a_platform_that_was_never_swept_is_not_fresh(sms: World, instance: dg.DagsterInstance) -> None:
    assert checked(sms, instance, "sweep_is_fresh").description == "no sweep has finished yet"


def test_the_checks_look_at_our_tables_only_and_work_while_the_queue_is_away(
    sms: World, instance: dg.DagsterInstance
) -> None:
    sms.sweep()
    state(sms, 'ALTER TABLE "Campaign" RENAME TO gone')
    assert checked(sms, instance, "no_recipient_in_two_jobs").passed
