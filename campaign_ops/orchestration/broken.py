"""Definitions of a platform whose configuration is wrong: they only show the error. Other platforms still work."""

import hashlib

import dagster as dg

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.orchestration.jobs import IN_ONE_PROCESS
from campaign_ops.orchestration.names import CONFIGURATION, RECONCILE, WORK_TAG, Names
from campaign_ops.orchestration.sensors import INTERVAL_SECONDS
from campaign_ops.settings.model import DEFAULT_SCHEDULE

CHECK = "configuration_is_valid"
WHOLE_FILE = "campaign_ops"
"""The name used for the platforms when the whole file cannot be read: their names are then unknown."""


def broken_definitions(names: Names, error: ConfigurationError) -> dg.Definitions:
    """An asset with a failing check that names the error, and the schedule, which skips with it.

    Args:
        names: Of the platform, or of ``WHOLE_FILE``.
        error: Every mistake, one per line. Contains no secret.
    """
    key, problem = names.asset(CONFIGURATION), str(error)
    spec = dg.AssetSpec(
        key,
        group_name=names.group,
        kinds={"yaml"},
        description="The configuration of this platform is wrong; none of its jobs runs until it is corrected.",
    )

    @dg.asset_check(asset=key, name=CHECK, description="The configuration of this platform is valid.")
    def valid() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.ERROR, description=problem)

    job = dg.define_asset_job(
        names.job(RECONCILE),
        selection=dg.AssetSelection.checks(valid),
        description="Shows what is wrong with the configuration.",
        tags={WORK_TAG: CONFIGURATION},
        executor_def=IN_ONE_PROCESS,
    )

    @dg.schedule(
        name=names.schedule,
        job=job,
        cron_schedule=DEFAULT_SCHEDULE,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sweeps nothing: the configuration is wrong.",
    )
    def tick() -> dg.SkipReason:
        return dg.SkipReason(problem)

    @dg.sensor(
        name=names.job(CONFIGURATION),
        target=None,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports the failing check automatically.",
    )
    def report(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        digest = hashlib.sha256(problem.encode()).hexdigest()
        if context.cursor == digest:
            return dg.SensorResult(skip_reason=problem)
        failing = dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=CHECK,
            passed=False,
            metadata={},
            severity=dg.AssetCheckSeverity.ERROR,
            description=problem,
        )
        return dg.SensorResult(asset_events=[failing], cursor=digest)

    return dg.Definitions(assets=[spec], asset_checks=[valid], jobs=[job], schedules=[tick], sensors=[report])
