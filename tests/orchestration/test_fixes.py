"""The manual fixes as jobs: the input that a change requires, and where it is shown afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from campaign_ops.faces.cli.command import help_of
from campaign_ops.faces.cli.commands import COMMANDS
from campaign_ops.fixes.table import FIXES
from campaign_ops.lab.shop.row_writer import hours
from campaign_ops.orchestration.fixes import FIX_JOBS
from campaign_ops.orchestration.resources import no_hand_over
from campaign_ops.postgres.database import STATE_SCHEMA
from tests.conftest import World, Worlds
from tests.orchestration.harness import NOWHERE, configured, deployed, failures, plain, run


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as dagster:  # its storage in PostgreSQL, four times slower, is another test's
        yield dagster


def fix(world: World, instance: dg.DagsterInstance, name: str, **fields: Any) -> dg.ExecuteInProcessResult:
    config = {"by": "ada", "reason": "the customer called", **fields}
    job = f"{world.platform.name}__{name}"
    return run(deployed(configured(world)), job, instance, run_config={"ops": {f"{job}_now": {"config": config}}})


def done(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata in which the job reports what it did."""
    assert result.success, failures(result)
    return next(plain(event.step_output_data.metadata) for event in result.all_events if event.is_successful_output)


def refusal(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of a refused fix. It is shown as a success: in the list of runs a tag says what it was."""
    metadata = done(result)
    run_tags = instance.get_run_by_id(result.run_id).tags  # type: ignore[union-attr]
    assert (metadata["outcome"], run_tags["campaign_ops/outcome"]) == ("refused", "refused")
    warnings = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    (warning,) = warnings
    assert warning.startswith(f"refused: {metadata['why']}")
    assert warning.endswith(metadata["next_step"])
    return metadata


def confirmed(world: World, instance: dg.DagsterInstance, name: str, **fields: Any) -> dg.ExecuteInProcessResult:
    """The fix itself, with the code that its dry run shows."""
    code = done(fix(world, instance, name, **fields))["confirm"]
    return fix(world, instance, name, dry_run=False, confirm=code, **fields)


def observed(instance: dg.DagsterInstance, asset: str, *results: dg.ExecuteInProcessResult) -> list[str]:
    """The observations of these runs on an asset's page."""
    records = instance.fetch_observations(dg.AssetKey(["sms", asset]), limit=50).records
    observations = {record.run_id: record.asset_observation for record in records}
    of_runs = (observations.get(result.run_id) for result in results)
    return [str(observation.description) for observation in of_runs if observation is not None]


def test_a_fix_is_a_dry_run_by_default(sms: World, instance: dg.DagsterInstance) -> None:
    sms.app.add_campaign("finished", succeeded=3)
    before = sms.app.fingerprint()
    result = fix(sms, instance, "mark_campaign_complete", campaign_id="finished")
    assert done(result)["message"].startswith("would complete campaign finished")
    assert done(result)["changed"] is False
    assert sms.app.fingerprint() == before
    assert observed(instance, "completed_campaigns", result) == []


@pytest.mark.parametrize("code", ["", "yes", "finished", "aaaa-bbbb-cccc"])
def test_a_fix_without_the_code_of_its_dry_run_is_refused(sms: World, instance: dg.DagsterInstance, code: str) -> None:
    """A link can launch a run with any value in it, and cannot know what the dry run shows."""
    sms.app.add_campaign("finished", succeeded=3)
    before = sms.app.fingerprint()
    result = fix(sms, instance, "mark_campaign_complete", campaign_id="finished", dry_run=False, confirm=code)
    told = refusal(instance, result)
    why = f"mark-complete of finished: code {code!r} was never shown for this platform; nothing was done"
    assert told["why"] == why
    assert told["next_step"].startswith("it would complete campaign finished")
    assert sms.app.fingerprint() == before


def test_a_code_confirms_nothing_when_its_run_is_launched_again(sms: World, instance: dg.DagsterInstance) -> None:
    sms.app.add_campaign("lost", pending=7)
    code = done(fix(sms, instance, "reenqueue_campaign", campaign_id="lost"))["confirm"]
    real = {"campaign_id": "lost", "dry_run": False, "confirm": code}
    assert done(fix(sms, instance, "reenqueue_campaign", **real))["changed"] is True
    sms.queue.remove(sms.queue.live_job_ids())
    sms.rows(f"UPDATE {STATE_SCHEMA}.attempt SET last_at = last_at - interval '1 hour' RETURNING 1")
    told = refusal(instance, fix(sms, instance, "reenqueue_campaign", **real))
    assert "was used already, by ada" in told["why"]
    assert sms.queue.live_job_ids() == []


def test_a_confirmed_completion_changes_the_campaign_and_shows_on_the_assets_page(
    sms: World, instance: dg.DagsterInstance
) -> None:
    sms.app.add_campaign("finished", succeeded=3)
    sms.app.add_reservation("hold", campaign="finished", amount=3)
    result = confirmed(sms, instance, "mark_campaign_complete", campaign_id="finished")
    message = done(result)["message"]
    assert message.startswith("campaign finished is sent now")
    assert sms.app.campaign("finished")["status"] == "sent"
    assert sms.app.reservation("hold")["status"] == "released"
    journal = sms.rows(f"SELECT kind, actor, run_id FROM {STATE_SCHEMA}.repair ORDER BY id")
    assert [(row["kind"], row["actor"]) for row in journal] == [("complete", "ada"), ("release", "ada")]
    assert {row["run_id"] for row in journal} == {result.run_id}
    assert observed(instance, "completed_campaigns", result) == [message]


def test_a_premise_that_does_not_hold_is_refused_with_the_numbers_and_the_next_step(
    sms: World, instance: dg.DagsterInstance
) -> None:
    sms.app.add_campaign("open", succeeded=3, pending=2)
    result = fix(sms, instance, "mark_campaign_complete", campaign_id="open", dry_run=False, confirm="any")
    told = refusal(instance, result)
    assert told["why"].startswith("campaign open: 2 of 5 recipients still pending")
    assert told["next_step"] == "`campaign-ops plan --platform sms` says why"
    assert observed(instance, "completed_campaigns", result) == []
    assert sms.app.campaign("open")["status"] == "sending"


def test_another_tenants_campaign_is_not_found(sms: World, instance: dg.DagsterInstance) -> None:
    sms.app.add_campaign("finished", succeeded=3, tenant="shop_south")
    result = fix(sms, instance, "mark_campaign_complete", campaign_id="finished", tenant="shop_north")
    told = refusal(instance, result)
    assert told["why"].startswith("campaign finished: there is no such campaign of tenant shop_north")


def test_a_fix_that_finds_a_sweep_under_way_is_refused(
    sms: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("campaign_ops.fixes.fix.LOCK_WAIT_SECONDS", 0)
    sms.app.add_campaign("finished", succeeded=3)
    code = done(fix(sms, instance, "mark_campaign_complete", campaign_id="finished"))["confirm"]
    real = {"campaign_id": "finished", "dry_run": False, "confirm": code}
    with sms.again().lock(wait_seconds=5).hold():
        told = refusal(instance, fix(sms, instance, "mark_campaign_complete", **real))
    assert "another sweep of sms is under way" in told["why"]
    assert done(fix(sms, instance, "mark_campaign_complete", **real))["changed"] is True


@pytest.mark.parametrize("name", [fix.name for fix in FIX_JOBS])
def test_the_launchpad_shows_every_field_and_launching_it_as_it_is_changes_nothing(
    sms: World, instance: dg.DagsterInstance, name: str
) -> None:
    """Seen before: the launchpad showed `confirm` and `dry_run` only, and the resources of all platforms."""
    definitions = deployed(configured(sms), configured(sms, name="other"))
    job = definitions.resolve_job_def(f"sms__{name}")
    shown = job.run_config["ops"][f"sms__{name}_now"]["config"]  # type: ignore[index]
    fields = {fix.name: fix.config.model_fields for fix in FIX_JOBS}[name]
    assert set(shown) == set(fields)
    assert all(field.description for field in fields.values())
    (blank,) = {"campaign_id", "reservation_id", "repair_id"} & set(fields)
    before = sms.app.fingerprint()
    told = refusal(instance, run(definitions, f"sms__{name}", instance))
    assert told["why"].endswith(f"not filled in: by, reason, {blank}")
    assert sms.app.fingerprint() == before
    assert set(job.resource_defs) == {"io_manager"}
    assert isinstance(no_hand_over, dg.IOManagerDefinition)
    assert job.resource_defs["io_manager"] is no_hand_over


def test_a_real_error_is_one_line_without_a_stack(sms: World, instance: dg.DagsterInstance) -> None:
    """Seen before: 40 lines of Dagster's own frames, with the step and again with the run."""
    definitions = deployed(configured(sms, database_url=SecretStr(NOWHERE)))
    config = {"by": "ada", "reason": "why", "campaign_id": "c1"}
    job = "sms__mark_campaign_complete"
    result = run(definitions, job, instance, run_config={"ops": {f"{job}_now": {"config": config}}})
    assert not result.success
    step = next(event for event in result.all_events if event.is_step_failure).step_failure_data.error
    ended = next(event for event in result.all_events if event.is_run_failure).job_failure_data.error
    for error in (step, ended):
        assert error is not None
        assert error.to_string().startswith("127.0.0.1:1/nowhere: ")
        assert "\n" not in error.to_string()


def test_a_lost_campaign_is_put_back_into_the_queue_and_the_repair_can_be_undone(
    sms: World, instance: dg.DagsterInstance
) -> None:
    sms.app.add_campaign("lost", pending=7)
    reenqueued = confirmed(sms, instance, "reenqueue_campaign", campaign_id="lost")
    assert "7 recipients" in done(reenqueued)["message"]
    assert len(sms.queue.live_job_ids()) == 1
    number = int(done(reenqueued)["repairs"])
    undone = confirmed(sms, instance, "undo_repair", repair_id=number)
    assert done(undone)["changed"] is True
    assert sms.queue.live_job_ids() == []
    assert len(observed(instance, "reenqueued_batches", reenqueued, undone)) == 2


def test_an_undone_repair_is_made_again_after_retry_quarantined(sms: World, instance: dg.DagsterInstance) -> None:
    sms.app.add_campaign("finished", succeeded=3)
    sms.sweep()
    number = sms.rows(f"SELECT id FROM {STATE_SCHEMA}.repair")[0]["id"]
    undone = confirmed(sms, instance, "undo_repair", repair_id=number)
    assert done(undone)["changed"] is True
    assert sms.app.campaign("finished")["status"] == "sending"
    assert len(observed(instance, "completed_campaigns", undone)) == 1
    lifted = done(confirmed(sms, instance, "retry_quarantined", campaign_id="finished"))
    assert lifted["changed"] is True
    sms.sweep()
    assert sms.app.campaign("finished")["status"] == "sent"


def test_release_reservation_releases_one_reservation(sms: World, instance: dg.DagsterInstance) -> None:
    sms.app.add_reservation("leaked", campaign="gone", amount=9, created_ago=hours(60))
    result = confirmed(sms, instance, "release_reservation", reservation_id="leaked")
    assert done(result)["changed"] is True
    assert sms.app.reservation("leaked")["status"] == "released"
    assert len(observed(instance, "released_credits", result)) == 1


def test_person_and_reason_are_required(worlds: Worlds) -> None:
    job = deployed(configured(worlds.make())).resolve_job_def("sms__mark_campaign_complete")
    config = {"campaign_id": "one", "by": "ada"}
    with pytest.raises(dg.DagsterInvalidConfigError, match="reason"):
        job.execute_in_process(run_config={"ops": {"sms__mark_campaign_complete_now": {"config": config}}})


def test_the_description_of_every_fix_says_whether_it_can_be_undone(worlds: Worlds) -> None:
    repository = deployed(configured(worlds.make()))
    for fix in FIX_JOBS:
        job = repository.resolve_job_def(f"sms__{fix.name}")
        assert f"It {FIXES[fix.command].undoing}." in str(job.description)
        assert f"It {FIXES[fix.command].undoing}." in help_of(COMMANDS[fix.command])
