"""What a worker of Celery runs: `celery -A campaign_ops.orchestration.celery_worker worker --concurrency 2`.

Broker and queues are those of the launcher in dagster.yaml. The code is loaded before the worker's processes are
forked, so that a run begins at once. A process executes one run: it reads the configuration as it is then, and keeps
no platform. Processes that lived on swept with thresholds that had been changed since.
"""

from __future__ import annotations

import dagster as dg
import pandas as pd  # noqa: F401 - a run makes its tables with it: half a CPU-second, if each process imports it
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.orchestration import definitions  # noqa: F401 - loads the code
from campaign_ops.orchestration.celery_launcher import CheckedCeleryRunLauncher

with dg.DagsterInstance.get() as instance:
    launcher = instance.run_launcher
if not isinstance(launcher, CheckedCeleryRunLauncher):
    raise ConfigurationError(
        "the run launcher is another", where="dagster.yaml", mend=f"name {CheckedCeleryRunLauncher.__name__} there"
    )
app = launcher.celery
app.conf.worker_max_tasks_per_child = 1
execute_job, resume_job = create_execute_job_task(app), create_resume_job_task(app)
