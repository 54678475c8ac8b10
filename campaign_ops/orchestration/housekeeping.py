"""Forgets old runs: a sweep every ten minutes leaves about 10 MB a day and platform in Dagster's storage.

Dagster's own retention knows ticks only. Long trends are in our tables, which `policy.history_days` bounds.
"""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from campaign_ops.orchestration.names import HOUSEKEEPING, MAX_RUNTIME_TAG, WORK_TAG, WORKS

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE = 100


class HousekeepingConfig(dg.Config):
    """What is kept, and how much one run may delete."""

    days: int = Field(default=14, ge=1, description="Finished runs of ours older than this are deleted.")
    at_most: int = Field(default=5_000, ge=1, description="Runs deleted by one run of this job; the next goes on.")
    at_most_seconds: int = Field(default=300, ge=1, description="And the time it may take.")


@dg.op
def forget_old_runs(context: dg.OpExecutionContext, config: HousekeepingConfig) -> None:
    """Delete finished runs of ours, the oldest first. Runs of other people in the same Dagster are not ours."""
    before = datetime.now(UTC) - timedelta(days=config.days)
    stop_at = time.monotonic() + config.at_most_seconds
    filters = dg.RunsFilter(tags={WORK_TAG: list(WORKS)}, statuses=_FINISHED, created_before=before)
    deleted = 0
    while deleted < config.at_most and time.monotonic() < stop_at:
        page = context.instance.get_run_records(
            filters, limit=min(_PAGE, config.at_most - deleted), order_by="create_timestamp", ascending=True
        )
        if not page:
            break
        for run_id in (record.dagster_run.run_id for record in page):
            context.instance.delete_run(run_id)
            context.instance.compute_log_manager.delete_logs(prefix=[run_id])  # what it printed is not in the database
        deleted += len(page)
    left = context.instance.get_runs_count(filters)
    context.log.info("%s runs deleted that were older than %s days, %s left", deleted, config.days, left)
    context.add_output_metadata({"deleted": deleted, "left": left})


@dg.job(name=HOUSEKEEPING, tags={WORK_TAG: HOUSEKEEPING, MAX_RUNTIME_TAG: "900"})
def housekeeping() -> None:
    """Deletes finished runs of ours older than two weeks from Dagster's storage."""
    forget_old_runs()


housekeeping_schedule = dg.ScheduleDefinition(
    name="housekeeping_schedule",
    job=housekeeping,
    cron_schedule="17 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Forgets old runs once a day.",
)
