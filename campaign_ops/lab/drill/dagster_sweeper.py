"""Runs the deployment's real ``reconcile`` job with Dagster repeatedly in one process, until SIGTERM.

    python -m campaign_ops.lab.drill.dagster_sweeper --config campaign_ops.yaml --platform sms --name dagster \\
        --work-dir …

DAGSTER_HOME names the instance. Runs carry the schedule's tags. Without any argument it only makes the instance's
storage: a server that was killed while Dagster made its tables left some of them, and Dagster never swept.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg

from campaign_ops.definitions import build_definitions
from campaign_ops.lab.drill.sweep_loop import SweepFailed, SweepResult, read_options, sweep_until_stopped
from campaign_ops.orchestration.endings import refusals_of
from campaign_ops.orchestration.names import RECONCILE, SCHEDULE_TAG, Names

_BUSY = "another sweep of"
_STORAGE_DRIVER = "psycopg2"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job until SIGTERM; `SweeperOptions` describes the command line."""
    if not (sys.argv[1:] if arguments is None else arguments):
        with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]):
            return
    options = read_options(arguments, __doc__)
    names = Names(options.platform)
    job = build_definitions(options.settings()).resolve_job_def(names.job(RECONCILE))
    tags = {SCHEDULE_TAG: names.schedule}
    # In the main thread Dagster would handle SIGTERM itself and abort the current run.
    with (
        dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):

        def run(run_id: str) -> dg.ExecuteInProcessResult:
            return job.execute_in_process(instance=instance, run_id=run_id, tags=tags, raise_on_error=False)

        def sweep(run_id: str) -> SweepResult:
            try:
                result = thread.submit(run, run_id).result()
            except Exception as error:  # noqa: BLE001 - Dagster does not map its storage's errors
                # Outside of a step only Dagster and its storage run, and the storage fails with the server.
                raise SweepFailed(f"Dagster: {type(error).__name__}: {str(error).splitlines()[0]}") from None
            return _outcome(result)

        sweep_until_stopped(options, sweep)


def _outcome(result: dg.ExecuteInProcessResult) -> SweepResult:
    failures = list(_failures(result))
    if failures:
        message = " / ".join(message for message, _ in failures)
        busy, unexpected = all(_BUSY in message for message, _ in failures), any(raw for _, raw in failures)
        raise SweepFailed(message, busy=busy, unexpected=unexpected)
    if not result.success:
        raise SweepFailed("Dagster: the run ended without a failed step")
    metadata = {
        event.asset_key.path[-1]: {key: value.value for key, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }
    health = metadata.get("campaign_health", {})
    held_back = {name: "by the breaker" for name, facts in metadata.items() if facts.get("held_back")}
    figures = {name: value for name, value in health.items() if isinstance(value, int) and "/" not in name}
    return SweepResult(figures, held_back)


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, bool]]:
    """(message, whether the error is outside our error tree) of each failed or refused step."""
    yield from ((refusal, False) for refusal in refusals_of(result))
    for event in result.all_events:
        if event.is_step_failure:
            data: Any = event.step_failure_data
            if data.user_failure_data:
                yield data.user_failure_data.description, False
                continue
            error = data.error
            while error.cause is not None:
                error = error.cause
            yield error.message.strip(), _STORAGE_DRIVER not in str(data.error)


if __name__ == "__main__":
    main()
