"""The shop's own work. It has a job, a schedule and an I/O manager with the names that campaign_ops uses elsewhere."""

from typing import Any

import dagster as dg


class InMemory(dg.IOManager):
    """Keeps the values of a run in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Keep a value."""
        self.values[tuple(context.get_identifier())] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        """Return a value that was kept."""
        assert context.upstream_output is not None
        return self.values[tuple(context.upstream_output.get_identifier())]


@dg.asset(group_name="sms")
def campaign_health() -> int:
    """A number of the shop's own."""
    return 1


@dg.op
def delete_old_runs() -> int:
    """Delete what the shop no longer needs."""
    return 0


@dg.job
def housekeeping() -> None:
    """The shop's own housekeeping."""
    delete_old_runs()


@dg.definitions
def defs() -> dg.Definitions:
    """The shop's own definitions."""
    return dg.Definitions(
        assets=[campaign_health],
        jobs=[housekeeping],
        schedules=[dg.ScheduleDefinition(name="housekeeping_schedule", job=housekeeping, cron_schedule="0 4 * * *")],
        resources={"io_manager": InMemory()},
    )
