"""Sweeps of many platforms at once: a process for each run, against workers of Celery that have loaded the code.

Nothing is stuck, as in most sweeps. The processes are started as Dagster's default launcher starts them, 10 at a time,
without the time that its code server and daemon take. Every platform has a database of its own; they share a queue.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import dagster as dg
import psutil
import yaml
from dagster._core.launcher import LaunchRunContext

from benchmarks.dagster_run import ROOT, dagster_instance
from benchmarks.dataset import Dataset
from benchmarks.fresh_runs import code_location
from benchmarks.rounds import say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import TINY
from campaign_ops.lab.servers.embedded import EmbeddedServers

COUNTS = (20, 200)
PROCESSES = (1, 2, 4)
AT_A_TIME = 10
LAUNCHER = (ROOT / "deploy" / "celery" / "run_launcher.yaml").read_text()
WORKER = "celery --app campaign_ops.orchestration.celery_worker worker --concurrency {} --loglevel INFO"
TAG = "campaign_ops/benchmark"


def measure(session: Session) -> Result:
    """Sweep 20 platforms once to warm up, and once that counts; 200 by the launcher and by most processes alone."""
    result, counts = Result(), COUNTS[:1] if session.quick else COUNTS
    os.environ["CAMPAIGN_OPS_CELERY_URL"] = session.servers.redis.url(9)
    with (
        session.loaded(TINY, scaled=False) as dataset,
        dagster_instance(session, LAUNCHER) as (instance, home),
    ):
        dataset.calm()
        os.environ["CAMPAIGN_OPS_CONFIG"] = str(_configured(session.servers, dataset, home, max(counts)))
        rows = [
            ["a process for each run", f"{count}", *_figures(count, *_in_processes(home, count))] for count in counts
        ]
        for processes in PROCESSES:
            with _worker(home, processes) as worker:
                for count in counts if processes == max(PROCESSES) else counts[:1]:
                    _on_workers(instance, worker, count)
                    taken = _on_workers(instance, worker, count)
                    rows.append([f"workers, {processes} processes", f"{count}", *_figures(count, *taken)])
    say("\nsweeps of many platforms, started at the same moment\n")
    say(table(("by", "platforms", "seconds to the last", "CPU seconds a run"), rows))
    result.figures = {f"{by}, {count}": {"seconds": seconds, "cpu": cpu} for by, count, seconds, cpu in rows}
    return result


def _figures(count: int, seconds: float, cpu: float) -> tuple[str, str]:
    return f"{seconds:.1f}", f"{cpu / count:.2f}"


def _name(number: int) -> str:
    return f"p{number:03}"


def _configured(servers: EmbeddedServers, dataset: Dataset, home: Path, count: int) -> Path:
    entries = []
    for number in range(count):
        servers.postgres.drop_database(f"copy_{number}")
        url = servers.postgres.create_database(f"copy_{number}", "bench").replace("+psycopg", "")
        entries.append({**dataset.entry, "name": _name(number), "database_url": url})
    config = home / "campaign_ops.yaml"
    config.write_text(yaml.safe_dump({"platforms": entries}))
    return config


def _in_processes(home: Path, count: int) -> tuple[float, float]:
    """Seconds until all runs have ended, and their CPU seconds."""
    before, begun = os.times(), time.perf_counter()

    def run(number: int) -> None:
        command = [sys.executable, "-m", "benchmarks.fresh_runs", "run", str(home), f"{_name(number)}__reconcile"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(run, range(count)))
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, cpu


def _on_workers(instance: dg.DagsterInstance, worker: psutil.Process, count: int) -> tuple[float, float]:
    """Seconds until all runs have ended, and the CPU seconds of the worker and its processes."""
    token = uuid4().hex
    runs = list(_created(instance, [f"{_name(number)}__reconcile" for number in range(count)], token))
    before, begun = _cpu(worker), time.perf_counter()
    for run in runs:
        instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    ended = dg.RunsFilter(tags={TAG: token}, statuses=[dg.DagsterRunStatus.SUCCESS])
    while instance.get_runs_count(ended) < count:
        failed = dg.RunsFilter(tags={TAG: token}, statuses=[dg.DagsterRunStatus.FAILURE])
        if instance.get_runs_count(failed):
            raise RuntimeError("a run has failed")
        time.sleep(0.1)
    return time.perf_counter() - begun, _cpu(worker) - before


def _created(instance: dg.DagsterInstance, jobs: Sequence[str], token: str) -> Iterator[dg.DagsterRun]:
    for name in jobs:
        job = code_location().get_reconstructable_job(name)
        definition, origin = job.get_definition(), job.get_python_origin()
        yield instance.create_run_for_job(definition, job_code_origin=origin, tags={**definition.tags, TAG: token})


@contextmanager
def _worker(home: Path, processes: int) -> Iterator[psutil.Process]:
    command = [str(Path(sys.executable).parent / word) if word == "celery" else word for word in shlex.split(WORKER)]
    log = home / f"worker_{processes}.log"
    with log.open("w") as output:
        child = subprocess.Popen(
            [word.format(processes) for word in command],
            cwd=ROOT,
            env={**os.environ, "DAGSTER_HOME": str(home)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        while " ready." not in log.read_text():
            if child.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(60)


def _cpu(worker: psutil.Process) -> float:
    """CPU seconds of a worker, of its processes, and of those that have ended after their run."""
    ended = worker.cpu_times()
    times = [process.cpu_times() for process in (worker, *worker.children(recursive=True))]
    return ended.children_user + ended.children_system + sum(taken.user + taken.system for taken in times)
