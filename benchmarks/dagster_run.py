"""The Dagster run of ``reconcile`` against a run of as many assets and checks that do nothing.

Both in the executor that the definitions choose, on an instance as the repository's dagster.yaml describes it, with
its runs and events in PostgreSQL: in this process, and in a process of their own, as the daemon launches them.
"""

# Dagster reads the annotations of decorated functions, so they are not postponed here.
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from pydantic import SecretStr

from benchmarks.dataset import POLICY, PREFIX, PROFILE, Dataset
from benchmarks.rounds import RATIO_OF_ROUNDS, Seconds, say, table
from benchmarks.session import Result, Session
from benchmarks.sizes import ANCHORS
from campaign_ops.definitions import build_definitions
from campaign_ops.orchestration.assets import steps
from campaign_ops.orchestration.checks import checks
from campaign_ops.settings import PlatformSettings, Settings

ROOT = Path(__file__).parents[1]
PLATFORM = "sms"
JOB = f"{PLATFORM}__reconcile"
URL = "CAMPAIGN_OPS_DAGSTER_URL"


def real(dataset: Dataset) -> dg.Definitions:
    """The product's definitions of this platform."""
    return build_definitions(Settings(Path("campaign_ops.yaml"), (_settings(dataset),)))


def empty(dataset: Dataset) -> dg.Definitions:
    """As many assets with the same dependencies, pool and checks; none of them does anything."""
    there = {step.name for step in steps(PROFILE)}
    assets = [
        _empty_asset(step.name, [name for name in step.reads if name in there], step.kinds) for step in steps(PROFILE)
    ]
    specs = [
        dg.AssetCheckSpec(check.name, asset=dg.AssetKey([PLATFORM, check.asset]))
        for check in checks(_settings(dataset))
    ]

    @dg.multi_asset_check(specs=specs, can_subset=True, pool=f"{PLATFORM}_sweep")
    def nothing_checked(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        for key in context.selected_asset_check_keys:
            yield dg.AssetCheckResult(asset_key=key.asset_key, check_name=key.name, passed=True)

    job = dg.define_asset_job(JOB, selection=dg.AssetSelection.assets(*assets))
    return dg.Definitions(assets, asset_checks=[nothing_checked], jobs=[job], executor=dg.in_process_executor)


def _empty_asset(name: str, reads: list[str], kinds: frozenset[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=[PLATFORM, name],
        deps=[[PLATFORM, name] for name in reads],
        group_name=PLATFORM,
        kinds=set(kinds),
        pool=f"{PLATFORM}_sweep",
    )
    def nothing() -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult()

    return nothing


DEFINITIONS: dict[str, Callable[[Dataset], dg.Definitions]] = {"reconcile": real, "empty": empty}


def measure(session: Session) -> Result:
    """Run both in turn: with nothing stuck, as most runs are, and at the small anchor size."""
    result = Result()
    small = ANCHORS["small"]
    with session.loaded(small) as dataset, dagster_instance(session) as (instance, home):
        here = {name: make(dataset) for name, make in DEFINITIONS.items()}
        for what, prepare in (("nothing stuck", dataset.calm), (str(session.size(small)), dataset.restore)):
            taken = {
                **_in_turn(session.rounds, prepare, lambda name: _execute(here[name], instance)),
                **_in_turn(session.rounds, prepare, lambda name: _in_a_process(name, dataset, home), ", own process"),
            }
            say(f"\nDagster's runs, {what}\n")
            say(table(("run", "median (min - max)"), list(taken.items())))
            result.figures[what] = {name: seconds.as_json() for name, seconds in taken.items()}
            for where in ("", ", own process"):
                ratio = taken[f"reconcile{where}"].over(taken[f"empty{where}"])
                result.at_most(f"reconcile run / run of empty assets{where}, {what}, {RATIO_OF_ROUNDS}", ratio, 1.2)
    return result


def _in_turn(
    rounds: int, prepare: Callable[[], None], run: Callable[[str], None], suffix: str = ""
) -> dict[str, Seconds]:
    times: dict[str, list[float]] = {name: [] for name in DEFINITIONS}
    for _ in range(1 + rounds):
        for name, seconds in times.items():
            prepare()
            begun = time.perf_counter()
            run(name)
            seconds.append(time.perf_counter() - begun)
    return {name + suffix: Seconds(tuple(seconds[1:])) for name, seconds in times.items()}


def _execute(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    try:
        result = definitions.resolve_job_def(JOB).execute_in_process(instance=instance)
    except dg.DagsterExecutionInterruptedError:  # while it runs, signals are Dagster's
        raise KeyboardInterrupt from None
    assert result.success


def _in_a_process(name: str, dataset: Dataset, home: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.dagster_run", name, dataset.url, dataset.redis_url, str(home)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(child.stderr)


@contextmanager
def dagster_instance(session: Session, more: str = "") -> Iterator[tuple[dg.DagsterInstance, Path]]:
    """An instance as the repository's dagster.yaml and ``more`` of it describe it, and its directory."""
    home = session.servers.work_dir / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text() + more)
    session.servers.postgres.drop_database("dagster")
    url = sa.make_url(session.servers.postgres.create_database("dagster")).set(drivername="postgresql+psycopg2")
    os.environ[URL] = url.render_as_string(hide_password=False)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance, home


def _settings(dataset: Dataset) -> PlatformSettings:
    return PlatformSettings(
        name=PLATFORM,
        profile=PROFILE,
        database_url=SecretStr(dataset.url),
        queue_url=SecretStr(dataset.redis_url),
        queue_prefix=PREFIX,
        policy=POLICY,
    )


def main(name: str, url: str, redis_url: str, home: str) -> None:
    """Execute one run in this process, which does nothing else."""
    with dg.DagsterInstance.from_config(home) as instance:
        _execute(DEFINITIONS[name](Dataset(url, redis_url)), instance)


if __name__ == "__main__":
    main(*sys.argv[1:])
