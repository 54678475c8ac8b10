"""The drill itself can fail: with a rule removed from the sweepers it reports the damage that the rule prevents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from campaign_ops.lab.drill import execution, settling
from campaign_ops.lab.drill.checkers import AT_THE_END, check_so_far
from campaign_ops.lab.drill.drill import run_drill
from campaign_ops.lab.drill.environment.rig import Rig
from campaign_ops.lab.drill.faults import FAULTS
from campaign_ops.lab.drill.options import SIZES, DrillOptions
from campaign_ops.lab.drill.scoreboard import Scoreboard
from campaign_ops.lab.shop.worker_process import WorkerProcess
from tests.lab.drill.mutations import MUTATIONS, VARIABLE, Mutation

RULES = range(1, 17)
ALWAYS = ("no_age", "no_premise", "release_later", "journal_apart", "lock_given_back", "same_ids")
"""The drills of `make test`; with all of them it would take five minutes longer. `make drill-rules` runs them all."""


class MutantRig(Rig):
    """A rig whose sweepers run with the mutation that the environment variable names, if any."""

    sweeper_module = "tests.lab.drill.mutant_sweeper"
    loose_every = 0
    worker_options: dict[str, Any] = {}  # noqa: RUF012 - replaced as a whole, never changed

    def start_worker(self, *, node: int | None = None, **options: Any) -> WorkerProcess:
        """Start a worker with the mutation's options."""
        return super().start_worker(node=node, **{**self.worker_options, **options})


def drilled(
    mutation: Mutation,
    work_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    enough: Callable[[Rig], bool] | None = None,
) -> tuple[Scoreboard, str]:
    """Run the mutation's drill, with the mutation that the environment variable names. Its scoreboard and its log."""
    monkeypatch.setattr(settling, "SETTLE_SECONDS", mutation.settle_seconds)
    monkeypatch.setattr(execution, "_ASK_EVERY_SECONDS", 1.0)
    monkeypatch.setattr(Scoreboard, "draw", lambda *_: None)  # another test looks at the picture
    monkeypatch.setitem(SIZES, "small", mutation.size)
    monkeypatch.setattr(MutantRig, "worker_options", dict(mutation.workers))
    if mutation.worker_module:
        monkeypatch.setattr(WorkerProcess, "module", mutation.worker_module)
    options = DrillOptions(
        work_dir,
        seed=mutation.seed,
        seconds=mutation.seconds,
        faults=mutation.faults,
        dagster=False,
        watch=False,
        gaps=False,
    )
    story = StringIO()
    board = run_drill(options, Console(file=story, width=200), make_rig=MutantRig, enough=enough)
    return board, story.getvalue()


def failed(board: Scoreboard) -> dict[str, tuple[str, ...]]:
    """Figures that do not hold, with their examples."""
    return {figure.key: figure.examples for figure in board.figures if not figure.holds}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.power) for name in MUTATIONS]
)
def test_a_drill_reports_the_damage_of_a_removed_rule(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_testsuite_property: Callable[[str, object], None]
) -> None:
    mutation = MUTATIONS[name]
    monkeypatch.setenv(VARIABLE, name)

    before: set[str] = set()

    def damaged(rig: Rig) -> bool:
        """Return whether the same damage was found twice: it will be on the scoreboard, too."""
        seen = {figure.key for figure in check_so_far(rig) if not figure.holds and figure.key in mutation.seen}
        lasting = seen & before
        before.clear()
        before.update(seen)
        return bool(lasting)

    board, story = drilled(mutation, tmp_path / "drill", monkeypatch, enough=damaged)
    found = failed(board)
    record_testsuite_property(name, f"{sorted(found)} after {board.seconds:.0f} s")
    assert not board.holds
    assert "unexpected" not in found, f"a sweeper that crashes proves nothing: {found['unexpected']}"
    assert found.keys() & mutation.seen, f"no figure shows that {mutation.what}; failing: {found}\n{story}"


@pytest.mark.slow
@pytest.mark.power
@pytest.mark.parametrize(
    "worker_module", sorted({one.worker_module for one in MUTATIONS.values() if one.worker_module})
)
def test_drills_with_other_kinds_of_workers_hold_with_every_rule_in_place(
    worker_module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the faults of all their mutations together, a figure that fails is a false alarm. The short drill of CI
    shows the same for the drill's own workers.
    """
    monkeypatch.delenv(VARIABLE, raising=False)
    alike = [mutation for mutation in MUTATIONS.values() if mutation.worker_module == worker_module]
    faults = {name for mutation in alike for name in mutation.faults}
    life = replace(alike[-1], faults=tuple(sorted(faults)), seconds=45, settle_seconds=60)
    board, story = drilled(life, tmp_path / "drill", monkeypatch)
    assert not board.cut_short
    assert not failed(board), f"{failed(board)}\n{story}"


def test_every_rule_is_removed_at_least_once() -> None:
    assert {mutation.rule for mutation in MUTATIONS.values()} == set(RULES)


def test_mutations_name_faults_and_figures_that_exist() -> None:
    figures = {checker.__name__ for checker in AT_THE_END}
    for name, mutation in MUTATIONS.items():
        assert set(mutation.faults) <= set(FAULTS), name
        assert mutation.seen, name
        assert mutation.seen - {"undo"} <= figures, name
