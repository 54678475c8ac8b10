"""Runs on the workers of Celery, on any number of machines: a launcher that notices when a worker dies.

dagster-celery believes the state that Celery stored: a run whose worker was killed stays "started", and holds its
platform's slot, until its maximum runtime of 15 minutes. Needs the extra ``celery``.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

ANSWER_SECONDS = 5
MISSES = 2
"""Dagster checks every 30 seconds; one lost answer, or a run that ends between two questions, says nothing."""


class CheckedCeleryRunLauncher(CeleryRunLauncher):  # type: ignore[misc]
    """`CeleryRunLauncher`, which also asks a run's worker whether it still has the run.

    The configuration is the same; ``backend`` must be one that every process can read, such as Redis.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._missed: dict[str, int] = {}

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Running, or failed after ``MISSES`` checks in a row at which no worker had it."""
        stored: CheckRunHealthResult = super().check_run_worker_health(run)
        if stored.status is not WorkerStatus.RUNNING or self._is_held(run):
            self._missed.pop(run.run_id, None)
            return stored
        missed = self._missed[run.run_id] = self._missed.get(run.run_id, 0) + 1
        if missed < MISSES:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its worker did not answer")
        del self._missed[run.run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its worker has not had it at {missed} checks in a row")

    def _is_held(self, run: dg.DagsterRun) -> bool:
        """Ask the worker that started the run whether it is among its active tasks."""
        task = run.tags[DAGSTER_CELERY_TASK_ID_TAG]
        started = self.celery.AsyncResult(task).info
        worker = started.get("hostname") if isinstance(started, dict) else None
        if worker is None:  # it has ended since
            return True
        asked = self.celery.control.inspect(destination=[worker], timeout=ANSWER_SECONDS, limit=1)
        return any(active["id"] == task for tasks in (asked.active() or {}).values() for active in tasks)
