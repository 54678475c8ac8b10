"""One sweep over one platform after the other, in a process of its own, until SIGTERM.

    python -m campaign_ops.lab.drill.sweeper --config campaign_ops.yaml --platform sms --name sweeper-1 --work-dir …

It keeps its connections, as a service does, and survives whatever passes.
"""

from __future__ import annotations

from collections.abc import Sequence

from campaign_ops.lab.drill.sweeping import Swept, read_orders, sweep_for_ever
from campaign_ops.settings import connect
from campaign_ops.sweep import Sweep


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep until SIGTERM; the command line is that of `SweeperOrders`."""
    orders = read_orders(arguments, __doc__)
    platform = connect(orders.settings().platform(orders.platform))

    def sweep(run_id: str) -> Swept:
        report = Sweep(
            platform,
            run_id=run_id,
            trigger="drill",
            actor=orders.name,
            lock_wait_seconds=orders.lock_wait_seconds,
        ).run()
        return Swept(report.figures(), {line.kind: line.held_back for line in report.repairs if line.held_back})

    try:
        sweep_for_ever(orders, sweep)
    finally:
        platform.close()


if __name__ == "__main__":
    main()
