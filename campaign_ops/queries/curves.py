"""The figures of the last day's sweeps, one after the other: what a person sees as curves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from campaign_ops.platform import Platform

HOURS = 24
NAMES = ("stuck", "needs_person", "sending")


def day_of_sweeps(platform: Platform, *, hours: int = HOURS) -> list[tuple[datetime, Mapping[str, int | None]]]:
    """Return when each sweep finished, and its figures by name (`NAMES`, and ``waiting`` jobs), the oldest first.

    A figure that the sweep did not record is None.

    Raises:
        StateSchemaError: Our own schema is missing or of another revision.
    """

    return platform.on_state(lambda connection: platform.sweeps.curves(connection, NAMES, hours=hours), read_only=True)
