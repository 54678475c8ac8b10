"""What is left of a platform whose configuration is wrong: something to see. The other platforms go on."""

import hashlib

import dagster as dg

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.orchestration.names import CONFIGURATION, RECONCILE, WORK_TAG, asset_key, job_name
from campaign_ops.orchestration.schedule import schedule_name
from campaign_ops.orchestration.sensors import INTERVAL_SECONDS
from campaign_ops.settings.model import DEFAULT_SCHEDULE

CHECK = "configuration_is_sound"
NOBODY = "campaign_ops"
"""Stands for the platforms when the whole file cannot be read: which there are is then unknown."""


def broken_definitions(name: str, error: ConfigurationError) -> dg.Definitions:
    """An asset with a failing check that names the error, and the schedule, which skips with it.

    Args:
        name: The platform, or ``NOBODY``.
        error: Every mistake, one to a line. Holds no secret.
    """
    key, problem = asset_key(name, CONFIGURATION), str(error)
    spec = dg.AssetSpec(
        key,
        group_name=name,
        kinds={"yaml"},
        description="The configuration of this platform could not be understood; nothing of it runs until it is.",
    )

    @dg.asset_check(asset=key, name=CHECK, description="The configuration file says all that it must.")
    def sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.ERROR, description=problem)

    job = dg.define_asset_job(
        job_name(name, RECONCILE),
        selection=dg.AssetSelection.checks(sound),
        description="Says what is wrong with the configuration.",
        tags={WORK_TAG: CONFIGURATION},
    )

    @dg.schedule(
        name=schedule_name(name),
        job=job,
        cron_schedule=DEFAULT_SCHEDULE,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sweeps nothing: the configuration is wrong.",
    )
    def tick() -> dg.SkipReason:
        return dg.SkipReason(problem)

    @dg.sensor(
        name=job_name(name, CONFIGURATION),
        target=None,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Puts the failing check into Dagster without anybody having to run it.",
    )
    def report(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen = hashlib.sha256(problem.encode()).hexdigest()
        if context.cursor == seen:
            return dg.SensorResult(skip_reason=problem)
        failing = dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=CHECK,
            passed=False,
            metadata={},
            severity=dg.AssetCheckSeverity.ERROR,
            description=problem,
        )
        return dg.SensorResult(asset_events=[failing], cursor=seen)

    return dg.Definitions(assets=[spec], asset_checks=[sound], jobs=[job], schedules=[tick], sensors=[report])
