"""Sweeps one platform repeatedly in its own process, until SIGTERM.

    python -m campaign_ops.lab.drill.sweeper --config campaign_ops.yaml --platform sms --name sweeper-1 --work-dir …

It keeps its connections, as a service does, and survives every error.
"""

from __future__ import annotations

from collections.abc import Sequence

from campaign_ops.lab.drill.sweep_loop import SweepResult, read_options, sweep_until_stopped
from campaign_ops.settings import connect
from campaign_ops.sweep import Sweep


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep until SIGTERM; `SweeperOptions` describes the command line."""
    options = read_options(arguments, __doc__)
    platform = connect(options.settings().platform(options.platform))

    def sweep(run_id: str) -> SweepResult:
        report = Sweep(
            platform,
            run_id=run_id,
            trigger="drill",
            actor=options.name,
            lock_wait_seconds=options.lock_wait_seconds,
        ).run()
        return SweepResult.of(report)

    try:
        sweep_until_stopped(options, sweep)
    finally:
        platform.close()


if __name__ == "__main__":
    main()
