"""The CPU of a run's own process by the number of configured platforms, and that of the code server's.

The run sweeps one platform, on which nothing is stuck; the others are only configured. In turn: made as Dagster's run
worker makes it, from the module's pointer; and with the definitions of all platforms made at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.remote_representation.external_data import RepositorySnap

from benchmarks.dagster_run import JOB, ROOT, dagster_instance
from benchmarks.dataset import Dataset
from benchmarks.rounds import RATIO_OF_ROUNDS, Seconds, say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import TINY
from campaign_ops.definitions import build_definitions

COUNTS = (1, 20, 200, 1_000)
EVERYTHING_UP_TO = 200
"""Making the definitions of 1,000 platforms takes minutes."""


def alone(home: str, job_name: str = JOB) -> None:
    """A run as Dagster's run worker makes it."""
    job = code_location().get_reconstructable_job(job_name)
    with dg.DagsterInstance.from_config(home) as instance:
        assert dg.execute_job(job, instance).success


def at_once(home: str) -> None:
    """The same run, with the definitions of all platforms."""
    job = build_definitions().resolve_job_def(JOB)
    with dg.DagsterInstance.from_config(home) as instance:
        assert job.execute_in_process(instance=instance).success


def code_server(_: str) -> None:
    """Everything that the code server makes and sends to the webserver, once."""
    RepositorySnap.from_def(code_location().get_definition())


CONTESTANTS: dict[str, Callable[..., None]] = {"run": alone, "run, all made": at_once, "code server": code_server}


def measure(session: Session) -> Result:
    """Run each with each number of platforms, in turn; a first round warms up."""
    result, counts = Result(), session.some(COUNTS)
    with session.loaded(TINY, scaled=False) as dataset, dagster_instance(session) as (_, home):
        dataset.calm()
        configs = {count: _configured(home, dataset, count) for count in counts}
        taken: dict[tuple[str, int], list[float]] = {
            (name, count): [] for name in CONTESTANTS for count in counts if name == "run" or count <= EVERYTHING_UP_TO
        }
        for _ in range(1 + session.rounds):
            for (name, count), seconds in taken.items():
                seconds.append(_cpu(name, home, configs[count]))
    medians = {of: Seconds(tuple(seconds[1:])) for of, seconds in taken.items()}
    say("\nCPU seconds of a process of its own, by the number of configured platforms\n")
    cells = {of: f"{seconds.median:.2f}" for of, seconds in medians.items()}
    rows = [[name, *(cells.get((name, count), "") for count in counts)] for name in CONTESTANTS]
    say(table(("process", *map(str, counts)), rows))
    result.figures = {f"{name}, {count}": seconds.as_json() for (name, count), seconds in medians.items()}
    for count in counts[1:]:
        ratio = medians["run", count].over(medians["run", counts[0]])
        result.at_most(f"CPU of a fresh run at {count} platforms / at {counts[0]}, {RATIO_OF_ROUNDS}", ratio, 1.1)
    return result


def code_location() -> ReconstructableRepository:
    """The module that Dagster loads, as its run workers find it."""
    return ReconstructableRepository(ModuleCodePointer("campaign_ops.definitions", "defs", None))


def _configured(home: Path, dataset: Dataset, count: int) -> Path:
    others = (
        {**dataset.entry, "name": f"other_{number}", "database_url": f"postgresql://127.0.0.1:1/{number}"}
        for number in range(1, count)
    )
    config = home / f"platforms_{count}.yaml"
    config.write_text(yaml.safe_dump({"platforms": [dataset.entry, *others]}))
    return config


def _cpu(name: str, home: Path, config: Path) -> float:
    """CPU seconds of a contestant's process, from its start to its end."""
    environment = {**os.environ, "CAMPAIGN_OPS_CONFIG": str(config), "DAGSTER_HOME": str(home)}
    with (home / "output").open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fresh_runs", name, str(home)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError((home / "output").read_text())
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    CONTESTANTS[sys.argv[1]](*sys.argv[2:])
