"""Sweeps one platform repeatedly in its own process, until SIGTERM.

    python -m campaign_ops.lab.drill.sweeper --config campaign_ops.yaml --platform sms --name sweeper-1 --work-dir …

It keeps its connections, as a service does, and survives every error.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from campaign_ops.core.report import HealthReport
from campaign_ops.lab.drill.sweep_loop import SweepResult, read_options, sweep_until_stopped
from campaign_ops.settings import connect
from campaign_ops.sweep import Sweep

_BY_STEPS = 0.5
"""Of the sweeps between whose statements the drill acts; between two steps the lock is free."""


def step_by_step(begin: Callable[[], Sweep]) -> HealthReport:
    """Run a sweep as Dagster does: each step takes the lock and looks for itself, and the plan goes through a table."""
    begin().make_plan()
    begin().complete()
    begin().reenqueue()
    begin().release()
    return begin().report()


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep until SIGTERM; `SweeperOptions` describes the command line."""
    options = read_options(arguments, __doc__)
    platform = connect(options.settings().platform(options.platform))

    def begin(run_id: str) -> Sweep:
        wait = options.lock_wait_seconds
        return Sweep(platform, run_id=run_id, trigger="drill", actor=options.name, lock_wait_seconds=wait)

    def sweep(run_id: str) -> SweepResult:
        if options.meet_port and random.random() < _BY_STEPS:
            return SweepResult.of(step_by_step(lambda: begin(run_id)))
        return SweepResult.of(begin(run_id).run())

    try:
        sweep_until_stopped(options, sweep)
    finally:
        platform.close()


if __name__ == "__main__":
    main()
