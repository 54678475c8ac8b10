"""Deletes old runs: a sweep every ten minutes adds about 10 MB per day and platform to Dagster's storage.

Dagster's own retention covers ticks only. Long trends are in our tables, which `policy.history_days` limits.
"""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from campaign_ops.orchestration.jobs import IN_ONE_PROCESS
from campaign_ops.orchestration.names import ENDED, HOUSEKEEPING, MAX_RUNTIME_TAG, WORK_TAG, WORKS, prefixed
from campaign_ops.orchestration.resources import no_hand_over

_PAGE = 100


class HousekeepingConfig(dg.Config):
    """How long runs are kept, and how many one run of this job may delete."""

    days: int = Field(default=14, ge=1, description="Age in days from which our finished runs are deleted.")
    at_most: int = Field(
        default=5_000, ge=1, description="Most runs that one run of this job deletes; the next continues."
    )
    at_most_seconds: int = Field(default=300, ge=1, description="Longest time that one run of this job takes.")


def _delete_old_runs(context: dg.OpExecutionContext, config: HousekeepingConfig) -> None:
    """Delete our finished runs, the oldest first. Other runs in the same Dagster are left alone."""
    before = datetime.now(UTC) - timedelta(days=config.days)
    stop_at = time.monotonic() + config.at_most_seconds
    filters = dg.RunsFilter(tags={WORK_TAG: list(WORKS)}, statuses=ENDED, created_before=before)
    deleted = 0
    while deleted < config.at_most and time.monotonic() < stop_at:
        page = context.instance.get_run_records(
            filters, limit=min(_PAGE, config.at_most - deleted), order_by="create_timestamp", ascending=True
        )
        if not page:
            break
        for run_id in (record.dagster_run.run_id for record in page):
            context.instance.delete_run(run_id)
            context.instance.compute_log_manager.delete_logs(prefix=[run_id])  # its output is not in the database
        deleted += len(page)
    left = context.instance.get_runs_count(filters)
    context.log.info("deleted %s runs older than %s days, %s left", deleted, config.days, left)
    context.add_output_metadata({"deleted": deleted, "left": left})


def housekeeping_definitions(prefix: str = "") -> dg.Definitions:
    """The job and its schedule, once for all platforms of a deployment."""
    delete_old_runs = dg.op(name=prefixed(prefix, "delete_old_runs"))(_delete_old_runs)

    @dg.job(
        name=prefixed(prefix, HOUSEKEEPING),
        description="Deletes our finished runs older than two weeks from Dagster's storage.",
        tags={WORK_TAG: HOUSEKEEPING, MAX_RUNTIME_TAG: "900"},
        resource_defs={"io_manager": no_hand_over},
        executor_def=IN_ONE_PROCESS,
    )
    def housekeeping() -> None:
        delete_old_runs()

    schedule = dg.ScheduleDefinition(
        name=prefixed(prefix, f"{HOUSEKEEPING}_schedule"),
        job=housekeeping,
        cron_schedule="17 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Deletes old runs once a day.",
    )
    return dg.Definitions(jobs=[housekeeping], schedules=[schedule])
